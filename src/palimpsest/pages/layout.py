"""Flows measured blocks down a strip. All lengths are in em of the body type.

Measuring (shaping the words) does not depend on the size or the width and is done once. The height
of a strip of some width is then cheap to ask, so that a fit can try a dozen, and the strip itself
is laid out only for the one that is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, NamedTuple

from palimpsest.pages.block import PLAIN, Block, Frame, Role, Rule, Span, Table, Text
from palimpsest.pages.columns import column_widths
from palimpsest.pages.style import Style
from palimpsest.pages.words import Segment, segments

BASELINE = 0.87
"""From the top of a line to its baseline, in em of the line's type: a descender still fits."""
RULE_HEIGHT = 0.08
_RULE_ROOM = 0.35
_QUOTE_INDENT = 0.7
_CELL_PADDING = 0.22
_MARKER_GAP = 0.25
_KEPT_WIDTH = 0.8
"""A frame takes at most the rest of the width, so that deep nesting leaves room for text."""


_UNBREAKABLE = frozenset(("table", "h1", "h2", "h3", "h4", "h5", "h6"))
"""Roles whose lines stay together in one column."""


class Line(NamedTuple):
    """A line of type: pieces `first` up to `last` of a segment; x and y are its top left."""

    block: int
    role: Role
    segment: Segment
    first: int
    last: int
    x: float
    y: float
    scale: float

    @property
    def width(self) -> float:
        if self.last <= self.first:
            return 0.0
        length = self.segment.ends[self.last - 1] - self.segment.starts[self.first]
        return length * self.scale


class Bar(NamedTuple):
    """A filled rectangle: a rule, or the shade behind code."""

    kind: Literal["rule", "shade"]
    x0: float
    y0: float
    x1: float
    y1: float


class Break(NamedTuple):
    """A place to go on in the next column: one ends at `bottom`, the next begins at `top`."""

    bottom: float
    top: float


@dataclass(slots=True)
class Flow:
    """Where everything stands."""

    width: float
    height: float = 0.0
    lines: list[Line] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    breaks: list[Break] = field(default_factory=list)
    broken: int = 0
    """Words broken for lack of width."""
    overflows: bool = False
    """Whether a single character is wider than its line."""


Indents = tuple[tuple[Frame, float], ...]
"""The frames around a block, from the outside in, and how far each indents."""


@dataclass(frozen=True, slots=True)
class MeasuredText:
    block: Text
    segments: list[Segment]
    marker: Segment | None
    scale: float
    indents: Indents


@dataclass(frozen=True, slots=True)
class MeasuredTable:
    block: Table
    rows: list[list[list[Segment]]]
    natural: list[float]
    """Width of each column when nothing wraps."""
    least: list[float]
    """Width of each column's longest word."""
    indents: Indents


@dataclass(frozen=True, slots=True)
class MeasuredRule:
    block: Rule
    indents: Indents


Measured = MeasuredText | MeasuredTable | MeasuredRule


def measure(block: Block, style: Style) -> Measured:
    """Shapes a block's words."""
    indents = tuple((frame, _indent(frame, style)) for frame in block.frames)
    if isinstance(block, Rule):
        return MeasuredRule(block, indents)
    if isinstance(block, Table):
        rows = [[_segments(cell, style) for cell in row] for row in block.rows]
        columns = range(len(rows[0]))
        natural = [max(max(s.width for s in row[column]) for row in rows) for column in columns]
        least = [max(max(s.widest for s in row[column]) for row in rows) for column in columns]
        return MeasuredTable(block, rows, natural, least, indents)
    lines = _segments(block.spans, style, keep_spaces=block.role == "code")
    marker = marker_segment(block.marker, block.line, style) if block.marker else None
    return MeasuredText(block, lines, marker, heading_scale(block, style), indents)


def heading_scale(block: Text, style: Style) -> float:
    """The type size of a block relative to the body."""
    return style.heading_scales[min(block.level, 3) - 1] if block.level else 1.0


def needed_width(measured: Measured) -> float:
    """The narrowest strip in which no word of the block is broken."""
    indent = sum(indent for _, indent in measured.indents)
    if isinstance(measured, MeasuredText):
        return indent + max(segment.widest for segment in measured.segments) * measured.scale
    if isinstance(measured, MeasuredTable):
        return indent + sum(measured.least) + 2 * _CELL_PADDING * len(measured.least)
    return 0.0


