"""How a reading grows after its end: by documents behind its source, by notes into its memory."""

from __future__ import annotations

from collections.abc import Sequence

from palimpsest.errors import ConfigurationError
from palimpsest.memory.reading import Extended, Reading, Span
from palimpsest.memory.saved import KeptDocument
from palimpsest.readers.drafting import DraftingReader, MemoryReader, Place, Scan
from palimpsest.readers.reader import Reader, Session, joined
from palimpsest.readers.wrapper import Wrapper

_NOTE_CHARACTERS_PER_TOKEN = 4
"""Notes come into a memory by as many characters at once as it may have tokens, times this, so
that a memory that must be shortened still fits the model's window."""


def core(reader: Reader) -> DraftingReader:
    """The reader that drafts, whatever is wrapped around it.

    Raises `ConfigurationError` for one that makes no memory, and so has none to be saved.
    """
    inner = reader.inner if isinstance(reader, Wrapper) else reader
    if isinstance(inner, DraftingReader):
        return inner
    raise ConfigurationError(
        f"the reader {reader.name!r} makes no memory", hint="use one that drafts, as MemAgent does"
    )


async def extend(session: Session, reader: MemoryReader, titles: Sequence[str]) -> None:
    """Cuts what the session's source has beyond the reading's into chunks, to be read.

    `titles` are of the documents that came to it. They are cut by themselves, so that the spans
    of earlier chunks stay as they are.
    """
    start = session.reading.header.characters
    text = session.source.text[start:]
    tokenizer = await session.model.tokenizer()
    chunks = reader.cut(text, await tokenizer.offsets(text))
    session.record(
        Extended(
            documents=tuple(titles),
            chunks=tuple(
                Span(start + chunk.start, start + chunk.end, chunk.tokens) for chunk in chunks
            ),
            characters=len(text),
            source_sha256=session.source.sha256,
        )
    )


async def take_notes(session: Session, reader: MemoryReader, notes: Sequence[str]) -> None:
    """Puts notes at the head of the memory, which is shortened when it comes over its limit."""
    inner = core(reader)
    scan = Scan(joined(session.reading.header.questions))
    for batch in _batches(notes, inner.memory_tokens * _NOTE_CHARACTERS_PER_TOKEN):
        place = Place(scan, None, session.reading.memory_version)
        text = with_notes(session.reading.memory, batch)
        version = session.remember(await inner.within_limit(session, place, text))
        session.record(Extended(notes=len(batch), memory=version))


def with_notes(memory: str, notes: Sequence[str]) -> str:
    """The memory with notes at its head, in their order, but for those that it has as a line."""
    known = set(memory.splitlines())
    new = [note for note in dict.fromkeys(notes) if note not in known]
    return "\n".join([*new, memory] if memory else new)


def notes_taken(reading: Reading | None) -> int:
    """How many notes have come into the memory of a reading."""
    records = reading.records if reading else []
    return sum(record.notes for record in records if isinstance(record, Extended))


def unread(reading: Reading | None, documents: Sequence[KeptDocument]) -> list[KeptDocument]:
    """Those of a saved memory's documents that its reading has not read to their end."""
    if reading is None:
        return list(documents)
    done = reading.done()
    found: list[KeptDocument] = []
    chunk = document = 0
    for record in reading.records:
        if isinstance(record, Extended):
            chunks = range(chunk, chunk + len(record.chunks))
            if not done.issuperset(chunks):
                found += documents[document : document + len(record.documents)]
            chunk, document = chunks.stop, document + len(record.documents)
    return found + list(documents[document:])


def _batches(notes: Sequence[str], characters: int) -> list[list[str]]:
    """The notes in their order, each batch of about so many characters and at least one note."""
    batches: list[list[str]] = []
    room = 0
    for note in notes:
        if len(note) > room:
            batches.append([])
            room = characters
        batches[-1].append(note)
        room -= len(note)
    return batches
