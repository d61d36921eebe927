"""What became of the memory, step by step, and where each of its lines comes from.

Everything here is derived from a reading; nothing is stored.

    for step in ledger(reading):      # what each chunk, merge and integration did
        print(step.chunk, step.changes)
    origins(reading)                  # the version and chunk each line comes from
    traces(reading, "Gull Rock")      # where a fact was noted, and where it was lost

A line is followed through rewordings as `lines.SAME_LINE` states, and through all the versions
that a memory was written from: drafts, merges, integrations and rereads. A version that no
finished step names was cut short by a stop and is shown as discarded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

from palimpsest.memory.lines import LineIndex, memory_lines, pair_lines, says_something
from palimpsest.memory.reading import (
    ChunkRead,
    Extended,
    GuardEvent,
    Integrated,
    MemoryVersion,
    Merged,
    Reading,
    Record,
    Turn,
)
from palimpsest.memory.words import plain, stands_in, words_of
from palimpsest.models.model import Usage

Kind = Literal["chunk", "merge", "integration", "notes", "discarded"]
_FINISHED = ChunkRead | Merged | Integrated | Extended

RECALLED = 0.75
"""A line holds a fact, reworded, when it has this part of the fact's words, names and numbers
weighing more, and all of its numbers."""


class Change(NamedTuple):
    """One line of a diff. Without the removed ones, the lines are those of the new version."""

    kind: Literal["kept", "added", "changed", "removed"]
    text: str
    before: str = ""
    """Of a changed line, its former wording."""


@dataclass(frozen=True)
class Step:
    """One step of a reading and what it did to the memory."""

    kind: Kind
    chunk: int | None
    """Index of the chunk; None for a step made from memories alone."""
    reread: int
    """The scan: 0 for the reading's own, or the number of a reread."""
    version: int | None
    """The version that stands after it, or that was discarded."""
    before: int | None
    """The version it is compared with: what it was written from, first of several."""
    changes: tuple[Change, ...]
    tokens: int
    """Of the memory that stands after it."""
    guards: tuple[GuardEvent, ...]
    calls: int
    usage: Usage
    skipped: str = ""

    @property
    def memory(self) -> str:
        """The memory as the changes make it: the text of `version`."""
        return "\n".join(change.text for change in self.changes if change.kind != "removed")

    @property
    def changed(self) -> bool:
        return any(change.kind != "kept" for change in self.changes)


class Origin(NamedTuple):
    """Where one line of a memory comes from."""

    line: int
    """Its place among all lines of the version, from 0."""
    text: str
    introduced: int
    """The version in which it first stood, in whatever words."""
    changed: int
    """The version that gave it its present words."""
    chunk: int | None
    """The chunk after which it was introduced; None if by a merge or an integration of its own."""
    chunks: frozenset[int]
    """All chunks that what it says can come from."""


class Trace(NamedTuple):
    """A step at which a fact came into the memory or went out of it."""

    step: Step
    kind: Literal["noted", "lost"]
    line: str
    """The line that held it."""
    instead: str = ""
    """Of a lost one, the nearest line that was written instead; empty if the line was dropped."""


def ledger(reading: Reading) -> list[Step]:
    """The steps of a reading in the order in which they were finished."""
    return _Ledger(reading).steps()


