"""Evaluation runs as tables that are filtered, sorted and paged here, and as lines of a curve."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from palimpsest.evals.report.lines import Panel, against_budget, against_length
from palimpsest.evals.report.records import RunSummary
from palimpsest.evals.report.summary import metrics_of, score_of, scored_at, summarize
from palimpsest.evals.run import CONFIG_FILE, RESULTS_FILE, ItemResult, Run, load_run
from palimpsest.server.viewer.library import Entry, reading_of_run

RIGHT = 0.5
"""A score from which on an answer counts as right in the filter; tables show the score itself."""
_KEPT = 8
_CUT = 600
"""Characters of a text in a table."""

Show = Literal["all", "wrong", "right", "failed", "partial"]
Column = Literal[
    "order", "id", "length", "seed", "category", "status", "score", "tokens", "seconds", "cost",
    "calls", "memory_tokens",
]  # fmt: skip


class Choice(BaseModel):
    """Which items of a run are shown, and in which order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    show: Show = "all"
    budget: str = ""
    """As `budget_key` names it; the first of the run by default."""
    length: str = ""
    """As `budget_key` names it; all by default."""
    category: str = ""
    q: str = Field("", max_length=400)
    """Words in the id, the question, an accepted answer or a prediction."""
    sort: Column = "order"
    descending: bool = False
    offset: int = Field(0, ge=0)
    limit: int = Field(100, ge=1, le=200)


