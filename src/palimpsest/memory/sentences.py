"""The sentences of a source, with what is needed to find the one that a line was made from."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from palimpsest.memory.reading import Span
from palimpsest.memory.words import Words, plain, words_of
from palimpsest.sources import Document, Source
from palimpsest.sources.chunking import SENTENCE_END

_LINE_END = re.compile(r"\n")
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")
_OPENING = re.compile(r"\s*(?:[#|>*+•-]|\d{1,3}[.)]\s)")
_ENDING = re.compile(r"[.!?:…。！？][\"'”’»)\]*_]*\s*$")
_WRAPPED_FROM = 50
"""A line of fewer characters was not wrapped at a margin, so what follows begins anew."""


class Place(NamedTuple):
    """A sentence: characters of one document's own text, without outer space."""

    document: int
    start: int
    end: int


@dataclass(frozen=True)
class Sentence:
    """A sentence as words."""

    words: frozenset[str]
    names: frozenset[str]
    context: frozenset[str]
    """Words of the document's name, of the heading above and of the paragraph's opening: what
    the sentence speaks of without naming it."""


def sentence_spans(text: str) -> Iterator[tuple[int, int]]:
    """Where sentences stand, without the space around them. A line that is not wrapped text, as a
    list item or a row of a table, is a sentence of its own."""
    ends = {match.end() for match in SENTENCE_END.finditer(text)}
    ends.update(match.end() for match in _LINE_END.finditer(text) if _breaks(text, match.start()))
    for start, end in pairwise([0, *sorted(ends), len(text)]):
        sentence = text[start:end]
        if bare := sentence.strip():
            start += len(sentence) - len(sentence.lstrip())
            yield start, start + len(bare)


def _breaks(text: str, newline: int) -> bool:
    """Whether a sentence ends at a line's end, rather than going on over it."""
    start = text.rfind("\n", 0, newline) + 1
    line = text[start:newline]
    after = text[newline + 1 : newline + 80]
    if len(line) < _WRAPPED_FROM or _OPENING.match(after) or not after.strip(" \t"):
        return True
    return after[:1] == "\n" or bool(_ENDING.search(line))


def _is_title(text: str, start: int, end: int) -> bool:
    """Whether a sentence is a heading, or a short line alone that ends in no full stop."""
    if text.startswith("#", start):
        return True
    alone = text[end : end + 1] in ("\n", "") and (start == 0 or text[start - 1] == "\n")
    return alone and end - start < _WRAPPED_FROM and not _ENDING.search(text, start, end)


class SentenceIndex:
    """The sentences of a source, looked up by chunk and by word. Chunks are read when asked for."""

    def __init__(self, source: Source, chunks: Sequence[Span]) -> None:
        self._source = source
        self._chunks = chunks
        self.places: list[Place] = []
        self._titles: list[int] = []
        self._openings: list[int] = []
        for number, document in enumerate(source.documents):
            self._outline(number, document)
        self._starts = [self._global(place, place.start) for place in self.places]
        self._ends = [self._global(place, place.end) for place in self.places]
        self._holding: dict[int, dict[str, list[int]]] = {}
        self._sentences: dict[int, Sentence] = {}

    def _outline(self, number: int, document: Document) -> None:
        title = opening = -1
        last = 0
        for start, end in sentence_spans(document.text):
            index = len(self.places)
            self.places.append(Place(number, start, end))
            if opening < 0 or _BLANK_LINE.search(document.text, last, start) or opening == title:
                opening = index
            self._titles.append(title)
            self._openings.append(opening)
            if _is_title(document.text, start, end):
                title = opening = index
            last = end

    def _global(self, place: Place, offset: int) -> int:
        return self._source.documents[place.document].start + offset

    def text(self, index: int) -> str:
        place = self.places[index]
        return self._source.documents[place.document].text[place.start : place.end]

    def in_chunk(self, chunk: int) -> range:
        """The sentences of which a part stands in a chunk."""
        span = self._chunks[chunk]
        return range(bisect_right(self._ends, span.start), bisect_left(self._starts, span.end))

    def chunks_of(self, index: int) -> range:
        """The chunks that a sentence stands in."""
        starts = [span.start for span in self._chunks]
        first = bisect_right(starts, self._starts[index]) - 1
        return range(first, bisect_left(starts, self._ends[index]))

    def holding(self, chunk: int) -> dict[str, list[int]]:
        """For each word, the sentences of a chunk that have it."""
        found = self._holding.get(chunk)
        if found is None:
            found = self._holding[chunk] = defaultdict(list)
            for index in self.in_chunk(chunk):
                for word in self.sentence(index).words:
                    found[word].append(index)
        return found

    def has_name(self, word: str, chunks: Sequence[int]) -> bool:
        """Whether a sentence of the chunks writes the word with a capital."""
        return any(
            word in self.sentence(index).names
            for chunk in chunks
            for index in self.holding(chunk).get(word, ())
        )

    def sentence(self, index: int) -> Sentence:
        found = self._sentences.get(index)
        if found is None:
            words = _words(self.text(index))
            found = self._sentences[index] = Sentence(
                frozenset(words.all), words.names, self._context(index)
            )
        return found

    def _context(self, index: int) -> frozenset[str]:
        title, opening = self._titles[index], self._openings[index]
        words = set(_words(self._source.documents[self.places[index].document].name).all)
        if title >= 0:
            words.update(_words(self.text(title)).all)
        if opening not in (index, title):
            words |= _words(self.text(opening)).names
        return frozenset(words)


def _words(text: str) -> Words:
    return words_of(plain(text))
