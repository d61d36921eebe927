"""A stored reading by its name, and the source that it has read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from palimpsest.asking import default_readings_folder
from palimpsest.errors import InputError
from palimpsest.memory.citations import open_as_read
from palimpsest.memory.reading import Reading
from palimpsest.memory.source_store import SourceStore
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
    stored: Stored, given: Sequence[Path], on_missing: Callable[[str], None]
) -> Source | None:
    """The source that was read: what is given, else where `required_source` finds it.

    Raises `InputError` when what is given is another source. A source that is not found again is
    told `on_missing`, and None is returned.
    """
    if given:
        return required_source(stored, given)
    try:
        return required_source(stored, given)
    except InputError as error:
        on_missing(f"without the source: {error}")
        return None


def required_source(stored: Stored, given: Sequence[Path]) -> Source:
    """The source that was read: what is given, what was kept beside the reading, or the documents
    where they were. Raises `InputError` when it is not found or is another one."""
    reading = stored.reading
    if given:
        return open_as_read(reading, given)
    kept = SourceStore.beside(stored.folder.resolve().parent)
    return kept.open(reading) if kept.holds(reading) else open_as_read(reading, _paths(reading))


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
