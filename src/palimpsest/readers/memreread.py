"""MemReread: asks itself what the memory lacks, and reads the source again for it.

After MemReread (arXiv 2605.10268): when the first memory does not suffice, one sub-question is
asked, the whole source is read for it with a memory of its own, and what that answers is worked
into the first memory; then the next sub-question, until nothing lacks or the limit is reached.
The base is any reader with a memory: over `MemOCR`, sub-questions are answered from a page.
Deviations, each with its reason:

- A sub-question that was asked before, by anyone in the reading, ends the rereading, since
  greedy drafts would only find the same again; the paper's code counts it and reads.
- The limit counts the rereads of the whole reading. There is no limit of width apart: at the
  paper's defaults it is the same.
- What was asked for a sub-question is seen by all later ones, not by its own branch alone.
- A sub-answer is what stands in the box; the paper's code passes on the whole reply. A reread
  that noted nothing, or whose answer is refused or cut off, is not worked in.
- The integrated memory is guarded like a draft, and facts that it repeats word for word stay
  confirmed. A call of a reread that fails for a reason of its own ends that reread, not the
  reading: the memory stays as it was.
"""

from __future__ import annotations

import re
import unicodedata
from typing import ClassVar

from pydantic import Field, field_validator

from palimpsest.errors import (
    ConfigurationError,
    ModelError,
    RefusedError,
    TransientError,
    WindowError,
)
from palimpsest.memory.guards import unusable
from palimpsest.memory.reading import (
    ChunkRead,
    Extended,
    GuardEvent,
    GuardName,
    Integrated,
    Merged,
    Reading,
    Reread,
    Turn,
)
from palimpsest.models.model import Completion, user
from palimpsest.prompts.templates import PromptRole
from palimpsest.readers.answers import parse_answer
from palimpsest.readers.drafting import MemoryReader, Place, Scan
from palimpsest.readers.memagent import MemAgent
from palimpsest.readers.reader import Session
from palimpsest.readers.wrapper import Wrapper

_OWN_FAULT = (WindowError, RefusedError, TransientError)
"""Errors of one call. Any other (a wrong key, no such model, a cap) would meet the next as well."""
_SHORTEST_QUERY = 6
_QUERY = re.compile(r"<query>(.*?)</query>", re.DOTALL | re.IGNORECASE)
_OPEN_QUERY = re.compile(r"<query>(.*)", re.IGNORECASE)
_AROUND = " \t{}[]\"'`*_-•“”«»"
_NO_QUERY = frozenset({"enough", "nothing", "no query", "sufficient", "not needed", "none needed"})
_CONFIRMED = re.compile(r"(<confirmed>.*?</confirmed>)", re.DOTALL)
_NOT_FOUND = "not found"


class MemReread(Wrapper):
    """Reads with another reader, and again for what its memory lacks."""

    name: ClassVar[str] = "memreread"

    rereads: int = Field(2, ge=1)
    """The most rereads in a whole reading."""
    depth: int = Field(1, ge=1)
    """How deep sub-questions go: at 2, one may have sub-questions of its own."""

    @field_validator("base")
    @classmethod
    def _not_nested(cls, base: MemoryReader) -> MemoryReader:
        core = base
        while isinstance(core, Wrapper):
            if isinstance(core, MemReread):
                raise ConfigurationError(
                    "a MemReread in a MemReread would ask everything twice",
                    hint="for sub-questions of sub-questions give one of them a `depth`",
                )
            core = core.base
        return base

    @classmethod
    def faithful(cls) -> MemReread:
        """The settings of the paper's evaluation (its published code)."""
        return cls(base=MemAgent.faithful(), rereads=3)

    def prompt_roles(self) -> tuple[PromptRole, ...]:
        return (*self.base.prompt_roles(), "decompose", "integrate")

    async def draft(self, session: Session, scan: Scan) -> None:
        await self.base.draft(session, scan)
        while reread := _unfinished(session.reading, scan) or await self._next(session, scan):
            await self._reread(session, scan, reread)

    async def _next(self, session: Session, scan: Scan) -> Reread | None:
        """Begins the next reread for a scan, if one is allowed and anything lacks."""
        rereads = session.reading.rereads
        depth = rereads[scan.number - 1].depth + 1 if scan.number else 1
        if len(rereads) >= self.rereads or depth > self.depth:
            return None
        query = await self._query(session, scan)
        if not query or _normal(query) in _asked(session.reading, scan):
            return None
        reread = Reread(
            number=len(rereads) + 1, question=query, parent=scan.number, depth=depth
        )  # fmt: skip
        session.record(reread)
        return reread

    async def _query(self, session: Session, scan: Scan) -> str:
        """What to ask next; empty if the memory suffices, or if that could not be found out."""
        try:
            decided = _decision(session.reading, scan) or await self._decompose(session, scan)
        except _OWN_FAULT as error:
            session.record(_failure(error, scan.number))
            return ""
        return _whole_query(decided)

    async def _decompose(self, session: Session, scan: Scan) -> Completion:
        template = self.template("decompose")
        version = session.reading.standing(scan.number)
        prompt = template.fill(
            question=scan.question,
            memory=session.reading.text_of(version) or self.empty_memory,
            history=_history(session.reading) or self.empty_memory,
            limit=self.inner.limit_in_words(),
        )
        return await session.turn(
            "decompose",
            template,
            user(prompt),
            self.sampling(self.inner.answer_tokens),
            memory=version,
            reread=scan.number,
        )

    async def _reread(self, session: Session, scan: Scan, reread: Reread) -> None:
        """Carries a reread to its end, whatever happens in it."""
        answer, memory = "", session.reading.standing(scan.number)
        try:
            answer = await self._find(session, Scan(reread.question, reread.number))
            if answer:
                memory = await self._integrate(session, scan, reread, answer)
        except _OWN_FAULT as error:
            session.record(_failure(error, reread.number))
        session.record(Integrated(reread=reread.number, answer=answer, memory=memory))

    async def _find(self, session: Session, scan: Scan) -> str:
        """What the source says to a sub-question; empty if nothing."""
        await self.draft(session, scan)
        if session.reading.standing(scan.number) is None:
            return ""
        answer = await self.base.sub_answer(session, scan)
        problem = _sub_answer_problem(session.reading, scan)
        if problem is None:
            return answer
        detail = f"the sub-answer was {problem}; the memory stays as it was"
        session.record(Place(scan, None, None).guard(problem, detail))
        return ""

    async def _integrate(
        self, session: Session, scan: Scan, reread: Reread, answer: str
    ) -> int | None:  # fmt: skip
        """Works a sub-answer into the scan's memory; the version that stands after it."""
        reading = session.reading
        template = self.template("integrate")
        version, found_in = reading.standing(scan.number), reading.standing(reread.number)
        memory = reading.text_of(version)
        prompt = template.fill(
            question=scan.question,
            memory=memory or self.empty_memory,
            sub_question=reread.question,
            sub_answer=answer,
            limit=self.inner.limit_in_words(),
        )
        completion = await session.turn(
            "integrate",
            template,
            user(prompt),
            self.sampling(self.inner.draft_tokens),
            memory=version,
            reread=scan.number,
        )
        confirmed = keep_confirmed(memory, completion.text)
        place = Place(scan, None, version, () if found_in is None else (found_in,))
        return await self.inner.settle(
            session, place, completion.model_copy(update={"text": confirmed})
        )


