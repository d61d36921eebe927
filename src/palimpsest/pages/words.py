"""Shaped words and the lines they break into. Lengths are in em of the words' own type size."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

from palimpsest.pages.block import HARD_BREAK, Look, Span
from palimpsest.pages.font import Shaped, Typeface, typeface

# No-break spaces are not among them: they hold words together.
_SPACE = re.compile(r"[^\S\u00a0\u202f\u2007]+")
_LONGEST_UNIT = 256
"""Longer runs of letters are shaped in parts; the seam costs one kerning pair."""

_IDEOGRAPHIC = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3040-\u30ff\u3100-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\ua000-\ua4cf\uac00-\ud7a3\uf900-\ufaff\uff66-\uff9d"
    "\U00020000-\U0003ffff"
)
_CLOSING = "、。，．・：；？！）」』】〉》〕］｝’”ー々ぁぃぅぇぉっゃゅょァィゥェォッャュョ.,:;?!)]}"
_OPENING = "（「『【〈《〔［｛‘“([{"
_BREAK = re.compile(
    rf"(?<=[{_IDEOGRAPHIC}{re.escape(_CLOSING)}])(?=[{_IDEOGRAPHIC}{re.escape(_OPENING)}])"
    rf"|(?<![{re.escape(_OPENING)}])(?=[{_IDEOGRAPHIC}])(?<!^)"
    rf"|(?<=[{_IDEOGRAPHIC}])(?![{re.escape(_CLOSING)}{_IDEOGRAPHIC}]|$)"
    r"|(?<=\w\w[-/‐–—])(?=\w)"
)
_CLOSED = re.compile(rf"[{re.escape(_CLOSING)}]")


class Fragment(NamedTuple):
    """Part of a word in one look."""

    shaped: Shaped
    look: Look


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


class Segment:
    """Pieces between two hard breaks, with the space behind each and its source line."""

    def __init__(self, pieces: list[Piece], spaces: list[float], lines: list[int]) -> None:
        self.pieces = pieces
        self.spaces = spaces
        self.lines = lines
        advances = [piece.width + space for piece, space in zip(pieces, spaces, strict=True)]
        self.starts = [0.0, *accumulate(advances)]
        self.ends = [start + piece.width for start, piece in zip(self.starts, pieces, strict=False)]
        self.widest = max((piece.width for piece in pieces), default=0.0)
        self.width = self.ends[-1] if pieces else 0.0

    def wrap(self, width: float) -> Wrapped:
        """Fills lines of `width` one after the other, which needs the fewest lines."""
        if self.widest > width:
            return self._wrap_broken(width)
        return Wrapped(self, self._fill(width), 0)

    def text(self, first: int, last: int) -> str:
        """The pieces from `first` up to `last` with the spaces between them."""
        if last <= first:
            return ""
        inner = zip(self.pieces[first : last - 1], self.spaces[first : last - 1], strict=True)
        words = [piece.text + " " if space else piece.text for piece, space in inner]
        return "".join(words) + self.pieces[last - 1].text

    def _fill(self, width: float) -> list[int]:
        if self.width <= width:
            return [len(self.pieces)]
        count, first, ends = len(self.pieces), 0, []
        # Sums in another order differ in the last digits: a line may seem a hair too long.
        width += 1e-9
        while first < count:
            last = bisect_right(self.ends, self.starts[first] + width, first)
            first = max(last, first + 1)
            ends.append(first)
        return ends

    def _wrap_broken(self, width: float) -> Wrapped:
        pieces: list[Piece] = []
        spaces: list[float] = []
        lines: list[int] = []
        broken = 0
        for piece, space, line in zip(self.pieces, self.spaces, self.lines, strict=True):
            parts = list(_broken(piece, width)) if piece.width > width else [piece]
            broken += len(parts) > 1
            pieces += parts
            spaces += [*[0.0] * (len(parts) - 1), space]
            lines += [line] * len(parts)
        segment = Segment(pieces, spaces, lines)
        return Wrapped(segment, segment._fill(width), broken)


def segments(
    spans: Iterable[Span], *, keep_spaces: bool = False, families: tuple[str, ...]
) -> list[Segment]:
    """Shapes spans: one segment per hard-broken line. `keep_spaces` keeps runs of them, as in
    code."""
    result: list[Segment] = []
    builder = _Builder(families, keep_spaces=keep_spaces)
    for span in spans:
        if span.text == HARD_BREAK:
            result.append(builder.finish())
        else:
            builder.add(span)
    result.append(builder.finish())
    return result


class _Builder:
    """Collects the pieces of a segment. A word may be spread over several spans."""

    def __init__(self, families: tuple[str, ...], *, keep_spaces: bool) -> None:
        self._families = families
        self._keep_spaces = keep_spaces
        self._reset()

    def _reset(self) -> None:
        self._pieces: list[Piece] = []
        self._spaces: list[float] = []
        self._lines: list[int] = []
        self._word: list[tuple[str, Look]] = []
        self._line = 0

    def add(self, span: Span) -> None:
        start = 0
        for gap in _SPACE.finditer(span.text):
            self._extend(span, span.text[start : gap.start()])
            self._space(span, len(gap[0]))
            start = gap.end()
        self._extend(span, span.text[start:])

    def finish(self) -> Segment:
        self._flush()
        segment = Segment(self._pieces, self._spaces, self._lines)
        self._reset()
        return segment

    def _extend(self, span: Span, text: str) -> None:
        if not text:
            return
        if not self._word:
            self._line = span.line
        self._word.append((text, span.look))

    def _space(self, span: Span, count: int) -> None:
        self._flush()
        width = _face(span.look, self._families).space
        if not self._pieces:
            if not self._keep_spaces:
                return
            self._pieces.append(Piece((), 0.0, ""))
            self._spaces.append(0.0)
            self._lines.append(span.line)
        if self._keep_spaces:
            self._spaces[-1] += width * count
        else:
            self._spaces[-1] = width

    def _flush(self) -> None:
        if not self._word:
            return
        pieces = (
            _simple_pieces(*self._word[0], self._families)
            if len(self._word) == 1
            else tuple(_pieces(self._word, self._families))
        )
        self._pieces += pieces
        self._spaces += [0.0] * len(pieces)
        self._lines += [self._line] * len(pieces)
        self._word = []


def _face(look: Look, families: tuple[str, ...]) -> Typeface:
    return typeface(families, bold=look.bold, italic=look.italic)


@lru_cache(maxsize=16_384)
def _simple_pieces(word: str, look: Look, families: tuple[str, ...]) -> tuple[Piece, ...]:
    """The pieces of a word in one look."""
    return tuple(_pieces([(word, look)], families))


def _pieces(word: Sequence[tuple[str, Look]], families: tuple[str, ...]) -> Iterator[Piece]:
    """Cuts a word at the places where a line may end and shapes the parts."""
    text = "".join(part for part, _ in word)
    cuts = _cuts(text)
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        fragments: list[Fragment] = []
        offset = 0
        for part, look in word:
            shown = part[max(start - offset, 0) : max(end - offset, 0)]
            offset += len(part)
            if shown:
                fragments.append(Fragment(_face(look, families).shape(shown), look))
        width = sum(fragment.shaped.width for fragment in fragments)
        yield Piece(tuple(fragments), width, text[start:end])


def _cuts(text: str) -> list[int]:
    if text.isalpha() and text.isascii() and len(text) <= _LONGEST_UNIT:
        return []
    cuts = [match.start() for match in _BREAK.finditer(text) if 0 < match.start() < len(text)]
    cuts = [cut for cut in cuts if not _CLOSED.match(text[cut])]
    if len(text) <= _LONGEST_UNIT:
        return cuts
    return sorted({*cuts, *range(_LONGEST_UNIT, len(text), _LONGEST_UNIT)})


def _broken(piece: Piece, width: float) -> Iterator[Piece]:
    """Parts of a piece none of which is wider than `width`, unless a single cluster is."""
    for fragment in piece.fragments:
        shaped, first, used = fragment.shaped, 0, 0.0
        for index, (cluster, advance) in enumerate(shaped.cuts):
            if index and used and used + advance > width:
                yield _part(fragment, first, cluster)
                first, used = cluster, 0.0
            used += advance
        yield _part(fragment, first, len(shaped.text))


def _part(fragment: Fragment, start: int, end: int) -> Piece:
    """The clusters from character `start` up to `end`, in whatever direction they run."""
    shaped = fragment.shaped
    if start == 0 and end == len(shaped.text):
        return Piece((fragment,), shaped.width, shaped.text)
    glyphs = [glyph for glyph in shaped.glyphs if start <= glyph.cluster < end]
    cuts = tuple((at - start, width) for at, width in shaped.cuts if start <= at < end)
    width = sum(advance for _, advance in cuts)
    left = min((glyph.x for glyph in glyphs), default=0.0)
    moved = tuple(g._replace(x=g.x - left, cluster=g.cluster - start) for g in glyphs)
    part = Shaped(shaped.text[start:end], moved, width, cuts)
    return Piece((Fragment(part, fragment.look),), width, part.text)