def text_area(measured: Measured) -> float:
    """What the block's text covers when every line is full, in square em of line height 1."""
    if isinstance(measured, MeasuredText):
        return sum((s.width + 1.0) * measured.scale**2 for s in measured.segments)
    if isinstance(measured, MeasuredTable):
        return sum(s.width + 1.0 for row in measured.rows for cell in row for s in cell)
    return 1.0


class Extent(NamedTuple):
    """What laying out a strip would come to."""

    height: float
    lines: int
    broken: int
    """Words broken for lack of width."""
    overflows: bool
    """Whether a single character is wider than its line."""


def extent(blocks: Sequence[Measured], width: float, style: Style) -> Extent:
    """What `lay_out` would come to, for much less work."""
    height = style.block_gap * (len(blocks) - 1)
    lines = broken = 0
    overflows = False
    for measured in blocks:
        room = width - _left(measured.indents, width) if measured.indents else width
        if isinstance(measured, MeasuredText):
            scale = measured.scale
            own = 0
            for segment in measured.segments:
                if segment.width * scale <= room:
                    own += 1
                    continue
                count = segment.count(room / scale)
                own += count.lines
                broken += count.broken
                overflows |= count.overflows
            height += own * style.line_height * scale
            lines += own
        elif isinstance(measured, MeasuredTable):
            table = _table_extent(measured, room, style)
            height += table.height
            lines += table.lines
            broken += table.broken
            overflows |= table.overflows
        else:
            height += _RULE_ROOM + RULE_HEIGHT
    return Extent(height, lines, broken, overflows)


def lay_out(blocks: Sequence[Measured], width: float, style: Style) -> Flow:
    """Sets the blocks below each other in a strip of `width`."""
    flow = Flow(width)
    bottom = 0.0
    keep = True
    for index, measured in enumerate(blocks):
        top = flow.height = bottom + (style.block_gap if index else 0.0)
        if not keep:
            flow.breaks.append(Break(bottom, top))
        left = _left(measured.indents, width)
        if isinstance(measured, MeasuredText):
            _lay_text(flow, index, measured, left, style)
        elif isinstance(measured, MeasuredTable):
            _lay_table(flow, index, measured, left, style)
        else:
            _lay_rule(flow, left)
        _lay_quotes(flow, measured, top)
        bottom = flow.height
        # A heading at the foot of a column would head nothing.
        keep = isinstance(measured, MeasuredText) and measured.block.level > 0
    return flow


def _segments(spans: Sequence[Span], style: Style, *, keep_spaces: bool = False) -> list[Segment]:
    if not style.emphasis:
        spans = [Span(span.text, PLAIN, span.line) for span in spans]
    return segments(spans, keep_spaces=keep_spaces, families=style.families)


def _indent(frame: Frame, style: Style) -> float:
    if frame.kind == "quote":
        return _QUOTE_INDENT
    if not frame.marker:
        return style.list_indent
    return max(style.list_indent, _marker_width(frame.marker, style.families) + _MARKER_GAP)


@lru_cache(maxsize=1024)
def _marker_width(text: str, families: tuple[str, ...]) -> float:
    return segments([Span(text, PLAIN, 0)], families=families)[0].width


def marker_segment(text: str, line: int, style: Style) -> Segment:
    """A bullet, number or other sign that layout puts between texts."""
    return segments([Span(text, PLAIN, line)], families=style.families)[0]


def _left(indents: Indents, width: float) -> float:
    """Where what stands in these frames begins."""
    left = 0.0
    for _, indent in indents:
        left += min(indent, (width - left) * (1 - _KEPT_WIDTH))
    return left


def _lay_text(flow: Flow, index: int, text: MeasuredText, left: float, style: Style) -> None:
    top, block, scale = flow.height, text.block, text.scale
    if text.marker:
        _lay_marker(flow, index, text, text.marker, left)
    for number, segment in enumerate(text.segments):
        if number and not block.level:
            flow.breaks.append(Break(flow.height, flow.height))
        # What is read from the right is indented from the right.
        x = 0.0 if segment.rtl else left
        _lay_segment(flow, index, block.role, segment, x, flow.width - left, scale, style)
    if block.role == "code":
        flow.bars.append(Bar("shade", left, top, flow.width, flow.height))


