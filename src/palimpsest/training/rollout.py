"""What training learns from: the conversations of one run of an agent, token by token.

A rollout is one try at one item. Its conversations are independent of each other, as the model
saw them: a draft for each chunk, a turn for each question to the memory. What was sampled is kept
as token ids with the sampler's own log-probabilities, so that nothing is tokenised twice.

Both trainers, the embedded one and verl's, take their rollouts in this form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from palimpsest.models.model import FinishReason


@dataclass(frozen=True)
class Conversation:
    """One training sequence: a prompt, and what the policy answered to it.

    With tool calls one conversation has several answers: what stands between them belongs to
    `response_ids` too and is masked out.
    """

    role: str
    """The turn's role: draft, read, final, decompose, ..."""
    prompt_ids: tuple[int, ...]
    """Image placeholders expanded, one for each visual token."""
    response_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """Of the sampler at the temperature it sampled with, one for each response token; 0 where
    `mask` is False."""
    mask: tuple[bool, ...]
    """Which response tokens the policy wrote itself, and is trained on."""
    images: tuple[bytes, ...] = ()
    """PNG, in the order of their placeholders; both sides are multiples of the cell."""
    finish: FinishReason = "stop"
    step: int = 0
    """Its place among the rollout's conversations of its role: drafts count chunks."""
    task: str = ""
    """The objective it answers for (standard, low_budget, cloze); empty for a conversation that
    works for all of them, as drafts do."""
    state_reward: float | None = None
    """Its own reward, for credit by steps; None where there is none."""
    trained: bool = True
    """False for what is recorded and not learnt from."""


@dataclass(frozen=True)
class Rollout:
    """One try at one item, by one agent. A failed one is data: its scores are 0."""

    group: str
    """The item's id: rollouts of one group are compared with each other."""
    number: int
    """Among the group's."""
    conversations: tuple[Conversation, ...]
    scores: Mapping[str, float]
    """The reward of each objective, 0 to 1; {"standard": 1.0} where there is one."""
    nodes: int = 1
    """Readings of the source: 1 and its rereads."""
    answer: str = ""
    failure: str = ""
    """Why it has no answer; empty for one that has."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What else is worth logging, as numbers and texts."""