class _Ledger:
    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._named = standing_versions(reading)
        self._parents = parents_of(reading)
        self._turns: dict[tuple[int, int | None], list[Turn]] = defaultdict(list)
        self._guards: dict[tuple[int, int | None], list[GuardEvent]] = defaultdict(list)
        self._stands: dict[int, int | None] = {}
        self._parent_scan = {reread.number: reread.parent for reread in reading.rereads}

    def steps(self) -> list[Step]:
        found: list[Step] = []
        versions = 0
        for record in self._reading.records:
            if isinstance(record, MemoryVersion):
                if versions not in self._named:
                    found.append(self._discarded(record, versions))
                versions += 1
            elif step := self._step(record):
                found.append(step)
        return found

    def _step(self, record: Record) -> Step | None:
        match record:
            case Turn():
                self._turns[record.reread, record.chunk].append(record)
            case GuardEvent():
                self._guards[record.reread, record.chunk].append(record)
            case ChunkRead():
                return self._finished("chunk", record.reread, record.chunk, record.memory,
                                      skipped=record.skipped)  # fmt: skip
            case Merged():
                return self._finished("merge", record.reread, None, record.memory)
            case Integrated():
                # What the sub-question cost after its chunks belongs to the step that ends it.
                parent = self._parent_scan.get(record.reread, 0)
                self._turns[parent, None] += self._turns.pop((record.reread, None), [])
                return self._finished("integration", parent, None, record.memory)
            case Extended() if record.notes:
                return self._finished("notes", 0, None, record.memory)
        return None

    def _finished(
        self, kind: Kind, reread: int, chunk: int | None, version: int | None, *, skipped: str = ""
    ) -> Step:
        stood = self._stands.get(reread)
        self._stands[reread] = version
        before = stood if version == stood else self._written_from(version)
        return self._made(kind, reread, chunk, version, before, skipped)

    def _discarded(self, record: MemoryVersion, version: int) -> Step:
        before = self._written_from(version)
        return self._made("discarded", record.reread, record.chunk, version, before, "")

    def _written_from(self, version: int | None) -> int | None:
        return None if version is None else next(iter(self._parents[version]), None)

    def _made(
        self, kind: Kind, reread: int, chunk: int | None, version: int | None, before: int | None,
        skipped: str,
    ) -> Step:  # fmt: skip
        turns = self._turns.pop((reread, chunk), [])
        guards = self._guards.pop((reread, chunk), [])
        texts = self._reading.text_of(before), self._reading.text_of(version)
        tokens = 0 if version is None else self._reading.memories[version].tokens
        usage = sum((turn.completion.usage for turn in turns), Usage())
        return Step(
            kind, chunk, reread, version, before, diff(*texts), tokens, tuple(guards), len(turns),
            usage, skipped,
        )  # fmt: skip


def standing_versions(reading: Reading) -> set[int]:
    """The versions that a finished step names; all others count for nothing."""
    named: set[int] = set()
    for record in reading.records:
        if isinstance(record, _FINISHED) and record.memory is not None:
            named.add(record.memory)
        if isinstance(record, Merged):
            named.update(record.parts)
    return named


def parents_of(reading: Reading) -> list[tuple[int, ...]]:
    """For each version, the versions it was written from.

    A reading of before they were kept has them in its turns: a draft tells which memory it was
    shown.
    """
    shown: dict[tuple[int, int | None], int | None] = {}
    found: list[tuple[int, ...]] = []
    for record in reading.records:
        place = (record.reread, record.chunk) if isinstance(record, Turn | MemoryVersion) else None
        if isinstance(record, Turn) and place and record.role == "draft":
            # A call to shorten belongs to the draft before it and shows no version.
            shown[place] = shown.get(place) if record.memory is None else record.memory
        if isinstance(record, MemoryVersion) and place:
            drafted = shown.pop(place, None)
            found.append(record.parents or (() if drafted is None else (drafted,)))
    return found


def diff(before: str, after: str) -> tuple[Change, ...]:
    """The lines of `after` in their order, and those of `before` that are gone, where they stood.
    A line that only moved is kept."""
    old, new = before.split("\n") if before else [], after.split("\n") if after else []
    pairs = pair_lines(old, new)
    gone = sorted(set(range(len(old))).difference(pairs.values()))
    changes: list[Change] = []
    for number, line in enumerate(new):
        partner = pairs.get(number)
        while partner is not None and gone and gone[0] < partner:
            changes.append(Change("removed", old[gone.pop(0)]))
        changes.append(_change(line, None if partner is None else old[partner]))
    return (*changes, *(Change("removed", old[index]) for index in gone))


def _change(line: str, before: str | None) -> Change:
    if before is None:
        return Change("added", line)
    return Change("kept", line) if before == line else Change("changed", line, before)


def origins(reading: Reading, version: int | None = None) -> list[Origin]:
    """The origin of each line of a version that says something; by default of the memory that
    stands."""
    wanted = reading.memory_version if version is None else version
    if wanted is None:
        return []
    return _Origins(reading).of(wanted)


