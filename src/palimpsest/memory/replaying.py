"""The beginning of a reading taken over into another, to read on from there in another way."""

from __future__ import annotations

from collections.abc import Sequence

from palimpsest.errors import InputError
from palimpsest.memory.reading import ChunkRead, Header, Integrated, Merged, Reading, Record, Reread


def records_before(reading: Reading, chunk: int) -> list[Record]:
    """The records of a reading up to where the chunks before `chunk` (from 0) were done.

    Raises `InputError` where there is no memory that stood just then: the chunk does not exist,
    was not come to, or the chunks were read side by side.
    """
    total = len(reading.header.chunks)
    if not 0 <= chunk <= total:
        raise InputError(
            f"there is no chunk {chunk + 1}: the reading has {total}",
            hint=f"a number from 1 to {total}, or {total + 1} to answer again",
        )
    before = set(range(chunk))
    done: set[int] = set()
    for place, record in enumerate(reading.records):
        if done == before:
            return reading.records[:place]
        if _is_out_of_order(record, before):
            raise InputError(
                f"no single memory stood before chunk {chunk + 1}: chunks were read side by side",
                hint="replay it with --from-chunk 1, or replay a reading of one memory",
            )
        if isinstance(record, ChunkRead) and record.reread == 0:
            done.add(record.chunk)
    if done != before:
        raise InputError(
            f"the reading has only come to chunk {len(done)}",
            hint="go on with it first, or name an earlier chunk",
        )
    return reading.records[:]


def _is_out_of_order(record: Record, before: set[int]) -> bool:
    if isinstance(record, ChunkRead):
        return record.reread == 0 and record.chunk not in before
    return isinstance(record, Merged | Integrated | Reread)


def replayed(
    header: Header, old: Reading, kept: Sequence[Record], replay_of: str
) -> Reading:  # fmt: skip
    """A reading under `header`, over the chunks of an old one, that begins with records of it."""
    same = {
        "chunks": old.header.chunks,
        "tokenizer": old.header.tokenizer,
        "replay_of": replay_of,
    }
    return Reading(header.model_copy(update=same), kept)
