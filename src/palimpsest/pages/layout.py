"""Flows measured blocks down a column. All lengths are in em of the body type.

Measuring (shaping the words) does not depend on the size or the width and is done once; a layout
is then a cheap function of the width alone, so that a fit can try a dozen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from palimpsest.pages.block import Block, Frame, Look, Role, Rule, Span, Table, Text
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


@dataclass(slots=True)
class Flow:
    """Where everything stands."""

    width: float
    height: float = 0.0
    lines: list[Line] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
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
        rows = [[segments(cell, families=style.families) for cell in row] for row in block.rows]
        columns = range(len(rows[0]))
        natural = [max(max(s.width for s in row[column]) for row in rows) for column in columns]
        least = [max(max(s.widest for s in row[column]) for row in rows) for column in columns]
        return MeasuredTable(block, rows, natural, least, indents)
    lines = segments(block.spans, keep_spaces=block.role == "code", families=style.families)
    marker = _marker(block.marker, block.line, style) if block.marker else None
    scale = style.heading_scales[min(block.level, 3) - 1] if block.level else 1.0
    return MeasuredText(block, lines, marker, scale, indents)


def lay_out(blocks: Sequence[Measured], width: float, style: Style) -> Flow:
    """Sets the blocks below each other in a column of `width`."""
    flow = Flow(width)
    gap = 0.0
    for index, measured in enumerate(blocks):
        flow.height += gap
        top = flow.height
        left = _left(measured.indents, width)
        if isinstance(measured, MeasuredText):
            _lay_text(flow, index, measured, left, style)
        elif isinstance(measured, MeasuredTable):
            _lay_table(flow, index, measured, left, style)
        else:
            _lay_rule(flow, left)
        gap = style.block_gap
        _lay_quotes(flow, measured, top)
    return flow


def _indent(frame: Frame, style: Style) -> float:
    if frame.kind == "quote":
        return _QUOTE_INDENT
    if not frame.marker:
        return style.list_indent
    return max(style.list_indent, _marker(frame.marker, 0, style).width + _MARKER_GAP)


def _marker(text: str, line: int, style: Style) -> Segment:
    return segments([Span(text, Look(), line)], families=style.families)[0]


def _left(indents: Indents, width: float) -> float:
    """Where what stands in these frames begins."""
    left = 0.0
    for _, indent in indents:
        left += min(indent, (width - left) * (1 - _KEPT_WIDTH))
    return left


def _lay_text(flow: Flow, index: int, text: MeasuredText, left: float, style: Style) -> None:
    top, role, scale = flow.height, text.block.role, text.scale
    if text.marker:
        _lay_marker(flow, index, text, text.marker, left)
    for segment in text.segments:
        _lay_segment(flow, index, role, segment, left, flow.width - left, scale, style)
    if role == "code":
        flow.bars.append(Bar("shade", left, top, flow.width, flow.height))


def _lay_marker(flow: Flow, index: int, text: MeasuredText, marker: Segment, left: float) -> None:
    """Sets a marker on the baseline of the text's first line, smaller if the indent is tight."""
    x = _left(text.indents[:-1], flow.width)
    room = (left - x) * (1 - _MARKER_GAP / 2)
    scale = min(1.0, room / max(marker.width, 1e-6))
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
    wrapped = segment.wrap(width / scale)
    flow.broken += wrapped.broken
    flow.overflows |= wrapped.segment.widest * scale > width * (1 + 1e-9)
    first = 0
    for end in wrapped.ends:
        flow.lines.append(Line(index, role, wrapped.segment, first, end, left, flow.height, scale))
        flow.height += style.line_height * scale
        first = end


def _lay_table(flow: Flow, index: int, table: MeasuredTable, left: float, style: Style) -> None:
    width = flow.width - left
    padding = min(_CELL_PADDING, width / len(table.natural) / 8)
    room = width - 2 * padding * len(table.natural)
    widths = column_widths(table.natural, table.least, room)
    edges = [left]
    for column in widths:
        edges.append(edges[-1] + column + 2 * padding)
    top = flow.height
    for row in table.rows:
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
