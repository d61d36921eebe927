"""Where in the source each line of a memory, and each answer, was taken from.

    cited = citations(reading, source)
    for line in cited.lines:
        print(line.text, line.spans or "unsupported")

The ledger tells from which chunks a line can come; there the sentences that say the same are
looked for, and elsewhere in the source only when these do not support it. It is words that are
compared, not meanings: a line that has the right words in a wrong relation passes as supported,
and one that says it all in other words does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from palimpsest.errors import InputError
from palimpsest.memory.alignment import Aligned, Aligner
from palimpsest.memory.grounds import grounds, is_verdict, weigh
from palimpsest.memory.ledger import origins
from palimpsest.memory.lines import Line, memory_lines
from palimpsest.memory.reading import Answer, Extended, Reading
from palimpsest.memory.sentences import SentenceIndex, sentence_spans
from palimpsest.memory.words import Words, plain, stands_in, statement_words, words_of
from palimpsest.sources import Source, open_source


class Citation(NamedTuple):
    """A sentence of the source."""

    document: str
    start: int
    """Characters of the document's own text."""
    end: int
    quote: str
    score: float
    """The part of the line that it has, by weight of words, between 0 and 1."""


@dataclass(frozen=True)
class LineCitation:
    """One line of the memory and the sentences it rests on."""

    text: str
    line: int
    """Its place among all lines of the memory, from 0."""
    spans: tuple[Citation, ...]
    supported: bool
    elsewhere: bool = False
    """Whether the sentences stand in other chunks than the line comes from."""
    label: bool = False
    """Whether it is a heading or the like, which only names what the lines below are about."""
    given: bool = False
    """Whether it was noted by hand: it may rest on nothing in the source."""


@dataclass(frozen=True)
class AnswerCitation:
    """One answer and the sentences it rests on."""

    text: str
    question: int
    budget: int | None
    spans: tuple[Citation, ...]
    supported: bool
    elsewhere: bool = False
    """Whether no line of the memory has it, so that it was looked for in the whole source."""


@dataclass(frozen=True)
class Citations:
    """All of a reading."""

    lines: tuple[LineCitation, ...]
    answers: tuple[AnswerCitation, ...]


class Passage(NamedTuple):
    """Where a fact stands in the source."""

    chunk: int
    citation: Citation


def passages(reading: Reading, source: Source, fact: str) -> list[Passage]:
    """The sentences of the source in which a fact stands word for word; where there is none,
    those that say it in other words. Raises as `citations`."""
    check_source(reading, source)
    return _Citer(reading, source).passages(fact)


def citations(reading: Reading, source: Source) -> Citations:
    """The sentences behind each line of the memory that stands, and behind each answer.

    Raises `InputError` when `source` is not what the reading has read.
    """
    check_source(reading, source)
    return _Citer(reading, source).citations()


def check_source(reading: Reading, source: Source) -> None:
    """Raises `InputError` unless `source` is what the reading has read."""
    if source.sha256 != reading.header.source_sha256:
        raise InputError(
            "the source is not the one that was read, or has changed since",
            hint=f"give what was read: {', '.join(reading.header.documents)}",
        )


def open_as_read(reading: Reading, paths: Sequence[str | Path]) -> Source:
    """The source that was read, out of its files. Raises `InputError` for any other."""
    return as_read(reading, open_source(paths))


def as_read(reading: Reading, source: Source) -> Source:
    """A source as it was laid out when it was read. Raises `InputError` for another one."""
    if len(source.text) != reading.header.characters:
        # A memory that grows gives a single document a heading too.
        named = [(document.name, document.text) for document in source.documents]
        source = Source.from_documents(named, growing=True)
    check_source(reading, source)
    return source


