"""How an answer is compared with the accepted ones: equality, overlap and containment.

Text is normalised as in SQuAD (lower case, no punctuation, no articles, single spaces). Nothing is
rounded. A prediction that normalises to nothing scores 0, and containment runs one way only: the
accepted answer, as whole words, in the prediction. RULER's own two are the exception: they are as
published, without normalisation and without regard to words.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_VERDICTS = frozenset({"yes", "no", "noanswer"})
_WORD = re.compile(r"[^\W_]+")


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
    return _best(prediction, answers, _contains)


def fraction_found(prediction: str, answers: Sequence[str]) -> float:
    """The part of the answers that stand in the prediction as whole words, for questions that want
    them all: MemAgent's reward for several values (its paper, not its code)."""
    guess = normalize(prediction)
    golds = {gold for gold in map(normalize, answers) if gold}
    return sum(_contains(guess, gold) for gold in golds) / len(golds) if golds else 0.0


def ruler_all(prediction: str, answers: Sequence[str]) -> float:
    """The part of the answers that the prediction contains, case apart: RULER's score of all tasks
    but the two of question answering. Characters, not words: 12 contains 1."""
    found = [answer.lower() in prediction.lower() for answer in answers]
    return sum(found) / len(found) if found else 0.0


def ruler_any(prediction: str, answers: Sequence[str]) -> float:
    """1 when the prediction contains any of the answers, case apart: RULER's score of qa_1 and
    qa_2. Characters, not words."""
    return float(any(answer.lower() in prediction.lower() for answer in answers))


def rouge_l(prediction: str, answers: Sequence[str]) -> float:
    """F measure of the longest common subsequence of words (Lin 2004), the best of the answers.

    Words are runs of letters and digits in lower case, unstemmed, as in the `rouge-score` package,
    which knows ASCII letters only; letters of all scripts count here.
    """
    guess = _WORD.findall(prediction.lower())
    return max((_rouge_l(guess, _WORD.findall(gold.lower())) for gold in answers), default=0.0)


def common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """The number of words of the longest common subsequence.

    Bit by bit (Hyyrö 2004): a bit of `open_places` is cleared for each word of `one` that the
    subsequence takes, and one addition moves all of them on.
    """
    places: dict[str, int] = {}
    for place, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << place
    whole = (1 << len(one)) - 1
    open_places = whole
    for word in other:
        matching = open_places & places.get(word, 0)
        open_places = ((open_places + matching) | (open_places - matching)) & whole
    return len(one) - open_places.bit_count()


def _best(prediction: str, answers: Sequence[str], score: Callable[[str, str], float]) -> float:
    guess = normalize(prediction)
    golds = [gold for gold in map(normalize, answers) if gold]
    return max((score(guess, gold) for gold in golds), default=0.0) if guess else 0.0


def _contains(guess: str, gold: str) -> float:
    return float(f" {gold} " in f" {guess} ")


def _f1(guess: str, gold: str) -> float:
    if guess != gold and (guess in _VERDICTS or gold in _VERDICTS):
        return 0.0
    guessed, wanted = guess.split(), gold.split()
    common = sum((Counter(guessed) & Counter(wanted)).values())
    return _f_measure(common, len(guessed), len(wanted))


def _rouge_l(guess: Sequence[str], gold: Sequence[str]) -> float:
    return _f_measure(common_subsequence(guess, gold), len(guess), len(gold))


def _f_measure(common: int, guessed: int, wanted: int) -> float:
    if not common:
        return 0.0
    precision, recall = common / guessed, common / wanted
    return 2 * precision * recall / (precision + recall)
