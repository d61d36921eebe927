"""How the outcome of rollouts becomes the advantage of each conversation.

Every function here is pure, takes and gives numpy arrays, and is used unchanged by both trainers.
Outcomes are compared per rollout, within its group, and only then spread to the rollout's
conversations: a rollout with many conversations weighs no more in its group than one with few.

    outcome = spread(rollouts, shared(rewards, groups))
    outcome = spread(rollouts, multi_task(scores, groups, {"standard": 1.0, "cloze": 0.3}))
    outcome = blend(spread(rollouts, rea(rewards, nodes, groups)), by_state(rollouts), alpha=0.05)

A reward that is no finite number is unknown: it takes no part in its group's mean, and what it
belongs to has advantage 0. So has a rollout that is alone in its group, since there is nothing to
compare it with; the reference gives it a mean of 0, so that its whole reward becomes its
advantage, and a policy is pushed towards whatever it did there.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from palimpsest.errors import InputError
from palimpsest.training.rollout import Rollout

Values = NDArray[np.float64]
"""One number for each rollout, or for each conversation."""

_EPSILON = 1e-6
EFFICIENCY_CAP = 1 / 3
"""The largest cap of `rea` under which two rollouts of one outcome never differ by more than two
of different outcomes."""


class MultiTask(NamedTuple):
    """The advantages of rollouts whose memory was read for several tasks."""

    by_task: Mapping[str, Values]
    """For the conversations that answer for a task."""
    drafts: Values
    """For those that work for all of them."""


def shared(rewards: ArrayLike, groups: Sequence[Hashable], *, by_std: bool = False) -> Values:
    """A_i = R_i - mean of R over the rollout's group (MemAgent, arXiv 2507.02259, Multi-Conv DAPO).

    `by_std` divides by the group's unbiased standard deviation + 1e-6, as GRPO does; the paper
    leaves it out. A group of equal rewards gets exactly 0.
    """

    def compared(values: Values) -> Values:
        if len(values) < 2 or np.ptp(values) == 0:
            return np.zeros_like(values)
        centred: Values = values - values.mean()
        return centred / (values.std(ddof=1) + _EPSILON) if by_std else centred

    return _within_groups(_array(rewards, len(groups)), groups, compared)


def multi_task(
    scores: Mapping[str, ArrayLike],
    groups: Sequence[Hashable],
    weights: Mapping[str, float],
    *,
    by_std: bool = False,
) -> MultiTask:
    """Each task's own advantage times its weight, and for drafts the sum over the tasks divided
    by the sum of weights (MemOCR, arXiv 2601.21468, and its published code).

        A_k(i)      = w_k * (r_k(i) - mean of r_k over the group)
        A_drafts(i) = sum over k of A_k(i) / sum over k of w_k

    A score that is missing (NaN) is left out of both sums: the drafts are judged by the tasks
    that there are. The reference always has all three.
    """
    for task in scores:
        if not weights.get(task, -1.0) >= 0:
            raise InputError(f"no weight for the task {task!r}", hint="give one of 0 or more")
    known = {task: np.isfinite(_array(values, len(groups))) for task, values in scores.items()}
    by_task = {
        task: weights[task] * shared(values, groups, by_std=by_std)
        for task, values in scores.items()
    }
    total = sum((weights[task] * known[task] for task in scores), np.zeros(len(groups)))
    drafts = sum(by_task.values(), np.zeros(len(groups))) / np.where(total > 0, total, 1.0)
    return MultiTask(by_task, drafts)


def rea(
    rewards: ArrayLike,
    nodes: ArrayLike,
    groups: Sequence[Hashable],
    *,
    threshold: float = 0.9,
    efficiency_cap: float | None = EFFICIENCY_CAP,
) -> Values:
    """Credit for being right, and for how many readings it took (ReA-GRPO of MemReread, arXiv
    2605.10268, and its published code).

    With n_i readings of rollout i, and a rollout correct when its reward is over `threshold`:

        mixed group, correct ones   A_i = + e^-n_i / sum of e^-n over the correct ones
        mixed group, wrong ones     A_i = - e^-n_i / sum of e^-n over the wrong ones
        all correct                 A_i = zscore of -n_i, by the unbiased deviation + 1e-6
        all wrong                   A_i = zscore of +n_i

    So a correct answer with fewer rereads is preferred, and where nothing was right, rereading.

    In the reference the preference for few rereads may outweigh correctness: a correct rollout
    with five readings beside one with a single reading gets 0.02. Here correctness gives each of
    m rollouts with one outcome 1/m of it, and `efficiency_cap` is how much of that share the number
    of readings may add or take: A_i = ±1/m + s * d_i, d_i its difference to the formula above and
    s the largest factor up to 1 with |s * d_i| <= cap/m. In a group of one outcome, where the
    reference's scores are as large as those for correctness, |A_i| <= cap/m. Mixed groups still sum
    to 0, and up to `EFFICIENCY_CAP` two rollouts of one outcome differ by less than any two of
    different outcomes. None is the reference without a cap, but for its 1e-6 in the shares.
    """
    values = _array(rewards, len(groups))
    readings = _array(nodes, len(groups))

    def credited(members: NDArray[np.intp]) -> Values:
        correct = values[members] > threshold
        if correct.all() or not correct.any():
            towards_few = -1.0 if correct.all() else 1.0
            return _capped_alone(towards_few * _zscore(readings[members]), efficiency_cap)
        credit = np.empty(len(members))
        for outcome, sign in ((correct, 1.0), (~correct, -1.0)):
            credit[outcome] = sign * _capped_shares(readings[members][outcome], efficiency_cap)
        return credit

    advantages = np.zeros(len(groups))
    for members in _members(groups, np.isfinite(values)):
        advantages[members] = credited(members)
    return advantages


def state(rewards: ArrayLike, keys: Sequence[Hashable]) -> Values:
    """A_j = r_j - mean of r over the conversations with the same key: the same step of the same
    group's rollouts (ReMemR1, arXiv 2509.23040; the state term of MemReread).

    NaN stands for a conversation without a reward of its own; it gets 0.
    """
    return shared(rewards, keys)


def by_state(rollouts: Sequence[Rollout]) -> list[Values]:
    """The state credit of each rollout's conversations: each compared with those of the same
    group, role and step. 0 where there is no reward of its own, or it is not learnt from."""
    rewards: list[float] = []
    keys: list[Hashable] = []
    for rollout in rollouts:
        for one in rollout.conversations:
            own = one.state_reward if one.trained else None
            rewards.append(np.nan if own is None else own)
            keys.append((rollout.group, one.role, one.step))
    ends = np.cumsum([len(rollout.conversations) for rollout in rollouts])
    return np.split(state(rewards, keys), ends[:-1]) if rollouts else []


def spread(rollouts: Sequence[Rollout], advantages: Values | MultiTask) -> list[Values]:
    """The advantage of each rollout's conversations, from that of the rollout.

    All of a rollout's conversations get the same number; with several tasks, those that answer
    for a task get that task's, and the others that of drafts. What is not learnt from gets 0.
    """
    credits = advantages if isinstance(advantages, MultiTask) else MultiTask({}, advantages)
    if len(credits.drafts) != len(rollouts):
        raise InputError(
            f"{len(credits.drafts)} advantages for {len(rollouts)} rollouts", hint="give one each"
        )
    whole = not isinstance(advantages, MultiTask)
    return [
        np.array(
            [
                _of_task(credits, "" if whole else one.task)[number] if one.trained else 0.0
                for one in rollout.conversations
            ],
            dtype=np.float64,
        )
        for number, rollout in enumerate(rollouts)
    ]


def blend(outcome: Sequence[Values], states: Sequence[Values], alpha: float) -> list[Values]:
    """(1 - alpha) * outcome + alpha * state for each conversation (MemReread; its script has
    alpha 0.05. ReMemR1 writes alpha for the outcome's part and has 0.8)."""
    return [
        (1 - alpha) * whole + alpha * own for whole, own in zip(outcome, states, strict=True)
    ]  # fmt: skip


def _of_task(credits: MultiTask, task: str) -> Values:
    if not task:
        return credits.drafts
    if task not in credits.by_task:
        tasks = ", ".join(credits.by_task)
        raise InputError(f"a conversation answers for {task!r}", hint=f"the tasks are: {tasks}")
    return credits.by_task[task]


def _zscore(values: Values) -> Values:
    if len(values) < 2 or np.ptp(values) == 0:
        return np.zeros_like(values)
    scores: Values = (values - values.mean()) / (values.std(ddof=1) + _EPSILON)
    return scores


def _capped_alone(scores: Values, cap: float | None) -> Values:
    """The credit of a group of one outcome: what efficiency alone may give."""
    if cap is None:
        return scores
    return scores * _factor(scores, cap / len(scores))


def _capped_shares(nodes: Values, cap: float | None) -> Values:
    """What each of the rollouts of one outcome gets of it; the shares sum to 1."""
    weights = np.exp(nodes.min() - nodes)
    shares: Values = weights / weights.sum()
    if cap is None:
        return shares
    equal = 1 / len(nodes)
    return equal + (shares - equal) * _factor(shares - equal, cap * equal)


def _factor(parts: Values, limit: float) -> float:
    """The largest factor up to 1 that keeps all parts within the limit."""
    largest = float(np.abs(parts).max())
    return min(1.0, limit / largest) if largest else 1.0


def _array(values: ArrayLike, length: int) -> Values:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (length,):
        raise InputError(
            f"values of shape {array.shape} for {length} groups", hint="give one value for each"
        )
    return array


def _members(groups: Sequence[Hashable], known: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """The places of each group's known values."""
    places: dict[Hashable, list[int]] = {}
    for place, group in enumerate(groups):
        if known[place]:
            places.setdefault(group, []).append(place)
    return [np.array(members, dtype=np.intp) for members in places.values()]


def _within_groups(
    values: Values, groups: Sequence[Hashable], function: Callable[[Values], Values]
) -> Values:
    """A function of each group's known values; 0 for those that are not known."""
    result = np.zeros(len(values))
    for members in _members(groups, np.isfinite(values)):
        result[members] = function(values[members])
    return result
