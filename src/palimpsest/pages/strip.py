"""A strip of text cut into the columns of a page, or of several pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from palimpsest.pages.layout import Bar, Flow

_SLACK = 1e-9
"""Sums in another order differ in the last digits."""


class Slice(NamedTuple):
    """Part of a strip, from `top` down to `bottom`."""

    top: float
    bottom: float


def slices(flow: Flow, height: float) -> list[Slice] | None:
    """Cuts a strip into pieces of at most `height`, as few as can be; None if some part that must
    stay together is higher."""
    result: list[Slice] = []
    top = 0.0
    reached: Slice | None = None
    upcoming = 0.0
    for bottom, following in [*flow.breaks, (flow.height, flow.height)]:
        if bottom - top > height + _SLACK:
            if reached is None:
                return None
            result.append(reached)
            top = upcoming
            if bottom - top > height + _SLACK:
                return None
        reached, upcoming = Slice(top, bottom), following
    return [*result, Slice(top, flow.height)]


def side_by_side(flow: Flow, parts: Sequence[Slice], gap: float) -> Flow:
    """The parts of a strip as columns of one page, from the left."""
    step = flow.width + gap
    page = Flow(
        width=step * len(parts) - gap,
        height=max(part.bottom - part.top for part in parts),
        broken=flow.broken,
        overflows=flow.overflows,
    )
    for number, part in enumerate(parts):
        for line in flow.lines:
            if part.top <= line.y + _SLACK and line.y < part.bottom - _SLACK:
                page.lines.append(line._replace(x=line.x + number * step, y=line.y - part.top))
        for bar in flow.bars:
            if bar.y0 < part.bottom - _SLACK and bar.y1 > part.top + _SLACK:
                page.bars.append(_clipped(bar, part, number * step))
    return page


def _clipped(bar: Bar, part: Slice, x: float) -> Bar:
    y0 = max(bar.y0, part.top) - part.top
    y1 = min(bar.y1, part.bottom) - part.top
    return Bar(bar.kind, bar.x0 + x, y0, bar.x1 + x, y1)
