"""The record of one run of a reader: what happened, stored once, in the order it happened.

A reading is a header and a list of records that only grows. Everything else (the memory as it
stands, the answers, the cost, where to go on after a kill) is derived from them, so a reading
that is written line by line and loaded again is equal to the one that wrote it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from palimpsest import errors
from palimpsest.models.model import Completion, Usage

READING_VERSION = 1
_T = TypeVar("_T")

Role = Literal[
    "draft",
    "gate",
    "merge",
    "read",
    "decompose",
    "sub-answer",
    "integrate",
    "final",
    "cloze",
    "low-resolution",
]
Status = Literal["answered", "partial", "failed"]
GuardName = Literal["empty", "refused", "cut-off", "over-limit", "cut-to-limit", "failed"]


class Span(NamedTuple):
    """One chunk's characters in the source, and how many tokens they are."""

    start: int
    end: int
    tokens: int


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Header(_Record):
    """What was read, by what, and how it was cut."""

    kind: Literal["reading"] = "reading"
    version: int = READING_VERSION
    key: str
    """Equal for readings of the same source, reader, settings, prompts, model and questions."""
    created: str
    """UTC, ISO 8601."""
    source_sha256: str
    documents: tuple[str, ...]
    characters: int
    questions: tuple[str, ...]
    reader: str
    settings: dict[str, Any]
    model: str
    tokenizer: str
    prompts: dict[str, str]
    """Role of each prompt and the id and hash of its wording; what stood for no memory yet."""
    chunks: tuple[Span, ...]
    replay_of: str = ""
    """The reading from which the first chunks were taken over, and how many; empty for a reading
    that began with nothing."""

    @property
    def tokens(self) -> int:
        """Tokens of the whole source."""
        return sum(span.tokens for span in self.chunks)

    def extended(self, records: Sequence[Extended]) -> Header:
        """What was read, with what was added to the source since."""
        grown = [record for record in records if record.documents]
        if not grown:
            return self
        update = {
            "source_sha256": grown[-1].source_sha256,
            "documents": (*self.documents, *(name for one in grown for name in one.documents)),
            "characters": self.characters + sum(one.characters for one in grown),
            "chunks": (*self.chunks, *(span for one in grown for span in one.chunks)),
        }
        return self.model_copy(update=update)


class Turn(_Record):
    """One model call. Its messages are rebuilt from what they refer to."""

    kind: Literal["turn"] = "turn"
    role: Role
    prompt: str
    """Which template of the header's prompts."""
    request: str
    """SHA-256 of the canonical request, the key under which it is recorded."""
    chunk: int | None = None
    memory: int | None = None
    """Version of the memory that was shown."""
    page: int | None = None
    """Page that was shown."""
    question: int | None = None
    """Which question was asked, by its place in the header."""
    reread: int = 0
    """The scan it belongs to: 0 for the reading's own, or the number of a reread."""
    completion: Completion


class MemoryVersion(_Record):
    """The memory as it stood from here on. Version 0 is the first one written."""

    kind: Literal["memory"] = "memory"
    chunk: int | None
    """The chunk it was written after; None for one that was made from memories alone."""
    text: str
    tokens: int
    parents: tuple[int, ...] = ()
    """The versions it was written from, the main one first; none for the first of a scan."""
    reread: int = 0


class ChunkRead(_Record):
    """A chunk is done, whether or not it changed the memory: a resumed reading starts after it."""

    kind: Literal["chunk"] = "chunk"
    chunk: int
    reread: int = 0
    skipped: Literal["", "nothing new", "enough"] = ""
    """Why no draft was made: the chunk had nothing to add, or the memory sufficed before it."""
    memory: int | None
    """Version of the memory that stands after it. A version that was written in a chunk which a
    kill cut short is named by none, and so counts for nothing."""


class Merged(_Record):
    """Memories of chunks that were read side by side became one."""

    kind: Literal["merged"] = "merged"
    level: int
    """Round of merging, from 1; 0 for what was joined without a model when the reading stopped."""
    parts: tuple[int, ...]
    """Versions that were merged."""
    memory: int | None
    """Version they became; the first part itself where there was nothing to merge."""
    reread: int = 0


