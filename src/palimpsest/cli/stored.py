"""A stored reading by its name, and the source that it has read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from palimpsest.asking import default_readings_folder
from palimpsest.errors import InputError
from palimpsest.memory.citations import open_as_read
from palimpsest.memory.reading import Reading
from palimpsest.memory.store import ReadingStore, load_reading
from palimpsest.sources import Source


class Stored(NamedTuple):
    folder: Path
    reading: Reading


def open_stored(name: str, readings: Path | None) -> Stored:
    """The reading whose folder is named, by its path or by how its name starts."""
    path = Path(name)
    if not path.exists():
        path = ReadingStore(readings or default_readings_folder()).find(name)
    return Stored(path, load_reading(path))


def source_of(
    reading: Reading, given: Sequence[Path], on_missing: Callable[[str], None]
) -> Source | None:
    """The source that was read: what is given, else the documents where they were.

    Raises `InputError` when what is given is another source. A source that is not found again is
    told `on_missing`, and None is returned.
    """
    if given:
        return required_source(reading, given)
    try:
        return required_source(reading, given)
    except InputError as error:
        on_missing(f"without the source: {error}")
        return None


def required_source(reading: Reading, given: Sequence[Path]) -> Source:
    """The source that was read. Raises `InputError` when it is not found or is another one."""
    return open_as_read(reading, given or _paths(reading))


def _paths(reading: Reading) -> list[str]:
    """The documents as paths, as far as they are."""
    documents = list(dict.fromkeys(reading.header.documents))
    missing = [name for name in documents if not Path(name).is_file()]
    if missing:
        raise InputError(
            f"the document {missing[0]!r} is not found again",
            hint="give what was read with --source, or go to the folder it was read from",
        )
    return documents
