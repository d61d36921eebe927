"""Evaluation: tasks, runs, scoring and statistics for measured claims."""

from palimpsest.evals.scoring import (
    METRICS,
    VERIFIERS,
    exact_match,
    f1,
    normalize,
    score,
    substring_match,
)
from palimpsest.evals.statistics import (
    Interval,
    PairedComparison,
    clustered_interval,
    mean_interval,
    paired_comparison,
    paired_difference,
)

__all__ = [
    "METRICS",
    "VERIFIERS",
    "Interval",
    "PairedComparison",
    "clustered_interval",
    "exact_match",
    "f1",
    "mean_interval",
    "normalize",
    "paired_comparison",
    "paired_difference",
    "score",
    "substring_match",
]
