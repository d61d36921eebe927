"""Means with the uncertainty that comes from having few items, and differences between readers.

Items are what is drawn anew, never seeds: several seeds, lengths or budgets of one item rise and
fall together, and to take them for so many items would make an interval too narrow. Failures count
as 0, which is for the caller to put in. Everything is the same for the same scores on any machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from palimpsest.errors import InputError

_RESAMPLES = 10_000
_SEED = 0
_BLOCK = 2_000_000
"""Most draws held at once: 16 MB."""
_ROUNDING = 1e-12


class Interval(NamedTuple):
    """A mean and its 95% bootstrap interval over items."""

    mean: float
    low: float
    high: float


class PairedComparison(NamedTuple):
    """How much better one reader does than another on the same items."""

    difference: Interval
    """Of score minus baseline."""
    p_value: float
    """Two-sided: how often chance alone would give a difference as large if there were none."""
    items: int


def mean_interval(scores: Sequence[float]) -> Interval:
    """The mean of the scores, one for each item, with its percentile bootstrap interval. Raises
    `InputError` for no scores and for one that is no number."""
    values = _numbers(scores)
    low, high = np.percentile(_resampled_means(values), [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))


def clustered_interval(scores: Sequence[float], items: Sequence[str]) -> Interval:
    """The mean over items of each item's own mean, with its interval: items are drawn anew, each
    with all its scores. `items` names the item of each score."""
    return mean_interval(_item_means(scores, items))


def paired_difference(scores: Sequence[float], baseline: Sequence[float]) -> Interval:
    """The mean of score minus baseline, item by item, with its interval."""
    return mean_interval(_differences(scores, baseline))


def paired_comparison(
    scores: Sequence[float], baseline: Sequence[float], *, items: Sequence[str] | None = None
) -> PairedComparison:
    """Score against baseline, pair by pair; `items` names the item of each pair where an item has
    several (Efron and Tibshirani 1993, section 16.4).

    The differences are shifted to a mean of nothing and drawn anew; the p-value is the part of the
    draws that are as far from nothing as the difference found. It is never less than a sign test
    can give with as many items that differ (2 of 2**n), because draws from a few equal differences
    hardly vary and would prove anything.
    """
    differences = _differences(scores, baseline)
    if items is not None:
        differences = _item_means(differences, items)
    values = _numbers(differences)
    return PairedComparison(mean_interval(differences), _p_value(values), len(values))


def _p_value(values: NDArray[np.float64]) -> float:
    found = abs(values.mean()) - _ROUNDING
    extreme = int((np.abs(_resampled_means(values - values.mean())) >= found).sum())
    sign_test = 2.0 ** (1 - int((np.abs(values) > _ROUNDING).sum()))
    return min(1.0, max((extreme + 1) / (_RESAMPLES + 1), sign_test))


def _differences(scores: Sequence[float], baseline: Sequence[float]) -> list[float]:
    if len(scores) != len(baseline):
        raise InputError(
            f"{len(scores)} scores cannot be paired with {len(baseline)}",
            hint="compare two readers on the same items, in the same order",
        )
    return [one - other for one, other in zip(scores, baseline, strict=True)]


def _item_means(scores: Sequence[float], items: Sequence[str]) -> list[float]:
    if len(scores) != len(items):
        raise InputError(
            f"{len(scores)} scores are given for {len(items)} items",
            hint="name the item of each score",
        )
    found: dict[str, list[float]] = {}
    for score, item in zip(scores, items, strict=True):
        found.setdefault(item, []).append(score)
    return [fmean(one) for one in found.values()]


def _numbers(scores: Sequence[float]) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if not len(values):
        raise InputError("there are no scores to average", hint="score at least one item")
    if not np.isfinite(values).all():
        place = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InputError(f"score {place} is {values[place]}", hint="a failed item scores 0")
    return values


def _resampled_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate(list(_blocks_of_means(values)))


def _blocks_of_means(values: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """In blocks, so that many items do not fill the memory; the draws are those of one block."""
    generator = np.random.default_rng(_SEED)
    rows = max(1, _BLOCK // len(values))
    for start in range(0, _RESAMPLES, rows):
        size = (min(rows, _RESAMPLES - start), len(values))
        yield values[generator.integers(0, len(values), size=size)].mean(axis=1)
