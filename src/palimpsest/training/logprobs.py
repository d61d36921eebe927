"""How probable what was written is under the policy, and how undecided the policy was.

The probability of a token is that of the softmax over all tokens that are not banned, at the
sampling temperature. A nucleus (top-p) restricts what is drawn and not what a token's probability
is: sampler and update use this one definition, so that their ratio is 1 before the first update.

Scores over a vocabulary of 150,000 are large, so they are computed at trained tokens only, and
some tokens at a time; with gradients each piece is computed again in the backward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from palimpsest.errors import InputError, ModelError
from palimpsest.training.batching import Batch, collate, micro_batches
from palimpsest.training.policy import Policy
from palimpsest.training.rollout import Conversation

PIECE_SCORES = 1 << 26
"""Scores that are held at a time: a quarter of a gigabyte a copy."""


class Scores(NamedTuple):
    """One value for each trained token of a batch."""

    logprobs: Tensor
    entropy: Tensor
    """In nats."""


def scored(
    policy: Policy, batch: Batch, *, temperature: float = 1.0, piece_scores: int = PIECE_SCORES
) -> Scores:
    """Log-probability and entropy at each trained token, with gradients where they are on.

    Raises `InputError` for a trained token that the policy can never sample, and `ModelError`
    where the policy has no number for one; both name the conversation.
    """
    _check_targets(policy, batch)
    hidden = policy.states(batch.inputs).hidden[batch.rows, batch.columns]
    size = max(1, piece_scores // policy.vocabulary)
    pieces = [
        _piece(policy, part, targets, temperature)
        for part, targets in zip(
            torch.split(hidden, size), torch.split(batch.targets, size), strict=True
        )
    ]
    scores = Scores(*(torch.cat(parts) for parts in zip(*pieces, strict=True)))
    _check_numbers(scores.logprobs, batch)
    return scores


def logprobs_of(
    policy: Policy,
    conversations: Sequence[Conversation],
    *,
    temperature: float = 1.0,
    tokens: int = 16_384,
) -> list[npt.NDArray[np.float32]]:
    """Log-probabilities of each conversation's trained tokens, without gradients.

    Under `policy.as_reference()` these are the reference's.

    Args:
        tokens: Most in one forward pass, padding included.
    """
    found = [np.empty(0, dtype=np.float32) for _ in conversations]
    with torch.no_grad():
        for micro in micro_batches(conversations, tokens=tokens):
            batch = collate(
                conversations, micro.members, policy.encoder.family.eyes, device=policy.device
            )
            values = scored(policy, batch, temperature=temperature).logprobs.cpu().numpy()
            counts = [sum(conversations[member].mask) for member in micro.members]
            parts = np.split(values, np.cumsum(counts)[:-1])
            for member, part in zip(micro.members, parts, strict=True):
                found[member] = part
    return found


def token_logprobs(logits: Tensor, targets: Tensor) -> Tensor:
    """Log-softmax of `logits` (tokens, vocabulary) at `targets`."""
    chosen = logits.gather(-1, targets[:, None]).squeeze(-1)
    return chosen - logits.logsumexp(-1)


def token_entropy(logits: Tensor) -> Tensor:
    """Entropy of the softmax of `logits`, in nats: log Z - sum of p times logit."""
    return logits.logsumexp(-1) - (logits.softmax(-1) * logits).sum(-1)


def _piece(
    policy: Policy, hidden: Tensor, targets: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    def compute(hidden: Tensor) -> tuple[Tensor, Tensor]:
        logits = policy.logits(hidden)
        if temperature != 1:
            logits = logits / temperature
        return token_logprobs(logits, targets), token_entropy(logits)

    if not torch.is_grad_enabled():
        return compute(hidden)
    values: tuple[Tensor, Tensor] = checkpoint(compute, hidden, use_reentrant=False)
    return values


def _check_targets(policy: Policy, batch: Batch) -> None:
    wrong = torch.isin(batch.targets, policy.banned).nonzero().flatten()
    if len(wrong):
        token = int(batch.targets[wrong[0]])
        text = policy.encoder.tokenizer.convert_ids_to_tokens(token)
        raise InputError(
            f"conversation {_member(batch, wrong[0])} is to learn the token {token} ({text!r}), "
            "which the policy never samples",
            hint="Mask it out, or remove special tokens from the answer.",
        )


def _check_numbers(logprobs: Tensor, batch: Batch) -> None:
    wrong = (~logprobs.isfinite()).nonzero().flatten()
    if len(wrong):
        raise ModelError(
            f"the policy's log-probability of a token of conversation {_member(batch, wrong[0])} "
            f"is {logprobs[wrong[0]].item()}",
            hint="The weights have diverged: go back to a checkpoint and lower the learning rate.",
        )


def _member(batch: Batch, token: Tensor) -> int:
    return batch.members[int(batch.rows[token])]