class Reread(_Record):
    """The source is read again for a sub-question, with a memory of its own."""

    kind: Literal["reread"] = "reread"
    number: int
    """From 1, in the order in which they begin."""
    question: str
    parent: int = 0
    """The scan whose memory lacked the answer: 0, or the number of another reread."""
    depth: int = 1


class Integrated(_Record):
    """A reread is done: what it answered, and the memory that stands in its parent since."""

    kind: Literal["integrated"] = "integrated"
    reread: int
    answer: str
    """Empty if the sub-question was not answered."""
    memory: int | None
    """Version that stands in the parent after it: the one before if the step failed."""


class Extended(_Record):
    """A saved memory was given more: documents at the end of its source, or notes."""

    kind: Literal["extended"] = "extended"
    documents: tuple[str, ...] = ()
    chunks: tuple[Span, ...] = ()
    """The chunks of the documents. The spans of earlier chunks stay as they are."""
    characters: int = 0
    """By which the source grew, headings included."""
    source_sha256: str = ""
    """Of the whole source since; empty if no document was added."""
    notes: int = 0
    """How many notes were taken into the memory as they are."""
    memory: int | None = None
    """Version with the notes in it, which stands since; None if no note was taken."""


class GuardEvent(_Record):
    """A guard kept the memory from harm."""

    kind: Literal["guard"] = "guard"
    guard: GuardName
    chunk: int | None
    detail: str
    reread: int = 0


class PageRecord(_Record):
    """A page that was rendered: its grid and hash; the picture is made again from the memory."""

    kind: Literal["page"] = "page"
    memory: int | None
    """Version of the memory it shows; None for one that never came to be."""
    budget: int
    """Visual tokens allowed."""
    cell: int
    """Pixels a side of one visual token."""
    grid_width: int
    grid_height: int
    body_px: float
    dropped: int
    """Blocks left out."""
    shortened: int = 0
    """Blocks of which only the emphasised words, or the beginning, are shown."""
    sha256: str


class Answer(_Record):
    """An answer to one question, under one budget where the reader has budgets."""

    kind: Literal["answer"] = "answer"
    question: int
    budget: int | None = None
    text: str
    boxed: bool
    r"""False when no `\boxed{}` was found and the last line stands in."""


class End(_Record):
    """How the reading ended. Absent while it runs and after a kill."""

    kind: Literal["end"] = "end"
    status: Status
    reason: str = ""
    error: str = ""
    """Class of `palimpsest.errors` that ended it."""
    hint: str = ""


Record = Annotated[
    Turn
    | MemoryVersion
    | ChunkRead
    | Merged
    | Reread
    | Integrated
    | Extended
    | GuardEvent
    | PageRecord
    | Answer
    | End,
    Field(discriminator="kind"),
]
_RECORD: TypeAdapter[Record] = TypeAdapter(Record)

OnEvent = Callable[["Reading", "Header | Record"], None]


