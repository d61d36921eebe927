"""Runs against each other, item by item, on the items that they share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import NamedTuple

from palimpsest.evals.report.records import Comparison, Difference, Unshared
from palimpsest.evals.report.summary import memory_kind, metrics_of, score_of
from palimpsest.evals.run import ItemResult, Run
from palimpsest.evals.statistics import PairedComparison, paired_comparison


class _Place(NamedTuple):
    """What is compared: an item at a length."""

    id: str
    length: int | None

    def __str__(self) -> str:
        return self.id if self.length is None else f"{self.id} at {self.length:,}"


_Readings = Mapping[_Place, Sequence[ItemResult]]


def comparisons(runs: Mapping[str, Run]) -> Iterator[Comparison]:
    """Each run, by its label, against the first of its task, and each memory that is drawn as a
    page against each that is read as text."""
    labels = list(runs)
    for first, second in combinations(labels, 2):
        one, other = runs[first], runs[second]
        if one.config.task != other.config.task:
            continue
        kinds = memory_kind(one.config), memory_kind(other.config)
        is_baseline = first == next(la for la in labels if runs[la].config.task == one.config.task)
        if kinds == ("visual", "text"):
            yield compare_runs((first, one), (second, other))
        elif kinds == ("text", "visual") or is_baseline:
            yield compare_runs((second, other), (first, one))


def compare_runs(run: tuple[str, Run], baseline: tuple[str, Run]) -> Comparison:
    """A run against a baseline of the same task, each with its label."""
    mine, theirs = _by_place(run[1]), _by_place(baseline[1])
    shared = [place for place in mine if place in theirs]
    alike = [place for place in shared if _same(mine[place][0], theirs[place][0])]
    lengths = list(dict.fromkeys(place.length for place in alike))
    pairs = list(_budget_pairs(run[1], baseline[1]))
    metrics = [name for name in metrics_of(run[1])[1] if name in metrics_of(baseline[1])[1]]

    def difference(
        places: Sequence[_Place], length: int | None, budgets: tuple[int | None, int | None]
    ) -> Difference:
        found = dict(_differences(places, (mine, theirs), budgets, metrics))
        return Difference(
            length=length,
            budget=budgets[0],
            baseline_budget=budgets[1],
            items=len({place.id for place in places}),
            scores={metric: one.difference for metric, one in found.items()},
            p_values={metric: one.p_value for metric, one in found.items()},
        )

    return Comparison(
        run=run[0],
        baseline=baseline[0],
        visual_against_text=(memory_kind(run[1].config), memory_kind(baseline[1].config))
        == ("visual", "text"),
        differences=tuple(
            difference([place for place in alike if place.length == length], length, budgets)
            for length in lengths
            for budgets in pairs
        ),
        overall=tuple(difference(alike, None, budgets) for budgets in pairs if len(lengths) > 1),
        unshared=Unshared(
            only_run=_named(place for place in mine if place not in theirs),
            only_baseline=_named(place for place in theirs if place not in mine),
            unlike=_named(place for place in shared if place not in alike),
        ),
    )


def _by_place(run: Run) -> _Readings:
    found: dict[_Place, list[ItemResult]] = {}
    for result in run.results:
        found.setdefault(_Place(result.id, result.length), []).append(result)
    return found


def _same(one: ItemResult, other: ItemResult) -> bool:
    return (one.question, one.accepted) == (other.question, other.accepted)


def _budget_pairs(run: Run, baseline: Run) -> Iterator[tuple[int | None, int | None]]:
    """Equal budgets; a run that has none is compared at each of the other's."""
    own, other = run.config.budgets, baseline.config.budgets
    if set(own) == {None} or set(other) == {None}:
        yield from ((mine, theirs) for mine in own for theirs in other)
    else:
        yield from ((budget, budget) for budget in own if budget in other)


def _differences(
    places: Sequence[_Place],
    readings: tuple[_Readings, _Readings],
    budgets: tuple[int | None, int | None],
    metrics: Sequence[str],
) -> Iterator[tuple[str, PairedComparison]]:
    for metric in metrics:
        found: list[tuple[float, float, str]] = []
        for place in places:
            mine = _mean(readings[0][place], budgets[0], metric)
            theirs = _mean(readings[1][place], budgets[1], metric)
            if mine is not None and theirs is not None:
                found.append((mine, theirs, place.id))
        if found:
            scores, baseline, items = zip(*found, strict=True)
            yield metric, paired_comparison(scores, baseline, items=items)


def _mean(results: Sequence[ItemResult], budget: int | None, metric: str) -> float | None:
    """Over the seeds of an item."""
    scores = [score_of(result, budget, metric) for result in results]
    known = [score for score in scores if score is not None]
    return fmean(known) if known else None


def _named(places: Iterator[_Place]) -> tuple[str, ...]:
    return tuple(map(str, places))
