"""An item of a size asked for: how it is drawn, and how many units of noise fill its context.

A generator makes a draft from a number of units: lines, words, characters. `fit` finds that number
by measuring a small draft, reckoning from it, and narrowing down; a 4M-token context is counted
three or four times.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from palimpsest.datasets.item import Evidence, Item, Passage
from palimpsest.errors import InputError
from palimpsest.sources import Source, Tokenizer, count

SLACK = 0.005
"""Share of the tokens asked for that may be missing for the search to end."""
LEAST_SHARE = 0.99
"""Of the tokens asked for, below which there is no item."""
_FIRST_TOKENS = 8192
_MOST_GROWTH = 32
"""From one measurement to the next: a middling one spares a long one that is off."""
_ATTEMPTS = 24


def random_of(name: str) -> np.random.Generator:
    """Draws that are the same for the same name in any process."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()))


class Draft(NamedTuple):
    """What a generator makes of an item."""

    question: str
    answers: tuple[str, ...]
    documents: tuple[Passage, ...]
    details: dict[str, Any]
    gold: tuple[int, ...] = ()
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """Which item is to be made."""

    name: str
    number: int
    tokens: int
    tokenizer: Tokenizer

    def __post_init__(self) -> None:
        if self.number < 0 or self.tokens < 1:
            raise InputError(
                f"no item {self.number} of {self.name} with {self.tokens} tokens",
                hint="give a number from 0 and a length from 1",
            )

    def random(self) -> np.random.Generator:
        """Draws from the start each time, and for this item alone."""
        return random_of(f"{self.name}/{self.number}/{self.tokens}")

    def item(self, task: str, metric: str, draft: Draft) -> Item:
        return Item(
            task=task,
            id=f"{self.name}-{self.number:04}",
            question=draft.question,
            answers=draft.answers,
            metric=metric,
            documents=draft.documents,
            gold=draft.gold,
            evidence=draft.evidence,
            category=self.name,
            details={"tokens": self.tokens, **draft.details},
        )


class _Measured(NamedTuple):
    units: int
    tokens: int


async def tokens_of(documents: tuple[Passage, ...], tokenizer: Tokenizer) -> int:
    """Tokens of the documents as they are read, with the headings between them."""
    source = Source.from_documents((one.title, one.text) for one in documents)
    return await count(tokenizer, source.text)


async def fit(
    wanted: Wanted,
    build: Callable[[int], Draft],
    *,
    units_per_token: float,
    fewest: int = 1,
) -> Draft:
    """The draft with as many units as the tokens asked for allow, of which at most 1% are missing,
    or less than one unit where that is more.

    `build` gives the same draft for the same units, and more tokens for more units, nearly in
    proportion. `units_per_token` is a guess for the first measurement. Raises `InputError` where
    the fewest units are too many.
    """
    best: Draft | None = None
    low = high = None
    units = max(fewest, int(min(wanted.tokens, _FIRST_TOKENS) * units_per_token))
    for _ in range(_ATTEMPTS):
        draft = build(units)
        measured = _Measured(units, await tokens_of(draft.documents, wanted.tokenizer))
        if measured.tokens > wanted.tokens:
            high = measured
        else:
            if measured.tokens >= wanted.tokens * (1 - SLACK):
                return draft
            if low and not high:
                _check_growth(wanted, low, measured)
            low, best = measured, draft
        if high and high.units == (low.units + 1 if low else fewest):
            break
        units = _next(wanted.tokens, low, high, fewest)
    if not best:
        raise InputError(
            f"{wanted.name} item {wanted.number} does not fit in {wanted.tokens} tokens",
            hint="ask for a longer context",
        )
    return best


def _check_growth(wanted: Wanted, before: _Measured, after: _Measured) -> None:
    """Keeps units that add nothing from being multiplied without end."""
    if after.units >= 2 * before.units and after.tokens < 1.1 * before.tokens:
        raise InputError(
            f"{wanted.name} item {wanted.number} stays at {after.tokens} of {wanted.tokens} tokens",
            hint="give more text to fill its context with",
        )


def _next(tokens: int, low: _Measured | None, high: _Measured | None, fewest: int) -> int:
    """Units that should come to a little under the tokens, strictly between the two measured."""
    aim = tokens * (1 - SLACK / 2)
    if low and high:
        share = (aim - low.tokens) / (high.tokens - low.tokens)
        units = low.units + int(share * (high.units - low.units))
        return min(max(units, low.units + 1), high.units - 1)
    if low:
        growth = min(aim / max(1, low.tokens), _MOST_GROWTH)
        return max(low.units + 1, int(low.units * growth))
    assert high
    return min(max(int(high.units * aim / high.tokens), fewest), high.units - 1)
