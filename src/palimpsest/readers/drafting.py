"""The loop at the heart of it: one memory, rewritten after every chunk, kept from harm."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal, NamedTuple

from pydantic import Field

from palimpsest.memory.guards import cut_to_limit, unusable, with_new_lines
from palimpsest.memory.reading import (
    ChunkRead,
    GuardEvent,
    GuardName,
    MemoryVersion,
    Reading,
)
from palimpsest.models.dry import DryModel, filler
from palimpsest.models.model import Completion, Usage, user
from palimpsest.prompts.templates import PromptRole
from palimpsest.readers.reader import PromptedReader, Reader, Session, joined
from palimpsest.sources import Tokenizer

_WORDS_PER_TOKEN = 0.7
"""English words a token, a little low, so that a model that counts words stays under the limit."""
_SLACK = 1.25
"""How far past its limit a draft may run before it is cut off: one that ends there is only long,
and can be shortened; one that does not end may not have come to what it meant to keep."""


class Scan(NamedTuple):
    """One pass over the source: the reading's own, or a reread for a sub-question."""

    question: str
    """As drafts see it."""
    number: int = 0
    """0, or that of the `Reread`."""


class Place(NamedTuple):
    """Where in a reading a memory is written: in which scan, after which chunk, from what."""

    scan: Scan
    chunk: int | None
    memory: int | None
    others: tuple[int, ...] = ()
    """Further versions it is written from."""

    def version(self, text: str, tokens: int) -> MemoryVersion:
        parents = (*(() if self.memory is None else (self.memory,)), *self.others)
        return MemoryVersion(
            chunk=self.chunk, text=text, tokens=tokens, parents=parents, reread=self.scan.number
        )

    def guard(self, guard: GuardName, detail: str) -> GuardEvent:
        return GuardEvent(guard=guard, chunk=self.chunk, detail=detail, reread=self.scan.number)


class MemoryReader(Reader):
    """A reader that makes a memory first and answers from it."""

    async def _run(self, session: Session) -> None:
        await self.draft(session, Scan(joined(session.reading.header.questions)))
        await self.answer(session)

    @abstractmethod
    async def draft(self, session: Session, scan: Scan) -> None:
        """Reads the chunks that the scan has not done yet into its memory."""

    @abstractmethod
    async def answer(self, session: Session) -> None:
        """Answers the reading's open questions from the memory that stands."""

    @abstractmethod
    async def sub_answer(self, session: Session, scan: Scan) -> str:
        """Answers the question of a reread from its memory."""

    @property
    @abstractmethod
    def memory_limit(self) -> int:
        """The most tokens of a memory."""

    async def reserve(self, session: Session) -> list[Usage]:
        """What the answers take from a memory that is as long as it may be."""
        tokenizer = await session.model.tokenizer()
        text = await filler(tokenizer, session.source.text, self.memory_limit)
        version = MemoryVersion(chunk=0, text=text, tokens=self.memory_limit)
        full = Reading(session.reading.header, [version, ChunkRead(chunk=0, memory=0)])
        # An image may be read out to a model that cannot see, with all that is on it.
        dry = DryModel(session.model, lambda *_: "", image_tokens=self.memory_limit)
        await self.answer(Session(session.source, dry, full, None))
        return [call.most for call in dry.calls]

    async def answer_so_far(self, session: Session) -> bool:
        if not session.reading.done():
            return False
        await self.answer(session)
        return True


