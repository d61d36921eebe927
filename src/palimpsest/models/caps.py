"""The most that a reading may take, and what keeps it from taking more.

A call is let through only if the caps hold even when it writes as much as it may, and when what
the final answer needs is spent after it. Calls side by side count as if each wrote the most; one
that would pass a cap for that reason alone waits for the others. So nothing is overshot but by
what cannot be known before: a server that counts tokens its own way, thinking in a first call,
and time, of which only the pace so far is known.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from palimpsest.errors import CapReached, ConfigurationError
from palimpsest.models.meter import prompt_tokens
from palimpsest.models.model import Completion, Message, Model, Sampling, Usage
from palimpsest.models.prices import Price, listed_price

CapName = Literal["tokens", "cost", "seconds", "calls"]


@dataclass(frozen=True)
class Amount:
    """What calls take, in each of the measures that a cap can be of."""

    tokens: int = 0
    """Of prompts and completions."""
    cost: float = 0.0
    """US dollars; 0 where no price is known."""
    seconds: float = 0.0
    calls: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(
            self.tokens + other.tokens,
            self.cost + other.cost,
            self.seconds + other.seconds,
            self.calls + other.calls,
        )

    def __sub__(self, other: Amount) -> Amount:
        return self + Amount(-other.tokens, -other.cost, -other.seconds, -other.calls)


@dataclass(frozen=True)
class Caps:
    """The most that one reading may take, what it took before it was gone on with included."""

    tokens: int | None = None
    """Of all prompts and completions."""
    cost: float | None = None
    """US dollars."""
    seconds: float | None = None
    """That pass, and those that the model took before, in a reading that is gone on with."""
    calls: int | None = None
    price: Price | None = None
    """What tokens cost; by default what is listed for the model's name."""

    def __post_init__(self) -> None:
        for name in _NAMES:
            cap = getattr(self, name)
            if cap is not None and not cap > 0:
                raise ConfigurationError(
                    f"a cap of {_told(name, cap)} lets nothing be asked",
                    hint="give one above 0, or none",
                )

    def __bool__(self) -> bool:
        """Whether anything is capped."""
        return any(getattr(self, name) is not None for name in _NAMES)

    def passed_by(self, amount: Amount) -> CapName | None:
        """The first cap that an amount is over."""
        for name in _NAMES:
            cap = getattr(self, name)
            if cap is not None and getattr(amount, name) > cap:
                return name
        return None


_NAMES: tuple[CapName, ...] = ("tokens", "cost", "seconds", "calls")


def _told(name: CapName, value: float) -> str:
    """An amount for people."""
    if name == "cost":
        return f"${value:.3g}"
    if name == "seconds":
        return f"{value:.1f} seconds"
    return f"{value:,.0f} {name if value != 1 else name.removesuffix('s')}"


class Allowance:
    """What is left for one reading under its caps."""

    def __init__(
        self,
        caps: Caps,
        model: Model,
        before: Iterable[Completion],
        *,
        reserve: Sequence[Usage] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args:
        before: What was answered in the reading so far.
        reserve: The calls that answering takes at most; None for a reader that has no memory to
            answer from, whose calls are all alike.
        """
        self.reached: CapReached | None = None
        self._caps = caps
        self._model = model
        self._price = _price(caps, model)
        self._reserve = reserve
        self._clock = clock
        self._started = clock()
        self._spent = Amount()
        """With the seconds of the model, not those that passed."""
        self._thinking = 0
        for completion in before:
            self._settle(completion.usage, completion.seconds)
        self._before_s = self._spent.seconds
        self._in_flight = Amount()
        self._settled = asyncio.Condition()
        self.exhausted = caps.passed_by(self._taken() + self._reserved()) is not None
        """Whether not even an answer fits, so that nothing may be asked."""

    async def complete(
        self, messages: Sequence[Message], sampling: Sampling, *, answering: bool
    ) -> Completion:
        """The model's completion, if it is sure to stay within the caps; `answering` calls are
        what the reserve is for. Raises `CapReached`, and from then on for every other call."""
        expected = await self._expected(messages, sampling)
        charge = self._amount([expected])
        if not answering or self._reserve is None or self.exhausted:
            await self._wait_for_room(charge)
        self._in_flight += charge
        usage, seconds = Usage(), 0.0
        try:
            completion = await self._model.complete(messages, sampling)
            # A server that counts nothing is charged for all that it may have used.
            usage = completion.usage if completion.usage.prompt else expected
            seconds = completion.seconds
        finally:
            async with self._settled:
                self._in_flight -= charge
                self._settle(usage, seconds)
                self._settled.notify_all()
        return completion

    async def _wait_for_room(self, charge: Amount) -> None:
        async with self._settled:
            while self.reached is None:
                cap = self._caps.passed_by(self._after(charge))
                if cap is None:
                    return
                if self._in_flight.calls == 0:
                    self.reached = self._refusal(cap, charge)
                else:
                    await self._settled.wait()
            raise self.reached

    def _after(self, charge: Amount) -> Amount:
        """What will have been taken once all that is in flight, the charge and the answer are."""
        # Calls side by side pass their time together.
        in_flight = replace(self._in_flight, seconds=0.0)
        return self._taken() + in_flight + charge + self._reserved()

    def _refusal(self, cap: CapName, charge: Amount) -> CapReached:
        taken, wanted = getattr(self._taken(), cap), getattr(charge, cap)
        kept = getattr(self._reserved(), cap)
        answer = f" and the answer {_told(cap, kept)}" if kept else ""
        limit = _told(cap, getattr(self._caps, cap))
        return CapReached(
            f"the cap of {limit} would be passed: {_told(cap, taken)} taken so far,"
            f" the next call may take {_told(cap, wanted)}{answer}",
            hint="give a larger cap, or none",
        )

    def _taken(self) -> Amount:
        """So far; of time, what passed."""
        return replace(self._spent, seconds=self._before_s + self._clock() - self._started)

    def _reserved(self) -> Amount:
        return self._amount(self._reserve or ())

    async def _expected(self, messages: Sequence[Message], sampling: Sampling) -> Usage:
        """The most that a call may use."""
        prompt = await prompt_tokens(await self._model.tokenizer(), messages)
        return Usage(prompt=prompt, completion=sampling.max_tokens + self._thinking)

    def _amount(self, calls: Sequence[Usage]) -> Amount:
        """What calls take, at the pace of those so far."""
        tokens = sum(usage.prompt + usage.completion for usage in calls)
        pace = self._spent.seconds / self._spent.tokens if self._spent.tokens else 0.0
        return Amount(tokens, sum(map(self._cost, calls)), tokens * pace, len(calls))

    def _cost(self, usage: Usage) -> float:
        return self._price.of(usage) if self._price else 0.0

    def _settle(self, usage: Usage, seconds: float) -> None:
        tokens = usage.prompt + usage.completion
        self._spent += Amount(tokens, self._cost(usage), seconds, calls=1)
        self._thinking = max(self._thinking, usage.reasoning)


def _price(caps: Caps, model: Model) -> Price | None:
    """What a cap on money is reckoned with."""
    if caps.cost is None:
        return None
    price = caps.price or listed_price(model.name)
    if price is None:
        raise ConfigurationError(
            f"money cannot be capped: no price is known for {model.name}",
            hint="give the price (--price-in and --price-out, dollars a million), or cap tokens",
        )
    return price
