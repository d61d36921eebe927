"""Rounds of merging: which memories become one, until one is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from palimpsest.readers.stretches import split

Parts = tuple[int, ...]
"""Versions that become one, in the order of the source."""


class Round(NamedTuple):
    """One level of merging; every memory of the level below is in exactly one group."""

    level: int
    """From 1."""
    groups: tuple[Parts, ...]


def next_round(
    parts: Sequence[int], fan_in: int, merged: Mapping[tuple[int, Parts], int | None]
) -> Round | None:
    """The first round with a group that is not in `merged`, or None when all has become one.

    `merged` holds what the groups of each level became. The last round has a single group, even
    of one memory or none.
    """
    level = 1
    while True:
        groups = _groups(tuple(parts), fan_in)
        if any((level, group) not in merged for group in groups):
            return Round(level, groups)
        if len(groups) == 1:
            return None
        became = (merged[level, group] for group in groups)
        parts = [memory for memory in became if memory is not None]
        level += 1


def _groups(parts: Parts, fan_in: int) -> tuple[Parts, ...]:
    """Neighbours, at most `fan_in` together; one empty group of no memories."""
    return tuple(split(parts, -(-len(parts) // fan_in))) or ((),)
