"""How far a parallel reading is, told from its records alone."""

from __future__ import annotations

from collections.abc import Sequence

from palimpsest.memory.reading import ChunkRead, Extended, Merged, Reading, Record
from palimpsest.readers.rounds import Parts, Round, next_round


class Progress:
    """How far a scan is with the chunks of one addition to the source.

    The memories to be merged are, in this order, the one that stood before the addition was
    begun, the last of each lane, and those with notes that were added meanwhile.
    """

    def __init__(
        self, reading: Reading, scan: int, lanes: Sequence[range], fan_in: int, empty_memory: str
    ) -> None:
        self._reading = reading
        self._scan = scan
        self._lanes = lanes
        self._fan_in = fan_in
        self._nothing = {"", empty_memory.strip()}
        self._read: dict[int, ChunkRead] = {}
        self._merged: dict[tuple[int, Parts], int | None] = {}
        self._noted: list[int | None] = []
        begun = self._begun()
        self._before = Reading(reading.opening, reading.records[:begun]).standing(scan)
        for record in reading.records[begun:]:
            self._take(record)

    @property
    def complete(self) -> bool:
        return self._all_read and self.next_round() is None

    @property
    def frontier(self) -> Parts:
        """The fewest memories that together hold all that was read."""
        round_ = self.next_round()
        if round_ is None or not self._all_read:
            return self._parts()
        return tuple(
            memory
            for group in round_.groups
            for memory in self._became(round_.level, group)
            if memory is not None
        )

    def next_round(self) -> Round | None:
        """The round of merging that is due once all is read, or None after the last."""
        return next_round(self._parts(), self._fan_in, self._merged)

    def is_merged(self, level: int, group: Parts) -> bool:
        return (level, group) in self._merged

    def _begun(self) -> int:
        """Where in the records the first of the chunks is; their end if none is."""
        for place, record in enumerate(self._reading.records):
            if isinstance(record, ChunkRead) and self._is_ours(record):
                return place
        return len(self._reading.records)

    def _take(self, record: Record) -> None:
        match record:
            case ChunkRead() if self._is_ours(record):
                self._read[record.chunk] = record
            case Merged(reread=self._scan):
                self._merged[record.level, record.parts] = record.memory
            case Extended() if record.notes and self._scan == 0 and not self.complete:
                self._noted.append(record.memory)

    def _is_ours(self, record: ChunkRead) -> bool:
        return record.reread == self._scan and any(record.chunk in lane for lane in self._lanes)

    @property
    def _all_read(self) -> bool:
        return all(chunk in self._read for lane in self._lanes for chunk in lane)

    def _parts(self) -> Parts:
        """The memories to be merged, without those that hold nothing."""
        read = ([chunk for chunk in lane if chunk in self._read] for lane in self._lanes)
        last = [self._read[chunks[-1]].memory for chunks in read if chunks]
        versions = (self._before, *last, *self._noted)
        return tuple(
            version
            for version in versions
            if version is not None and self._reading.text_of(version).strip() not in self._nothing
        )

    def _became(self, level: int, group: Parts) -> tuple[int | None, ...]:
        """What a group has become: itself while it is not merged."""
        return (self._merged[level, group],) if self.is_merged(level, group) else group
