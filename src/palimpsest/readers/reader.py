"""What every reader is, and the parts of reading that all of them share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from palimpsest.errors import CapReached, InputError, PalimpsestError, ReadingError
from palimpsest.memory.reading import (
    Answer,
    End,
    Header,
    MemoryVersion,
    OnEvent,
    Reading,
    Record,
    Role,
    Span,
    Turn,
    reading_key,
    utc_now,
)
from palimpsest.models.caps import Allowance, Caps
from palimpsest.models.model import Completion, Message, Model, Sampling, Usage, request_key
from palimpsest.prompts.templates import (
    PromptOrder,
    PromptRole,
    PromptSet,
    Template,
    default_prompts,
)
from palimpsest.readers.answers import parse_answer
from palimpsest.sources import Chunk, Cutting, Source, cut

_ANSWERING: frozenset[Role] = frozenset({"final", "read"})
"""Turns that answer the reading's own questions."""


class Session:
    """One reading under way: the model, the listener, and the only way to add a record."""

    def __init__(
        self, source: Source, model: Model, reading: Reading, on_event: OnEvent | None
    ) -> None:
        self.source = source
        self.model = model
        self.reading = reading
        self._on_event = on_event
        self.allowance: Allowance | None = None
        """What is left under the caps, if there are any."""

    def record(self, record: Record) -> None:
        self.reading.add(record)
        if self._on_event:
            self._on_event(self.reading, record)

    async def turn(
        self, role: Role, template: Template, messages: list[Message], sampling: Sampling,
        **refers: int | None,
    ) -> Completion:  # fmt: skip
        """One model call, recorded with what its messages were made from."""
        if self.allowance is None:
            completion = await self.model.complete(messages, sampling)
        else:
            completion = await self.allowance.complete(
                messages, sampling, answering=role in _ANSWERING
            )
        key = request_key(self.model.name, messages, sampling)
        turn = Turn(
            role=role, prompt=template.id, request=key, completion=completion, **refers
        )  # fmt: skip
        self.record(turn)
        return completion

    def remember(self, version: MemoryVersion) -> int:
        """Records a memory version; its number."""
        self.record(version)
        return len(self.reading.memories) - 1

    def answered(self, question: int, budget: int | None = None) -> bool:
        """Whether a resumed reading has this answer already, from the memory that stands."""
        return any(
            answer.question == question and answer.budget == budget
            for answer in self.reading.standing_answers
        )

    def answer(self, completion: Completion, question: int, budget: int | None = None) -> None:
        parsed = parse_answer(completion.text)
        self.record(Answer(question=question, budget=budget, text=parsed.text, boxed=parsed.boxed))


