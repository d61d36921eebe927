"""One batch of answers: prompts padded on the left, written token by token with a cache.

The loop is our own, and not the library's `generate`: each row has its temperature, its nucleus,
its chance and its limit, and its log-probabilities are those that the update will compute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from palimpsest.errors import ModelError
from palimpsest.training.batching import model_inputs
from palimpsest.training.drawing import chances, drawn
from palimpsest.training.encoding import Prompt
from palimpsest.training.logprobs import token_logprobs
from palimpsest.training.policy import Policy


class Request(NamedTuple):
    """One answer to write."""

    prompt: Prompt
    max_tokens: int
    temperature: float
    top_p: float
    key: bytes
    """Decides its chance."""


@dataclass
class Written:
    """An answer as it grows."""

    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    """At the sampling temperature, and at 1 where the most probable token is taken."""
    ended: bool = False
    """Whether it came to an end of its own."""


@torch.no_grad()
def written(policy: Policy, requests: Sequence[Request]) -> list[Written]:
    """An answer to each request. Raises `ModelError` where the policy has no number for a token."""
    answers = [Written() for _ in requests]
    running = _Running(policy, requests)
    while running.rows:
        tokens, logprobs = running.next()
        for row, token, logprob in zip(running.rows, tokens, logprobs, strict=True):
            answers[row].ids.append(token)
            answers[row].logprobs.append(logprob)
            answers[row].ended = token in policy.encoder.ends
        running.keep([not _is_done(answers[row], requests[row]) for row in running.rows])
    return answers


def _is_done(answer: Written, request: Request) -> bool:
    return answer.ended or len(answer.ids) >= request.max_tokens


class _Running:
    """The rows of a batch that still write, and the state of the model for them."""

    def __init__(self, policy: Policy, requests: Sequence[Request]) -> None:
        self._policy = policy
        device = policy.device
        inputs = model_inputs(
            [request.prompt for request in requests],
            policy.encoder.family.eyes,
            side="left",
            device=device,
        )
        seeing = policy.encoder.family.eyes is not None
        self.rows = list(range(len(requests)))
        self._chance = torch.as_tensor(_chances(requests), device=device)
        self._temperatures = _column([request.temperature for request in requests], device)
        self._top_ps = _column([request.top_p for request in requests], device)
        self._mask = inputs["attention_mask"]
        self._places = inputs["position_ids"].amax(dim=(0, -1) if seeing else -1)
        self._inputs = inputs
        self._cache: Any = None

    def next(self) -> tuple[list[int], list[float]]:
        """The next token of each row, and its log-probability."""
        states = self._policy.states(self._inputs, cache=self._cache)
        self._cache = states.cache
        logits = self._policy.logits(states.hidden[:, -1])
        if not bool(logits.isfinite().all()):
            raise ModelError(
                "the policy's scores for the next token are no numbers",
                hint="The weights have diverged: go back to a checkpoint and lower the learning "
                "rate.",
            )
        tokens = drawn(logits, self._temperatures, self._top_ps, self._chance[:, 0])
        warm = torch.where(self._temperatures > 0, self._temperatures, 1).float()
        logprobs = token_logprobs(logits / warm[:, None], tokens)
        self._go_on(tokens)
        return tokens.tolist(), logprobs.tolist()

    def keep(self, going: Sequence[bool]) -> None:
        """Drops the rows that are done, so that the rest goes on faster."""
        if all(going):
            return
        kept = [place for place, on in enumerate(going) if on]
        self.rows = [self.rows[place] for place in kept]
        if not kept:
            return
        chosen = torch.tensor(kept, device=self._mask.device)
        self._chance, self._mask = self._chance[chosen], self._mask[chosen]
        self._temperatures, self._top_ps = self._temperatures[chosen], self._top_ps[chosen]
        self._places = self._places[chosen]
        self._cache.batch_select_indices(chosen)
        self._inputs = self._inputs_of(self._inputs["input_ids"][chosen])

    def _go_on(self, tokens: Tensor) -> None:
        self._places = self._places + 1
        self._chance = self._chance[:, 1:]
        self._mask = torch.cat([self._mask, torch.ones_like(self._mask[:, :1])], dim=1)
        self._inputs = self._inputs_of(tokens[:, None])

    def _inputs_of(self, ids: Tensor) -> dict[str, Tensor]:
        places = self._places[:, None]
        if self._policy.encoder.family.eyes:
            places = places.expand(3, *places.shape)
        return {"input_ids": ids, "attention_mask": self._mask, "position_ids": places}


def _chances(requests: Sequence[Request]) -> npt.NDArray[np.float64]:
    """Rows of equal length; what lies past a row's own limit is never used."""
    table = np.zeros((len(requests), max(request.max_tokens for request in requests)))
    for row, request in zip(table, requests, strict=True):
        row[: request.max_tokens] = chances(request.key, request.max_tokens)
    return table


def _column(values: Sequence[float], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, device=device)
