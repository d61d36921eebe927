"""Gated reading: a short question before each draft, whether the chunk is worth one.

After the gates of GRU-Mem (arXiv 2602.10560), asked of any model in words instead of trained. A
chunk that adds nothing costs a few tokens of output instead of a memory written anew, and the
memory is not rewritten where it can only lose.

- The gate is asked only when there is a memory. The first chunk is drafted unasked, and so is
  each after it until one makes a memory: there is nothing yet to compare them with, and a gate
  that says no to everything must not leave nothing to answer from.
- A reply that is not understood counts as NEW: at worst a draft is made that was not needed.
- The gate's prompt is the draft's up to and with the question, so a server with a prefix cache
  reads a chunk once for both. Without such a cache a chunk that is drafted costs its prompt
  twice. Both are turns, and counted.
"""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from palimpsest.errors import ConfigurationError
from palimpsest.memory.reading import ChunkRead
from palimpsest.models.model import user
from palimpsest.prompts.templates import PromptRole
from palimpsest.readers.drafting import DraftingReader, MemoryReader, Scan
from palimpsest.readers.reader import Session
from palimpsest.readers.stretches import additions, chunks_read
from palimpsest.readers.wrapper import Wrapper

Verdict = Literal["NEW", "NOTHING", "ENOUGH"]
_VERDICTS: dict[str, Verdict] = {"new": "NEW", "nothing": "NOTHING", "enough": "ENOUGH"}
_FIRST_WORD = re.compile(r"[\W_]*([^\W_]+)")


class Gated(Wrapper):
    """Drafts only for the chunks that have something to add.

    Other wrappers go around it: `MemReread(base=Gated(base=MemAgent()))`.
    """

    name: ClassVar[str] = "gated"

    stop: bool = False
    """Whether the gate may also say that the memory is enough, which ends the scan."""
    gate_tokens: int = Field(8, ge=1)
    """The most tokens of the gate's reply."""

    @field_validator("base")
    @classmethod
    def _drafts_itself(cls, base: MemoryReader) -> MemoryReader:
        if not isinstance(base, DraftingReader):
            raise ConfigurationError(
                f"Gated cannot gate the drafts that {base.name} orders",
                hint=f"put {base.name} around Gated, and Gated around a reader that drafts",
            )
        return base

    def prompt_roles(self) -> tuple[PromptRole, ...]:
        return (*self.base.prompt_roles(), self._role)

    async def draft(self, session: Session, scan: Scan) -> None:
        for chunks in additions(session.reading):
            await self._read(session, scan, chunks)

    async def _read(self, session: Session, scan: Scan, chunks: range) -> None:
        """Reads chunks that came together: enough in one addition says nothing of the next."""
        done = chunks_read(session.reading, scan.number)
        before = None
        for chunk in chunks:
            if chunk not in done:
                memory = session.reading.standing(scan.number)
                done[chunk] = await self.read_chunk(session, scan, chunk, memory, before)
                session.record(done[chunk])
            before = done[chunk]

    async def read_chunk(
        self, session: Session, scan: Scan, chunk: int, memory: int | None,
        before: ChunkRead | None,
    ) -> ChunkRead:  # fmt: skip
        """Gates a chunk, and drafts it if it is let through; how it went, not recorded yet.

        `before` is how the chunk before it went where the two are of one run: what was enough
        before that one is enough before this.
        """
        enough = before is not None and before.skipped == "enough"
        verdict = "ENOUGH" if enough else await self._verdict(session, scan, chunk, memory)
        if verdict == "NEW":
            memory = await self.inner.draft_chunk(session, scan, chunk, memory)
            return ChunkRead(chunk=chunk, memory=memory, reread=scan.number)
        skipped: Literal["enough", "nothing new"]
        skipped = "enough" if verdict == "ENOUGH" else "nothing new"
        return ChunkRead(chunk=chunk, memory=memory, reread=scan.number, skipped=skipped)

    async def _verdict(
        self, session: Session, scan: Scan, chunk: int, memory: int | None
    ) -> Verdict:  # fmt: skip
        if memory is None:
            return "NEW"
        completion = await session.turn(
            "gate",
            self.template(self._role),
            user(self._prompt(session, scan, chunk, memory)),
            self.sampling(self.gate_tokens),
            chunk=chunk,
            memory=memory,
            reread=scan.number,
        )
        verdict = parse_verdict(completion.text)
        return "NEW" if verdict == "ENOUGH" and not self.stop else verdict

    def _prompt(self, session: Session, scan: Scan, chunk: int, memory: int) -> str:
        span = session.reading.header.chunks[chunk]
        return self.template(self._role).fill(
            question=scan.question,
            memory=session.reading.text_of(memory),
            section=session.source.text[span.start : span.end],
            limit=self.inner.limit_in_words(),
        )

    @property
    def _role(self) -> PromptRole:
        return "gate_stop" if self.stop else "gate"


def parse_verdict(reply: str) -> Verdict:
    """The word that a reply begins with, whatever the case; NEW where it is none of the three."""
    match = _FIRST_WORD.match(reply)
    return _VERDICTS.get(match[1].lower(), "NEW") if match else "NEW"
