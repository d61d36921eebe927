"""What every reader is, and the parts of reading that all of them share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from palimpsest.errors import InputError, PalimpsestError, ReadingError
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
from palimpsest.models.model import Completion, Message, Model, Sampling, request_key
from palimpsest.prompts.templates import (
    PromptOrder,
    PromptRole,
    PromptSet,
    Template,
    default_prompts,
)
from palimpsest.readers.answers import parse_answer
from palimpsest.sources import Chunk, Cutting, Source, cut


class Session:
    """One reading under way: the model, the listener, and the only way to add a record."""

    def __init__(
        self, source: Source, model: Model, reading: Reading, on_event: OnEvent | None
    ) -> None:
        self.source = source
        self.model = model
        self.reading = reading
        self._on_event = on_event

    def record(self, record: Record) -> None:
        self.reading.records.append(record)
        if self._on_event:
            self._on_event(self.reading, record)

    async def turn(
        self, role: Role, template: Template, messages: list[Message], sampling: Sampling,
        **refers: int | None,
    ) -> Completion:  # fmt: skip
        """One model call, recorded with what its messages were made from."""
        completion = await self.model.complete(messages, sampling)
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
        """Whether a resumed reading has this answer already."""
        return any(
            answer.question == question and answer.budget == budget
            for answer in self.reading.answers
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
    ) -> Reading:
        """Reads the source and answers; questions in a list share the reading.

        Goes on with `reading` where it stopped, when given. `on_event` hears of each record as
        it is added. A failure ends the reading `failed` with its reason; it is not raised.
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
        try:
            await self._run(session)
        except PalimpsestError as error:
            session.record(
                End(status="failed", reason=str(error), error=type(error).__name__, hint=error.hint)
            )
        else:
            session.record(End(status="answered"))
        return reading

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
            prompts=self._fingerprints(),
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
            prompts=self._fingerprints(),
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

    def _fingerprints(self) -> dict[str, str]:
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
