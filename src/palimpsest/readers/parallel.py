"""Parallel reading: stretches of the source read side by side, their memories merged in rounds.

The source is split into `lanes`, runs of consecutive chunks; each is read in order with a memory
of its own. Then neighbours are merged, `fan_in` at a time, until one memory is left. A fact so
goes through fewer rewrites than in a serial reading. What is lost: a lane does not know what
those before it found, so a fact that only matters in the light of another may be left out.
`MemReread(base=Parallel())` reads again for those.

- Every memory is in exactly one merge of each round, in the order of the source. The outcome does
  not depend on the order in which calls return. A lane that noted nothing is not merged, and a
  memory that is alone is passed on without a call.
- A merge that comes back unusable loses nothing: its memories are joined as they are, and only
  what is then over the limit is cut, from the longest.
- When a call fails the others are cancelled, and what is done is joined, so that there is a
  memory to answer from. A resumed reading makes only the drafts and merges that are missing.
- Chunks that are added to the source later are read the same way, and merged with the memory
  that stood before them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import Any, ClassVar, NamedTuple

from pydantic import Field, field_validator

from palimpsest.errors import ConfigurationError, PalimpsestError
from palimpsest.memory.guards import unusable
from palimpsest.memory.joining import join_within
from palimpsest.memory.reading import ChunkRead, Merged, Reading
from palimpsest.models.model import Completion, user
from palimpsest.prompts.templates import PromptRole
from palimpsest.readers.drafting import DraftingReader, MemoryReader, Place, Scan
from palimpsest.readers.gated import Gated
from palimpsest.readers.progress import Progress
from palimpsest.readers.reader import Session, joined
from palimpsest.readers.rounds import Parts, Round
from palimpsest.readers.stretches import additions, chunks_read, split
from palimpsest.readers.wrapper import Wrapper

_STOPPED = 0
"""The level of what a stop joined; rounds of merging count from 1."""


class Parallel(Wrapper):
    """Reads stretches of the source side by side and merges what they found.

    Its base drafts, or is `Gated`; other wrappers go around it. The gate of a lane stops only
    that lane.
    """

    name: ClassVar[str] = "parallel"

    lanes: int = Field(8, ge=1)
    """How many stretches; where there are fewer chunks, each is read by itself."""
    fan_in: int = Field(4, ge=2)
    """The most memories that one merge makes into one. At four, its prompt is no longer than that
    of a draft."""
    concurrency: int = Field(8, ge=1, exclude=True)
    """The most calls in flight. The outcome does not depend on it, so it is no part of a
    reading's key: an overloaded server's reading goes on with fewer."""

    @field_validator("base")
    @classmethod
    def _reads_chunk_by_chunk(cls, base: MemoryReader) -> MemoryReader:
        if not isinstance(base, DraftingReader | Gated):
            raise ConfigurationError(
                f"Parallel cannot split what {base.name} reads in order",
                hint=f"put {base.name} around Parallel, and Parallel around a reader that drafts",
            )
        return base

    def prompt_roles(self) -> tuple[PromptRole, ...]:
        return (*self.base.prompt_roles(), "merge")

    async def draft(self, session: Session, scan: Scan) -> None:
        slots = asyncio.Semaphore(self.concurrency)
        try:
            for chunks in list(additions(session.reading)):
                work = _Work(session, scan, chunks, slots)
                await _side_by_side(
                    self._read_lane(work, lane) for lane in split(chunks, self.lanes)
                )
                while round_ := self._progress(session, scan, chunks).next_round():
                    await self._merge_round(work, round_)
        except PalimpsestError:
            with suppress(PalimpsestError):
                await self._settle(session, scan)
            raise

    async def answer(self, session: Session) -> None:
        await self._settle(session, Scan(joined(session.reading.header.questions)))
        await self.base.answer(session)

    async def sub_answer(self, session: Session, scan: Scan) -> str:
        await self._settle(session, scan)
        return await self.base.sub_answer(session, scan)

    async def _read_lane(self, work: _Work, lane: range) -> None:
        read = chunks_read(work.session.reading, work.scan.number)
        before = None
        for chunk in lane:
            if chunk not in read:
                # A call that fails keeps its slot: no other is to begin before all are cancelled.
                await work.slots.acquire()
                read[chunk] = await self._read_chunk(work, chunk, before)
                work.slots.release()
                work.session.record(read[chunk])
            before = read[chunk]

    async def _read_chunk(self, work: _Work, chunk: int, before: ChunkRead | None) -> ChunkRead:
        session, scan = work.session, work.scan
        memory = before.memory if before else None
        if isinstance(self.base, Gated):
            return await self.base.read_chunk(session, scan, chunk, memory, before)
        version = await self.inner.draft_chunk(session, scan, chunk, memory)
        return ChunkRead(chunk=chunk, memory=version, reread=scan.number)

    async def _merge_round(self, work: _Work, round_: Round) -> None:
        progress = self._progress(work.session, work.scan, work.chunks)
        await _side_by_side(
            self._merge_group(work, round_.level, group)
            for group in round_.groups
            if not progress.is_merged(round_.level, group)
        )

    async def _merge_group(self, work: _Work, level: int, group: Parts) -> None:
        memory = group[0] if group else None
        if len(group) > 1:
            await work.slots.acquire()
            memory = await self._merge(work.session, _place(work.scan, group))
            work.slots.release()
        work.session.record(
            Merged(level=level, parts=group, memory=memory, reread=work.scan.number)
        )  # fmt: skip

    async def _merge(self, session: Session, place: Place) -> int:
        """The version that memories become."""
        completion = await self._merge_turn(session, place)
        problem = unusable(completion)
        if problem is None or (problem == "cut-off" and self.inner.cut_off == "accept"):
            text = completion.text.strip()
            return session.remember(await self.inner.within_limit(session, place, text))
        detail = f"the merge was {problem}; its {1 + len(place.others)} memories are joined"
        session.record(place.guard(problem, detail))
        return await self._join(session, place)

    async def _merge_turn(self, session: Session, place: Place) -> Completion:
        template = self.template("merge")
        prompt = template.fill(
            question=place.scan.question,
            memories=_numbered(_texts(session.reading, place)),
            limit=self.inner.limit_in_words(),
        )
        return await session.turn(
            "merge",
            template,
            user(prompt),
            self.sampling(self.inner.draft_tokens),
            memory=place.memory,
            reread=place.scan.number,
        )

    async def _join(self, session: Session, place: Place) -> int:
        """The version that memories become without a model."""
        tokenizer = await session.model.tokenizer()
        limit = self.inner.memory_tokens
        result = await join_within(_texts(session.reading, place), tokenizer, limit)
        if result.lost:
            size = result.lost + result.tokens
            detail = f"{size} tokens when joined, {limit} allowed; the longest are cut at a block"
            session.record(place.guard("cut-to-limit", detail))
        return session.remember(place.version(result.text, result.tokens))

    async def _settle(self, session: Session, scan: Scan) -> None:
        """Joins the memories of a scan that stopped half-way, so that what was read stands."""
        for chunks in additions(session.reading):
            progress = self._progress(session, scan, chunks)
            if not progress.complete:
                await self._stand(session, scan, progress.frontier)
                return

    async def _stand(self, session: Session, scan: Scan, parts: Parts) -> None:
        """Makes one memory of these stand in a scan, if it does not yet."""
        if not parts or _stands(session.reading, scan, parts):
            return
        memory = parts[0]
        if len(parts) > 1:
            memory = await self._join(session, _place(scan, parts))
        session.record(Merged(level=_STOPPED, parts=parts, memory=memory, reread=scan.number))

    def _progress(self, session: Session, scan: Scan, chunks: range) -> Progress:
        lanes = split(chunks, self.lanes)
        return Progress(session.reading, scan.number, lanes, self.fan_in, self.empty_memory)


class _Work(NamedTuple):
    """Reading the chunks of one addition to the source in a scan."""

    session: Session
    scan: Scan
    chunks: range
    slots: asyncio.Semaphore
    """For the calls in flight. A step that fails keeps its own, so that no other begins before it
    is cancelled."""


def _place(scan: Scan, parts: Parts) -> Place:
    return Place(scan, None, parts[0], parts[1:])


def _texts(reading: Reading, place: Place) -> list[str]:
    """The memories that a version is written from."""
    return [reading.text_of(version) for version in (place.memory, *place.others)]


def _numbered(texts: list[str]) -> str:
    """Memories as a merge sees them."""
    return "\n\n".join(f"[{number}]\n{text}" for number, text in enumerate(texts, start=1))


def _stands(reading: Reading, scan: Scan, parts: Parts) -> bool:
    """Whether the memory that stands in a scan is already all of these."""
    if parts == (reading.standing(scan.number),):
        return True
    steps = (step for step in reversed(reading.records) if isinstance(step, ChunkRead | Merged))
    last = next((step for step in steps if step.reread == scan.number), None)
    return isinstance(last, Merged) and last.parts == parts


async def _side_by_side(steps: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Runs steps at once; the first that fails ends the others, and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(step)
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