class _Citer:
    def __init__(self, reading: Reading, source: Source) -> None:
        self._reading = reading
        self._source = source
        self._chunks = range(len(reading.header.chunks))
        self._aligner = Aligner(SentenceIndex(source, reading.header.chunks))

    def citations(self) -> Citations:
        by_hand = {one.memory for one in self._reading.records if isinstance(one, Extended)}
        comes_from = {origin.line: origin for origin in origins(self._reading)}
        lines = memory_lines(self._reading.memory)
        cited = []
        for line in lines:
            origin = comes_from[line.number]
            one = self._line(line, sorted(origin.chunks))
            cited.append(replace(one, given=origin.introduced in by_hand))
        answers = tuple(self._answer(answer, lines, cited) for answer in self._reading.answers)
        return Citations(tuple(cited), answers)

    def _line(self, line: Line, chunks: Sequence[int]) -> LineCitation:
        if line.label:
            return self._label(line)
        statements = _statements(line.plain)
        heading = words_of(line.context).all
        near = [self._aligner.align(words, heading, chunks) for words in statements]
        if all(found.supported for found in near):
            return self._cited(line, near)
        anywhere = [
            found if found.supported else self._aligner.align(words, heading, self._chunks)
            for words, found in zip(statements, near, strict=True)
        ]
        if all(found.supported for found in anywhere):
            return self._cited(line, anywhere, elsewhere=True)
        return self._cited(line, near)

    def _cited(
        self, line: Line, found: Sequence[Aligned], *, elsewhere: bool = False
    ) -> LineCitation:
        supported = bool(found) and all(one.supported for one in found)
        spans = self._spans(one for one in found if one.supported)
        return LineCitation(line.text, line.number, spans, supported, elsewhere)

    def _label(self, line: Line) -> LineCitation:
        words = words_of(line.plain)
        known = all(
            any(word in self._aligner.index.holding(chunk) for chunk in self._chunks)
            for word in words.names | words.numbers
        )
        return LineCitation(line.text, line.number, (), known, label=True)

    def _spans(self, found: Iterable[Aligned]) -> tuple[Citation, ...]:
        best: dict[int, float] = {}
        for one in found:
            for index, score in zip(one.sentences, one.scores, strict=True):
                best[index] = max(score, best.get(index, 0.0))
        return tuple(self._citation(index, score) for index, score in best.items())

    def _citation(self, index: int, score: float) -> Citation:
        place = self._aligner.index.places[index]
        name = self._source.documents[place.document].name
        return Citation(name, place.start, place.end, self._aligner.index.text(index), score)

    def _answer(
        self, answer: Answer, lines: Sequence[Line], cited: Sequence[LineCitation]
    ) -> AnswerCitation:
        question = words_of(self._reading.header.questions[answer.question])
        usable = [one for one in cited if one.spans]
        places = {line.number: line for line in lines}
        found = grounds(answer.text, question, [places[one.line] for one in usable])
        spans = [usable[index].spans for index in found.lines]
        supported = bool(found.having or (spans and is_verdict(answer.text)))
        elsewhere = () if supported else self._holding(answer.text, question)
        return AnswerCitation(
            answer.text, answer.question, answer.budget,
            spans=_union([elsewhere, *spans]) if supported or elsewhere else (),
            supported=supported or bool(elsewhere),
            elsewhere=bool(elsewhere),
        )  # fmt: skip

    def _holding(self, answer: str, question: Words) -> tuple[Citation, ...]:
        """The sentence of the source that has the answer, and most of the question."""
        wanted = frozenset(question.all)
        index = self._aligner.index
        shares = {
            number: weigh(question, wanted & index.sentence(number).words)
            for number in self._with_words(answer)
        }
        return (self._citation(max(shares, key=shares.__getitem__), 1.0),) if shares else ()

    def passages(self, fact: str) -> list[Passage]:
        """Where a fact stands in the source: word for word, else reworded."""
        index = self._aligner.index
        found = [(number, 1.0) for number in self._with_words(fact)]
        for words in () if found else _statements(plain(fact)):
            one = self._aligner.align(words, (), self._chunks)
            if one.supported:
                found += zip(one.sentences, one.scores, strict=True)
        return [Passage(index.chunks_of(at)[0], self._citation(at, score)) for at, score in found]

    def _with_words(self, text: str) -> list[int]:
        """The sentences in which a text stands word for word."""
        index = self._aligner.index
        candidates = _having_all(index, words_of(plain(text)).all, self._chunks)
        return [number for number in candidates if stands_in(index.text(number), text)]


def _having_all(index: SentenceIndex, words: Sequence[str], chunks: Iterable[int]) -> list[int]:
    found: dict[int, None] = {}
    for chunk in chunks:
        holding = index.holding(chunk)
        sets = [set(holding.get(word, ())) for word in words]
        found.update(dict.fromkeys(sorted(set.intersection(*sets)) if sets else ()))
    return list(found)


def _statements(text: str) -> list[Words]:
    """The sentences of a line as words."""
    return [statement_words(text[start:end]) for start, end in sentence_spans(text)]


def _union(spans: Iterable[Sequence[Citation]]) -> tuple[Citation, ...]:
    best: dict[tuple[str, int], Citation] = {}
    for one in (span for several in spans for span in several):
        known = best.get((one.document, one.start))
        if known is None or known.score < one.score:
            best[one.document, one.start] = one
    return tuple(best.values())
