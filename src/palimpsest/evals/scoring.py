"""How an answer is scored: every metric and verifier by its name.

A metric reads the parsed answer, a verifier the whole completion, in which it looks for the answer
itself; both take all accepted answers and give a number from 0 to 1, unrounded. What each one is,
and how the published ones can be had without knowing the answer: docs/scoring.md.

    score("f1", "the Eiffel Tower", ["Eiffel Tower", "La tour Eiffel"])     # 1.0
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from palimpsest.errors import ConfigurationError, InputError
from palimpsest.evals import papers
from palimpsest.evals.abstention import abstain
from palimpsest.evals.choices import choice, only_label
from palimpsest.evals.matching import (
    exact_match,
    f1,
    fraction_found,
    normalize,
    rouge_l,
    ruler_all,
    ruler_any,
    substring_match,
)
from palimpsest.evals.papers import two_way_substring

__all__ = [
    "METRICS",
    "VERIFIERS",
    "Metric",
    "Verifier",
    "abstain",
    "choice",
    "exact_match",
    "f1",
    "fraction_found",
    "normalize",
    "only_label",
    "rouge_l",
    "ruler_all",
    "ruler_any",
    "score",
    "substring_match",
    "two_way_substring",
]

Metric = Callable[[str, Sequence[str]], float]
"""Of a parsed answer and the accepted ones."""
Verifier = Callable[[str, Sequence[str]], float]
"""Of a whole completion and the accepted answers."""

METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "exact_match": exact_match,
        "f1": f1,
        "substring": substring_match,
        "fraction_found": fraction_found,
        "ruler_all": ruler_all,
        "ruler_any": ruler_any,
        "choice": choice,
        "abstain": abstain,
        "rouge_l": rouge_l,
        "two_way_substring": two_way_substring,
    }
)

VERIFIERS: Mapping[str, Verifier] = MappingProxyType(
    {
        "memagent_strict": papers.memagent_strict,
        "memagent_lenient": papers.memagent_lenient,
        "memagent_lenient_boxed": papers.memagent_lenient_boxed,
        "memocr_lenient": papers.memocr_lenient,
        "memreread_strict": papers.memreread_strict,
        "memreread_lcs": papers.memreread_lcs,
        "memreread_contains": papers.memreread_contains,
        "memreread_global": papers.memreread_global,
        "boxed_exact": papers.boxed_exact,
        "boxed_f1": papers.boxed_f1,
    }
)


def score(name: str, prediction: str, answers: Sequence[str]) -> float:
    """The score of a prediction: the parsed answer for one of `METRICS`, the whole completion for
    one of `VERIFIERS`. Raises `ConfigurationError` for any other name and `InputError` for answers
    that are one text, which would be taken letter by letter."""
    scorer = METRICS.get(name) or VERIFIERS.get(name)
    if scorer is None:
        known = ", ".join([*METRICS, *VERIFIERS])
        raise ConfigurationError(f"there is no metric `{name}`", hint=f"one of: {known}")
    if isinstance(answers, str):
        raise InputError(f"the answers are one text: {answers!r}", hint="give a list of them")
    return scorer(prediction, answers)
