"""What a step does to the weights: a fixed number of updates from all of its conversations.

The conversations are shuffled, by the seed and the step, and cut into as many pieces as there are
updates, with about the same number of trained tokens each, whatever the number of conversations.
Each piece is one step of AdamW on the mean over its trained tokens.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from palimpsest.training.batching import (
    Batch,
    Micro,
    collate,
    micro_batches,
    padding_share,
    trained_tokens,
)
from palimpsest.training.logprobs import logprobs_of, scored
from palimpsest.training.loss import (
    Clip,
    check_advantages,
    k3,
    policy_terms,
    supervised,
    token_mean,
)
from palimpsest.training.policy import Policy
from palimpsest.training.recipe import OptimiserPart, Recipe
from palimpsest.training.rollout import Conversation


class Lesson(NamedTuple):
    """What the updates of a step learn from."""

    conversations: Sequence[Conversation]
    advantages: Sequence[float]
    reference: Sequence[npt.NDArray[np.float32]] | None
    """The first model's log-probabilities, where the distance to it counts."""


@dataclass
class Sums:
    """What is worth telling of a step's updates, summed over trained tokens."""

    values: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    losses: list[float] = field(default_factory=list)
    """Of each update."""
    norms: list[float] = field(default_factory=list)
    """Of the gradients before they were cut."""
    micros: list[Micro] = field(default_factory=list)
    tokens: int = 0
    ratio: float = 1.0
    """The farthest from 1, as the larger of r and 1/r."""
    skipped: int = 0
    """Updates whose gradient was no number."""

    def told(self) -> dict[str, float]:
        means = {f"loss/{name}": self.values[name] / self.tokens for name in self.values}
        return {
            "loss/total": math.fsum(self.losses) / max(1, len(self.losses)),
            **(means if self.tokens else {}),
            "update/count": len(self.losses),
            "update/skipped": self.skipped,
            "update/gradient_norm": math.fsum(self.norms) / max(1, len(self.norms)),
            "update/ratio": self.ratio,
            "update/padding": padding_share(self.micros),
        }


Terms = Callable[[Policy, Batch, int, Sums], Tensor]
"""The loss of a batch as its part of a mean over so many tokens; adds to the sums."""


