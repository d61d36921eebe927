"""The loop at the heart of it: one memory, rewritten after every chunk, kept from harm."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from palimpsest.memory.guards import cut_to_limit, unusable, with_new_lines
from palimpsest.memory.reading import ChunkRead, GuardEvent, MemoryVersion
from palimpsest.models.model import Completion, user
from palimpsest.prompts.templates import PromptRole
from palimpsest.readers.reader import Reader, Session, joined
from palimpsest.sources import Tokenizer

_WORDS_PER_TOKEN = 0.7
"""English words a token, a little low, so that a model that counts words stays under the limit."""
_SLACK = 1.25
"""How far past its limit a draft may run before it is cut off: one that ends there is only long,
and can be shortened; one that does not end may not have come to what it meant to keep."""


class DraftingReader(Reader):
    """A reader that drafts one memory over all chunks."""

    memory_tokens: int = Field(1024, ge=1)
    """The most tokens the memory may have."""
    cut_off: Literal["keep", "accept"] = "keep"
    """A draft that ran into its token limit: keep the memory and add to it, or accept the draft
    in its place as the papers' code does."""

    async def draft(self, session: Session, role: PromptRole) -> None:
        """Drafts over the chunks that are not done yet."""
        tokenizer = await session.model.tokenizer()
        for chunk in range(session.reading.next_chunk, len(session.reading.header.chunks)):
            versions = len(session.reading.memories)
            await self._draft_chunk(session, role, chunk, tokenizer)
            written = len(session.reading.memories)
            version = written - 1 if written > versions else session.reading.memory_version
            session.record(ChunkRead(chunk=chunk, memory=version))

    async def _draft_chunk(
        self, session: Session, role: PromptRole, chunk: int, tokenizer: Tokenizer
    ) -> None:
        completion = await self._draft_turn(session, role, chunk)
        text = completion.text.strip()
        match unusable(completion):
            case None:
                await self._replace_memory(session, chunk, text, tokenizer)
            case "cut-off" if self.cut_off == "accept":
                await self._replace_memory(session, chunk, text, tokenizer)
            case "cut-off":
                await self._add_to_memory(session, chunk, text, tokenizer)
            case problem:
                detail = f"the draft was {problem}; the memory stays as it was"
                session.record(GuardEvent(guard=problem, chunk=chunk, detail=detail))

    def _draft_prompt(self, session: Session, role: PromptRole, chunk: int) -> str:
        span = session.reading.header.chunks[chunk]
        return self.template(role).fill(
            question=joined(session.reading.header.questions),
            memory=session.reading.memory or self.prompts.empty_memory,
            section=session.source.text[span.start : span.end],
            limit=self._limit_in_words(),
        )

    async def _draft_turn(self, session: Session, role: PromptRole, chunk: int) -> Completion:
        slack = _SLACK if self.cut_off == "keep" else 1
        return await session.turn(
            "draft",
            self.template(role),
            user(self._draft_prompt(session, role, chunk)),
            self.sampling(int(self.memory_tokens * slack)),
            chunk=chunk,
            memory=session.reading.memory_version,
        )

    async def _add_to_memory(
        self, session: Session, chunk: int, draft: str, tokenizer: Tokenizer
    ) -> None:
        """A cut-off draft replaces nothing; what it has that the memory lacks is added."""
        memory = session.reading.memory
        text = with_new_lines(memory, draft)
        text = cut_to_limit(text, await tokenizer.offsets(text), self.memory_tokens)
        added = len(text.splitlines()) - len(memory.splitlines())
        detail = f"the draft was cut off; the memory stays, and {added} lines are added"
        session.record(GuardEvent(guard="cut-off", chunk=chunk, detail=detail))
        if added > 0:
            tokens = len(await tokenizer.offsets(text))
            session.record(MemoryVersion(chunk=chunk, text=text, tokens=tokens))

    async def _replace_memory(
        self, session: Session, chunk: int, text: str, tokenizer: Tokenizer
    ) -> None:
        offsets = await tokenizer.offsets(text)
        if len(offsets) > self.memory_tokens:
            text, offsets = await self._shortened(session, chunk, text, offsets, tokenizer)
        session.record(MemoryVersion(chunk=chunk, text=text, tokens=len(offsets)))

    async def _shortened(
        self, session: Session, chunk: int, text: str, offsets: list[int], tokenizer: Tokenizer
    ) -> tuple[str, list[int]]:
        """The draft asked to shorten once, then cut at a block; with its token offsets."""
        session.record(
            GuardEvent(
                guard="over-limit",
                chunk=chunk,
                detail=f"{len(offsets)} tokens, {self.memory_tokens} allowed; asked to shorten",
            )
        )
        completion = await self._shorten_turn(session, chunk, text)
        if unusable(completion) is None:
            text = completion.text.strip()
            offsets = await tokenizer.offsets(text)
        if len(offsets) > self.memory_tokens:
            detail = f"{len(offsets)} tokens, {self.memory_tokens} allowed; cut at a block"
            text = cut_to_limit(text, offsets, self.memory_tokens)
            offsets = await tokenizer.offsets(text)
            session.record(GuardEvent(guard="cut-to-limit", chunk=chunk, detail=detail))
        return text, offsets

    async def _shorten_turn(self, session: Session, chunk: int, text: str) -> Completion:
        template = self.template("shorten")
        prompt = template.fill(
            question=joined(session.reading.header.questions),
            memory=text,
            limit=self._limit_in_words(),
        )
        sampling = self.sampling(self.memory_tokens)
        return await session.turn("draft", template, user(prompt), sampling, chunk=chunk)

    def _limit_in_words(self) -> str:
        return str(max(1, int(self.memory_tokens * _WORDS_PER_TOKEN)))
