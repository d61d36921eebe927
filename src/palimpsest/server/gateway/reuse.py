"""What was read before, so that it is not read again: readings by how their sources begin.

Every reading of the gateway is noted with one hash for each of its chunks, over all of the source
up to the chunk's end. A request whose source begins with the same chunks takes over the records of
those chunks and reads on behind them. What decides is how the memory was made (reader, settings,
wording, model, and what for), never how it is shown: budgets and page styles do not matter.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from palimpsest.errors import InputError, ReadingError
from palimpsest.memory.log import Log
from palimpsest.memory.reading import (
    ChunkRead,
    Header,
    Integrated,
    Merged,
    Reading,
    Record,
)
from palimpsest.memory.replaying import records_before
from palimpsest.memory.store import load_reading
from palimpsest.readers.reader import Reader
from palimpsest.sources import Source

_SHOWING = frozenset({"answer_tokens", "budgets", "cell", "style"})
"""Settings that no draft depends on."""
_FILE = "beginnings.jsonl"


class Begun(BaseModel):
    """One reading, by how its source begins."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reading: str
    making: str
    """Hash of how its memory is made."""
    chain: tuple[str, ...]
    """For each chunk a hash of the source up to the chunk's end."""
    made_for: tuple[str, ...]
    """The questions that its memory is drafted for."""


class Found(NamedTuple):
    """What can be taken over from a stored reading."""

    begun: Begun
    reading: Reading
    chunks: int
    """How many, from the first."""
    records: list[Record]


class Beginnings:
    """The readings of one caller, by how their sources begin."""

    def __init__(self, folder: Path) -> None:
        """`folder` is where the readings are."""
        self._folder = folder
        self._log = Log(folder / _FILE)
        self._taking = threading.Lock()
        self._places: dict[tuple[str, str], Begun] = {}

    def note(self, begun: Begun) -> None:
        """Makes a reading known."""
        self._log.append(begun.model_dump_json())

    def find(self, making: str, chain: Sequence[str], *, questions: Sequence[str]) -> Found | None:
        """The reading of which most of the first chunks can be taken over.

        What was read again to answer is taken over for the same questions only.
        """
        with self._taking:
            for line in self._log.new_lines():
                self._take(Begun.model_validate_json(line))
        tried: set[str] = set()
        for length in range(len(chain), 0, -1):
            begun = self._places.get((making, chain[length - 1]))
            if begun is None or begun.reading in tried:
                continue
            tried.add(begun.reading)
            reading = self._load(begun.reading)
            if reading:
                whole = length == len(chain) == len(reading.header.chunks)
                same = tuple(questions) == reading.header.questions
                found = _usable(begun, reading, length, whole=whole, same=same)
                if found:
                    return found
        return None

    def _take(self, begun: Begun) -> None:
        for link in begun.chain:
            self._places[begun.making, link] = begun

    def _load(self, name: str) -> Reading | None:
        try:
            return load_reading(self._folder / name)
        except ReadingError:
            return None


def _usable(
    begun: Begun, reading: Reading, length: int, *, whole: bool, same: bool
) -> Found | None:  # fmt: skip
    """What there is of the first `length` chunks of a reading."""
    chunks = min(length, reading.next_chunk)
    if whole and chunks == length and (same or not reading.rereads):
        return Found(begun, reading, length, drafted(reading))
    try:
        records = records_before(reading, chunks)
    except InputError:
        return None
    return Found(begun, reading, chunks, records) if chunks else None


def drafted(reading: Reading) -> list[Record]:
    """The records up to the last step that changed the memory."""
    steps = [
        place
        for place, record in enumerate(reading.records)
        if isinstance(record, ChunkRead | Merged | Integrated)
    ]
    return reading.records[: steps[-1] + 1] if steps else []


def making_of(reader: Reader, header: Header, purpose: Sequence[str]) -> str:
    """Hash of how a memory is made; `purpose` are the questions it is bound to."""
    parts = {
        "reader": reader.name,
        "settings": _drafting(header.settings),
        "prompts": header.prompts,
        "model": header.model,
        "tokenizer": header.tokenizer,
        "purpose": list(purpose),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def chain_of(header: Header, source: Source) -> tuple[str, ...]:
    """For each chunk a hash of the source up to its end, and of where the chunks before end."""
    state = hashlib.sha256()
    chain = []
    for span in header.chunks:
        state.update(source.text[span.start : span.end].encode() + b"\0%d\0" % span.end)
        chain.append(state.copy().hexdigest()[:16])
    return tuple(chain)


def _drafting(settings: object) -> object:
    if not isinstance(settings, dict):
        return settings
    return {name: _drafting(value) for name, value in settings.items() if name not in _SHOWING}
