"""Means with the uncertainty that comes from having few items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_RESAMPLES = 10_000
_SEED = 0


class Interval(NamedTuple):
    """A mean and its 95% bootstrap interval over items."""

    mean: float
    low: float
    high: float


def mean_interval(scores: Sequence[float]) -> Interval:
    """Percentile bootstrap over items, the same for the same scores on any machine."""
    values = np.asarray(scores, dtype=float)
    low, high = np.percentile(_resampled_means(values), [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))


def paired_difference(scores: Sequence[float], baseline: Sequence[float]) -> Interval:
    """The mean of score minus baseline, item by item, with its interval."""
    return mean_interval([a - b for a, b in zip(scores, baseline, strict=True)])


def _resampled_means(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[
    tuple[int], np.dtype[np.float64]
]:  # fmt: skip
    generator = np.random.default_rng(_SEED)
    picks = generator.integers(0, len(values), size=(_RESAMPLES, len(values)))
    means: np.ndarray[tuple[int], np.dtype[np.float64]] = values[picks].mean(axis=1)
    return means
