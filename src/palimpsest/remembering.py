"""Memories that live: made once, given more whenever there is more, asked at any time.

    import palimpsest

    memory = palimpsest.SavedMemory.create("minutes", question="Who decided what?")
    memory.append("january.pdf")
    memory.append("february.pdf")  # only February is read
    print(memory.ask("Who decided on the bridge?").answer)

Any number of processes may append to one memory at once: what they give is logged first, and
then read by one of them at a time. Each method that calls a model comes twice, as `aask` and
`ask` do: `aappend`, `aread` and `aask` are for asynchronous code.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, TypedDict, TypeVar, Unpack

import platformdirs

from palimpsest.asking import both, paths_of, run
from palimpsest.errors import InputError, PalimpsestError
from palimpsest.memory.reading import End, Header, OnEvent, Reading, reading_key, utc_now
from palimpsest.memory.receipt import Receipt, receipt_of
from palimpsest.memory.saved import Appended, Asked, KeptDocument, MemoryFolder, MemoryStore, Plan
from palimpsest.memory.store import Journal
from palimpsest.models.model import Model
from palimpsest.models.prices import Price
from palimpsest.planning import (
    GivenModel,
    checked_questions,
    opened_model,
    plan_memory,
    restored_reader,
)
from palimpsest.readers.digest import DIGEST_QUESTION
from palimpsest.readers.drafting import Scan
from palimpsest.readers.growing import extend, notes_taken, take_notes, unread, with_notes
from palimpsest.readers.reader import Reader, Session, joined
from palimpsest.settings import ModelSettings
from palimpsest.sources import Source, open_source

_T = TypeVar("_T")

_POLL_S = 0.1
"""How often a memory that another process reads is looked at again."""


class ReadOptions(TypedDict, total=False):
    """The options of `aread`, for `read` and `append`."""

    model: GivenModel
    on_start: Callable[[Reading, Path], None] | None
    on_event: OnEvent | None


class AskOptions(TypedDict, total=False):
    """The options of `aask`, for `ask`."""

    model: GivenModel
    on_event: OnEvent | None


def default_memories_folder() -> Path:
    """`PALIMPSEST_MEMORIES`, else `palimpsest/memories` in the user's state folder."""
    named = os.environ.get("PALIMPSEST_MEMORIES")
    return Path(named) if named else platformdirs.user_state_path("palimpsest") / "memories"