class DraftingReader(MemoryReader, PromptedReader):
    """A reader that drafts one memory over all chunks."""

    draft_role: ClassVar[PromptRole] = "draft"

    memory_tokens: int = Field(1024, ge=1)
    """The most tokens the memory may have."""
    cut_off: Literal["keep", "accept"] = "keep"
    """A draft that ran into its token limit: keep the memory and add to it, or accept the draft
    in its place as the papers' code does."""

    @property
    def draft_tokens(self) -> int:
        """Where a draft is cut off."""
        return int(self.memory_tokens * (_SLACK if self.cut_off == "keep" else 1))

    @property
    def memory_limit(self) -> int:
        return self.memory_tokens

    async def draft(self, session: Session, scan: Scan) -> None:
        done = session.reading.done(scan.number)
        for chunk in range(len(session.reading.header.chunks)):
            if chunk not in done:
                memory = session.reading.standing(scan.number)
                version = await self.draft_chunk(session, scan, chunk, memory)
                session.record(ChunkRead(chunk=chunk, memory=version, reread=scan.number))

    async def draft_chunk(
        self, session: Session, scan: Scan, chunk: int, memory: int | None
    ) -> int | None:
        """Rewrites version `memory` for one chunk; the version that stands after it."""
        completion = await self._draft_turn(session, scan, chunk, memory)
        return await self.settle(session, Place(scan, chunk, memory), completion)

    async def settle(self, session: Session, place: Place, completion: Completion) -> int | None:
        """The version that stands after a completion that was to replace `place.memory`."""
        text = completion.text.strip()
        match unusable(completion):
            case None:
                return await self._replace_memory(session, place, text)
            case "cut-off" if self.cut_off == "accept":
                return await self._replace_memory(session, place, text)
            case "cut-off":
                return await self._add_to_memory(session, place, text)
            case problem:
                detail = f"the draft was {problem}; the memory stays as it was"
                session.record(place.guard(problem, detail))
                return place.memory

    def draft_prompt(self, session: Session, scan: Scan, chunk: int, memory: int | None) -> str:
        """What the model is shown to rewrite version `memory` for a chunk."""
        span = session.reading.header.chunks[chunk]
        return self.template(self.draft_role).fill(
            question=scan.question,
            memory=session.reading.text_of(memory) or self.prompts.empty_memory,
            section=session.source.text[span.start : span.end],
            limit=self.limit_in_words(),
        )

    async def _draft_turn(
        self, session: Session, scan: Scan, chunk: int, memory: int | None
    ) -> Completion:
        return await session.turn(
            "draft",
            self.template(self.draft_role),
            user(self.draft_prompt(session, scan, chunk, memory)),
            self.sampling(self.draft_tokens),
            chunk=chunk,
            memory=memory,
            reread=scan.number,
        )

    async def _add_to_memory(self, session: Session, place: Place, draft: str) -> int | None:
        """A cut-off draft replaces nothing; what it has that the memory lacks is added."""
        tokenizer = await session.model.tokenizer()
        memory = session.reading.text_of(place.memory)
        text = with_new_lines(memory, draft)
        text = cut_to_limit(text, await tokenizer.offsets(text), self.memory_tokens)
        added = len(text.splitlines()) - len(memory.splitlines())
        detail = f"the draft was cut off; the memory stays; lines added to it: {added}"
        session.record(place.guard("cut-off", detail))
        if added <= 0:
            return place.memory
        return session.remember(place.version(text, len(await tokenizer.offsets(text))))

    async def _replace_memory(self, session: Session, place: Place, text: str) -> int:
        return session.remember(await self.within_limit(session, place, text))

    async def within_limit(self, session: Session, place: Place, text: str) -> MemoryVersion:
        """The memory version of a text, shortened if it is over the limit."""
        tokenizer = await session.model.tokenizer()
        offsets = await tokenizer.offsets(text)
        if len(offsets) > self.memory_tokens:
            text, offsets = await self._shortened(session, place, text, offsets, tokenizer)
        return place.version(text, len(offsets))

    async def _shortened(
        self, session: Session, place: Place, text: str, offsets: list[int], tokenizer: Tokenizer
    ) -> tuple[str, list[int]]:
        """The draft asked to shorten once, then cut at a block; with its token offsets."""
        over = f"{len(offsets)} tokens, {self.memory_tokens} allowed"
        session.record(place.guard("over-limit", f"{over}; asked to shorten"))
        completion = await self._shorten_turn(session, place, text)
        if unusable(completion) is None:
            text = completion.text.strip()
            offsets = await tokenizer.offsets(text)
        if len(offsets) > self.memory_tokens:
            detail = f"{len(offsets)} tokens, {self.memory_tokens} allowed; cut at a block"
            text = cut_to_limit(text, offsets, self.memory_tokens)
            offsets = await tokenizer.offsets(text)
            session.record(place.guard("cut-to-limit", detail))
        return text, offsets

    async def _shorten_turn(self, session: Session, place: Place, text: str) -> Completion:
        template = self.template("shorten")
        prompt = template.fill(
            question=place.scan.question, memory=text, limit=self.limit_in_words()
        )
        return await session.turn(
            "draft",
            template,
            user(prompt),
            self.sampling(self.memory_tokens),
            chunk=place.chunk,
            reread=place.scan.number,
        )

    def limit_in_words(self) -> str:
        """What prompts say of the memory's limit."""
        return str(max(1, int(self.memory_tokens * _WORDS_PER_TOKEN)))