class _Origins:
    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._versions = reading.memories
        self._sources = parents_of(reading)
        self._known: dict[int, list[Origin]] = {}
        self._index = LineIndex()
        self._texts: list[str] = []
        self._seen: set[str] = set()

    def of(self, wanted: int) -> list[Origin]:
        for version in self._ancestry(wanted):
            self._known[version] = self._origins(version)
        return self._known[wanted]

    def _ancestry(self, wanted: int) -> list[int]:
        """The version and all that it was written from, oldest first."""
        found, open_ = {wanted}, [wanted]
        while open_:
            new = set(self._sources[open_.pop()]) - found
            found |= new
            open_ += new
        return sorted(found)

    def _origins(self, version: int) -> list[Origin]:
        parents = [line for one in self._sources[version] for line in self._known[one]]
        before = {line.text: line for line in reversed(parents)}
        found = []
        for number, text in enumerate(self._versions[version].text.split("\n")):
            if text in before:
                found.append(before[text]._replace(line=number))
            elif says_something(text):
                alike = self._alike(text, before)
                found.append(self._new(version, number, text, alike, parents))
        self._know(line.text for line in found)
        return found

    def _alike(self, text: str, before: dict[str, Origin]) -> list[Origin]:
        """The lines before that are reworded in a text, the most alike first."""
        alike = (self._texts[one.other] for one in self._index.alike(text))
        return [before[one] for one in alike if one in before]

    def _know(self, texts: Iterable[str]) -> None:
        """Takes lines into the one index of all versions, as most of them stand in many."""
        for text in texts:
            if text not in self._seen:
                self._seen.add(text)
                self._texts.append(text)
                self._index.add(text)

    def _new(
        self, version: int, number: int, text: str, alike: Sequence[Origin],
        parents: Sequence[Origin],
    ) -> Origin:  # fmt: skip
        """A line in new words: it rewords a line before, joins several, or is altogether new."""
        chunk = self._versions[version].chunk
        from_memories = alike or (parents if chunk is None else ())
        own = frozenset[int]() if chunk is None else frozenset((chunk,))
        chunks = own.union(*(line.chunks for line in from_memories))
        if not alike:
            return Origin(number, text, version, version, chunk, chunks)
        return Origin(number, text, alike[0].introduced, version, alike[0].chunk, chunks)


def traces(reading: Reading, fact: str) -> list[Trace]:
    """Each step at which a fact came into the memory, or at which none of the lines that were
    written from one that held it holds it any more; in the order of the reading."""
    held: dict[int | None, str] = {
        version: holding_line(memory.text, fact) for version, memory in enumerate(reading.memories)
    }
    parents = parents_of(reading)
    found = []
    seen: set[int] = set()
    for step in ledger(reading):
        if step.version is None or step.version in seen or step.kind == "discarded":
            continue
        seen.add(step.version)
        now = held[step.version]
        lines = [held[parent] for parent in parents[step.version] if held[parent]]
        if now and not lines:
            found.append(Trace(step, "noted", now))
        elif lines and not now:
            memory = reading.text_of(step.version)
            found.append(Trace(step, "lost", lines[0], _nearest(lines[0], memory)))
    return found


def _nearest(line: str, memory: str) -> str:
    lines = memory.split("\n")
    alike = LineIndex(lines).alike(line)
    return lines[alike[0].other] if alike else ""


def holding_line(memory: str, fact: str) -> str:
    """The line of a memory that holds a fact, word for word or reworded; empty if none does."""
    lines = memory_lines(memory)
    scores = [_holding(line.plain, line.context, fact) for line in lines]
    best = max(scores, default=0.0)
    return lines[scores.index(best)].text if best >= RECALLED else ""


@lru_cache(maxsize=1 << 16)
def _holding(text: str, context: str, fact: str) -> float:
    """How much of a fact a line has; over 1 when it has it word for word."""
    return 2.0 if stands_in(text, fact) else holds(f"{text} {context}", fact)


def holds(text: str, fact: str) -> float:
    """The part of a fact's words that a text has; 0 when one of its numbers is missing."""
    wanted = words_of(plain(fact))
    have = set(words_of(text).all)
    if not wanted.all or not wanted.numbers <= have:
        return 0.0
    shared = sum(wanted.weight(word) for word in wanted.all if word in have)
    return shared / sum(map(wanted.weight, wanted.all))
