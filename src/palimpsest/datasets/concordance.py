"""Which passages hold an answer: an index from words to the passages they stand in.

An answer is held where its words stand in a row, in either of two spellings: as
`palimpsest.evals.scoring` compares text (lower case, punctuation deleted, articles left out), and
with every mark as a space and accents dropped. So `New York` is found in `New-York's`, and
`U.S.A.` in `USA`: what the scorer would accept is refused, and a little more.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from palimpsest.datasets.item import Item, Passage

VERDICTS = frozenset({"yes", "no", "noanswer", "no answer", "true", "false"})
"""Answers that are judgements: that their words stand in a passage says nothing."""

_ARTICLES = frozenset({"a", "an", "the"})
_ARTICLE = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ACCENT = re.compile("[\u0300-\u036f]")
_UNSPACED = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")


def squeezed(text: str) -> str:
    """Text without case, punctuation, articles and outer or double spaces, as SQuAD compares."""
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def spaced(text: str) -> str:
    """Text as words with single spaces: no case, accents, articles, nor marks between them."""
    text = text.lower()
    if not text.isascii():
        text = _ACCENT.sub("", unicodedata.normalize("NFKD", text))
    return " ".join([word for word in _WORD.findall(text) if word not in _ARTICLES])


def searched_answers(item: Item) -> tuple[str, ...]:
    """The spellings of an item's answers that a distractor must not hold.

    Not `VERDICTS`, and not the letter of a multiple choice.
    """
    answers = item.answers[1:] if item.metric == "choice" else item.answers
    spellings = {spelling(answer) for answer in answers for spelling in (squeezed, spaced)}
    return tuple(sorted(spellings - VERDICTS - {""}))


def holds(text: str, answers: Iterable[str]) -> bool:
    """Whether a text holds one of the spellings of `searched_answers`."""
    spellings = (f" {spaced(text)} ", f" {squeezed(text)} ")
    return any(f" {answer} " in spelling for answer in answers for spelling in spellings)


class Concordance:
    """The words of many passages, titles included."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._spaced: list[str] = []
        self._squeezed: dict[int, str] = {}
        """Only of passages that were looked at: few hold any of an answer's words."""
        self._places: defaultdict[str, list[int]] = defaultdict(list)

    def add(self, passage: Passage, title: str, text: str) -> None:
        """Adds the next passage; `title` and `text` are its own, `spaced`."""
        number = len(self._texts)
        whole = f"{passage.title}\n{passage.text}"
        self._texts.append(whole)
        self._spaced.append(f" {title} {text} ")
        words = {*title.split(), *text.split()}
        words.update(
            word.translate(_PUNCTUATION) for word in whole.lower().split() if not word.isalnum()
        )
        for word in words:
            self._places[word].append(number)

    def holding(self, answers: Iterable[str]) -> set[int]:
        """Numbers of the passages that hold one of the spellings of `searched_answers`."""
        return {number for answer in answers for number in self._holding(answer)}

    def _holding(self, answer: str) -> Iterable[int]:
        places = [self._places.get(word, []) for word in answer.split()]
        standing = f" {answer} "
        for number in min(places, key=len):
            if standing in self._spaced[number] or standing in self._squeezed_text(number):
                yield number

    def _squeezed_text(self, number: int) -> str:
        if number not in self._squeezed:
            self._squeezed[number] = f" {squeezed(self._texts[number])} "
        return self._squeezed[number]
