"""A report as tables of texts, the same for a terminal, for Markdown and for a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from palimpsest.evals.report.records import (
    Cell,
    Comparison,
    Difference,
    Report,
    RunSummary,
    Spending,
)
from palimpsest.evals.statistics import Interval
from palimpsest.memory.receipt import money

ALL = "all"
MEMORIES = {"text": "text memory", "visual": "visual memory", "none": "no memory"}
_NAMED = 5
"""Items that are named of those that could not be paired."""
_REASONS = 8
"""Reasons that are told in a table; the JSON has all."""


class Entry(NamedTuple):
    """A table's entry: what is read, and what it is sorted by."""

    text: str
    value: float | str

    @property
    def is_number(self) -> bool:
        return not isinstance(self.value, str)


class Table(NamedTuple):
    """Entries under headings; the texts are data, to be escaped by whoever writes them out."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    notes: tuple[str, ...] = ()


class Section(NamedTuple):
    """Tables that belong together."""

    title: str
    notes: tuple[str, ...]
    tables: tuple[Table, ...]


def sections(report: Report) -> Iterator[Section]:
    """Each run, then the comparisons."""
    for run in report.runs:
        yield _run_section(run)
    if report.comparisons:
        yield Section(
            "Comparisons",
            (
                "Differences in hundredths, on the items that both runs have, seeds of an item "
                "averaged; p tells how often chance alone would give one as large.",
            ),
            tuple(map(_comparison, report.comparisons)),
        )


def percent(score: Interval) -> str:
    """A mean between 0 and 1 with its interval, in hundredths."""
    return f"{score.mean * 100:.1f} [{score.low * 100:.1f}, {score.high * 100:.1f}]"


def points(difference: Interval) -> str:
    """A difference with its interval, in hundredths."""
    low, high = difference.low * 100, difference.high * 100
    return f"{difference.mean * 100:+.1f} [{low:+.1f}, {high:+.1f}]"


def length_text(length: int | None) -> str:
    """How a length is called."""
    return "as given" if length is None else f"{length:,}"


def budget_text(budget: int | None) -> str:
    """How a budget is called."""
    return "whole" if budget is None else f"{budget:,}"


def _run_section(run: RunSummary) -> Section:
    seeds = ", ".join(map(str, run.seeds))
    notes = [
        f"{run.task}, {run.reader} ({MEMORIES[run.memory]}), model {run.model}, seeds {seeds}",
        f"{run.folder}",
    ]
    if run.pending:
        notes.append(f"nothing is read yet at {', '.join(map(length_text, run.pending))}")
    if not run.cells:
        return Section(run.label, tuple(notes), ())
    tables = [_scores(run), _spending(run)]
    tables += [_categories(run)] if run.categories else []
    tables += [_reasons(run)] if any(spending.reasons for spending in run.spending) else []
    return Section(run.label, tuple(notes), tuple(tables))


def _scores(run: RunSummary) -> Table:
    def row(cell: Cell, length: str) -> tuple[Entry, ...]:
        return (
            Entry(length, _order(cell.length)),
            Entry(budget_text(cell.budget), _order(cell.budget)),
            _count(cell.items),
            _count(cell.readings),
            *(_score(cell, metric) for metric in run.metrics),
        )

    return Table(
        "Scores",
        ("length", "budget", "items", "readings", *run.metrics),
        (
            *(row(cell, length_text(cell.length)) for cell in run.cells),
            *(row(cell, ALL) for cell in run.overall),
        ),
        ("Means in hundredths with 95% bootstrap intervals over items; failures count as 0.",),
    )


def _score(cell: Cell, metric: str) -> Entry:
    score = cell.scores.get(metric)
    if score is None:
        return Entry("", -1.0)
    count = cell.counted[metric]
    of_some = f" (of {count:,})" if count < cell.readings else ""
    return Entry(f"{percent(score)}{of_some}", score.mean)


def _spending(run: RunSummary) -> Table:
    several = len(run.spending) > 1
    lengths = [length_text(spending.length) for spending in run.spending]
    titles = [*lengths[:-1], ALL] if several else lengths
    columns = [dict(_spent(spending)) for spending in run.spending]
    return Table(
        "What it took",
        ("", *titles),
        tuple(
            (Entry(name, name), *(column[name] for column in columns)) for name in columns[0]
        ),
        (
            "Tokens, calls, seconds and money are of all readings together, at all budgets. "
            "Missing are readings that the run has of its items elsewhere and not at this length.",
        ),
    )  # fmt: skip


def _spent(spending: Spending) -> Iterator[tuple[str, Entry]]:
    memory, cost = spending.memory_tokens, spending.cost
    each = None if cost is None else cost / spending.priced
    partly = f" (of {spending.priced:,})" if 0 < spending.priced < spending.readings else ""
    yield "readings", _count(spending.readings)
    yield "failed", _count(spending.failed)
    yield "capped", _count(spending.capped)
    yield "missing", _count(spending.missing)
    yield "source tokens, mean", _count(spending.source_tokens)
    yield "memory tokens, mean", Entry("", -1) if memory is None else _count(memory)
    yield "tokens in", _count(spending.prompt)
    yield "of those cached", _count(spending.cached)
    yield "tokens out", _count(spending.completion)
    yield "calls", _count(spending.calls)
    yield "seconds of the model", Entry(f"{spending.seconds:,.1f}", spending.seconds)
    yield "seconds a reading", _each(spending.seconds / spending.readings)
    yield "money", _UNKNOWN if cost is None else Entry(money(cost) + partly, cost)
    yield "money a reading", _UNKNOWN if each is None else Entry(money(each), each)


_UNKNOWN = Entry("?", -1.0)


def _categories(run: RunSummary) -> Table:
    budgets = list(dict.fromkeys(cell.budget for cell in run.categories))
    rows: list[tuple[Entry, ...]] = []
    for (category, length), cells in groupby(
        run.categories, key=lambda cell: (cell.category, cell.length)
    ):
        found = list(cells)
        name = category or "(none)"
        rows.append(
            (
                Entry(name, name),
                Entry(length_text(length), _order(length)),
                _count(found[0].items),
                *(_score(cell, run.headline) for cell in found),
            )
        )
    titles = (f"at {budget_text(budget)}" for budget in budgets)
    return Table(
        f"By category: {run.headline}", ("category", "length", "items", *titles), tuple(rows)
    )


def _reasons(run: RunSummary) -> Table:
    rows: list[tuple[Entry, ...]] = []
    left_out = 0
    spendings = run.spending[:-1] if len(run.spending) > 1 else run.spending
    for spending in spendings:
        told = list(spending.reasons.items())
        left_out += len(told[_REASONS:])
        rows += [
            (
                Entry(length_text(spending.length), _order(spending.length)),
                _count(count),
                Entry(reason, reason),
            )
            for reason, count in told[:_REASONS]
        ]
    notes = (f"{left_out:,} more reasons are in the JSON.",) if left_out else ()
    return Table("Failures", ("length", "readings", "reason"), tuple(rows), notes)


def _comparison(comparison: Comparison) -> Table:
    found = (*comparison.differences, *comparison.overall)
    metrics = list(dict.fromkeys(name for difference in found for name in difference.scores))
    kind = " (visual against text memory)" if comparison.visual_against_text else ""
    return Table(
        f"{comparison.run} minus {comparison.baseline}{kind}",
        ("length", "budget", "items", *_titles(metrics)),
        (
            *(_difference(one, length_text(one.length), metrics) for one in comparison.differences),
            *(_difference(one, ALL, metrics) for one in comparison.overall),
        ),
        tuple(_pairing_notes(comparison)),
    )


def _difference(one: Difference, length: str, metrics: Sequence[str]) -> tuple[Entry, ...]:
    budget = budget_text(one.budget)
    if one.budget != one.baseline_budget:
        budget += f" against {budget_text(one.baseline_budget)}"
    return (
        Entry(length, _order(one.length)),
        Entry(budget, _order(one.budget)),
        _count(one.items),
        *(entry for metric in metrics for entry in _difference_in(one, metric)),
    )


def _difference_in(one: Difference, metric: str) -> tuple[Entry, Entry]:
    if metric not in one.scores:
        return Entry("", -1.0), Entry("", -1.0)
    score, p_value = one.scores[metric], one.p_values[metric]
    return Entry(points(score), score.mean), Entry(f"{p_value:.3g}", p_value)


def _titles(metrics: Sequence[str]) -> Iterator[str]:
    for metric in metrics:
        yield from (metric, "p")


def _pairing_notes(comparison: Comparison) -> Iterator[str]:
    unshared = comparison.unshared
    if not any(one.scores for one in comparison.differences):
        yield "They share no item at an equal length and budget."
    for ids, what in (
        (unshared.only_run, f"only in {comparison.run}"),
        (unshared.only_baseline, f"only in {comparison.baseline}"),
        (unshared.unlike, "with another question or other answers"),
    ):
        if ids:
            more = ", ..." if len(ids) > _NAMED else ""
            yield f"{len(ids):,} {what}: {', '.join(ids[:_NAMED])}{more}"


def _order(number: int | None) -> float:
    return float("inf") if number is None else number


def _count(number: float) -> Entry:
    return Entry(f"{number:,.0f}", number)


def _each(number: float) -> Entry:
    return Entry(f"{number:,.1f}", number)
