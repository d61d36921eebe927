"""Which lines of a memory an answer rests on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from palimpsest.memory.ledger import RECALLED, holds
from palimpsest.memory.lines import Line
from palimpsest.memory.words import Words, stands_in, words_of

_CLOSE_SECOND = 0.6
"""A line that has the answer must have at least this part of the question's words that the best
of them has."""
_FURTHER = 0.2
"""A further line must have at least this part of the question's words, with a name among them,
that the lines before it do not have."""
_VERDICTS = frozenset({"yes", "no", "true", "false"})


class Grounds(NamedTuple):
    """Lines, by their place among those that were given."""

    having: list[int]
    """Those that have the answer."""
    further: list[int]
    """Those that have what is left of the question, as when the answer takes two steps."""

    @property
    def lines(self) -> list[int]:
        return [*self.having, *self.further]


def grounds(answer: str, question: Words, lines: Sequence[Line]) -> Grounds:
    """The lines that have the answer and most of the question's words, and those that have the
    rest of the question."""
    wanted = frozenset(question.all)
    shared = [wanted.intersection(words_of(f"{line.plain} {line.context}").all) for line in lines]
    have = [index for index, line in enumerate(lines) if _has(line, answer)]
    best = max((weigh(question, shared[index]) for index in have), default=0.0)
    having = [one for one in have if weigh(question, shared[one]) >= _CLOSE_SECOND * best]
    return Grounds(having, _further(having, question, shared))


def is_verdict(answer: str) -> bool:
    """Whether it says yes or no, which no line does."""
    return answer.strip(" .!").casefold() in _VERDICTS


def weigh(words: Words, some: Iterable[str]) -> float:
    """How much some of the words count together."""
    return sum(map(words.weight, some))


def _further(having: list[int], question: Words, shared: Sequence[frozenset[str]]) -> list[int]:
    left = set(question.all).difference(*(shared[index] for index in having))
    enough = _FURTHER * weigh(question, question.all)
    further: list[int] = []
    while shared:
        news = [left & words for words in shared]
        best = max(range(len(shared)), key=lambda index: weigh(question, news[index]))
        if not news[best] & question.names or weigh(question, news[best]) < enough:
            break
        further.append(best)
        left -= news[best]
    return further


def _has(line: Line, answer: str) -> bool:
    return stands_in(line.plain, answer) or holds(line.plain, answer) >= RECALLED
