"""Where a task's data lies: a file, its own folder, the folder above it, or the hub.

Files are told apart by their names alone, so that nothing is read to find out what it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from palimpsest.datasets.files import ROW_SUFFIXES, TEXT_SUFFIXES, data_suffix
from palimpsest.datasets.hub import PREFIX, HubName
from palimpsest.errors import ConfigurationError, InputError


@dataclass(frozen=True)
class Data:
    """What was given as a task's data, found."""

    given: str
    folder: Path | None = None
    """The task's own; where the file lies, if one file was named."""
    file: Path | None = None
    hub: HubName | None = None

    def files(self, patterns: Sequence[str]) -> list[Path]:
        """The data files of the folder that fit any of the patterns, by path; beside a file that
        was named, those of its folder alone and none of the folders in it."""
        if self.folder is None:
            return []
        found = data_files(self.folder, "*" if self.file else "**/*")
        return [path for path in found if fits(path, patterns)]


def find_data(data: Path | str | None, task: str, names: Iterable[str]) -> Data:
    """The data of a task with these folder names. Raises `ConfigurationError` where none was
    given and `InputError` where there is nothing."""
    if data is None:
        raise ConfigurationError(
            f"{task} needs its data", hint="give --data FOLDER, FILE or hub:owner/name"
        )
    if str(data).startswith(PREFIX):
        return Data(str(data), hub=HubName.parse(str(data)))
    path = Path(data)
    if path.is_file():
        return Data(str(data), folder=path.parent, file=path)
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder", hint="give where the data lies")
    return Data(str(data), folder=subfolder(path, names) or path)


def subfolder(folder: Path, names: Iterable[str]) -> Path | None:
    """The folder in it that has one of the names, whatever its case and marks."""
    wanted = [_plain(name) for name in names]
    found = {_plain(one.name): one for one in sorted(folder.iterdir()) if one.is_dir()}
    return next((found[name] for name in wanted if name in found), None)


def is_named(folder: Path, names: Iterable[str]) -> bool:
    """Whether a folder has one of the names."""
    return _plain(folder.name) in map(_plain, names)


def belongs(path: Path, names: Iterable[str]) -> bool:
    """Whether a file lies in a folder of one of the names, at any depth."""
    names = tuple(names)
    return any(is_named(folder, names) for folder in path.parents)


def data_files(folder: Path, pattern: str = "**/*") -> list[Path]:
    """All files of a known kind below a folder, hidden ones apart, by path."""
    return sorted(
        path
        for path in folder.glob(pattern)
        if data_suffix(path) in (*ROW_SUFFIXES, *TEXT_SUFFIXES)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def fits(path: Path, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(path.name.lower(), pattern) for pattern in patterns)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
