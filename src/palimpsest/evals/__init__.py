"""Scoring and statistics for measured claims."""

from palimpsest.evals.scoring import exact_match, f1, normalize, substring_match
from palimpsest.evals.statistics import Interval, mean_interval, paired_difference

__all__ = [
    "Interval",
    "exact_match",
    "f1",
    "mean_interval",
    "normalize",
    "paired_difference",
    "substring_match",
]
