"""What plots show, before anything is drawn: the lines of each panel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, TypeVar

from palimpsest.errors import InputError
from palimpsest.evals.report.records import MemoryKind, RunSummary, Spending
from palimpsest.evals.report.tables import budget_text, length_text
from palimpsest.evals.statistics import Interval

_T = TypeVar("_T")

Against = Literal["budget", "length"]
CostKind = Literal["tokens", "money"]

Costs = Mapping[tuple[str, int | None, int | None], float]
"""By the label of a run, length and budget."""


class Point(NamedTuple):
    """A score at a place of the axis; None for what has none, as a memory that is read whole."""

    x: float | None
    score: Interval
    cost: float | None
    name: str
    """What the point is called where it is not told by its place."""


class Line(NamedTuple):
    """One run in a panel."""

    label: str
    memory: MemoryKind
    points: tuple[Point, ...]
    colour: int
    """Number of the run among all, so that it keeps its colour from panel to panel."""


class Panel(NamedTuple):
    """Lines over one axis."""

    title: str
    x_label: str
    y_label: str
    cost_label: str
    lines: tuple[Line, ...]


def against_budget(
    runs: Sequence[RunSummary], costs: Costs | None = None, metric: str | None = None
) -> list[Panel]:
    """Scores over budgets, a panel for each task and length. Costs are tokens read to answer."""
    return [
        Panel(
            f"{task}, {length_text(length)}" + (" tokens" if length else ""),
            "budget (tokens of memory)",
            name,
            "tokens read to answer",
            tuple(
                Line(run.label, run.memory, tuple(found), runs.index(run))
                for run in of_task
                if (found := list(_over_budgets(run, length, name, costs or {})))
            ),
        )
        for task, of_task, name in _tasks(runs, metric)
        for length in _distinct(cell.length for run in of_task for cell in run.cells)
    ]


def against_length(
    runs: Sequence[RunSummary], kind: CostKind | None = None, metric: str | None = None
) -> list[Panel]:
    """Scores over lengths, a panel for each task and budget. Costs are of a reading in all."""
    label = "US dollars a reading" if kind == "money" else "tokens a reading, in and out"
    return [
        Panel(
            f"{task}, budget {budget_text(budget)}",
            "length (tokens of context)",
            name,
            label,
            tuple(
                Line(run.label, run.memory, tuple(found), runs.index(run))
                for run in of_task
                if (found := list(_over_lengths(run, budget, name, kind)))
            ),
        )
        for task, of_task, name in _tasks(runs, metric)
        for budget in _distinct(cell.budget for run in of_task for cell in run.cells)
    ]


def against_cost(runs: Sequence[RunSummary]) -> list[Panel]:
    """Scores over what a reading took in all, a panel for each task and budget: money where all
    runs of the task have a price, else tokens. A run has a point for each length."""
    colours = {run.label: number for number, run in enumerate(runs)}
    return [
        panel._replace(
            x_label=panel.cost_label,
            lines=tuple(
                line._replace(
                    points=tuple(point._replace(x=point.cost, cost=None) for point in line.points),
                    colour=colours[line.label],
                )
                for line in panel.lines
            ),
        )
        for task in _distinct(run.task for run in runs)
        for panel in against_length(_of_task(runs, task), _priced(_of_task(runs, task)))
    ]


def _of_task(runs: Sequence[RunSummary], task: str) -> list[RunSummary]:
    return [run for run in runs if run.task == task]


def _priced(runs: Sequence[RunSummary]) -> CostKind:
    known = all(spending.cost for run in runs for spending in run.spending)
    return "money" if known else "tokens"


def _over_budgets(
    run: RunSummary, length: int | None, metric: str, costs: Costs
) -> Iterator[Point]:
    for cell in run.cells:
        if cell.length == length and metric in cell.scores:
            cost = costs.get((run.label, length, cell.budget))
            yield Point(cell.budget, cell.scores[metric], cost, budget_text(cell.budget))


def _over_lengths(
    run: RunSummary, budget: int | None, metric: str, kind: CostKind | None
) -> Iterator[Point]:
    for cell in run.cells:
        spending = _spending(run, cell.length)
        if cell.budget == budget and metric in cell.scores and spending:
            cost = _each(spending, kind) if kind else None
            x = cell.length or spending.source_tokens
            yield Point(x, cell.scores[metric], cost, length_text(cell.length))


def _spending(run: RunSummary, length: int | None) -> Spending | None:
    return next((one for one in run.spending if one.length == length), None)


def _each(spending: Spending, kind: CostKind) -> float | None:
    """What a reading took, on average."""
    if kind == "tokens":
        return (spending.prompt + spending.completion) / spending.readings
    return None if spending.cost is None else spending.cost / spending.priced


def _tasks(
    runs: Sequence[RunSummary], metric: str | None
) -> Iterator[tuple[str, list[RunSummary], str]]:
    """Each task with its runs and the metric that is shown of them."""
    known = _distinct(name for run in runs for name in run.metrics)
    if metric is not None and metric not in known:
        raise InputError(
            f"no run has the metric {metric!r}", hint=f"give one of {', '.join(known)}"
        )
    for task in _distinct(run.task for run in runs):
        of_task = [run for run in _of_task(runs, task) if run.cells]
        if of_task:
            yield task, of_task, metric or of_task[0].headline


def _distinct(values: Iterator[_T]) -> list[_T]:
    return list(dict.fromkeys(values))
