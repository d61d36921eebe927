"""Losses as pure functions: one value for each trained token in, one value for each out.

Nothing here averages over a micro-batch. Sums are divided by one count, the trained tokens of the
whole optimiser batch, so that the gradient does not depend on how the batch was cut:

    terms = policy_terms(scores.logprobs, batch.old, advantages, clip)
    loss = token_mean(terms.loss, total) + 0.001 * token_mean(k3(scores.logprobs, reference), total)
    loss.backward()     # for each micro-batch; then one step of the optimiser
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from palimpsest.errors import ConfigurationError, InputError

_FARTHEST = 20.0
"""Log-ratios beyond are cut: e^20 is no ratio to learn from, and more would overflow."""


@dataclass(frozen=True)
class Clip:
    """How far an update may move a token's probability before its gradient stops."""

    low: float = 0.2
    high: float = 0.2
    """DAPO's clip-higher (arXiv 2503.14476, section 3.1) sets it above `low`."""
    dual: float | None = 3.0
    """Bound on the loss of a token of negative advantage (arXiv 1912.09729), as a multiple of the
    advantage; None for no bound."""


class PolicyTerms(NamedTuple):
    """The policy loss of each token, and what was clipped."""

    loss: Tensor
    ratio: Tensor
    """New over old probability; no gradient."""
    clipped_low: Tensor
    """True where the gradient stopped because the probability had fallen far enough."""
    clipped_high: Tensor
    """True where it stopped because the probability had risen far enough."""
    clipped_dual: Tensor


def policy_terms(new: Tensor, old: Tensor, advantages: Tensor, clip: Clip) -> PolicyTerms:
    """The clipped surrogate of PPO (arXiv 1707.06347, equation 7), negated, with dual clip.

    With r = exp(new - old):

        L = max(-A r, -A clamp(r, 1 - low, 1 + high))
        L = min(L, -A dual)     where A < 0
    """
    ratio = (new - old).clamp(-_FARTHEST, _FARTHEST).exp()
    plain = -advantages * ratio
    clamped = -advantages * ratio.clamp(1 - clip.low, 1 + clip.high)
    loss = torch.maximum(plain, clamped)
    stopped = clamped > plain
    dual = torch.zeros_like(stopped)
    if clip.dual is not None:
        bound = -advantages * clip.dual
        dual = (advantages < 0) & (loss > bound)
        loss = torch.where(dual, bound, loss)
    return PolicyTerms(
        loss, ratio.detach(), stopped & (advantages < 0), stopped & (advantages > 0), dual
    )


def k3(new: Tensor, reference: Tensor) -> Tensor:
    """The k3 estimate of KL(new || reference) at tokens sampled from new: e^d - d - 1.

    d = reference - new. Never negative, and of low variance (J. Schulman, "Approximating KL
    divergence", 2020); the papers' "low_var_kl".
    """
    distance = (reference - new).clamp(-_FARTHEST, _FARTHEST)
    return distance.exp() - distance - 1


def supervised(new: Tensor) -> Tensor:
    """The loss of imitation: how improbable each token is, in nats."""
    return -new


def token_mean(values: Tensor, total: int) -> Tensor:
    """The part of a mean over `total` tokens that these contribute; 0 for no tokens.

    `total` counts the trained tokens of all micro-batches of an update (DAPO's token-level loss,
    arXiv 2503.14476, section 3.3).
    """
    if total < 1 and values.numel():
        raise ConfigurationError(
            f"a mean over {total} tokens, of which {values.numel()} are here",
            hint="Count the trained tokens of the whole update (batching.trained_tokens).",
        )
    return values.sum() / max(total, 1)


def overlong_penalty(tokens: int, *, limit: int, margin: int) -> float:
    """DAPO's soft punishment of long answers (arXiv 2503.14476, equation 13), to add to a reward.

        0                               up to limit - margin
        (limit - margin - tokens) / margin    from there to limit: falls to -1
        -1                              beyond

    Args:
        tokens: Of the answer.
        margin: The length over which the punishment grows; 0 punishes only what is over `limit`.
    """
    if not 0 <= margin <= limit:
        raise ConfigurationError(
            f"a margin of {margin} tokens before a limit of {limit}",
            hint="Choose a margin from 0 to the limit.",
        )
    if tokens <= limit - margin:
        return 0.0
    return -1.0 if tokens > limit else (limit - margin - tokens) / margin


def check_advantages(advantages: list[float]) -> None:
    """Raises `InputError` naming the first conversation whose advantage is no number."""
    for member, advantage in enumerate(advantages):
        if not abs(advantage) < float("inf"):
            raise InputError(
                f"the advantage of conversation {member} is {advantage}",
                hint="A reward or its group's mean is no number; a failed rollout scores 0.",
            )
