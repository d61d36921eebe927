"""What verl writes of a run, in the shape of the embedded trainer's log and rollouts.

    RUN/log/after-N.jsonl               numbers, a line for each step; a file for each start
    RUN/written/training/12.jsonl       what was learnt from in a step, a line for each conversation
    RUN/written/held-out/12.jsonl       the evaluation after step 12

verl keeps no groups that were left out of a step. What is not kept is null here. Nothing of this
needs verl.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

LOG = "log"
WRITTEN = "written"
FOLDERS: Mapping[Literal["step", "held-out"], str] = {"step": "training", "held-out": "held-out"}
"""Of what was written, by its occasion."""
RECORD = "record"
"""The column of `record_text`."""

_START = "after-"
_OWN = frozenset({"score", "step", "reward", "failed", "nodes", "advantage"})
"""Columns of numbers that are no score of a task."""
_PADDING = "pad"
"""How verl begins the group of rows that only make up the number."""
_NAMES = {
    "palimpsest/reward": "reward/reward",
    "palimpsest/failed": "written/failed",
    "palimpsest/nodes": "written/nodes",
    "palimpsest/rollouts": "batch/rollouts",
    "palimpsest/advantage": "batch/advantage",
    "palimpsest/updates": "update/count",
    "actor/loss": "loss/total",
    "actor/pg_loss": "loss/policy",
    "actor/kl_loss": "loss/kl",
    "actor/entropy": "loss/entropy",
    "actor/grad_norm": "update/gradient_norm",
    "actor/lr": "update/learning_rate",
}
"""The embedded trainer's names of what verl's mean, too."""
_FAMILIES = {"palimpsest/reward/": "reward/", "val-core/": "held_out/"}

_FINISH: Mapping[bool | None, str] = {True: "length", False: "stop"}

Row = Mapping[str, Any]


def written_folder(run: Path, occasion: Literal["step", "held-out"]) -> Path:
    """Where verl writes rollouts."""
    return run / WRITTEN / FOLDERS[occasion]


def log_file(run: Path, started_at: int) -> Path:
    """verl's log of one stretch of a run, since it begins each anew."""
    return run / LOG / f"{_START}{started_at}.jsonl"


def log_starts(run: Path) -> list[int]:
    """The steps after which a run was started and has logged, ascending."""
    names = (file.stem.removeprefix(_START) for file in (run / LOG).glob(f"{_START}*.jsonl"))
    return sorted(int(name) for name in names if name.isdecimal())


def logged(run: Path) -> dict[int, dict[str, float]]:
    """The numbers of each step. A step that a later start did again has those of the later one."""
    steps: dict[int, dict[str, float]] = {}
    for start in log_starts(run):
        # Of the last line there may be a part.
        for text in log_file(run, start).read_text(encoding="utf-8").split("\n")[:-1]:
            line = json.loads(text)
            step = line["step"]
            # At its beginning a start may ask the held-out questions, which is no step of its own.
            before = steps.get(step, {}) if step <= start else {}
            steps[step] = before | _numbers(line["data"])
    return dict(sorted(steps.items()))


def record_text(answer: str, failure: str, conversations: Sequence[Mapping[str, Any]]) -> str:
    """What is worth keeping of a rollout besides numbers, in one column.

    It is text, since verl takes means of all else, and ASCII, since a half of a pair of surrogates
    would end verl's writing.

    Args:
        conversations: Of each that has a row, what its record says of it alone.
    """
    told = {"answer": answer, "failure": failure, "conversations": list(conversations)}
    return json.dumps(told, default=str)


def rollouts_of(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Rollouts out of verl's rows, which hold a conversation each."""
    found: dict[tuple[str, int], list[tuple[int, Row]]] = {}
    for row in rows:
        group, number, place = row["uid"].rsplit("_", 2)
        if not group.startswith(_PADDING):
            found.setdefault((group, int(number)), []).append((int(place), row))
    return [
        _rollout(group, number, sorted(placed, key=lambda one: one[0]))
        for (group, number), placed in found.items()
    ]


def _rollout(group: str, number: int, placed: Sequence[tuple[int, Row]]) -> dict[str, Any]:
    first = placed[0][1]
    record = json.loads(first.get(RECORD) or "{}")
    known = dict(enumerate(record.get("conversations", ())))
    scores = {name: _number(first[name]) for name in first if _is_score(name, first[name])}
    return {
        "group": group,
        "number": number,
        "reward": _number(first["score"]),
        "scores": scores,
        "nodes": first.get("nodes"),
        "answer": record.get("answer"),
        "failure": record.get("failure"),
        "details": {},
        "expected": first["gts"],
        "conversations": [
            _said(row, known.get(place, {}))
            for place, row in placed
            # A rollout of which nothing is learnt has an empty row, for its score.
            if row["input"] or row["output"]
        ],
    }


def _said(row: Row, record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "role": record.get("role"),
        "step": record.get("step"),
        "task": record.get("task"),
        "prompt": row["input"],
        "text": row["output"],
        "finish": _FINISH.get(record.get("cut")),
        "prompt_tokens": None,
        "tokens": record.get("tokens"),
        "advantage": row.get("advantage"),
        "state_reward": _number(record.get("state_reward")),
        # What is not learnt from has no row.
        "trained": True,
    }


def _is_score(name: str, value: Any) -> bool:  # noqa: ANN401
    return name not in _OWN and isinstance(value, int | float)


def _numbers(data: Mapping[str, Any]) -> dict[str, float]:
    return {
        _name(name): value
        for name, value in data.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


def _name(name: str) -> str:
    for theirs, ours in _FAMILIES.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return _NAMES.get(name, name)


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
