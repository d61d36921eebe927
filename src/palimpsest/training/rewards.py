r"""What an answer is worth: rewards by their names, from the whole completion and the accepted
answers to a number from 0 to 1.

    REWARDS["strict"](r"They met in \boxed{Bergen}", ["Bergen"])     # 1.0

A policy finds whatever in a reward pays without knowing the answer, so ours are guarded: the
answer stands in a box, the last complete one of the text; a box that says nothing, or lists what
might be right, scores 0; equality and containment run one way. The published verifiers are here
too, under their own names, and every one of them can be had without knowing the answer.

`memory_recall` is no reward of an answer but of a memory: what `credit.state` compares.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from palimpsest.evals.scoring import VERIFIERS, f1, normalize
from palimpsest.readers.answers import parse_answer

Reward = Callable[[str, Sequence[str]], float]
"""Of a whole completion and the accepted answers."""
Recall = Callable[[str, Sequence[str]], float]
"""Of a memory and the accepted answers."""

strict: Reward = VERIFIERS["boxed_exact"]
"""1 when the box is an answer but for case, punctuation and articles, else 0."""

_VERDICTS = frozenset({"yes", "no", "true", "false"})
_APOSTROPHES = str.maketrans("", "", "'’`")
_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+")
_FUNCTION_WORDS = frozenset(
    _WORD.findall("a an and are as at by for from in is it of on or that the to was were with")
)
_ORDINAL = re.compile(r"(?<=\d)(?:st|nd|rd|th)\b")
_ISO_DATE = re.compile(r"\b(\d{4})-(0[1-9]|1[0-2])-([0-3]\d)\b")
_MONTHS = _WORD.findall(
    "january february march april may june july august september october november december"
)
_COUNTS = _WORD.findall("zero one two three four five six seven eight nine ten eleven twelve")
_SAME_WORD: dict[str, str] = (
    {month[:3]: month for month in _MONTHS}
    | {"sept": "september"}
    | {word: str(number) for number, word in enumerate(_COUNTS)}
)
_BOX = re.compile(r"\\(?:boxed|fbox)\b")
_AFTER_BOX = re.compile(r"\}[\s.*$]*\Z")


def lenient(completion: str, answers: Sequence[str]) -> float:
    """1 when the box is an answer however it is written, else 0: accents, function words, the
    order of names, and the forms of dates and small numbers are left out of account.

    The papers' lenient metrics accept an answer that stands anywhere in the reply, or the reply in
    the answer; a box with more in it than the answer is 0 here.
    """
    if strict(completion, answers):
        return 1.0
    guess = _content(_boxed(completion))
    return float(bool(guess.words) and guess in map(_content, answers))


def fraction(completion: str, answers: Sequence[str]) -> float:
    """The part of the answers that the box lists, where all are wanted (MemAgent, section 4: its
    reward for several values).

    As many guesses as there are answers are free; with more, it is the part of the guesses that
    are right, and with more than half as many again it is 0. What is no answer counts as guesses
    of the answers' mean length. Of answers that stand within each other the longest is found.
    """
    golds = {tuple(gold.split()) for gold in map(normalize, answers) if gold}
    words = normalize(_boxed(completion)).split()
    if not golds or not words:
        return 0.0
    found, rest = _found(words, golds)
    mean_length = sum(map(len, golds)) / len(golds)
    guesses = found + len(rest) / mean_length
    return found / max(len(golds), guesses) if guesses <= 1.5 * len(golds) else 0.0


def overlap(completion: str, answers: Sequence[str]) -> float:
    """Overlap of the box with an answer as F1, 0 where no more than half of the box is the
    answer's: two guesses would else score two thirds. Function words do not count as guesses."""
    box = _boxed(completion)
    guess = _meaning(normalize(box).split())
    fitting = [
        answer
        for answer in answers
        if 2 * _common(guess, _meaning(normalize(answer).split())) > len(guess)
    ]
    return max(strict(completion, answers), f1(box, fitting))


def well_formed(completion: str, answers: Sequence[str]) -> float:
    """1 when the reply ends with its only box and something stands in it, else 0. Right or wrong
    does not matter, so it is of use as a small part of a reward alone."""
    text = _reply(completion)
    whole = len(_BOX.findall(text)) == 1 and bool(_AFTER_BOX.search(text))
    return float(whole and bool(normalize(_boxed(text))))


REWARDS: Mapping[str, Reward] = MappingProxyType(
    {
        **VERIFIERS,
        "strict": strict,
        "lenient": lenient,
        "fraction": fraction,
        "f1": overlap,
        "format": well_formed,
    }
)


def memory_recall(memory: str, answers: Sequence[str]) -> float:
    """The part of an answer's words that stand in a memory, for the answer of which most do.

    A step is worth the difference between the memory after it and before it (MemReread, ReMemR1).
    The published code tells upper from lower case, never finds the memory before, and so gives the
    whole recall each time. Here each word counts once however often it is written, and verdicts
    count nothing: a memory that says "yes" recalls no fact.
    """
    known = set(_content(memory).words)
    return max((_share(known, answer) for answer in answers), default=0.0)


def mean_memory_recall(memory: str, answers: Sequence[str]) -> float:
    """The mean over the answers in place of the best, where all are wanted."""
    known = set(_content(memory).words)
    return sum(_share(known, answer) for answer in answers) / len(answers) if answers else 0.0


class _Content(NamedTuple):
    """The words that carry the meaning of a text, in the form in which they are compared."""

    words: tuple[str, ...]
    """Sorted."""
    numbers: tuple[str, ...]
    """In their order: 3-2 is not 2-3."""


def _reply(completion: str) -> str:
    return completion.rsplit("</think>", 1)[-1]


def _boxed(completion: str) -> str:
    parsed = parse_answer(_reply(completion))
    return parsed.text if parsed.boxed else ""


def _content(text: str) -> _Content:
    text = _ISO_DATE.sub(lambda date: f"{date[3]} {_MONTHS[int(date[2]) - 1]} {date[1]}", text)
    bare = "".join(
        character
        for character in unicodedata.normalize("NFKD", text.casefold().translate(_APOSTROPHES))
        if not unicodedata.combining(character)
    )
    words = _meaning(_plain(word) for word in _WORD.findall(_ORDINAL.sub("", bare)))
    return _Content(tuple(sorted(words)), tuple(word for word in words if word[0].isdigit()))


def _plain(word: str) -> str:
    if word[0].isdigit():
        return word.replace(",", "").lstrip("0") or "0"
    return _SAME_WORD.get(word, word)


def _meaning(words: Iterable[str]) -> list[str]:
    return [word for word in words if word not in _FUNCTION_WORDS]


def _common(guess: Sequence[str], answer: Sequence[str]) -> int:
    return sum((Counter(guess) & Counter(answer)).values())


def _found(words: list[str], golds: set[tuple[str, ...]]) -> tuple[int, list[str]]:
    """How many of the answers stand in the words, and the words left over that carry a meaning."""
    rest: list[str | None] = list(words)
    found = 0
    for gold in sorted(golds, key=lambda gold: (-len(gold), gold)):
        size = len(gold)
        places = (at for at in range(len(rest)) if tuple(rest[at : at + size]) == gold)
        place = next(places, None)
        if place is not None:
            found += 1
            rest[place : place + size] = [None] * size
    return found, _meaning([word for word in rest if word])


def _share(known: set[str], answer: str) -> float:
    words = set(_content(answer).words) - _VERDICTS
    return len(words & known) / len(words) if words else 0.0
