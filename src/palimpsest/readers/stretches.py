"""Runs of consecutive chunks: those that came together, and their parts of even length."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TypeVar

from palimpsest.memory.reading import ChunkRead, Extended, Reading

_Run = TypeVar("_Run", range, tuple[int, ...])


def additions(reading: Reading) -> Iterator[range]:
    """The chunks that the reading began with, then those of each later addition to its source."""
    grown = [record.chunks for record in reading.records if isinstance(record, Extended)]
    first = 0
    for chunks in (reading.opening.chunks, *grown):
        if chunks:
            yield range(first, first + len(chunks))
        first += len(chunks)


def chunks_read(reading: Reading, scan: int) -> dict[int, ChunkRead]:
    """How each chunk went that is done in a scan."""
    read = (record for record in reading.records if isinstance(record, ChunkRead))
    return {record.chunk: record for record in read if record.reread == scan}


def split(items: _Run, parts: int) -> list[_Run]:
    """The items in order, in `parts` runs whose lengths differ by one at most; in fewer where
    there are fewer items."""
    parts = min(parts, len(items))
    if parts == 0:
        return []
    ends = [len(items) * part // parts for part in range(parts + 1)]
    return [items[start:end] for start, end in pairwise(ends)]
