"""The source of a reading, where there still is what was read, and pieces of its text.

It is looked for where the user says, beside the reading, where evaluations and the gateway keep
what they read, and where the documents were. Only a source of the hash of what was read is shown.
"""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from palimpsest.errors import InputError, PalimpsestError
from palimpsest.memory.citations import check_source, open_as_read
from palimpsest.memory.reading import Reading
from palimpsest.memory.saved import MemoryFolder
from palimpsest.memory.source_store import SourceStore
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

    def __init__(self, elsewhere: Sequence[Path] = (), callers: Path | None = None) -> None:
        """`elsewhere` is where the user says that documents are. Readings below `callers` are
        those of a server's callers, who name documents as they like: no file outside a caller's
        own folder is opened for them."""
        self._elsewhere = elsewhere
        self._callers = callers
        self._lock = threading.Lock()
        self._opened: OrderedDict[tuple[str, int], Opened] = OrderedDict()
        self._missing: dict[str, tuple[float, str]] = {}

    def open(self, entry: Entry, reading: Reading) -> Opened:
        """The source that was read. Raises `InputError`, which says why it is not at hand."""
        # The same documents may have been laid out in two ways, of different lengths.
        wanted = reading.header.source_sha256, reading.header.characters
        with self._lock:
            if wanted not in self._opened:
                self._opened[wanted] = self._found(entry, reading)
            self._opened.move_to_end(wanted)
            while len(self._opened) > _KEPT:
                self._opened.popitem(last=False)
            return self._opened[wanted]

    def _found(self, entry: Entry, reading: Reading) -> Opened:
        since, reason = self._missing.get(entry.id, (0.0, ""))
        if time.monotonic() - since < _REMEMBERED_S and reason:
            raise InputError(reason)
        reasons: list[str] = []
        for place in self._places(entry, reading):
            try:
                source = place()
            except (PalimpsestError, OSError) as error:
                reasons.append(str(error))
            else:
                return Opened(source, block_starts(source.text))
        why = "; ".join(reasons)
        self._missing[entry.id] = time.monotonic(), why
        raise InputError(why)

    def _places(self, entry: Entry, reading: Reading) -> Iterator[Callable[[], Source]]:
        """Where it is looked for, one after the other."""
        if entry.kind == "memory":
            yield lambda: _of_memory(entry, reading)
            return
        if self._elsewhere:
            yield lambda: open_as_read(reading, self._elsewhere)
        yield lambda: SourceStore.beside(entry.file.parent.parent).open(reading)
        yield lambda: open_as_read(reading, _paths(reading, self._within(entry)))

    def _within(self, entry: Entry) -> Path | None:
        """The folder of the caller whose reading it is; None for one that is no caller's."""
        if self._callers is None or not entry.path.is_relative_to(self._callers):
            return None
        return self._callers / entry.path.relative_to(self._callers).parts[0]


def _of_memory(entry: Entry, reading: Reading) -> Source:
    folder = MemoryFolder(entry.path)
    source = folder.source(folder.documents()[: len(reading.header.documents)])
    check_source(reading, source)
    return source


def _paths(reading: Reading, within: Path | None) -> list[str]:
    documents = list(dict.fromkeys(reading.header.documents))
    missing = next((name for name in documents if not _is_file(name, within)), None)
    if missing is not None:
        raise InputError(f"the document {missing!r} is not where it was read")
    return documents


def _is_file(name: str, within: Path | None) -> bool:
    try:
        file = Path(name).resolve()
        return (within is None or file.is_relative_to(within)) and file.is_file()
    except (OSError, ValueError, RuntimeError):
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
