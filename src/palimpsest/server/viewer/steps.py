"""The timeline of a reading: its steps with what each took, and the rereads as a tree.

The same steps as `palimpsest.memory.ledger` has, without the diffs, which are made when a step is
looked at: a long reading has hundreds.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from palimpsest.memory.ledger import parents_of, standing_versions
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
from palimpsest.models.model import Usage

_Place = tuple[int, int | None]
"""A scan, and a chunk or none."""


def steps_of(reading: Reading) -> list[dict[str, Any]]:
    """The steps in the order in which they were finished; turns by their numbers."""
    return _Timeline(reading).steps()


class _Timeline:
    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._named = standing_versions(reading)
        self._parents = parents_of(reading)
        self._parent_scan = {reread.number: reread.parent for reread in reading.rereads}
        self._versions = reading.memories
        self._all_turns = reading.turns
        self._turns: dict[_Place, list[int]] = defaultdict(list)
        self._guards: dict[_Place, list[GuardEvent]] = defaultdict(list)
        self._stands: dict[int, int | None] = {}
        self._turn = self._version = -1
        self._unfinished: set[int] = set()

    def steps(self) -> list[dict[str, Any]]:
        found = (self._step(record) for record in self._reading.records)
        steps = [step for step in found if step]
        return steps + [self._under_way(place) for place in self._open_places()]

    def _step(self, record: Record) -> dict[str, Any] | None:
        match record:
            case Turn():
                self._turn += 1
                self._turns[record.reread, record.chunk].append(self._turn)
            case GuardEvent():
                self._guards[record.reread, record.chunk].append(record)
            case MemoryVersion():
                return self._written(record)
            case ChunkRead():
                return self._finished(
                    "chunk", record.reread, record.chunk, record.memory, record.skipped
                )
            case Merged():
                return self._finished("merge", record.reread, None, record.memory)
            case Integrated():
                parent = self._parent_scan.get(record.reread, 0)
                self._turns[parent, None] += self._turns.pop((record.reread, None), [])
                self._guards[parent, None] += self._guards.pop((record.reread, None), [])
                step = self._finished("integration", parent, None, record.memory)
                return step | {"of": record.reread}
            case Extended() if record.notes:
                return self._finished("notes", 0, None, record.memory)
        return None

    def _written(self, record: MemoryVersion) -> dict[str, Any] | None:
        """A version that nothing names: cut short by a stop, or still being worked on."""
        self._version += 1
        last = self._version == len(self._versions) - 1
        if self._version in self._named or (last and self._reading.end is None):
            return None
        before = next(iter(self._parents[self._version]), None)
        return self._made("discarded", (record.reread, record.chunk), self._version, before, "")

    def _finished(
        self, kind: str, reread: int, chunk: int | None, version: int | None, skipped: str = ""
    ) -> dict[str, Any]:
        stood = self._stands.get(reread)
        self._stands[reread] = version
        before = stood
        if version is not None and version != stood:
            before = next(iter(self._parents[version]), None)
        return self._made(kind, (reread, chunk), version, before, skipped)

    def _open_places(self) -> list[_Place]:
        """Chunks in which calls were made and which are not done."""
        if self._reading.end is not None:
            return []
        return [place for place, turns in self._turns.items() if turns and place[1] is not None]

    def _under_way(self, place: _Place) -> dict[str, Any]:
        stood = self._stands.get(place[0])
        return self._made("under way", place, stood, stood, "")

    def _made(
        self, kind: str, place: _Place, version: int | None, before: int | None, skipped: str
    ) -> dict[str, Any]:
        turns = self._turns.pop(place, []) if kind != "under way" else self._turns[place]
        completions = [self._all_turns[number].completion for number in turns]
        usage = sum((one.usage for one in completions), Usage())
        guards = self._guards.pop(place, [])
        return {
            "kind": kind,
            "reread": place[0],
            "chunk": place[1],
            "version": version,
            "before": before,
            "tokens": 0 if version is None else self._versions[version].tokens,
            "changed": self._text(version) != self._text(before),
            "skipped": skipped,
            "guards": [{"guard": one.guard, "detail": one.detail} for one in guards],
            "turns": turns,
            "prompt": usage.prompt,
            "completion": usage.completion,
            "seconds": round(sum(one.seconds for one in completions), 3),
        }

    def _text(self, version: int | None) -> str:
        """A draft may say what stood there already, in a version of its own."""
        return "" if version is None else self._versions[version].text


def scans_of(reading: Reading) -> list[dict[str, Any]]:
    """The reading's own scan and its rereads, each with the scan it belongs to."""
    ended = {one.reread: one for one in reading.records if isinstance(one, Integrated)}
    own = {"number": 0, "parent": None, "depth": 0, "question": "", "answer": None, "done": True}
    return [
        own,
        *(
            {
                "number": one.number,
                "parent": one.parent,
                "depth": one.depth,
                "question": one.question,
                "answer": ended[one.number].answer if one.number in ended else None,
                "done": one.number in ended,
            }
            for one in reading.rereads
        ),
    ]
