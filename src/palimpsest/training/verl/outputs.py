"""A rollout in the form that verl's trainer takes it in: outputs of an agent loop."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics, AgentLoopOutput

from palimpsest.training.crediting import reward_of
from palimpsest.training.rollout import Conversation, Rollout
from palimpsest.training.verl.records import Row, of_conversation, rows_of
from palimpsest.training.verl.served import ServedModel, picture
from palimpsest.training.verl.written import RECORD as WRITTEN_RECORD
from palimpsest.training.verl.written import record_text

RECORD = "palimpsest"
"""Where the record of a row stands in verl's `extra_fields`."""
TOLD = "reward_extra_info"
"""Where what is written down with a rollout stands there."""
_EMPTY = 127
"""Tokens of the prompt of a row that nothing is learnt from: as many as verl's own have."""


def outputs_of(
    rollout: Rollout, weights: Mapping[str, float], model: ServedModel, *, step: int, end: int
) -> list[AgentLoopOutput]:
    """An output for each row of the rollout.

    Args:
        step: Of the trainer, for a rollout without an answer of a server.
        end: A token for a row that nothing is learnt from.
    """
    rows = rows_of(rollout)
    whole = {
        TOLD: _told(rollout, rows),
        "min_global_steps": min(model.versions, default=step),
        "max_global_steps": max(model.versions, default=step),
    }
    reward = _number(reward_of(rollout, weights))
    return [_output(row, reward, whole, model.seconds, end) for row in rows]


def _output(
    row: Row, reward: float, whole: Mapping[str, Any], seconds: float, end: int
) -> AgentLoopOutput:
    one = row.conversation or Conversation(
        role="", prompt_ids=(end,) * _EMPTY, response_ids=(end,), logprobs=(0.0,), mask=(False,)
    )
    return AgentLoopOutput(
        prompt_ids=list(one.prompt_ids),
        response_ids=list(one.response_ids),
        response_mask=[int(own) for own in one.mask],
        response_logprobs=list(one.logprobs),
        multi_modal_data={"images": [picture(png) for png in one.images]} if one.images else {},
        reward_score=reward,
        num_turns=2,
        metrics=AgentLoopMetrics(generate_sequences=seconds),
        extra_fields={**whole, RECORD: dict(row.record)},
    )


def _told(rollout: Rollout, rows: Sequence[Row]) -> dict[str, float | str]:
    """What verl's evaluation writes down with a rollout, by name; it averages the numbers."""
    return {
        **{task: _number(score) for task, score in rollout.scores.items()},
        "failed": float(bool(rollout.failure)),
        "nodes": float(rollout.nodes),
        WRITTEN_RECORD: record_text(
            rollout.answer,
            rollout.failure,
            [of_conversation(row.conversation) for row in rows if row.conversation],
        ),
    }


def _number(score: float) -> float:
    """verl knows no unknown score: it counts 0 in means, and in our credit it is left out."""
    return score if math.isfinite(score) else 0.0