class Runs:
    """The runs that were opened last, and what was worked out of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: OrderedDict[Path, tuple[tuple[int, ...], Run]] = OrderedDict()
        self._summaries: dict[Path, tuple[tuple[int, ...], RunSummary]] = {}

    def open(self, entry: Entry) -> Run:
        """The run as its files have it now. Raises `InputError` for one that is damaged."""
        stamp = _stamp(entry.path)
        with self._lock:
            known = self._runs.get(entry.path)
            if known is None or known[0] != stamp:
                self._runs[entry.path] = known = stamp, load_run(entry.path)
            self._runs.move_to_end(entry.path)
            while len(self._runs) > _KEPT:
                self._summaries.pop(self._runs.popitem(last=False)[0], None)
            return known[1]

    def summary(self, entry: Entry) -> RunSummary:
        """Its scores with intervals: a second or more where there are many items."""
        stamp = _stamp(entry.path)
        known = self._summaries.get(entry.path)
        if known is None or known[0] != stamp:
            known = stamp, summarize(self.open(entry), entry.name)
            self._summaries[entry.path] = known
        return known[1]


def glance_run(folder: Path) -> dict[str, Any]:
    """What a list shows of a run, from its configuration alone."""
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"status": "damaged"}
    return {name: str(config.get(name, "")) for name in ("task", "reader", "model")}


def told_run(entry: Entry, run: Run) -> dict[str, Any]:
    """What a run was asked, and what its items can be filtered by."""
    headline, metrics = metrics_of(run)
    results = run.results
    return {
        "id": entry.id,
        "name": entry.name,
        "config": run.config.model_dump(mode="json"),
        "headline": headline,
        "metrics": metrics,
        "budgets": [budget_key(one) for one in run.config.budgets],
        "lengths": [budget_key(one) for one in dict.fromkeys(r.length for r in results)],
        "categories": sorted({result.category for result in results}),
        "readings": len(results),
        "items": len({result.id for result in results}),
        "failed": sum(result.status == "failed" for result in results),
        "partial": sum(result.status == "partial" for result in results),
    }


def budget_key(number: int | None) -> str:
    """A budget or a length in a request: `none` for a memory read whole, or a context as given."""
    return "none" if number is None else str(number)


def chosen_items(entry: Entry, run: Run, choice: Choice, known: set[str]) -> dict[str, Any]:
    """One page of the items. `known` are the ids of the readings that can be shown."""
    headline, _ = metrics_of(run)
    budget = _budget(run, choice.budget)
    scores = {result.key: score_of(result, budget, headline) for result in run.results}
    found = [one for one in run.results if _matches(one, choice, scores[one.key])]
    shown = _sorted(found, choice, scores)[choice.offset : choice.offset + choice.limit]
    return {
        "budget": budget_key(budget),
        "matching": len(found),
        "readings": len(run.results),
        "offset": choice.offset,
        "rows": [_row(entry, run, one, headline, budget, known) for one in shown],
    }


def _matches(result: ItemResult, choice: Choice, score: float | None) -> bool:
    right = (score or 0.0) >= RIGHT
    return (
        {
            "all": True,
            "wrong": not right,
            "right": right,
            "failed": result.status == "failed",
            "partial": result.status == "partial",
        }[choice.show]
        and (not choice.length or budget_key(result.length) == choice.length)
        and (not choice.category or result.category == choice.category)
        and _has_words(result, choice.q)
    )


def _has_words(result: ItemResult, wanted: str) -> bool:
    words = wanted.casefold().split()
    if not words:
        return True
    texts = (
        result.id, result.question, result.reason, *result.accepted,
        *(answer.prediction for answer in result.answers),
    )  # fmt: skip
    text = "\n".join(texts).casefold()
    return all(word in text for word in words)


_KEYS: dict[Column, Callable[[ItemResult], Any]] = {
    "id": lambda one: one.id,
    "length": lambda one: one.length,
    "seed": lambda one: one.seed,
    "category": lambda one: one.category,
    "status": lambda one: one.status,
    "tokens": lambda one: one.prompt + one.completion,
    "seconds": lambda one: one.seconds,
    "cost": lambda one: one.cost,
    "calls": lambda one: one.calls,
    "memory_tokens": lambda one: one.memory_tokens,
}


def _sorted(
    results: Sequence[ItemResult], choice: Choice, scores: dict[str, float | None]
) -> list[ItemResult]:
    """In order of the column, what has no value last whichever way."""
    if choice.sort == "order":
        return list(reversed(results)) if choice.descending else list(results)
    value: Callable[[ItemResult], Any] = (
        (lambda one: scores[one.key]) if choice.sort == "score" else _KEYS[choice.sort]
    )
    having = [one for one in results if value(one) is not None]
    lacking = [one for one in results if value(one) is None]
    return sorted(having, key=value, reverse=choice.descending) + lacking


def _row(
    entry: Entry, run: Run, result: ItemResult, headline: str, budget: int | None, known: set[str]
) -> dict[str, Any]:
    reading = reading_of_run(entry, result.reading).id if result.reading else ""
    return {
        "id": result.id,
        "category": result.category,
        "length": result.length,
        "seed": result.seed,
        "question": _cut(result.question),
        "accepted": [_cut(one) for one in result.accepted[:8]],
        "status": result.status,
        "reason": _cut(result.reason),
        "score": score_of(result, budget, headline),
        "prediction": _cut(scored_at(result, budget).prediction),
        "answers": [
            {
                "budget": one,
                "prediction": _cut(scored_at(result, one).prediction),
                "scores": scored_at(result, one).scores,
            }
            for one in run.config.budgets
        ],
        "tokens": result.prompt + result.completion,
        "source_tokens": result.source_tokens,
        "memory_tokens": result.memory_tokens,
        "calls": result.calls,
        "seconds": result.seconds,
        "cost": result.cost,
        "reading": reading if reading in known else "",
    }


def curves(summaries: Sequence[RunSummary], against: str, metric: str | None) -> dict[str, Any]:
    """The lines of some runs. Raises `InputError` for a metric that none has."""
    draw = against_length if against == "length" else against_budget
    panels: Iterable[Panel] = draw(list(summaries), metric=metric)
    return {
        "panels": [
            {
                "title": panel.title,
                "x": panel.x_label,
                "y": panel.y_label,
                "lines": [
                    {
                        "label": line.label,
                        "memory": line.memory,
                        "colour": line.colour,
                        "points": [
                            {"x": point.x, "name": point.name, **point.score._asdict()}
                            for point in line.points
                        ],
                    }
                    for line in panel.lines
                ],
            }
            for panel in panels
        ]
    }


def _budget(run: Run, key: str) -> int | None:
    known = {budget_key(one): one for one in run.config.budgets}
    return known.get(key, run.config.budgets[0])


def _cut(text: str) -> str:
    return text if len(text) <= _CUT else f"{text[: _CUT - 1]}…"


def _stamp(folder: Path) -> tuple[int, ...]:
    """Of the files of a run: another one where there is more."""
    stamp: list[int] = []
    for name in (CONFIG_FILE, RESULTS_FILE):
        try:
            told = (folder / name).stat()
        except FileNotFoundError:
            continue
        stamp += [told.st_mtime_ns, told.st_size]
    return tuple(stamp)
