"""What is told of a step and of an evaluation, as numbers by their names."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from palimpsest.training.crediting import reward_of
from palimpsest.training.gathering import Gathered
from palimpsest.training.rollout import Rollout

_DETAILS = ("memory_tokens", "chunks", "guards", "rereads")
"""What readers say of themselves that is a number."""


def told_of_step(gathered: Gathered, weights: Mapping[str, float]) -> dict[str, float]:
    """Of the rollouts of a step. Rewards are of all that were made, also of those left out."""
    every = [*gathered.rollouts, *gathered.dropped]
    trained, advantages = gathered.conversations()
    sampled = sum(sum(one.mask) for one in trained)
    return {
        **_rewards("reward", every, weights),
        **_written(every),
        "batch/rollouts": len(every),
        "batch/dropped": len(gathered.dropped),
        "batch/refills": gathered.refills,
        "batch/conversations": len(trained),
        "batch/tokens": sum(len(one.prompt_ids) + len(one.response_ids) for one in trained),
        "batch/trained_tokens": sampled,
        "batch/advantage": _mean(map(abs, advantages)),
    }


def told_of_evaluation(
    rollouts: Sequence[Rollout], weights: Mapping[str, float]
) -> dict[str, float]:
    """Of the held-out questions. A failure counts as 0."""
    return {
        **_rewards("held_out", rollouts, weights),
        "evaluation/failed": _failed(rollouts),
        "evaluation/nodes": _mean(one.nodes for one in rollouts),
    }


def _rewards(
    family: str, rollouts: Sequence[Rollout], weights: Mapping[str, float]
) -> dict[str, float]:
    tasks = dict.fromkeys(task for one in rollouts for task in one.scores)
    by_task = {
        f"{family}/{task}": _mean(one.scores.get(task, math.nan) for one in rollouts)
        for task in tasks
    }
    return {
        f"{family}/reward": _mean(reward_of(one, weights) for one in rollouts),
        **(by_task if len(by_task) > 1 else {}),
    }


def _written(rollouts: Sequence[Rollout]) -> dict[str, float]:
    conversations = [
        one for rollout in rollouts for one in rollout.conversations if one.response_ids
    ]
    details = {
        f"written/{name}": _mean(
            rollout.details[name] for rollout in rollouts if name in rollout.details
        )
        for name in _DETAILS
    }
    return {
        "written/answer_tokens": _mean(sum(one.mask) for one in conversations),
        "written/cut_off": _mean(one.finish == "length" for one in conversations),
        "written/failed": _failed(rollouts),
        "written/nodes": _mean(one.nodes for one in rollouts),
        **details,
    }


def _failed(rollouts: Sequence[Rollout]) -> float:
    return _mean(bool(one.failure) for one in rollouts)


def _mean(values: Iterable[float]) -> float:
    """Of the finite ones; NaN for none."""
    finite = [value for value in values if math.isfinite(value)]
    return math.fsum(finite) / len(finite) if finite else math.nan
