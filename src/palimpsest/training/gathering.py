"""The rollouts of a step: groups for its questions, and others for those that teach nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from palimpsest.datasets.item import Item
from palimpsest.errors import ModelError
from palimpsest.training.agents import Agent, roll_out
from palimpsest.training.credit import Values
from palimpsest.training.crediting import credited
from palimpsest.training.questions import Stream, taken
from palimpsest.training.recipe import Recipe
from palimpsest.training.rollout import Conversation, Rollout
from palimpsest.training.sample import SamplingModel


class SeatedModel(SamplingModel, Protocol):
    """A policy's model, which waits for all who hold a seat."""

    def seat(self) -> AbstractAsyncContextManager[None]: ...


OnRollout = Callable[[int, int], None]
"""Hears of each rollout: how many are done, of how many."""


class Tries(NamedTuple):
    """How rollouts are made."""

    occasion: str
    """With item and number it decides their chance."""
    number: int
    """Of each item."""
    temperature: float
    top_p: float
    concurrency: int
    """At once."""


@dataclass(frozen=True)
class Gathered:
    """What a step learns from, and what it left out."""

    rollouts: list[Rollout] = field(default_factory=list)
    advantages: list[Values] = field(default_factory=list)
    """For each rollout those of its conversations."""
    dropped: list[Rollout] = field(default_factory=list)
    """Of groups without an advantage, under `filter.keep = "informative"`."""
    refills: int = 0
    position: int = 0
    """Of the next question."""

    def conversations(self) -> tuple[list[Conversation], list[float]]:
        """All that can be learnt from, with the advantage of each."""
        pairs = [
            (conversation, float(advantage))
            for rollout, advantages in zip(self.rollouts, self.advantages, strict=True)
            for conversation, advantage in zip(rollout.conversations, advantages, strict=True)
            if conversation.trained and any(conversation.mask)
        ]
        return [one for one, _ in pairs], [advantage for _, advantage in pairs]


async def roll_out_all(
    agent: Agent,
    items: Sequence[Item],
    model: SeatedModel,
    tries: Tries,
    on_rollout: OnRollout | None = None,
) -> list[Rollout]:
    """All tries at all items, group by group."""
    limit = asyncio.Semaphore(tries.concurrency)
    done = 0

    async def one(item: Item, number: int) -> Rollout:
        nonlocal done
        async with limit, model.seat():
            rollout = await roll_out(
                agent,
                item,
                model,
                number=number,
                occasion=tries.occasion,
                temperature=tries.temperature,
                top_p=tries.top_p,
            )
        done += 1
        if on_rollout:
            on_rollout(done, len(items) * tries.number)
        return rollout

    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(one(item, number)) for item in items for number in range(tries.number)
        ]
    return [task.result() for task in tasks]


async def gather(
    agent: Agent,
    stream: Stream,
    model: SeatedModel,
    recipe: Recipe,
    *,
    occasion: str,
    position: int,
    on_rollout: OnRollout | None = None,
) -> Gathered:
    """The groups of a step, from `position` on. Raises `ModelError` where every rollout failed
    for a reason that the policy has no part in."""
    kept = Gathered(position=position)
    tries = Tries(
        occasion,
        recipe.batch.rollouts,
        recipe.sampling.temperature,
        recipe.sampling.top_p,
        recipe.sampling.concurrency,
    )
    seen: set[str] = set()
    groups = refills = 0
    while groups < recipe.batch.prompts:
        items, position = taken(stream, position, recipe.batch.prompts - groups, seen)
        if not items:
            break
        seen.update(item.id for item in items)
        rollouts = await roll_out_all(agent, items, model, tries, on_rollout)
        check_some_came_out(rollouts)
        groups += _sort_out(rollouts, kept, recipe)
        if refills == recipe.filter.refills or groups >= recipe.batch.prompts:
            break
        refills += 1
    return Gathered(kept.rollouts, kept.advantages, kept.dropped, refills, position)


def _sort_out(rollouts: Sequence[Rollout], kept: Gathered, recipe: Recipe) -> int:
    """Puts each group where it belongs; how many were kept."""
    found = 0
    size = recipe.batch.rollouts
    for start in range(0, len(rollouts), size):
        group = rollouts[start : start + size]
        advantages = credited(group, recipe.credit, recipe.weights, recipe.loss.overlong)
        if recipe.filter.keep == "informative" and not _teaches(group, advantages):
            kept.dropped.extend(group)
            continue
        kept.rollouts.extend(group)
        kept.advantages.extend(advantages)
        found += 1
    return found


def _teaches(group: Sequence[Rollout], advantages: Sequence[Values]) -> bool:
    return any(
        advantage and conversation.trained and any(conversation.mask)
        for rollout, values in zip(group, advantages, strict=True)
        for conversation, advantage in zip(rollout.conversations, values, strict=True)
    )


def check_some_came_out(rollouts: Sequence[Rollout]) -> None:
    """Raises `ModelError` where every rollout of a step failed for a reason that the policy has no
    part in."""
    if any(not one.failure or _learnt(one) for one in rollouts):
        return
    first = rollouts[0]
    raise ModelError(
        f"all {len(rollouts)} rollouts of a step failed; that of {first.group}: {first.failure}",
        hint=first.details.get("trace") or "the last checkpoint stands: mend the cause and resume",
    )


def _learnt(rollout: Rollout) -> bool:
    return any(conversation.trained for conversation in rollout.conversations)
