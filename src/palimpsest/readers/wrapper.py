"""A reader around another: it decides how the other's steps follow each other."""

from __future__ import annotations

from typing import Any

from pydantic import SerializeAsAny

from palimpsest.models.model import Sampling
from palimpsest.prompts.templates import PromptRole, Template
from palimpsest.readers.drafting import DraftingReader, MemoryReader, Scan
from palimpsest.readers.memagent import MemAgent
from palimpsest.readers.reader import Session
from palimpsest.sources import Chunk


class Wrapper(MemoryReader):
    """Reads with another reader, whose prompts, sampling and chunks are its own too."""

    base: SerializeAsAny[MemoryReader] = MemAgent()

    @property
    def inner(self) -> DraftingReader:
        """The reader at the core, whatever is wrapped around it."""
        core = self.base
        while isinstance(core, Wrapper):
            core = core.base
        assert isinstance(core, DraftingReader)
        return core

    @property
    def memory_limit(self) -> int:
        return self.base.memory_limit

    def settings(self) -> dict[str, Any]:
        own = self.model_dump(mode="json", exclude={"base"})
        return {**own, "base": {"reader": self.base.name, **self.base.settings()}}

    def cut(self, text: str, offsets: list[int]) -> list[Chunk]:
        return self.base.cut(text, offsets)

    def template(self, role: PromptRole) -> Template:
        return self.base.template(role)

    def sampling(self, max_tokens: int) -> Sampling:
        return self.inner.sampling(max_tokens)

    @property
    def empty_memory(self) -> str:
        return self.base.empty_memory

    def prompt_roles(self) -> tuple[PromptRole, ...]:
        return self.base.prompt_roles()

    async def draft(self, session: Session, scan: Scan) -> None:
        await self.base.draft(session, scan)

    async def answer(self, session: Session) -> None:
        await self.base.answer(session)

    async def sub_answer(self, session: Session, scan: Scan) -> str:
        return await self.base.sub_answer(session, scan)