class Reader(BaseModel, ABC):
    """A strategy for reading a source of any length; its fields are its settings.

    A reader holds no state: all of it is in the `Reading`. It touches no file and no network
    but through the model it is given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)
    name: ClassVar[str]

    async def read(
        self,
        source: Source,
        question: str | Sequence[str],
        model: Model,
        *,
        reading: Reading | None = None,
        on_event: OnEvent | None = None,
        caps: Caps | None = None,
    ) -> Reading:
        """Reads the source and answers; questions in a list share the reading.

        Goes on with `reading` where it stopped, when given. `on_event` hears of each record as
        it is added. A failure ends the reading `failed` with its reason; it is not raised. Under
        `caps` it ends `partial`, with the answer from what was read, before it would pass one.
        """
        if reading is None:
            reading = await self.begin(source, question, model)
            if on_event:
                on_event(reading, reading.header)
        elif reading.header.key != self.key(source, question, model):
            raise ReadingError(
                "the reading is of another source, question, model or settings",
                hint="read anew, or give what the reading was begun with",
            )
        session = Session(source, model, reading, on_event)
        session.record(await self._outcome(session, caps))
        return reading

    async def _outcome(self, session: Session, caps: Caps | None) -> End:
        """Reads to the answers, to a failure or to a cap."""
        try:
            if caps:
                session.allowance = await self._allowance(session, caps)
            reached = await self._run_to_cap(session)
            if reached:
                return await self._capped(session, reached)
        except PalimpsestError as error:
            return _failed(error)
        return End(status="answered")

    async def _allowance(self, session: Session, caps: Caps) -> Allowance:
        before = [turn.completion for turn in session.reading.turns]
        return Allowance(caps, session.model, before, reserve=await self.reserve(session))

    async def _run_to_cap(self, session: Session) -> CapReached | None:
        try:
            await self._run(session)
        except CapReached as reached:
            return reached
        # A wrapper that gets along without a step may have left one out for the cap.
        return session.allowance.reached if session.allowance else None

    async def _capped(self, session: Session, reached: CapReached) -> End:
        """The end of a reading that may take no more: with the answer so far, if there is one."""
        read, chunks = len(session.reading.done()), len(session.reading.header.chunks)
        if not await self.answer_so_far(session):
            return _failed(reached)
        return End(
            status="partial",
            reason=f"{reached}; the answer is from {read} of {chunks} chunks",
            error=type(reached).__name__,
            hint="the same with a larger cap goes on from there",
        )

    async def reserve(self, session: Session) -> list[Usage] | None:
        """The calls that answering takes at most, for caps to leave room for them; None for a
        reader that has no memory to answer from before its end."""
        return None

    async def answer_so_far(self, session: Session) -> bool:
        """Answers from what was read before a cap; False where nothing was."""
        return False

    async def begin(
        self, source: Source, question: str | Sequence[str], model: Model
    ) -> Reading:  # fmt: skip
        """A new reading: the source cut into chunks and nothing read yet."""
        tokenizer = await model.tokenizer()
        offsets = await tokenizer.offsets(source.text)
        chunks = self.cut(source.text, offsets)
        header = Header(
            key=self.key(source, question, model),
            created=utc_now(),
            source_sha256=source.sha256,
            documents=tuple(document.name for document in source.documents),
            characters=len(source.text),
            questions=_questions(question),
            reader=self.name,
            settings=self.settings(),
            model=model.name,
            tokenizer=tokenizer.name,
            prompts=self.fingerprints(),
            chunks=tuple(Span(chunk.start, chunk.end, chunk.tokens) for chunk in chunks),
        )
        return Reading(header)

    def key(self, source: Source, question: str | Sequence[str], model: Model) -> str:
        """What a stored reading must have for this reader to go on with it."""
        return reading_key(
            source_sha256=source.sha256,
            questions=_questions(question),
            reader=self.name,
            settings=self.settings(),
            model=model.name,
            prompts=self.fingerprints(),
        )

    def settings(self) -> dict[str, Any]:
        """The settings as plain data."""
        return self.model_dump(mode="json")

    @abstractmethod
    def cut(self, text: str, offsets: list[int]) -> list[Chunk]:
        """The chunks of a source. `offsets` are the starts of its tokens."""

    @abstractmethod
    def prompt_roles(self) -> tuple[PromptRole, ...]:
        """The prompts this reader uses."""

    @abstractmethod
    def template(self, role: PromptRole) -> Template:
        """The wording of a role."""

    @property
    @abstractmethod
    def empty_memory(self) -> str:
        """What a prompt shows for a memory in which nothing is yet."""

    @abstractmethod
    async def _run(self, session: Session) -> None:
        """Reads on from where the session's reading stands, to its answers."""

    def fingerprints(self) -> dict[str, str]:
        """Each prompt role with the id and hash of its wording, and what stands for no memory."""
        wordings: dict[str, str] = {
            role: self.template(role).fingerprint for role in self.prompt_roles()
        }
        return {**wordings, "empty_memory": self.empty_memory}


class PromptedReader(Reader):
    """A reader with prompts and sampling of its own."""

    chunk_tokens: int = Field(5000, ge=1)
    """Tokens of the source that one draft sees."""
    cutting: Cutting = "sentence"
    """Where chunks end: at a sentence or paragraph, or after exactly `chunk_tokens`."""
    order: PromptOrder = "memory_first"
    """Memory before the section, as in the papers, or section first, so that servers with prefix
    caching share the section among questions and rollouts."""
    answer_tokens: int = Field(1024, ge=1)
    temperature: float = Field(0.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    seed: int | None = None
    prompts: PromptSet = Field(default_factory=default_prompts, exclude=True)

    def cut(self, text: str, offsets: list[int]) -> list[Chunk]:
        return cut(text, offsets, self.chunk_tokens, self.cutting)

    def template(self, role: PromptRole) -> Template:
        return self.prompts.get(role, self.order)

    @property
    def empty_memory(self) -> str:
        return self.prompts.empty_memory

    def sampling(self, max_tokens: int) -> Sampling:
        return Sampling(
            max_tokens=max_tokens, temperature=self.temperature, top_p=self.top_p, seed=self.seed
        )


def _failed(error: PalimpsestError) -> End:
    return End(status="failed", reason=str(error), error=type(error).__name__, hint=error.hint)


def _questions(question: str | Sequence[str]) -> tuple[str, ...]:
    questions = (question,) if isinstance(question, str) else tuple(question)
    if not questions or not all(one.strip() for one in questions):
        raise InputError("the question is empty", hint="ask something")
    return questions


def joined(questions: Sequence[str]) -> str:
    """Questions as a draft sees them: one as it is, several numbered."""
    if len(questions) == 1:
        return questions[0]
    return "\n".join(f"{number}. {one}" for number, one in enumerate(questions, start=1))
