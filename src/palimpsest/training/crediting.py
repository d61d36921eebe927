"""A group's advantages as a recipe wants them, by the functions of `credit`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from palimpsest.training.credit import Values, blend, by_state, multi_task, rea, shared, spread
from palimpsest.training.recipe import CreditPart, OverlongPart
from palimpsest.training.rollout import Rollout
from palimpsest.training.turns import STANDARD

_UNNAMED_WEIGHT = 1.0
"""Of a task that an agent of one's own has and no objective names."""


def reward_of(rollout: Rollout, weights: Mapping[str, float]) -> float:
    """The mean of its scores by their weights; NaN where it has none."""
    known = {task: score for task, score in rollout.scores.items() if math.isfinite(score)}
    total = sum(_weight(task, weights) for task in known)
    if not total:
        return math.nan
    return sum(score * _weight(task, weights) for task, score in known.items()) / total


def credited(
    rollouts: Sequence[Rollout],
    credit: CreditPart,
    weights: Mapping[str, float],
    overlong: OverlongPart | None = None,
) -> list[Values]:
    """The advantage of each rollout's conversations."""
    outcome = spread_outcome(rollouts, credit, weights, overlong)
    if not credit.state_alpha:
        return outcome
    return blend(outcome, by_state(rollouts), credit.state_alpha)


def spread_outcome(
    rollouts: Sequence[Rollout],
    credit: CreditPart,
    weights: Mapping[str, float],
    overlong: OverlongPart | None,
) -> list[Values]:
    """The part of the advantages that comes from the scores."""
    groups = [rollout.group for rollout in rollouts]
    less = np.array([_too_long(rollout, overlong) for rollout in rollouts])
    if credit.kind == "multi_task":
        tasks = dict.fromkeys(task for rollout in rollouts for task in rollout.scores)
        scores = {
            task: np.array([one.scores.get(task, math.nan) for one in rollouts]) + less
            for task in tasks
        }
        own = {task: _weight(task, weights) for task in tasks}
        return spread(rollouts, multi_task(scores, groups, own, by_std=credit.by_std))
    if credit.kind == "rea":
        cap = None if credit.efficiency_cap == "none" else credit.efficiency_cap
        rewards = np.array([one.scores.get(STANDARD, math.nan) for one in rollouts]) + less
        nodes = [rollout.nodes for rollout in rollouts]
        return spread(
            rollouts, rea(rewards, nodes, groups, threshold=credit.threshold, efficiency_cap=cap)
        )
    rewards = np.array([reward_of(rollout, weights) for rollout in rollouts]) + less
    return spread(rollouts, shared(rewards, groups, by_std=credit.by_std))


def _weight(task: str, weights: Mapping[str, float]) -> float:
    return weights.get(task, _UNNAMED_WEIGHT)


def _too_long(rollout: Rollout, overlong: OverlongPart | None) -> float:
    """What is taken off for the longest answer of a rollout, 0 or less."""
    if overlong is None:
        return 0.0
    from palimpsest.training.loss import overlong_penalty

    lengths = [sum(one.mask) for one in rollout.conversations if one.trained]
    penalty = overlong_penalty(
        max(lengths, default=0), limit=overlong.limit, margin=overlong.margin
    )
    return overlong.factor * penalty