class SavedMemory:
    """A memory with a name, in a folder of its own.

    A `model` is a model, `ModelSettings`, or a name as in them; without one, the memory goes on
    with the settings that it was made with, or those in force where it was made with an object.
    """

    def __init__(self, folder: MemoryFolder) -> None:
        self.folder = folder
        self.plan: Plan = folder.plan()
        self.reader = restored_reader(self.plan)

    @classmethod
    def create(
        cls,
        name: str,
        *,
        question: str | Sequence[str] | None = None,
        reader: Reader | None = None,
        model: GivenModel = None,
        memories: Path | str | None = None,
    ) -> SavedMemory:
        """A new memory with nothing in it, in a folder under `memories`.

        It keeps what helps with the question or questions; without one it is a digest, which
        keeps what a text is about, for whatever may be asked. `reader` is `MemAgent()` by
        default. Raises `InputError` when there is a memory of that name.
        """
        plan = plan_memory(question=question, reader=reader, model=model)
        return cls(_store(memories).create(name, plan))

    @classmethod
    def open(cls, name: str, *, memories: Path | str | None = None) -> SavedMemory:
        """The memory of that name. Raises `InputError` when there is none."""
        return cls(_store(memories).open(name))

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def reading(self) -> Reading | None:
        """The record of all that was read into it; None before the first document."""
        return self.folder.reading()

    @property
    def memory(self) -> str:
        """The memory as it stands: what was read, and the notes that were added since."""
        reading = self.reading
        return with_notes(reading.memory if reading else "", self._open_notes(reading))

    @property
    def documents(self) -> list[KeptDocument]:
        """Every document it was given, in order."""
        return list(self.folder.documents())

    @property
    def pending(self) -> list[KeptDocument]:
        """The documents that are not read to their end."""
        return unread(self.reading, self.folder.documents())

    @property
    def source(self) -> Source:
        """The documents as one source: the spans in the reading are of its text."""
        return self.folder.source(self.folder.documents())

    @property
    def asked(self) -> list[Reading]:
        """What it was asked so far: the reading up to each question and on to its answer."""
        reading = self.reading or Reading(self._header())
        return [asked.reading(reading) for asked in self.folder.asked()]

    def receipt(self, price: Price | None = None) -> Receipt:
        """What it took so far: all that was read, and every question."""
        reading = self.reading or Reading(self._header())
        asked = (record for one in self.folder.asked() for record in one.records)
        return receipt_of(Reading(reading.opening, [*reading.records, *asked]), price)

    def note(self, text: str) -> None:
        """Adds a line as it is, without a model; it stands at the head of the memory.

        As all of a memory it may be rewritten when more is read. A memory that has come over its
        limit by notes is shortened the next time that it is read or asked.
        """
        self.folder.note(text)

    async def aappend(
        self,
        source: Source | str | Path | Sequence[str | Path],
        *,
        wait: bool = True,
        **options: Unpack[ReadOptions],
    ) -> Appended:
        """Gives it documents, of which those with a text that it does not have are read.

        With `wait` they are read when this returns; otherwise they are pending until the next
        append or read. Takes the options of `aread`, and raises what it raises.
        """
        opened = source if isinstance(source, Source) else open_source(paths_of(source))
        appended = self.folder.add([(one.name, one.text) for one in opened.documents])
        if wait:
            await self.aread(**options)
        return appended

    async def aread(
        self,
        *,
        model: GivenModel = None,
        on_start: Callable[[Reading, Path], None] | None = None,
        on_event: OnEvent | None = None,
    ) -> None:
        """Reads what is pending, and goes on where a reading was stopped.

        Waits while another process reads. `on_start` and `on_event` are as in `palimpsest.aask`.
        Raises an error of `palimpsest.errors` when not all could be read; what was read stays.
        """
        async with self._journal() as journal:
            if not self._waits():
                return
            async with self._model(model) as opened:
                reading = self.reading
                if reading is None:
                    reading = Reading(await self._header_for(opened))
                    journal.write(reading, reading.header)
                session = self._session(opened, reading, both(journal, on_event))
                await _to_end(session, self._read(session, on_start))
            reading.raise_for_status()

    async def aask(
        self,
        question: str | Sequence[str] | None = None,
        *,
        model: GivenModel = None,
        on_event: OnEvent | None = None,
    ) -> Reading:
        """Answers from the memory as it stands; `answer` of what is returned is the answer.

        Without a question it is the memory's own. No document is read for it (but where the
        reader itself reads again to answer), and nobody is waited for.
        """
        questions = self._questions(question)
        async with self._model(model) as opened:
            standing = self.reading or Reading(await self._header_for(opened))
            self._refuse_empty(standing)
            header = standing.opening.model_copy(update={"questions": questions})
            reading = Reading(header, standing.records)
            session = self._session(opened, reading, on_event)
            await _to_end(session, self._answer(session))
        before = len(standing.records)
        asked = Asked(
            created=utc_now(),
            questions=questions,
            records_before=before,
            records=tuple(reading.records[before:]),
        )
        self.folder.keep_asked(asked)
        reading.raise_for_status()
        return reading

    def append(
        self,
        source: Source | str | Path | Sequence[str | Path],
        *,
        wait: bool = True,
        **options: Unpack[ReadOptions],
    ) -> Appended:
        """`aappend` for code that is not asynchronous; takes the same options."""
        return _run(self.aappend(source, wait=wait, **options))

    def read(self, **options: Unpack[ReadOptions]) -> None:
        """`aread` for code that is not asynchronous; takes the same options."""
        _run(self.aread(**options))

    def ask(
        self, question: str | Sequence[str] | None = None, **options: Unpack[AskOptions]
    ) -> Reading:
        """`aask` for code that is not asynchronous; takes the same options."""
        return _run(self.aask(question, **options))

    async def _read(
        self, session: Session, on_start: Callable[[Reading, Path], None] | None
    ) -> None:
        reading = session.reading
        await take_notes(session, self.reader, self._open_notes(reading))
        new = self.folder.documents()[len(reading.header.documents) : len(session.source.documents)]
        if new:
            await extend(session, self.reader, [document.title for document in new])
        if on_start:
            on_start(reading, self.folder.path)
        await self.reader.draft(session, Scan(joined(reading.header.questions)))

    async def _answer(self, session: Session) -> None:
        await take_notes(session, self.reader, self._open_notes(session.reading))
        await self.reader.answer(session)

    def _session(self, model: Model, reading: Reading, on_event: OnEvent | None) -> Session:
        return Session(self.source, model, reading, on_event)

    def _waits(self) -> bool:
        """Whether there is anything to take in or to go on with."""
        reading = self.reading
        stopped = reading is not None and reading.status != "answered"
        return stopped or bool(self.pending) or bool(self._open_notes(reading))

    def _open_notes(self, reading: Reading | None) -> list[str]:
        """The notes that have not come into the memory of a reading."""
        return self.folder.notes()[notes_taken(reading) :]

    def _questions(self, question: str | Sequence[str] | None) -> tuple[str, ...]:
        questions = checked_questions(question) or self.plan.questions
        if not questions:
            raise InputError(
                f"{self.name!r} is a digest and has no question of its own", hint="ask one"
            )
        return questions

    def _refuse_empty(self, reading: Reading) -> None:
        if not reading.done() and not self.folder.notes():
            waiting = len(self.pending)
            raise InputError(
                f"{self.name!r} has nothing in it yet; {waiting} documents are pending",
                hint=f"`palimpsest memory append {self.name}` reads what is pending",
            )

    def _header(self, model: str = "", tokenizer: str = "") -> Header:
        """How the reading of this memory begins: with a source that has no document yet."""
        nothing = sha256().hexdigest()
        questions = self.plan.questions or (DIGEST_QUESTION,)
        settings, prompts = self.reader.settings(), self.reader.fingerprints()
        return Header(
            key=reading_key(
                source_sha256=nothing, questions=questions, reader=self.reader.name,
                settings=settings, model=model, prompts=prompts,
            ),
            created=utc_now(),
            source_sha256=nothing,
            documents=(),
            characters=0,
            questions=questions,
            reader=self.reader.name,
            settings=settings,
            model=model,
            tokenizer=tokenizer,
            prompts=prompts,
            chunks=(),
        )  # fmt: skip

    async def _header_for(self, model: Model) -> Header:
        return self._header(model.name, (await model.tokenizer()).name)

    @asynccontextmanager
    async def _journal(self) -> AsyncIterator[Journal]:
        while (journal := self.folder.journal()) is None:  # noqa: ASYNC110 -- another process's
            await asyncio.sleep(_POLL_S)
        with journal:
            yield journal

    @asynccontextmanager
    async def _model(self, model: GivenModel) -> AsyncIterator[Model]:
        """The model to go on with, let go of at the end unless it was given as an object."""
        if model is None and self.plan.model_settings is not None:
            model = ModelSettings.model_validate(self.plan.model_settings)
        opened = opened_model(model)
        try:
            yield opened
        finally:
            if opened is not model:
                await opened.aclose()


async def _to_end(session: Session, work: Coroutine[Any, Any, None]) -> None:
    """Ends the session's reading with what becomes of the work."""
    try:
        await work
    except PalimpsestError as error:
        session.record(
            End(status="failed", reason=str(error), error=type(error).__name__, hint=error.hint)
        )
    else:
        session.record(End(status="answered"))


def _store(memories: Path | str | None) -> MemoryStore:
    return MemoryStore(Path(memories) if memories else default_memories_folder())


def _run(work: Coroutine[Any, Any, _T]) -> _T:
    return run(work, "called inside an event loop; await the method whose name begins with `a`")
