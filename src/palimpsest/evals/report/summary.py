"""One run as numbers: how its readings came out at each length and budget, and what they took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from palimpsest.evals.report.records import Cell, MemoryKind, RunSummary, Spending
from palimpsest.evals.run import ItemResult, Run, RunConfig, Scored
from palimpsest.evals.statistics import Interval, clustered_interval

HEADLINE = "headline"
"""The metric that each item has as its own, where that is not the same for all."""
_NO_REASON = "no reason was recorded"


def summarize(run: Run, label: str) -> RunSummary:
    """The numbers of a run."""
    headline, metrics = metrics_of(run)
    lengths = lengths_of(run.results, run.config)
    grouped = {length: [r for r in run.results if r.length == length] for length in lengths}
    known = max((_items(results) for results in grouped.values()), default=0)
    expected = known * len(run.config.seeds)
    spending = [_spending(length, results, expected) for length, results in grouped.items()]
    if len(lengths) > 1:
        spending.append(_spending(None, run.results, expected * len(lengths)))
    return RunSummary(
        label=label,
        folder=str(run.folder),
        task=run.config.task,
        reader=run.config.reader,
        model=run.config.model,
        memory=memory_kind(run.config),
        settings=run.config.settings,
        seeds=run.config.seeds,
        headline=headline,
        metrics=metrics,
        cells=tuple(
            _cell(results, length, budget, metrics)
            for length, results in grouped.items()
            for budget in run.config.budgets
        ),
        overall=tuple(
            _cell(run.results, None, budget, metrics)
            for budget in run.config.budgets
            if len(lengths) > 1
        ),
        categories=tuple(_category_cells(grouped, run.config.budgets, metrics)),
        spending=tuple(spending),
        pending=tuple(length for length in run.config.lengths if length not in lengths),
    )


def memory_kind(config: RunConfig) -> MemoryKind:
    """What the run's answers are read from, by the settings of the reader at its core."""
    settings: Mapping[str, Any] = config.settings
    while isinstance(settings.get("base"), Mapping):
        settings = settings["base"]
    if "cell" in settings:
        return "visual"
    return "text" if "memory_tokens" in settings else "none"


def metrics_of(run: Run) -> tuple[str, tuple[str, ...]]:
    """The metric that counts, and all of them, that one first."""
    own = {result.metric for result in run.results}
    named = dict.fromkeys([*run.config.metrics, *sorted(own)])
    only = next(iter(own)) if len(own) == 1 else HEADLINE
    headline = only if own else run.config.metrics[0]
    return headline, (headline, *(name for name in named if name != headline))


def scored_at(result: ItemResult, budget: int | None) -> Scored:
    """The answer at a budget; an empty one, which is wrong, where there is none."""
    found = (scored for scored in result.answers if scored.budget == budget)
    return next(found, Scored(budget=budget, prediction="", scores={}))


def score_of(result: ItemResult, budget: int | None, metric: str) -> float | None:
    """The score of a reading; 0 where it failed, None where its item does not have the metric."""
    scores = scored_at(result, budget).scores
    name = result.metric if metric == HEADLINE else metric
    if name in scores:
        return scores[name]
    has_it = name == result.metric or any(name in scored.scores for scored in result.answers)
    return 0.0 if has_it or not scores else None


def lengths_of(results: Iterable[ItemResult], config: RunConfig) -> list[int | None]:
    """The lengths of which there is a reading, in the run's order."""
    found = dict.fromkeys(result.length for result in results)
    return [
        *(length for length in config.lengths if length in found),
        *(length for length in found if length not in config.lengths),
    ]


def _cell(
    results: Sequence[ItemResult],
    length: int | None,
    budget: int | None,
    metrics: Sequence[str],
    category: str = "",
) -> Cell:
    scores: dict[str, Interval] = {}
    counted: dict[str, int] = {}
    # In one order, so that the draws of an interval do not depend on which item ended first.
    results = sorted(results, key=lambda result: (result.id, result.seed))
    for metric in metrics:
        found = [(score_of(result, budget, metric), result.id) for result in results]
        having = [(score, item) for score, item in found if score is not None]
        if having:
            scores[metric] = clustered_interval(*zip(*having, strict=True))
            counted[metric] = len(having)
    return Cell(
        length=length,
        budget=budget,
        category=category,
        items=_items(results),
        readings=len(results),
        scores=scores,
        counted=counted,
    )


def _category_cells(
    grouped: Mapping[int | None, Sequence[ItemResult]],
    budgets: Sequence[int | None],
    metrics: Sequence[str],
) -> Iterable[Cell]:
    categories = sorted({result.category for results in grouped.values() for result in results})
    if len(categories) < 2:
        return
    for category in categories:
        for length, results in grouped.items():
            own = [result for result in results if result.category == category]
            if own:
                for budget in budgets:
                    yield _cell(own, length, budget, metrics, category)


def _spending(length: int | None, results: Sequence[ItemResult], expected: int) -> Spending:
    failed = [result for result in results if result.status == "failed"]
    reasons = Counter(result.reason or result.error or _NO_REASON for result in failed)
    costs = [result.cost for result in results if result.cost is not None]
    memories = [result.memory_tokens for result in results if result.memory_tokens is not None]
    return Spending(
        length=length,
        items=_items(results),
        readings=len(results),
        missing=max(0, expected - len(results)),
        failed=len(failed),
        reasons=dict(reasons.most_common()),
        capped=sum(result.status == "partial" for result in results),
        source_tokens=fmean(result.source_tokens for result in results),
        memory_tokens=fmean(memories) if memories else None,
        prompt=sum(result.prompt for result in results),
        cached=sum(result.cached for result in results),
        completion=sum(result.completion for result in results),
        calls=sum(result.calls for result in results),
        seconds=sum(result.seconds for result in results),
        cost=sum(costs) if costs else None,
        priced=len(costs),
    )


def _items(results: Iterable[ItemResult]) -> int:
    return len({result.id for result in results})
