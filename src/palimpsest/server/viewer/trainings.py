"""Training runs: the numbers of the log as lines, and the rollouts of each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from palimpsest.errors import InputError
from palimpsest.server.viewer.library import Entry
from palimpsest.training.logbook import Line, read_log
from palimpsest.training.transcripts import read_transcript, transcript_file, transcript_steps

MOST_POINTS = 1000
"""Of a line; of more, every so many-th is given, and the last."""
_CUT = 400

Occasion = Literal["step", "held-out"]
_TEXTS = ("role", "step", "task", "prompt", "text", "finish", "prompt_tokens", "tokens",
          "advantage", "state_reward", "trained")  # fmt: skip


def told_training(entry: Entry) -> dict[str, Any]:
    """The run's lines by the names of their numbers. Raises `InputError`."""
    lines = read_log(entry.path)
    names = sorted({name for line in lines for name in line.values})
    return {
        "id": entry.id,
        "name": entry.name,
        "steps": max((line.step for line in lines), default=0),
        "lines": len(lines),
        "phases": _phases(lines),
        "series": {name: _series(lines, name) for name in names},
        "rollouts": {
            occasion: transcript_steps(entry.path, occasion)
            for occasion in ("step", "held-out")
        },
    }  # fmt: skip


def told_rollouts(entry: Entry, occasion: Occasion, step: int) -> dict[str, Any]:
    """The rollouts of a step, without their conversations."""
    return {
        "occasion": occasion,
        "step": step,
        "rollouts": [
            {
                "n": number,
                "group": line.get("group"),
                "number": line.get("number"),
                "reward": line.get("reward"),
                "scores": line.get("scores", {}),
                "nodes": line.get("nodes"),
                "answer": str(line.get("answer") or "")[:_CUT],
                "expected": line.get("expected"),
                "failure": str(line.get("failure") or "")[:_CUT],
                "dropped": bool(line.get("dropped")),
                "details": line.get("details", {}),
                "conversations": len(line.get("conversations", ())),
            }
            for number, line in enumerate(_lines(entry, occasion, step))
        ],
    }


def told_rollout(entry: Entry, occasion: Occasion, step: int, number: int) -> dict[str, Any]:
    """What was said in a rollout. Raises `InputError` where there is none of that number."""
    lines = _lines(entry, occasion, step)
    if not 0 <= number < len(lines):
        raise InputError(f"there is no rollout {number}", hint=f"the step has {len(lines)}")
    said = lines[number].get("conversations", ())
    return {
        "answer": str(lines[number].get("answer") or ""),
        "conversations": [{name: one.get(name) for name in _TEXTS} for one in said],
    }


def _lines(entry: Entry, occasion: Occasion, step: int) -> list[dict[str, Any]]:
    if step not in transcript_steps(entry.path, occasion):
        raise InputError(f"no rollouts of step {step} are kept", hint="name another step")
    return read_transcript(transcript_file(entry.path, occasion, step))


def _phases(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Where each phase begins."""
    found: list[dict[str, Any]] = []
    for line in lines:
        if not found or found[-1]["phase"] != line.phase:
            found.append({"phase": line.phase, "step": line.step})
    return found


def _series(lines: Sequence[Line], name: str) -> list[tuple[int, float]]:
    points = [(line.step, line.values[name]) for line in lines if name in line.values]
    stride = -(-len(points) // MOST_POINTS)
    return points if stride <= 1 else [*points[:-1][::stride], points[-1]]