def parse_query(text: str) -> str:
    """The question in the first `<query>` tag; empty if there is none.

    A tag that is not closed ends with its line. Of several lines the first stands. A word that
    says that nothing lacks, and anything of under 6 characters, is no question.
    """
    match = _QUERY.search(text) or _OPEN_QUERY.search(text)
    lines = (line.strip(_AROUND) for line in match[1].splitlines()) if match else iter(())
    query = next((" ".join(line.split()) for line in lines if line), "")
    if len(query) < _SHORTEST_QUERY or _normal(query) in _NO_QUERY:
        return ""
    return query


def _whole_query(completion: Completion) -> str:
    """What a decompose turn asks; nothing if it was refused, or cut off before the tag closed."""
    match completion.finish_reason:
        case "refused":
            return ""
        case "length":
            return parse_query(completion.text.rpartition("</query>")[0])
        case _:
            return parse_query(completion.text)


def keep_confirmed(before: str, after: str) -> str:
    """`after`, with what is confirmed in `before` and repeated word for word confirmed again."""
    for tagged in _CONFIRMED.findall(before):
        fact = tagged.removeprefix("<confirmed>").removesuffix("</confirmed>").strip()
        pieces = _CONFIRMED.split(after)
        if not fact or any(fact in piece for piece in pieces[1::2]):
            continue
        for place in range(0, len(pieces), 2):
            if fact in pieces[place]:
                pieces[place] = pieces[place].replace(fact, f"<confirmed>{fact}</confirmed>", 1)
                break
        after = "".join(pieces)
    return after


def _normal(question: str) -> str:
    """A question without case, punctuation and spacing, to tell whether two are the same."""
    folded = unicodedata.normalize("NFKC", question).casefold()
    spaced = (" " if unicodedata.category(sign)[0] == "P" else sign for sign in folded)
    return " ".join("".join(spaced).split())


def _asked(reading: Reading, scan: Scan) -> set[str]:
    sub_questions = (reread.question for reread in reading.rereads)
    return {_normal(one) for one in (scan.question, *reading.header.questions, *sub_questions)}


def _history(reading: Reading) -> str:
    """Each sub-question so far and its answer, a line each."""
    ended = (record for record in reading.records if isinstance(record, Integrated))
    return "\n".join(
        f"- {reading.rereads[end.reread - 1].question} {end.answer or _NOT_FOUND}" for end in ended
    )


def _unfinished(reading: Reading, scan: Scan) -> Reread | None:
    """The reread for a scan that a kill cut short, if any."""
    ended = {record.reread for record in reading.records if isinstance(record, Integrated)}
    open_ = (r for r in reading.rereads if r.parent == scan.number and r.number not in ended)
    return next(open_, None)


def _decision(reading: Reading, scan: Scan) -> Completion | None:
    """What was decided on the memory as it stands, if a kill came after."""
    children = {reread.number for reread in reading.rereads if reread.parent == scan.number}
    for record in reversed(reading.records):
        match record:
            case Turn(role="decompose", reread=scan.number):
                return record.completion
            case Integrated() if record.reread in children:
                return None
            case ChunkRead(reread=scan.number) | Merged(reread=scan.number) | Extended():
                return None
    return None


def _sub_answer_problem(reading: Reading, scan: Scan) -> GuardName | None:
    """Why the last sub-answer of a scan says nothing, if so. One that came to its box says all."""
    turns = (turn for turn in reversed(reading.turns) if turn.role == "sub-answer")
    turn = next(turn for turn in turns if turn.reread == scan.number)
    problem = unusable(turn.completion)
    whole = problem == "cut-off" and parse_answer(turn.completion.text).boxed
    return None if whole else problem


def _failure(error: ModelError, reread: int) -> GuardEvent:
    detail = f"{error}; the memory stays as it was"
    return GuardEvent(guard="failed", chunk=None, detail=detail, reread=reread)
