"""Rollouts as verl keeps them: a row for each conversation, and back.

A row holds the tokens of one conversation. What credit needs to know besides stands in a record
beside it, so that the rollouts of a step can be made again from its rows, without their texts.
A rollout of which nothing is learnt has a row without trained tokens: its score still counts in
its group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from palimpsest.training.credit import Values
from palimpsest.training.crediting import credited
from palimpsest.training.recipe import Recipe
from palimpsest.training.rollout import Conversation, Rollout

Record = Mapping[str, Any]
"""Numbers and texts, as they go from one process to another."""


class Row(NamedTuple):
    """A conversation of a rollout; None where it is there for its rollout's score alone."""

    conversation: Conversation | None
    record: Record


class Session(NamedTuple):
    """A rollout made again, without its texts, and the keys of its rows in their order."""

    rollout: Rollout
    keys: tuple[str, ...]


def rows_of(rollout: Rollout) -> list[Row]:
    """A row for each conversation that is learnt from, or a single one where there is none."""
    whole: dict[str, Any] = {
        "number": rollout.number,
        "scores": dict(rollout.scores),
        "nodes": rollout.nodes,
        "failure": rollout.failure,
    }
    learnt = [one for one in rollout.conversations if one.trained and any(one.mask)]
    return [Row(one, whole | of_conversation(one)) for one in learnt] or [Row(None, whole)]


def sessions_of(records: Mapping[str, Record]) -> list[Session]:
    """The rollouts whose rows these are, by verl's keys: group, number in it, place of the row."""
    parts = sorted((*_parts(key), key) for key in records)
    found: dict[tuple[str, int], list[str]] = {}
    for group, number, _, key in parts:
        found.setdefault((group, number), []).append(key)
    return [
        Session(_rollout(group, [records[key] for key in keys]), tuple(keys))
        for (group, _), keys in found.items()
    ]


def advantages_of(sessions: Sequence[Session], recipe: Recipe) -> dict[str, float]:
    """The advantage of each row, by its key: those that the embedded trainer would give."""
    rollouts = [session.rollout for session in sessions]
    values = credited(rollouts, recipe.credit, recipe.weights, recipe.loss.overlong)
    return {
        key: float(value)
        for session, own in zip(sessions, values, strict=True)
        for key, value in zip(session.keys, _of_rows(session, own), strict=True)
    }


def _of_rows(session: Session, values: Values) -> Sequence[float]:
    return list(values) if session.rollout.conversations else [0.0]


def of_conversation(one: Conversation) -> dict[str, Any]:
    """What a record says of its conversation alone."""
    return {
        "role": one.role,
        "step": one.step,
        "task": one.task,
        "state_reward": one.state_reward,
        "tokens": sum(one.mask),
        "cut": one.finish == "length",
    }


def _parts(key: str) -> tuple[str, int, int]:
    group, number, place = key.rsplit("_", 2)
    return group, int(number), int(place)


def _rollout(group: str, records: Sequence[Record]) -> Rollout:
    first = records[0]
    return Rollout(
        group=group,
        number=first["number"],
        conversations=tuple(_conversation(one) for one in records if "role" in one),
        scores=first["scores"],
        nodes=first["nodes"],
        failure=first["failure"],
    )


def _conversation(record: Record) -> Conversation:
    return Conversation(
        role=record["role"],
        prompt_ids=(),
        response_ids=(),
        logprobs=(),
        mask=(True,) * record["tokens"],
        finish="length" if record["cut"] else "stop",
        step=record["step"],
        task=record["task"],
        state_reward=record["state_reward"],
    )