class Reading:
    """A header and its records, with everything that follows from them."""

    def __init__(self, header: Header, records: Iterable[Record] = ()) -> None:
        self.opening = header
        """The header as it was written."""
        self.records: list[Record] = list(records)
        self.header = header.extended(self._of(Extended))
        """The header with all that was added to the source since."""

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Reading)
            and self.opening == other.opening
            and self.records == other.records
        )

    __hash__ = None  # type: ignore[assignment]

    def add(self, record: Record) -> None:
        """Appends a record."""
        self.records.append(record)
        if isinstance(record, Extended):
            self.header = self.header.extended([record])

    def _of(self, kind: type[_T]) -> list[_T]:
        return [record for record in self.records if isinstance(record, kind)]

    @property
    def turns(self) -> list[Turn]:
        return self._of(Turn)

    @property
    def memories(self) -> list[MemoryVersion]:
        return self._of(MemoryVersion)

    @property
    def pages(self) -> list[PageRecord]:
        return self._of(PageRecord)

    @property
    def guards(self) -> list[GuardEvent]:
        return self._of(GuardEvent)

    @property
    def answers(self) -> list[Answer]:
        """The latest to each question at each budget."""
        return list({(one.question, one.budget): one for one in self._of(Answer)}.values())

    @property
    def standing_answers(self) -> list[Answer]:
        """Those that were given from the memory that stands: nothing came into it since."""
        answers: list[Answer] = []
        for record in reversed(self.records):
            if isinstance(record, ChunkRead | Merged | Integrated | Extended):
                break
            if isinstance(record, Answer):
                answers.append(record)
        return answers

    @property
    def rereads(self) -> list[Reread]:
        return self._of(Reread)

    def standing(self, reread: int = 0) -> int | None:
        """The version that stands in a scan after its last finished step, if any."""
        parents = {record.number: record.parent for record in self.rereads}
        for record in reversed(self.records):
            if isinstance(record, ChunkRead | Merged) and record.reread == reread:
                return record.memory
            if isinstance(record, Integrated) and parents.get(record.reread) == reread:
                return record.memory
            if isinstance(record, Extended) and record.notes and reread == 0:
                return record.memory
        return None

    def done(self, reread: int = 0) -> set[int]:
        """Indexes of the chunks that are done in a scan."""
        return {record.chunk for record in self._of(ChunkRead) if record.reread == reread}

    def text_of(self, version: int | None) -> str:
        """A version's text; empty for none."""
        return "" if version is None else self.memories[version].text

    @property
    def memory_version(self) -> int | None:
        """The version that stands in the reading's own scan, if any."""
        return self.standing()

    @property
    def memory(self) -> str:
        """The memory as it stands; empty before the first draft."""
        return self.text_of(self.memory_version)

    @property
    def next_chunk(self) -> int:
        """Index of the first chunk that is not done in the reading's own scan."""
        done = self.done()
        return next(index for index in range(len(done) + 1) if index not in done)

    @property
    def answer(self) -> str:
        """The answer to the first question, at the largest budget it was read at."""
        answers = [answer for answer in self.answers if answer.question == 0]
        return max(answers, key=lambda answer: answer.budget or 0).text if answers else ""

    @property
    def end(self) -> End | None:
        return self.records[-1] if self.records and isinstance(self.records[-1], End) else None

    @property
    def status(self) -> Status | None:
        """None while the reading is unfinished."""
        return self.end.status if self.end else None

    @property
    def usage(self) -> Usage:
        return sum((turn.completion.usage for turn in self.turns), Usage())

    @property
    def model_seconds(self) -> float:
        """Time spent in model calls, as if one after the other."""
        return sum(turn.completion.seconds for turn in self.turns)

    def raise_for_status(self) -> None:
        """Raises the error that ended the reading, if one did."""
        if self.end is None or self.end.status != "failed":
            return
        kind = getattr(errors, self.end.error, errors.ModelError)
        raise kind(self.end.reason, hint=self.end.hint)

    def resumable(self) -> Reading:
        """The same reading without the failure or the cap that ended it."""
        stopped = self.status in ("failed", "partial")
        return Reading(self.opening, self.records[:-1] if stopped else self.records)

    def to_lines(self) -> list[str]:
        """JSON Lines, the header first."""
        return [dump_line(part) for part in (self.opening, *self.records)]

    @classmethod
    def from_lines(cls, lines: Iterable[str]) -> Reading:
        """Loads what `to_lines` wrote. Raises `ReadingError` when a line is damaged."""
        header, *records = list(lines) or [""]
        try:
            version = json.loads(header)["version"]
            if version != READING_VERSION:
                raise errors.ReadingError(
                    f"the reading is of version {version}, this program reads {READING_VERSION}",
                    hint="read the source again, or use the version that wrote it",
                )
            return cls(
                Header.model_validate_json(header),
                [_RECORD.validate_json(line) for line in records],
            )
        except (ValueError, KeyError, TypeError) as error:
            raise errors.ReadingError(
                f"the reading is damaged: {error}", hint="remove it and read the source again"
            ) from error


def dump_line(part: Header | Record) -> str:
    """One line of JSON, without the newline."""
    return part.model_dump_json()


def reading_key(
    *, source_sha256: str, questions: Iterable[str], reader: str, settings: dict[str, Any],
    model: str, prompts: dict[str, str],
) -> str:  # fmt: skip
    """SHA-256 over all that decides how a reading goes."""
    parts = {
        "source": source_sha256,
        "questions": list(questions),
        "reader": reader,
        "settings": settings,
        "model": model,
        "prompts": prompts,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
