"""How an answer is scored: exact match, F1 and one-way substring.

Text is normalised as in SQuAD (lower case, no punctuation, no articles, single spaces). Every
accepted answer counts and the best one is taken. Nothing is rounded. A prediction that normalises
to nothing scores 0, and containment runs one way only: the accepted answer, as whole words, in
the prediction. (The papers' metric runs both ways, so that "the" and "1" score against anything.)
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_VERDICTS = frozenset({"yes", "no", "noanswer"})


def normalize(text: str) -> str:
    """Text as SQuAD compares it."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1 when the prediction is an accepted answer, else 0."""
    return _best(prediction, answers, lambda guess, gold: float(guess == gold))


def f1(prediction: str, answers: Sequence[str]) -> float:
    """Overlap of words as F1; yes and no count only when equal, as in HotpotQA."""
    return _best(prediction, answers, _f1)


def substring_match(prediction: str, answers: Sequence[str]) -> float:
    """1 when an accepted answer stands in the prediction as whole words, else 0."""
    return _best(prediction, answers, lambda guess, gold: float(f" {gold} " in f" {guess} "))


def _best(prediction: str, answers: Sequence[str], score: Callable[[str, str], float]) -> float:
    guess = normalize(prediction)
    golds = [gold for gold in map(normalize, answers) if gold]
    return max((score(guess, gold) for gold in golds), default=0.0) if guess else 0.0


def _f1(guess: str, gold: str) -> float:
    if guess != gold and (guess in _VERDICTS or gold in _VERDICTS):
        return 0.0
    guessed, wanted = guess.split(), gold.split()
    common = sum((Counter(guessed) & Counter(wanted)).values())
    if not common:
        return 0.0
    precision, recall = common / len(guessed), common / len(wanted)
    return 2 * precision * recall / (precision + recall)
