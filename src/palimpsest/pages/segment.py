"""A paragraph line of shaped words, the lines it breaks into, and their order on the page.

Lengths are in em of the words' own type size.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

from palimpsest.pages.bidi import visual_order
from palimpsest.pages.block import Look
from palimpsest.pages.font import Shaped

_SLACK = 1e-9
"""Sums in another order differ in the last digits: a line may seem a hair too long."""


class Fragment(NamedTuple):
    """Part of a word in one look and one direction."""

    shaped: Shaped
    look: Look
    level: int = 0
    """Of embedding; odd for right to left."""


class Piece(NamedTuple):
    """What stays on one line: a word, or a part of one between two places to break."""

    fragments: tuple[Fragment, ...]
    width: float
    text: str


class Wrapped(NamedTuple):
    """A segment's lines: line i holds the pieces from `ends[i - 1]` up to `ends[i]`."""

    segment: Segment
    ends: list[int]
    broken: int
    """Words that had to be broken because they are longer than a line."""


class Count(NamedTuple):
    """What wrapping a segment would come to."""

    lines: int
    broken: int = 0
    overflows: bool = False
    """Whether a single character is wider than a line."""


class Segment:
    """Pieces between two hard breaks, with the space behind each and its source line.

    `levels` are those of the spaces if the segment mixes directions. It is right to left, and its
    lines stand at the right, if `rtl` is set.
    """

    def __init__(
        self,
        pieces: list[Piece],
        spaces: list[float],
        lines: list[int],
        *,
        levels: list[int] | None = None,
        rtl: bool = False,
    ) -> None:
        self.pieces = pieces
        self.spaces = spaces
        self.lines = lines
        self.rtl = rtl
        self._levels = levels
        advances = [piece.width + space for piece, space in zip(pieces, spaces, strict=True)]
        self.starts = [0.0, *accumulate(advances)]
        self.ends = [start + piece.width for start, piece in zip(self.starts, pieces, strict=False)]
        self.widest = max((piece.width for piece in pieces), default=0.0)
        self.width = self.ends[-1] if pieces else 0.0

    @property
    def mixed(self) -> bool:
        """Whether some of it runs from right to left."""
        return self._levels is not None

    @property
    def missing(self) -> str:
        """Characters of the segment that no installed font has."""
        return "".join(f.shaped.missing for piece in self.pieces for f in piece.fragments)

    def wrap(self, width: float) -> Wrapped:
        """Fills lines of `width` one after the other, which needs the fewest lines."""
        if self.widest > width:
            return self._wrap_broken(width)
        return Wrapped(self, self._fill(width), 0)

    def count(self, width: float) -> Count:
        """What `wrap` would come to, for much less work."""
        if self.width <= width:
            return Count(1)
        if self.widest > width:
            return self._count_broken(width)
        starts, ends, last = self.starts, self.ends, len(self.ends)
        first = lines = 0
        width += _SLACK
        while first < last:
            first = bisect_right(ends, starts[first] + width, first)
            lines += 1
        return Count(lines)

    def _count_broken(self, width: float) -> Count:
        lines = broken = 0
        at, end, widest = 0.0, -1.0, 0.0
        for piece, space in zip(self.pieces, self.spaces, strict=True):
            parts = [piece.width]
            if piece.width > width:
                parts = [part[2] for f in piece.fragments for part in _stretches(f.shaped, width)]
                broken += len(parts) > 1
            for part in parts:
                widest = max(widest, part)
                if at + part > end:
                    lines += 1
                    end = at + width + _SLACK
                at += part
            at += space
        return Count(lines, broken, widest > width * (1 + _SLACK))

    def text(self, first: int, last: int) -> str:
        """The pieces from `first` up to `last` with the spaces between them, in reading order."""
        if last <= first:
            return ""
        inner = zip(self.pieces[first : last - 1], self.spaces[first : last - 1], strict=True)
        words = [piece.text + " " if space else piece.text for piece, space in inner]
        return "".join(words) + self.pieces[last - 1].text

    def visual(self, first: int, last: int) -> Iterator[tuple[Fragment, float, float]]:
        """The fragments of a line of pieces from left to right, each with its place behind the left
        end of the line and its advance.

        The space behind a fragment is part of it if the next has the same look, so that shades and
        strokes do not end at words.
        """
        if self._levels is not None:
            yield from self._reordered(first, last, self._levels)
            return
        if last <= first:
            return
        origin = self.starts[first]
        for index in range(first, last):
            x = self.starts[index] - origin
            fragments = self.pieces[index].fragments
            for fragment in fragments:
                width = advance = fragment.shaped.width
                if fragment is fragments[-1] and index + 1 < last:
                    following = self.pieces[index + 1].fragments
                    if following and _continues(fragment.look, following[0].look):
                        advance += self.spaces[index]
                yield fragment, x, advance
                x += width

    def _reordered(
        self, first: int, last: int, levels: list[int]
    ) -> Iterator[tuple[Fragment, float, float]]:
        parts: list[tuple[Fragment | None, float, int]] = []
        for index in range(first, last):
            for fragment in self.pieces[index].fragments:
                parts.append((fragment, fragment.shaped.width, fragment.level))
            if index + 1 < last and self.spaces[index]:
                parts.append((None, self.spaces[index], levels[index]))
        parts = [parts[index] for index in visual_order([part[2] for part in parts])]
        x = 0.0
        for index, (shown, width, _) in enumerate(parts):
            if shown:
                yield shown, x, width + _space_behind(parts, index)
            x += width

    def _fill(self, width: float) -> list[int]:
        if self.width <= width:
            return [len(self.pieces)]
        count, first, ends = len(self.pieces), 0, []
        width += _SLACK
        while first < count:
            last = bisect_right(self.ends, self.starts[first] + width, first)
            first = max(last, first + 1)
            ends.append(first)
        return ends

    def _wrap_broken(self, width: float) -> Wrapped:
        pieces: list[Piece] = []
        spaces: list[float] = []
        lines: list[int] = []
        levels: list[int] = []
        broken = 0
        for index, piece in enumerate(self.pieces):
            parts = list(_broken(piece, width)) if piece.width > width else [piece]
            broken += len(parts) > 1
            pieces += parts
            spaces += [*[0.0] * (len(parts) - 1), self.spaces[index]]
            lines += [self.lines[index]] * len(parts)
            if self._levels is not None:
                levels += [self._levels[index]] * len(parts)
        mixed = None if self._levels is None else levels
        segment = Segment(pieces, spaces, lines, levels=mixed, rtl=self.rtl)
        return Wrapped(segment, segment._fill(width), broken)