class Updater:
    """The optimiser of a policy and what a recipe wants of it."""

    def __init__(self, policy: Policy, recipe: Recipe) -> None:
        self._policy = policy
        self._recipe = recipe
        loss = recipe.loss
        self._clip = Clip(loss.clip_low, loss.clip_high, loss.dual or None)
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forgets what AdamW knows of earlier gradients."""
        part = self._recipe.optimiser
        self.optimiser = torch.optim.AdamW(
            self._policy.trained().values(),
            lr=part.learning_rate,
            betas=part.betas,
            eps=part.epsilon,
            weight_decay=part.weight_decay,
        )

    def learn(
        self, conversations: Sequence[Conversation], advantages: Sequence[float], step: int
    ) -> dict[str, float]:
        """The updates of a step of reinforcement; `step` counts from 0."""
        check_advantages(list(advantages))
        lesson = self._lesson(conversations, advantages)
        rate = learning_rate(self._recipe.optimiser, step, self._recipe.steps)
        sums = Sums()
        order = list(range(len(conversations)))
        random.Random(f"{self._recipe.seed}/{step}/updates").shuffle(order)
        for piece in pieces(order, conversations, self._recipe.batch.updates):
            self._update(lesson, piece, rate, sums)
        return {**sums.told(), "update/learning_rate": rate}

    def imitate(self, conversations: Sequence[Conversation], rate: float) -> dict[str, float]:
        """One update towards what was said in conversations."""
        sums = Sums()
        self._descend(conversations, range(len(conversations)), rate, sums, _imitation)
        return {**sums.told(), "update/learning_rate": rate}

    def _lesson(self, conversations: Sequence[Conversation], advantages: Sequence[float]) -> Lesson:
        reference = None
        if self._recipe.loss.kl:
            with self._policy.as_reference():
                reference = self._logprobs(conversations)
        if self._recipe.loss.old == "recomputed":
            conversations = [
                _with_old(one, old)
                for one, old in zip(conversations, self._logprobs(conversations), strict=True)
            ]
        return Lesson(conversations, advantages, reference)

    def _logprobs(self, conversations: Sequence[Conversation]) -> list[npt.NDArray[np.float32]]:
        return logprobs_of(
            self._policy,
            conversations,
            temperature=self._recipe.sampling.temperature,
            tokens=self._recipe.batch.tokens,
        )

    def _update(self, lesson: Lesson, piece: Sequence[int], rate: float, sums: Sums) -> None:
        loss = self._recipe.loss
        # What has neither an advantage nor another term has no gradient; it counts in the mean.
        live = [place for place in piece if lesson.advantages[place] or loss.kl or loss.entropy]

        def terms(policy: Policy, batch: Batch, total: int, sums: Sums) -> Tensor:
            return self._reinforcement(lesson, batch, total, sums)

        self._descend(lesson.conversations, piece, rate, sums, terms, live)

    def _reinforcement(self, lesson: Lesson, batch: Batch, total: int, sums: Sums) -> Tensor:
        part = self._recipe.loss
        temperature = self._recipe.sampling.temperature
        scores = scored(self._policy, batch, temperature=temperature)
        terms = policy_terms(
            scores.logprobs, batch.old, batch.spread(lesson.advantages), self._clip
        )
        loss = token_mean(terms.loss, total)
        told = {
            "policy": terms.loss,
            "entropy": scores.entropy,
            "clipped_low": terms.clipped_low,
            "clipped_high": terms.clipped_high,
            "clipped_dual": terms.clipped_dual,
        }
        if lesson.reference is not None:
            told["kl"] = k3(scores.logprobs, batch.line(lesson.reference))
            loss = loss + part.kl * token_mean(told["kl"], total)
        if part.entropy:
            loss = loss - part.entropy * token_mean(scores.entropy, total)
        for name, values in told.items():
            sums.values[name] += values.detach().double().sum().item()
        farthest = torch.maximum(terms.ratio, 1 / terms.ratio).max().item()
        sums.ratio = max(sums.ratio, farthest)
        sums.tokens += len(batch.targets)
        return loss

    def _descend(
        self,
        conversations: Sequence[Conversation],
        piece: Sequence[int],
        rate: float,
        sums: Sums,
        terms: Terms,
        live: Sequence[int] | None = None,
    ) -> None:
        """One step of the optimiser on the mean over the trained tokens of `piece`."""
        total = trained_tokens(conversations[place] for place in piece)
        micros = micro_batches(
            conversations,
            tokens=self._recipe.batch.tokens,
            among=piece if live is None else live,
        )
        eyes = self._policy.encoder.family.eyes
        value = 0.0
        for micro in micros:
            batch = collate(conversations, micro.members, eyes, device=self._policy.device)
            loss = terms(self._policy, batch, total, sums)
            loss.backward()  # type: ignore[no-untyped-call]
            value += loss.item()
        sums.micros += micros
        sums.losses.append(value)
        if micros:
            self._step(rate, sums)

    def _step(self, rate: float, sums: Sums) -> None:
        parameters = list(self._policy.trained().values())
        limit = self._recipe.optimiser.clip_norm or math.inf
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit).item()
        if math.isfinite(norm):
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            self.optimiser.step()
            sums.norms.append(norm)
        else:
            sums.skipped += 1
        self.optimiser.zero_grad(set_to_none=True)


def pieces(
    order: Sequence[int], conversations: Sequence[Conversation], count: int
) -> list[list[int]]:
    """The order cut into `count` pieces of about as many trained tokens each.

    A piece is empty where there are fewer conversations than pieces.
    """
    lengths = np.array([trained_tokens([conversations[place]]) for place in order], dtype=float)
    middles = np.cumsum(lengths) - lengths / 2
    owners = np.minimum(middles * count // max(1.0, lengths.sum()), count - 1)
    if len(order) >= count:
        owners = _all_filled(owners, count)
    return [[place for place, own in zip(order, owners, strict=True) if own == at]
            for at in range(count)]  # fmt: skip


def learning_rate(part: OptimiserPart, step: int, steps: int) -> float:
    """At a step, counted from 0, of `steps`: a rise over the warm-up, then the schedule."""
    if step < part.warmup_steps:
        return part.learning_rate * (step + 1) / part.warmup_steps
    left = max(0.0, (steps - step) / max(1, steps - part.warmup_steps))
    match part.schedule:
        case "linear":
            return part.learning_rate * left
        case "cosine":
            return part.learning_rate * (1 - math.cos(math.pi * left)) / 2
    return part.learning_rate


def _imitation(policy: Policy, batch: Batch, total: int, sums: Sums) -> Tensor:
    losses = supervised(scored(policy, batch).logprobs)
    sums.values["imitation"] += losses.detach().double().sum().item()
    sums.tokens += len(batch.targets)
    return token_mean(losses, total)


def _with_old(one: Conversation, old: npt.NDArray[np.float32]) -> Conversation:
    values = iter(old.tolist())
    return replace(one, logprobs=tuple(next(values) if own else 0.0 for own in one.mask))


def _all_filled(owners: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
    """Moves as few conversations as can be so that no piece is empty."""
    places = np.arange(len(owners))
    least = places + count - len(owners)
    filled = owners.copy()
    for place in places:
        before = filled[place - 1] if place else -1.0
        filled[place] = max(min(filled[place], before + 1), least[place])
    return filled
