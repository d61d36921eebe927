"""Text to hide needles in: one line of noise again and again, other needles, or essays.

RULER (COLM 2024): among lines, needles stand at places drawn uniformly; in essays, between
sentences, at depths drawn from 40 that lie evenly from the start to the end. Essays begin anew
where they are shorter than the context.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from palimpsest.sources.chunking import SENTENCE_END

NOISE = (
    "Grass is green. Blue is what the sky is. Yellow is the sun. Off we go now. Out and home again."
)
DEPTHS = np.round(np.linspace(0, 100, num=40)).astype(int)
"""Percent of the sentences before a needle."""

_LINE_BREAK = re.compile(r"\s*\n\s*")
_SPACES = re.compile(r"[^\S\n]+")


class Hidden(NamedTuple):
    """A haystack with its needles in it."""

    text: str
    depths: list[float]
    """Of the needles in their order, in percent of the lines or sentences."""


def among_lines(
    random: np.random.Generator, lines: Sequence[str], needles: Sequence[str]
) -> Hidden:
    """The needles in their order before lines drawn without repetition."""
    places = np.sort(random.choice(len(lines), size=len(needles), replace=False)).tolist()
    parts: list[str] = []
    last = 0
    for place, needle in zip(places, needles, strict=True):
        parts += [*lines[last:place], needle]
        last = place
    parts += lines[last:]
    return Hidden("\n".join(parts), [round(100 * place / len(lines), 1) for place in places])


def in_essay(
    random: np.random.Generator, essay: str, characters: int, needles: Sequence[str]
) -> Hidden:
    """The needles between sentences of the essay's first characters, again and again if need be."""
    depths = sorted(random.choice(DEPTHS, size=len(needles), replace=False).tolist())
    laid = _laid_out(essay)
    text = laid.stretch(characters)
    sentences = laid.sentences(len(text))
    parts: list[str] = []
    last = 0
    for depth, needle in zip(depths, needles, strict=True):
        place = min(laid.end(sentences * depth // 100), len(text))
        parts += [text[last:place].strip(), needle]
        last = place
    parts.append(text[last:].strip())
    return Hidden(" ".join(filter(None, parts)), [float(depth) for depth in depths])


class _Essay:
    """A text repeated without end, and where its sentences end."""

    def __init__(self, text: str) -> None:
        self._text = _SPACES.sub(" ", _LINE_BREAK.sub("\n", text)).strip() + "\n"
        self._ends = [match.end() for match in SENTENCE_END.finditer(self._text)]
        if not self._ends or self._ends[-1] < len(self._text):
            self._ends.append(len(self._text))

    def stretch(self, characters: int) -> str:
        """At most so many characters, without a cut word at the end."""
        times, rest = divmod(characters, len(self._text))
        start = self._text[: self._text.rfind(" ", 0, rest) + 1]
        return self._text * times + start

    def sentences(self, characters: int) -> int:
        """Sentences begun in so many characters."""
        times, rest = divmod(characters, len(self._text))
        return times * len(self._ends) + bisect_right(self._ends, rest) + (rest > 0)

    def end(self, sentences: int) -> int:
        """Characters of so many sentences."""
        times, rest = divmod(sentences, len(self._ends))
        return times * len(self._text) + (self._ends[rest - 1] if rest else 0)


@lru_cache(maxsize=4)
def _laid_out(text: str) -> _Essay:
    return _Essay(text)
