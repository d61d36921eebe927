"""Sets lists and tables as running text, for pages too small to give each item a line.

Half a line is lost at the end of every item and of every cell. Run together, with the markers and
bars that tell them apart, they take less room, so that type can be larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from palimpsest.pages.block import Text, spans_of
from palimpsest.pages.layout import (
    Measured,
    MeasuredTable,
    MeasuredText,
    heading_scale,
    marker_segment,
)
from palimpsest.pages.style import Style
from palimpsest.pages.words import Piece, Segment

_BETWEEN_CELLS, _BETWEEN_ROWS = "|", "•"
_AROUND = 0.45
"""Space in em before a marker, and on both sides of a bar."""
_BEHIND_MARKER = 0.2
_WORD_SPACE = 0.26
_HEADINGS_KEPT = 0.4
"""Share of what headings are larger by that they keep on a page that leaves text out."""
_LINE_HEIGHT = 1.05


def compact_style(style: Style) -> Style:
    """Closer lines; and if text is to be left out, smaller headings, which leave room for it. A
    page that only shrinks keeps the relative weight of its headings, as in the paper."""
    line_height = min(style.line_height, _LINE_HEIGHT)
    if style.policy == "shrink":
        return replace(style, line_height=line_height)
    first, second, third = (1 + (scale - 1) * _HEADINGS_KEPT for scale in style.heading_scales)
    return replace(style, line_height=line_height, heading_scales=(first, second, third))


def compact(blocks: Sequence[Measured], style: Style) -> list[Measured]:
    """The blocks with neighbouring items of a list as one paragraph, and tables as another, in the
    type sizes of the style."""
    result: list[Measured] = []
    for _, group in groupby(enumerate(blocks), key=lambda pair: _kind(*pair)):
        together = [block for _, block in group]
        first = together[0]
        if isinstance(first, MeasuredTable):
            result.append(_table(first, style))
        elif len(together) > 1:
            result.append(_paragraph(together))
        elif isinstance(first, MeasuredText):
            result.append(replace(first, scale=heading_scale(first.block, style)))
        else:
            result.append(first)
    return result


def _kind(index: int, block: Measured) -> tuple[object, ...]:
    """Equal for neighbours that may be run together."""
    if isinstance(block, MeasuredText) and _is_item(block):
        return block.block.role, block.indents
    return (index,)


def _is_item(text: MeasuredText) -> bool:
    one_way = not any(segment.mixed for segment in text.segments)
    return text.marker is not None and text.block.role in ("body", "quote") and one_way


def _paragraph(items: Sequence[Measured]) -> MeasuredText:
    """The items of a list behind each other, each behind its marker."""
    texts = [item for item in items if isinstance(item, MeasuredText)]
    first = texts[0]
    parts = _Parts()
    for text in texts:
        assert text.marker is not None
        parts.space(_AROUND)
        parts.add(text.marker)
        parts.space(_BEHIND_MARKER)
        for segment in text.segments:
            parts.add(segment)
    return MeasuredText(first.block, [parts.joined()], None, first.scale, first.indents[:-1])


def _table(table: MeasuredTable, style: Style) -> Measured:
    """The rows of a table behind each other; as it is if it holds text from right to left."""
    if any(segment.mixed for row in table.rows for cell in row for segment in cell):
        return table
    bar = marker_segment(_BETWEEN_CELLS, table.block.line, style)
    bullet = marker_segment(_BETWEEN_ROWS, table.block.line, style)
    parts = _Parts()
    for number, row in enumerate(table.rows):
        if number:
            parts.space(_AROUND)
            parts.add(bullet)
            parts.space(_BEHIND_MARKER)
        filled = [cell for cell in row if any(segment.pieces for segment in cell)]
        for place, cell in enumerate(filled):
            if place:
                parts.space(_AROUND)
                parts.add(bar)
                parts.space(_AROUND)
            for segment in cell:
                parts.add(segment)
    block = Text("table", spans_of(table.block), table.block.line, table.block.frames)
    return MeasuredText(block, [parts.joined()], None, 1.0, table.indents)


class _Parts:
    """Collects segments into one."""

    def __init__(self) -> None:
        self._pieces: list[Piece] = []
        self._spaces: list[float] = []
        self._lines: list[int] = []

    def add(self, segment: Segment) -> None:
        self.space(_WORD_SPACE)
        self._pieces += segment.pieces
        self._spaces += segment.spaces
        self._lines += segment.lines

    def space(self, width: float) -> None:
        """Room behind the last piece, unless there is some already."""
        if self._spaces and not self._spaces[-1]:
            self._spaces[-1] = width

    def joined(self) -> Segment:
        return Segment(self._pieces, self._spaces, self._lines)
