"""A memory made of a source for one request: taken over from what was read before, and read on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakValueDictionary

from palimpsest.asking import both
from palimpsest.errors import CapReached, PalimpsestError
from palimpsest.memory.reading import End, Header, OnEvent, Reading, Record
from palimpsest.memory.source_store import SourceStore
from palimpsest.memory.store import Journal, ReadingStore
from palimpsest.models.caps import Allowance, Caps
from palimpsest.models.model import Model
from palimpsest.readers.baseline import Baseline
from palimpsest.readers.digest import DIGEST_QUESTION, for_digest
from palimpsest.readers.drafting import MemoryReader, Scan
from palimpsest.readers.memreread import MemReread
from palimpsest.readers.reader import Reader, Session, joined
from palimpsest.server.gateway.extension import MemoryFor
from palimpsest.server.gateway.reuse import Beginnings, Begun, Found, chain_of, making_of
from palimpsest.sources import Source


class Purpose(NamedTuple):
    """What a memory is made for."""

    reader: Reader
    questions: tuple[str, ...]
    """Of the reading's header, the request's own first."""
    drafting: str
    """The question as drafts see it."""
    bound_to: tuple[str, ...]
    """What another request must be about to use the memory."""


def purpose_of(reader: Reader, question: str, memory: MemoryFor) -> Purpose:
    """What the memory of a request is for; where no question was found, whatever may be asked."""
    if not isinstance(reader, MemoryReader):
        asked = question or DIGEST_QUESTION
        return Purpose(reader, (asked,), asked, (asked,))
    if memory == "digest" or not question:
        asked = question or DIGEST_QUESTION
        return Purpose(for_digest(reader), (asked,), DIGEST_QUESTION, ("digest",))
    if memory == "question":
        return Purpose(reader, (question,), question, ("question", question))
    questions = (question, DIGEST_QUESTION)
    return Purpose(reader, questions, joined(questions), ("both",))


@dataclass(frozen=True)
class Made:
    """A memory, and the open reading in which it stands."""

    purpose: Purpose
    session: Session
    name: str
    """The reading's, among its caller's."""
    taken_over: int
    """Chunks that were not read for this request."""
    records_before: int
    """Records that were there already."""
    reused: str
    """The reading that the chunks are from; empty for none."""
    made_for: tuple[str, ...]
    """The questions that the memory was drafted for."""
    reached: CapReached | None = None

    @property
    def own(self) -> Reading:
        """What was done for this request alone."""
        reading = self.session.reading
        return Reading(reading.opening, reading.records[self.records_before :])

    def end(self) -> None:
        """Ends the reading, answered."""
        reading = self.session.reading
        if self.reached is None:
            self.session.record(End(status="answered"))
            return
        read, chunks = len(reading.done()), len(reading.header.chunks)
        reason = f"{self.reached}; the answer is from {read} of {chunks} chunks"
        self.session.record(
            End(
                status="partial", reason=reason, error=type(self.reached).__name__,
                hint="the same with a larger cap goes on from there",
            )
        )  # fmt: skip


class Shelf:
    """What one caller has had read."""

    def __init__(self, store: ReadingStore) -> None:
        self._store = store
        self._sources = SourceStore.beside(store.folder)
        self._beginnings = Beginnings(store.folder)
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def made(
        self,
        purpose: Purpose,
        source: Source,
        model: Model,
        *,
        caps: Caps | None,
        on_begin: Callable[[Reading, str, int], None],
        on_event: OnEvent,
    ) -> AsyncIterator[Made]:
        """The memory of a source, with its reading open until the end.

        Requests for sources that begin alike wait for each other, so that one reads and the
        others take it over. `on_begin` hears of the reading, its name, and the chunks that were
        taken over. Raises a `PalimpsestError`, with which the reading ends, when nothing could
        be read.
        """
        header = (await purpose.reader.begin(source, purpose.questions, model)).header
        making = making_of(purpose.reader, header, purpose.bound_to)
        chain = await asyncio.to_thread(chain_of, header, source)
        first = (making, chain[0] if chain else "")
        lock = self._locks.setdefault(first, asyncio.Lock())
        async with lock:
            opened = await asyncio.to_thread(self._open, header, making, chain, source)
            journal = opened.journal
            try:
                on_begin(opened.reading, journal.folder.name, opened.chunks)
                session = Session(source, model, opened.reading, both(journal, on_event))
                reached = await _draft(purpose, session, caps, opened.kept)
            except BaseException:
                journal.close()
                raise
        with journal:
            yield Made(
                purpose, session, journal.folder.name, opened.chunks, opened.kept,
                opened.reused, opened.made_for, reached,
            )  # fmt: skip

    def _open(self, header: Header, making: str, chain: tuple[str, ...], source: Source) -> _Opened:
        """The reading to go on with: one that was stopped, else a new one with what is known."""
        self._sources.keep(source)
        found = self._beginnings.find(making, chain, questions=header.questions)
        stopped = found and self._resumed(found, header)
        if found and stopped:
            reading, journal = stopped
            done = len(reading.records)
            begun = found.begun
            return _Opened(
                reading, journal, len(reading.done()), done, begun.reading, begun.made_for
            )
        records: Sequence[Record] = found.records if found else ()
        name, chunks = (found.begun.reading, found.chunks) if found else ("", 0)
        origin = f"{name} before chunk {chunks + 1}" if name else ""
        reading = Reading(header.model_copy(update={"replay_of": origin}), records)
        journal = self._store.create(reading)
        before = found.begun.made_for if found else ()
        own = header.questions if chunks < len(chain) else ()
        made_for = tuple(dict.fromkeys((*before, *own)))
        self._beginnings.note(
            Begun(reading=journal.folder.name, making=making, chain=chain, made_for=made_for)
        )
        return _Opened(reading, journal, chunks, len(records), name, made_for)

    def _resumed(self, found: Found, header: Header) -> tuple[Reading, Journal] | None:
        """The found reading itself, where it is one of the same request that was stopped."""
        old = found.reading.header
        same = (old.key, old.source_sha256) == (header.key, header.source_sha256)
        if not same or found.reading.status == "answered":
            return None
        return self._store.resume(old.key, replay_of=old.replay_of)


class _Opened(NamedTuple):
    reading: Reading
    journal: Journal
    chunks: int
    kept: int
    reused: str
    made_for: tuple[str, ...]


async def _draft(
    purpose: Purpose, session: Session, caps: Caps | None, kept: int
) -> CapReached | None:
    """Reads what is not read; the cap that ended it with a memory to answer from, if one did."""
    reader = purpose.reader
    if isinstance(reader, Baseline):
        return None
    assert isinstance(reader, MemoryReader)
    try:
        if caps:
            own = Reading(session.reading.opening, session.reading.records[kept:])
            before = [turn.completion for turn in own.turns]
            reserve = await reader.reserve(session)
            session.allowance = Allowance(caps, session.model, before, reserve=reserve)
        await _drafting_part(reader).draft(session, Scan(purpose.drafting))
        await reader.draft(session, Scan(purpose.questions[0]))
    except CapReached as reached:
        if not session.reading.done():
            _fail(session, reached)
            raise
        return reached
    except PalimpsestError as error:
        _fail(session, error)
        raise
    return session.allowance.reached if session.allowance else None


def _drafting_part(reader: MemoryReader) -> MemoryReader:
    """The reader without what reads again: that is asked for the question alone."""
    while isinstance(reader, MemReread):
        reader = reader.base
    return reader


def _fail(session: Session, error: PalimpsestError) -> None:
    session.record(
        End(status="failed", reason=str(error), error=type(error).__name__, hint=error.hint)
    )
