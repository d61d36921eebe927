"""The source of a reading, where its documents are still what was read, and pieces of its text."""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from palimpsest.errors import InputError, PalimpsestError
from palimpsest.memory.citations import check_source, open_as_read
from palimpsest.memory.reading import Reading
from palimpsest.memory.saved import MemoryFolder
from palimpsest.server.viewer.library import Entry
from palimpsest.sources import Source

BLOCK = 3000
"""Most characters of the pieces in which a source is shown."""
MOST_CHARACTERS = 1 << 16
"""That are given at once."""
MOST_FOUND = 500
_AROUND = 60
"""Characters that are shown on each side of what was searched for."""
_KEPT = 3
_REMEMBERED_S = 20.0
"""How long it is believed that a source is not at hand."""


class Opened(NamedTuple):
    """A source, cut into pieces to be shown."""

    source: Source
    blocks: list[int]
    """Where each begins."""


class Found(NamedTuple):
    start: int
    end: int
    before: str
    after: str


class Sources:
    """The sources that were opened last."""

    def __init__(self, elsewhere: Sequence[Path] = ()) -> None:
        self._elsewhere = elsewhere
        self._lock = threading.Lock()
        self._opened: OrderedDict[str, Opened] = OrderedDict()
        self._missing: dict[str, tuple[float, str]] = {}

    def open(self, entry: Entry, reading: Reading) -> Opened:
        """The source that was read. Raises `InputError`, which says why it is not at hand."""
        wanted = reading.header.source_sha256
        with self._lock:
            if wanted not in self._opened:
                self._opened[wanted] = self._found(entry, reading, wanted)
            self._opened.move_to_end(wanted)
            while len(self._opened) > _KEPT:
                self._opened.popitem(last=False)
            return self._opened[wanted]

    def _found(self, entry: Entry, reading: Reading, wanted: str) -> Opened:
        since, reason = self._missing.get(wanted, (0.0, ""))
        if time.monotonic() - since < _REMEMBERED_S and reason:
            raise InputError(reason)
        try:
            source = _source(entry, reading, self._elsewhere)
        except (PalimpsestError, OSError) as error:
            self._missing[wanted] = time.monotonic(), str(error)
            raise InputError(str(error)) from error
        return Opened(source, block_starts(source.text))


def _source(entry: Entry, reading: Reading, elsewhere: Sequence[Path]) -> Source:
    if entry.kind == "memory":
        folder = MemoryFolder(entry.path)
        source = folder.source(folder.documents()[: len(reading.header.documents)])
        check_source(reading, source)
        return source
    return open_as_read(reading, elsewhere or _paths(reading))


def _paths(reading: Reading) -> list[str]:
    documents = list(dict.fromkeys(reading.header.documents))
    missing = next((name for name in documents if not _is_file(name)), None)
    if missing is not None:
        raise InputError(f"the document {missing!r} is not where it was read")
    return documents


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        return False


def block_starts(text: str, size: int = BLOCK) -> list[int]:
    """Where pieces of at most `size` characters begin: at a line, else at a word."""
    starts, start = [0], 0
    while len(text) - start > size:
        half, end = start + size // 2, start + size
        cut = text.rfind("\n", half, end)
        if cut < 0:
            cut = text.rfind(" ", half, end)
        start = end if cut < 0 else cut + 1
        starts.append(start)
    return starts


def piece(source: Source, start: int, end: int) -> str:
    """A part of the text. Raises `InputError` for more than may be had at once."""
    if not 0 <= start <= end <= len(source.text) or end - start > MOST_CHARACTERS:
        raise InputError(
            f"characters {start} to {end} cannot be given",
            hint=f"ask for at most {MOST_CHARACTERS:,} of {len(source.text):,}",
        )
    return source.text[start:end]


def search(source: Source, wanted: str) -> list[Found]:
    """Where a text stands, whatever the case and the white space; the first `MOST_FOUND`."""
    words = wanted.split()
    if not words:
        raise InputError("there is nothing to search for", hint="give a word")
    pattern = re.compile(r"\s+".join(map(re.escape, words)), re.IGNORECASE)
    found: list[Found] = []
    for match in pattern.finditer(source.text):
        start, end = match.span()
        before = source.text[max(0, start - _AROUND) : start]
        found.append(Found(start, end, before, source.text[end : end + _AROUND]))
        if len(found) == MOST_FOUND:
            break
    return found
