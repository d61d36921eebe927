"""The caps of a whole run, of which readings side by side take their part.

    ledger = Ledger(caps, {result.key: taken_by(result) for result in earlier})
    ledger.caps_of(key)      # for a reading in this process: all that the others leave, at any time
    ledger.share_of(key, 4)  # for one elsewhere: its part of what is left, once for all

A reading's part is counted as taken from the moment it may be: what it took, the calls under way
as if each wrote the most, and its answer. So the caps are kept whatever runs side by side.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from palimpsest.evals.run import ItemResult
from palimpsest.memory.reading import Reading
from palimpsest.models.caps import Amount, CapName, Caps


def taken_by(result: ItemResult) -> Amount:
    """What the reading of a result took, but for the time that passed."""
    tokens = result.prompt + result.completion
    return Amount(tokens=tokens, cost=result.cost or 0.0, calls=result.calls)


class Ledger:
    """What the readings of a run took and may take, those of earlier goes included; of time, what
    passes from now."""

    def __init__(
        self,
        caps: Caps,
        earlier: Mapping[str, Amount],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.caps = caps
        self._taken = dict(earlier)
        self._begun: dict[str, float] = {}
        self._shares: set[str] = set()
        """Of readings that have their share and are not settled yet."""
        self._clock = clock
        self._started = clock()

    @property
    def total(self) -> Amount:
        """Of all readings; of time, what has passed."""
        taken = sum(self._taken.values(), Amount())
        return replace(taken, seconds=self._clock() - self._started)

    @property
    def used_up(self) -> bool:
        """Whether a cap is reached, so that nothing more is to be begun."""
        total = self.total
        return any(getattr(total, name) >= cap for name, cap in _set(self.caps).items())

    def begin(self, key: str, reading: Reading) -> None:
        """A reading begins or goes on. What time a model took for it in an earlier go is not of
        this one."""
        self._begun[key] = self.total.seconds - reading.model_seconds

    def passed_before(self, key: str) -> float:
        """Seconds that passed before a reading began."""
        return self._begun.get(key, 0.0)

    def settle(self, key: str, amount: Amount) -> None:
        """What a reading took, in the place of what it might have taken."""
        self._shares.discard(key)
        self._taken[key] = amount

    def others(self, key: str) -> Amount:
        """What all readings but one took or may take, and the time that has passed."""
        return self.total - replace(self._taken.get(key, Amount()), seconds=0.0)

    def caps_of(self, key: str) -> SharedCaps:
        """The caps of a reading in this process."""
        return SharedCaps(**vars(self.caps), ledger=self, key=key)

    def share_of(self, key: str, readings: int) -> Caps | None:
        """The caps of a reading elsewhere, one of so many at once at most: what is left, shared
        with those that may still begin beside it. None where that is nothing."""
        others, among = self.others(key), max(1, readings - len(self._shares - {key}))
        left = {name: cap - getattr(others, name) for name, cap in _set(self.caps).items()}
        shares: dict[str, Any] = {
            name: _share(name, amount, among) for name, amount in left.items()
        }
        if any(share <= 0 for share in shares.values()):
            return None
        self.settle(key, Amount(**{**shares, "seconds": 0.0}))
        self._shares.add(key)
        return replace(self.caps, **shares)


@dataclass(frozen=True)
class SharedCaps(Caps):
    """The caps of a run as one of its readings meets them: with what the others take."""

    ledger: Ledger = field(kw_only=True)
    key: str = field(kw_only=True)

    def passed_by(self, amount: Amount) -> CapName | None:
        """The first cap that an amount of this reading is over, with the others' added. One that
        is over none is this reading's from now on."""
        seconds = amount.seconds + self.ledger.passed_before(self.key)
        with_others = replace(amount + self.ledger.others(self.key), seconds=seconds)
        passed = super().passed_by(with_others)
        if passed is None:
            self.ledger.settle(self.key, replace(amount, seconds=0.0))
        return passed


def _set(caps: Caps) -> dict[CapName, float]:
    """The caps that are set."""
    names: tuple[CapName, ...] = ("tokens", "cost", "seconds", "calls")
    return {name: getattr(caps, name) for name in names if getattr(caps, name) is not None}


def _share(name: CapName, left: float, among: int) -> float:
    """A part of what is left; time passes for all at once."""
    if name == "seconds":
        return left
    return left / among if name == "cost" else int(left) // among