def _lay_marker(flow: Flow, index: int, text: MeasuredText, marker: Segment, left: float) -> None:
    """Sets a marker on the baseline of the text's first line, smaller if the indent is tight."""
    x = _left(text.indents[:-1], flow.width)
    room = (left - x) * (1 - _MARKER_GAP / 2)
    scale = min(1.0, room / max(marker.width, 1e-6))
    if text.segments[0].rtl:
        x = flow.width - x - marker.width * scale
    y = flow.height + BASELINE * (text.scale - scale)
    flow.lines.append(Line(index, "marker", marker, 0, len(marker.pieces), x, y, scale))


def _lay_segment(
    flow: Flow,
    index: int,
    role: Role,
    segment: Segment,
    left: float,
    width: float,
    scale: float,
    style: Style,
) -> None:
    """Sets a segment's lines at the side where they are read from."""
    wrapped = segment.wrap(width / scale)
    flow.broken += wrapped.broken
    segment = wrapped.segment
    if wrapped.broken or segment.widest * scale > width:
        flow.overflows |= segment.widest * scale > width * (1 + 1e-9)
    breaks = role not in _UNBREAKABLE
    first = 0
    for end in wrapped.ends:
        if first and breaks:
            flow.breaks.append(Break(flow.height, flow.height))
        line = Line(index, role, segment, first, end, left, flow.height, scale)
        if segment.rtl:
            line = line._replace(x=left + width - line.width)
        flow.lines.append(line)
        flow.height += style.line_height * scale
        first = end


def _columns(table: MeasuredTable, width: float) -> tuple[list[float], float]:
    """The widths of a table's columns, without the padding at either side of each."""
    padding = min(_CELL_PADDING, width / len(table.natural) / 8)
    room = width - 2 * padding * len(table.natural)
    return column_widths(table.natural, table.least, room), padding


def _table_extent(table: MeasuredTable, width: float, style: Style) -> Extent:
    widths, _ = _columns(table, width)
    lines = broken = 0
    overflows = False
    for row in table.rows:
        tallest = 1
        for cell, room in zip(row, widths, strict=True):
            if len(cell) == 1 and cell[0].width <= room:
                continue
            counts = [segment.count(room) for segment in cell]
            tallest = max(tallest, sum(count.lines for count in counts))
            broken += sum(count.broken for count in counts)
            overflows |= any(count.overflows for count in counts)
        lines += tallest
    height = lines * style.line_height + (len(table.rows) + 1) * RULE_HEIGHT
    return Extent(height, lines, broken, overflows)


def _lay_table(flow: Flow, index: int, table: MeasuredTable, left: float, style: Style) -> None:
    widths, padding = _columns(table, flow.width - left)
    edges = [left]
    for column in widths:
        edges.append(edges[-1] + column + 2 * padding)
    top = flow.height
    for number, row in enumerate(table.rows):
        # The header stays with its first row; the rule between two rows is drawn in both columns.
        if number > 1:
            flow.breaks.append(Break(flow.height + RULE_HEIGHT, flow.height))
        _bar(flow, left, edges[-1])
        start = bottom = flow.height
        for column, cell in enumerate(row):
            flow.height = start
            for segment in cell:
                x = edges[column] + padding
                _lay_segment(flow, index, "table", segment, x, widths[column], 1.0, style)
            bottom = max(bottom, flow.height)
        flow.height = bottom
    _bar(flow, left, edges[-1])
    for x in edges:
        side = min(max(x - RULE_HEIGHT / 2, left), edges[-1] - RULE_HEIGHT)
        flow.bars.append(Bar("rule", side, top, side + RULE_HEIGHT, flow.height))


def _bar(flow: Flow, x0: float, x1: float) -> None:
    flow.bars.append(Bar("rule", x0, flow.height, x1, flow.height + RULE_HEIGHT))
    flow.height += RULE_HEIGHT


def _lay_rule(flow: Flow, left: float) -> None:
    flow.height += _RULE_ROOM / 2
    _bar(flow, left, flow.width)
    flow.height += _RULE_ROOM / 2


def _lay_quotes(flow: Flow, measured: Measured, top: float) -> None:
    """Draws the bar at the left of each quote around a block."""
    for depth, (frame, _) in enumerate(measured.indents):
        if frame.kind == "quote":
            left = _left(measured.indents[:depth], flow.width)
            right = _left(measured.indents[: depth + 1], flow.width)
            flow.bars.append(Bar("rule", left, top, left + (right - left) / 4, flow.height))
