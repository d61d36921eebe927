"""Which rows make an update, and which of them each GPU takes.

verl cuts a step's rows into updates by their number, so that long readings get more updates than
short ones. Here the number of updates is given, and each has as many rows as any other, with about
as many trained tokens.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

Thing = TypeVar("Thing")


def dealt(
    trained: Sequence[int],
    lengths: Sequence[int],
    *,
    updates: int,
    ranks: int,
    chance: random.Random,
) -> list[int]:
    """The places of the rows in the order in which verl takes them: the first rank's rows of each
    update, then the second's.

    Every update has a row with trained tokens where there are as many such rows as updates.

    Args:
        trained: The tokens of each row that are learnt from; the rows are a multiple of
            updates times ranks.
        lengths: Of the rows, prompts included.
    """
    order = list(range(len(trained)))
    chance.shuffle(order)
    order.sort(key=lambda place: trained[place], reverse=True)
    parts = []
    for piece in _snake(order, updates):
        parts.append(_snake(sorted(piece, key=lambda place: -lengths[place]), ranks))
    return [place for rank in range(ranks) for part in parts for place in part[rank]]


def _snake(things: Sequence[Thing], hands: int) -> list[list[Thing]]:
    """Dealt out one by one, there and back again."""
    dealt: list[list[Thing]] = [[] for _ in range(hands)]
    for number, thing in enumerate(things):
        lap, place = divmod(number, hands)
        dealt[hands - 1 - place if lap % 2 else place].append(thing)
    return dealt
