"""Cuts spans of text into words and shapes them. Words that were shaped before are kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from palimpsest.pages.bidi import directions, has_right_to_left
from palimpsest.pages.block import HARD_BREAK, Look, Span
from palimpsest.pages.breaks import cuts_of
from palimpsest.pages.font import Typeface, typeface
from palimpsest.pages.segment import Fragment, Piece, Segment, Wrapped

__all__ = ["Fragment", "Piece", "Segment", "Wrapped", "segments"]

# No-break spaces are not among them: they hold words together.
_SPACE = re.compile(r"[^\S\u00a0\u202f\u2007]+")
_MOST_WORDS = 12_288
"""Words that are kept shaped, for one choice of families and language."""

_KANA = re.compile("[\u3041-\u30ff]")
_HANGUL = re.compile("[\u1100-\u11ff\uac00-\ud7a3]")


def segments(
    spans: Iterable[Span], *, keep_spaces: bool = False, families: tuple[str, ...]
) -> list[Segment]:
    """Shapes spans: one segment per hard-broken line. `keep_spaces` keeps runs of them, as in
    code."""
    lines: list[list[Span]] = [[]]
    for span in spans:
        if span.text == HARD_BREAK:
            lines.append([])
        else:
            lines[-1].append(span)
    return [_segment(line, families, keep_spaces=keep_spaces) for line in lines]


def _segment(spans: Sequence[Span], families: tuple[str, ...], *, keep_spaces: bool) -> Segment:
    text = "".join([span.text for span in spans])
    words = _words(spans, keep_spaces=keep_spaces)
    if text.isascii():
        return _one_way(words, _setter(families, ""))
    setter = _setter(families, _language(text))
    return (_both_ways if has_right_to_left(text) else _one_way)(words, setter)


def _language(text: str) -> str:
    """The language that decides on the shapes of Han characters, if the text shows it."""
    return "ja" if _KANA.search(text) else "ko" if _HANGUL.search(text) else ""


class _Word(NamedTuple):
    """Text without spaces, which may be spread over several looks."""

    parts: Sequence[tuple[str, Look]]
    line: int
    spaces: int
    """How many stand behind it."""
    space_look: Look


def _words(spans: Sequence[Span], *, keep_spaces: bool) -> Iterator[_Word]:
    """The words of a line. With `keep_spaces`, those at the start of a span hang on an
    empty word."""
    parts: list[tuple[str, Look]] = []
    line = 0
    for text, look, source in spans:
        *ended, rest = _SPACE.split(text) if text else ("",)
        counts = [len(gap) for gap in _SPACE.findall(text)] if keep_spaces else [1] * len(ended)
        for word, count in zip(ended, counts, strict=True):
            if word:
                line = line if parts else source
                parts.append((word, look))
            if parts or keep_spaces:
                yield _Word(parts, line if parts else source, count, look)
                parts = []
        if rest:
            line = line if parts else source
            parts.append((rest, look))
    if parts:
        yield _Word(parts, line, 0, parts[-1][1])


class _Setter:
    """Shaped words in some families and one language."""

    def __init__(self, families: tuple[str, ...], language: str) -> None:
        self._families = families
        self._language = language
        self._known: dict[tuple[int, Look], dict[str, tuple[Piece, ...]]] = {}
        self._count = 0
        self._parts: dict[tuple[str, Look, int], Piece] = {}

    def known(self, look: Look, level: int = 0) -> dict[str, tuple[Piece, ...]]:
        """Words in one look and of one level that were shaped before."""
        return self._known.setdefault((level, look), {})

    def simple(self, word: str, look: Look, level: int = 0) -> tuple[Piece, ...]:
        """Shapes a word in one look and of one level, and keeps it."""
        if self._count >= _MOST_WORDS:
            self._known.clear()
            self._count = 0
        self._count += 1
        found = self.known(look, level)[word] = tuple(
            [
                self._part(word[start:end], look, level)
                for start, end in pairwise([0, *cuts_of(word), len(word)])
            ]
        )
        return found

    def _part(self, text: str, look: Look, level: int) -> Piece:
        """What stays on one line. Words share such parts: ideographs, syllables."""
        piece = self._parts.get((text, look, level))
        if piece is None:
            if len(self._parts) >= _MOST_WORDS:
                self._parts.clear()
            shaped = self.face(look).shape(text, rtl=level % 2 == 1)
            piece = Piece((Fragment(shaped, look, level),), shaped.width, text)
            self._parts[text, look, level] = piece
        return piece

    def pieces(self, word: Sequence[tuple[str, Look]], levels: Sequence[int]) -> Iterator[Piece]:
        """Cuts a word at the places where a line may end and shapes the parts. No `levels` means
        left to right."""
        text = "".join([part for part, _ in word]) if len(word) > 1 else word[0][0]
        cuts = cuts_of(text)
        for start, end in pairwise([0, *cuts, len(text)]):
            fragments = tuple(self._fragments(word, start, end, levels))
            width = sum([fragment.shaped.width for fragment in fragments])
            yield Piece(fragments, width, text[start:end])

    def face(self, look: Look) -> Typeface:
        return typeface(self._families, bold=look.bold, italic=look.italic, language=self._language)

    def _fragments(
        self, word: Sequence[tuple[str, Look]], start: int, end: int, levels: Sequence[int]
    ) -> Iterator[Fragment]:
        offset = 0
        for part, look in word:
            first, last = max(start, offset), min(end, offset + len(part))
            while first < last:
                level = levels[first] if levels else 0
                until = first + 1
                while until < last and levels and levels[until] == level:
                    until += 1
                until = until if levels else last
                shown = part[first - offset : until - offset]
                yield Fragment(self.face(look).shape(shown, rtl=level % 2 == 1), look, level)
                first = until
            offset += len(part)


@lru_cache(maxsize=64)
def _setter(families: tuple[str, ...], language: str) -> _Setter:
    return _Setter(families, language)


def _one_way(words: Iterable[_Word], setter: _Setter) -> Segment:
    """A segment in which everything runs from left to right."""
    pieces: list[Piece] = []
    spaces: list[float] = []
    lines: list[int] = []
    look: Look | None = None
    space_look: Look | None = None
    known: dict[str, tuple[Piece, ...]] = {}
    space = 0.0
    for parts, line, count, behind in words:
        if behind is not space_look:
            space_look, space = behind, setter.face(behind).space
        if len(parts) == 1:
            text, shown = parts[0]
            if shown is not look:
                look, known = shown, setter.known(shown)
            found = known.get(text) or setter.simple(text, shown)
        else:
            found = tuple(setter.pieces(parts, ())) if parts else _NOTHING
        pieces += found
        if len(found) > 1:
            spaces += [0.0] * (len(found) - 1)
            lines += [line] * (len(found) - 1)
        spaces.append(count * space)
        lines.append(line)
    return Segment(pieces, spaces, lines)


_NOTHING = (Piece((), 0.0, ""),)


def _both_ways(words: Iterable[_Word], setter: _Setter) -> Segment:
    """A segment that is right to left in whole or in part."""
    read = list(words)
    texts = ["".join(part for part, _ in word.parts) for word in read]
    base, levels = directions(" ".join(texts))
    pieces: list[Piece] = []
    spaces: list[float] = []
    lines: list[int] = []
    gaps: list[int] = []
    start = 0
    for word, text in zip(read, texts, strict=True):
        end = start + len(text)
        found = _levelled(word.parts, levels[start:end], setter) if text else _NOTHING
        pieces += found
        spaces += [0.0] * (len(found) - 1) + [word.spaces * setter.face(word.space_look).space]
        lines += [word.line] * len(found)
        gaps += [levels[end] if end < len(levels) else base] * len(found)
        start = end + 1
    return Segment(pieces, spaces, lines, levels=gaps, rtl=base == 1)


def _levelled(
    parts: Sequence[tuple[str, Look]], levels: Sequence[int], setter: _Setter
) -> tuple[Piece, ...]:
    """The pieces of a word whose characters have these levels."""
    if len(parts) > 1 or levels.count(levels[0]) < len(levels):
        return tuple(setter.pieces(parts, levels))
    text, look = parts[0]
    level = levels[0]
    return setter.known(look, level).get(text) or setter.simple(text, look, level)
