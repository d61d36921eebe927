"""Which files others may have read: those that really lie in certain folders.

A path is followed to where it ends, through `..` and links, before it is judged, and what is
read is the place found, not the path given.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from palimpsest.errors import ConfigurationError, InputError, SourceError
from palimpsest.sources.formats import SUFFIXES, suffix_of


class Roots:
    """The folders. Raises `ConfigurationError` for one that is not there."""

    def __init__(self, folders: Sequence[Path]) -> None:
        if not folders:
            raise ConfigurationError(
                "no folder is named whose files may be read", hint="give --root FOLDER"
            )
        for folder in folders:
            if not folder.is_dir():
                raise ConfigurationError(
                    f"{folder} is no folder", hint="name a folder whose files may be read"
                )
        self.folders = tuple(Path(os.path.realpath(folder)) for folder in folders)

    def files(self, paths: Sequence[str]) -> list[Path]:
        """The files that paths of files and folders stand for, each once.

        A relative path is looked for in each root in turn. Of a folder, the files of a kind that
        can be read are taken, hidden ones and links out of the roots left out. Raises
        `InputError` for a path outside, the same whether or not there is such a file.
        """
        if not paths:
            raise InputError("nothing to read", hint="name a file or a folder")
        return list(dict.fromkeys(file for path in paths for file in self._expanded(path)))

    def _expanded(self, path: str) -> list[Path]:
        place = self._place(path)
        if os.path.isfile(place):
            return [place]
        if not os.path.isdir(place):
            raise SourceError(path, "no such file or folder", hint="check the path")
        found = sorted(self._below(place), key=lambda file: file.parts)
        if not found:
            raise SourceError(
                path, "the folder holds no file of a supported kind", hint="name a file"
            )
        return found

    def _place(self, path: str) -> Path:
        """Where a path leads. It need not exist."""
        if "\0" in path or not path.strip():
            raise InputError(f"{path!r} is no path", hint="name a file or a folder")
        places = [Path(os.path.realpath(root / path)) for root in self.folders]
        inside = [place for place in places if self._holds(place)]
        if not inside:
            folders = ", ".join(map(str, self.folders))
            raise InputError(
                f"{path!r} is not inside the folders that may be read", hint=f"they are {folders}"
            )
        return next((place for place in inside if os.path.exists(place)), inside[0])

    def _holds(self, place: Path) -> bool:
        return any(place.is_relative_to(root) for root in self.folders)

    def _below(self, folder: Path) -> Iterator[Path]:
        for parent, folders, names in os.walk(folder):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                place = Path(os.path.realpath(os.path.join(parent, name)))
                hidden = name.startswith(".") or suffix_of(name) not in SUFFIXES
                if not hidden and self._holds(place) and place.is_file():
                    yield place
