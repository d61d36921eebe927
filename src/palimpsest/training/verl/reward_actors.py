"""Rewards that take a processor for long, in Ray actors on any node, each call with a time-out.

    reward = RewardActors(reward, workers=2, timeout_s=10)
    score = await reward(completion, answers)

As `reward_pool.RewardPool`, which keeps to one machine: a call that runs out of time, that ends
its actor, or that raises scores 0 and is counted in `failures`; its actor is replaced where need
be, and the others never hear of it.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import ray

from palimpsest.errors import ConfigurationError
from palimpsest.training.reward_pool import Mishap
from palimpsest.training.rewards import Reward

_START_S = 120.0
"""For an actor to be placed and to import what the reward needs; no part of a call's time."""


class RewardActors:
    """A reward in `workers` actors. Calls beyond that wait for one that is free."""

    def __init__(self, reward: Reward, *, workers: int = 2, timeout_s: float = 10.0) -> None:
        if workers < 1 or timeout_s <= 0:
            raise ConfigurationError(
                f"{workers} actors with {timeout_s} s a call do nothing",
                hint="give at least one actor and more than no time",
            )
        self.failures: Counter[Mishap] = Counter()
        """How many calls came to nothing, by what happened to them."""
        self._reward = reward
        self._timeout_s = timeout_s
        self._free = asyncio.Queue[Any]()
        for _ in range(workers):
            self._free.put_nowait(None)

    async def __call__(self, completion: str, answers: Sequence[str]) -> float:
        """The reward; 0 where there is none."""
        actor = await self._free.get()
        try:
            actor = actor or await self._started()
            score = await _within(actor.score.remote(completion, tuple(answers)), self._timeout_s)
        except ray.exceptions.RayTaskError:
            self._free.put_nowait(actor)
            return self._nothing("raised")
        except TimeoutError:
            self._let_go(actor)
            return self._nothing("timed out")
        except ray.exceptions.RayError:
            self._let_go(actor)
            return self._nothing("died")
        except (asyncio.CancelledError, ConfigurationError):
            self._let_go(actor)
            raise
        self._free.put_nowait(actor)
        return score if math.isfinite(score) else self._nothing("no number")

    async def aclose(self) -> None:
        """Ends the actors that are free."""
        while not self._free.empty():
            actor = self._free.get_nowait()
            if actor is not None:
                ray.kill(actor)

    async def _started(self) -> Any:  # noqa: ANN401
        kind: Any = ray.remote(_Scorer)
        actor = kind.remote(self._reward)
        try:
            await _within(actor.ready.remote(), _START_S)
        except (TimeoutError, ray.exceptions.RayError) as error:
            ray.kill(actor)
            raise ConfigurationError(
                f"no actor for the reward came up: {type(error).__name__}: {error}",
                hint="the reward must be importable on every node, and a processor free for it",
            ) from error
        return actor

    def _nothing(self, mishap: Mishap) -> float:
        self.failures[mishap] += 1
        return 0.0

    def _let_go(self, actor: Any) -> None:  # noqa: ANN401
        """Ends an actor whose call nobody waits for; another is started in its place when it is
        needed."""
        if actor is not None:
            ray.kill(actor)
        self._free.put_nowait(None)


class _Scorer:
    """The life of an actor: a number to each call."""

    def __init__(self, reward: Reward) -> None:
        self._reward = reward

    def ready(self) -> bool:
        return True

    def score(self, completion: str, answers: Sequence[str]) -> float:
        return float(self._reward(completion, answers))


async def _within(reference: Any, seconds: float) -> Any:  # noqa: ANN401
    return await asyncio.wait_for(asyncio.wrap_future(reference.future()), seconds)
