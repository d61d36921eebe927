"""Files, folders, patterns and standard input to one source.

source = open_source(["notes/", "report.pdf", "logs/*.txt"])
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from palimpsest.errors import InputError, SourceError
from palimpsest.sources.formats import SUFFIXES, read_documents, suffix_of
from palimpsest.sources.source import Source

STANDARD_INPUT = "-"
"""The path that stands for standard input."""

_STANDARD_INPUT_NAME = "standard input"


def open_source(
    paths: Sequence[str | Path],
    *,
    skip_unreadable: bool = False,
    on_skip: Callable[[SourceError], None] | None = None,
) -> Source:
    """The documents of `paths`, in the order given, as one source.

    A path is a file, a folder (everything readable below it, sorted, hidden files left out), a
    glob pattern (`**` crosses folders), or `-` for standard input. A file given twice counts
    once. What cannot be read raises `SourceError`; with `skip_unreadable` it goes to `on_skip`
    instead, and only a source of which nothing is left raises `InputError`.
    """
    if not paths:
        raise InputError("nothing to read", hint="give a file, a folder, a pattern or -")
    skipped: list[SourceError] = []

    def fail(error: SourceError) -> None:
        if not skip_unreadable:
            raise error
        skipped.append(error)
        if on_skip is not None:
            on_skip(error)

    documents: list[tuple[str, str]] = []
    for path in _once(_expand_all(paths, fail)):
        try:
            documents += read_documents(_bytes_of(path), _name_of(path))
        except SourceError as error:
            fail(error)
    if not documents:
        _refuse(skipped)
    return Source.from_documents(documents)


def _refuse(skipped: list[SourceError]) -> NoReturn:
    raise InputError(
        f"nothing is left to read; skipped {len(skipped)}, the first of them {skipped[0]}",
        hint=skipped[0].hint,
    ) from skipped[0]


def _expand_all(paths: Sequence[str | Path], fail: Callable[[SourceError], None]) -> Iterator[str]:
    for path in paths:
        try:
            yield from _expand(str(path))
        except SourceError as error:
            fail(error)


def _expand(path: str) -> list[str]:
    """The files that a path stands for."""
    if path == STANDARD_INPUT:
        return [path]
    if "\0" in path:
        raise SourceError(repr(path), "a path holds no NUL character", hint="check the path")
    if os.path.isdir(path):
        return _walk(path)
    if os.path.exists(path) or not glob.has_magic(path):
        return [path]
    matches = sorted(match for match in glob.glob(path, recursive=True) if os.path.isfile(match))
    if not matches:
        raise SourceError(path, "no file matches the pattern", hint="check it with ls")
    return matches


def _walk(folder: str) -> list[str]:
    """The supported files below a folder, hidden ones and links to folders left out."""

    def refuse(error: OSError) -> NoReturn:
        raise _unreadable(str(error.filename), error)

    found = []
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            os.path.join(parent, name)
            for name in files
            if not name.startswith(".") and suffix_of(name) in SUFFIXES
        ]
    if not found:
        raise SourceError(
            folder,
            "the folder holds no file of a supported kind",
            hint="text, Markdown, HTML, PDF, DOCX and JSON Lines are read; "
            "give other files by name",
        )
    return sorted(found, key=lambda path: Path(path).parts)


def _once(paths: Iterator[str]) -> Iterator[str]:
    seen: set[str] = set()
    for path in paths:
        identity = path if path == STANDARD_INPUT else os.path.realpath(path)
        if identity not in seen:
            seen.add(identity)
            yield path


def _name_of(path: str) -> str:
    return _STANDARD_INPUT_NAME if path == STANDARD_INPUT else path


def _bytes_of(path: str) -> bytes:
    try:
        data = sys.stdin.buffer.read() if path == STANDARD_INPUT else Path(path).read_bytes()
    except OSError as error:
        raise _unreadable(_name_of(path), error) from error
    if not data:
        raise SourceError(_name_of(path), "it is empty", hint="leave it out")
    return data


def _unreadable(name: str, error: OSError) -> SourceError:
    if isinstance(error, FileNotFoundError):
        return SourceError(name, "no such file or folder", hint="check the path")
    if isinstance(error, PermissionError):
        return SourceError(name, "no permission to read it", hint="check who may read it")
    return SourceError(name, f"it cannot be read: {error.strerror or error}", hint="check the path")