def _space_behind(parts: Sequence[tuple[Fragment | None, float, int]], index: int) -> float:
    """The width of the space to the right of a part, if shades and strokes run on over it."""
    if index + 2 >= len(parts) or parts[index + 1][0]:
        return 0.0
    shown, following = parts[index][0], parts[index + 2][0]
    runs_on = shown and following and _continues(shown.look, following.look)
    return parts[index + 1][1] if runs_on else 0.0


def _continues(look: Look, following: Look) -> bool:
    """Whether shades and strokes run on between two words."""
    return look is following or look == following or _plain(look) == _plain(following)


@lru_cache(maxsize=1024)
def _plain(look: Look) -> Look:
    return look._replace(bold=False, italic=False)


def _broken(piece: Piece, width: float) -> Iterator[Piece]:
    """Parts of a piece none of which is wider than `width`, unless a single cluster is."""
    for fragment in piece.fragments:
        for first, end, _ in _stretches(fragment.shaped, width):
            yield _part(fragment, first, end)


def _stretches(shaped: Shaped, width: float) -> Iterator[tuple[int, int, float]]:
    """First character, end and width of the longest parts that are not wider than `width`."""
    first, used = 0, 0.0
    for index, (cluster, advance) in enumerate(shaped.cuts):
        if index and used and used + advance > width:
            yield first, cluster, used
            first, used = cluster, 0.0
        used += advance
    yield first, len(shaped.text), used


def _part(fragment: Fragment, start: int, end: int) -> Piece:
    """The clusters from character `start` up to `end`."""
    shaped = fragment.shaped
    if start == 0 and end == len(shaped.text):
        return Piece((fragment,), shaped.width, shaped.text)
    cuts = tuple((at - start, width) for at, width in shaped.cuts if start <= at < end)
    width = sum(advance for _, advance in cuts)
    if fragment.level % 2:
        left = sum(advance for at, advance in shaped.cuts if at >= end)
    else:
        left = sum(advance for at, advance in shaped.cuts if at < start)
    glyphs = tuple(
        glyph._replace(x=glyph.x - left, cluster=glyph.cluster - start)
        for glyph in shaped.glyphs
        if start <= glyph.cluster < end
    )
    text = shaped.text[start:end]
    missing = "".join([sign for sign in text if sign in shaped.missing]) if shaped.missing else ""
    part = Shaped(text, glyphs, width, cuts, missing, shaped.faces)
    return Piece((fragment._replace(shaped=part),), width, part.text)
