"""Chooses the grid and the type size together, so that the page is full.

For a few page shapes, the largest type at which the memory still fits is searched; the shape that
allows the largest type wins. A tall page usually does: lists and tables leave short lines. Columns
give a squarer page the same short lines.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from palimpsest.pages.layout import (
    Extent,
    Flow,
    Measured,
    extent,
    lay_out,
    needed_width,
    text_area,
)
from palimpsest.pages.strip import Slice, side_by_side, slices
from palimpsest.pages.style import Style

RATIOS = (2.3, 3.0, 1.6, 1.1, 0.7)
"""Shapes tried, height by width; the likeliest first, as later ones need only be refuted."""
_CLOSE = 1.012
"""The search ends when the type could be larger by no more than this factor."""
_STEPS = 60
_OVERHANG = 0.16
"""The least margin in em: italic letters reach about an eighth of an em out of their place."""
_FINENESS = 5
"""Type sizes are rounded down to one of 32 (two to this power) between a size and its double."""
_SMALL_BUDGET = 12
"""Up to this many cells, every number of columns is tried."""
_MIDDLE_BUDGET = 128
"""Up to this many, both numbers of columns next to the ideal one."""
_LONGEST_SIDE = 200
"""Servers refuse images whose sides differ by a larger factor."""
_RAGGED = 1.3
"""What a column loses at its foot in em, as lines do not divide."""
_GROWTH, _GROWTH_STEPS = 1.3, 5
"""How much larger the type of several pages may be to fill the last, and steps to find it."""
_NARROWEST = 9.0
"""The least width of one of several columns in em; nor do they ever break words."""


class Grid(NamedTuple):
    """Cells of a page."""

    columns: int
    rows: int

    @property
    def cells(self) -> int:
        return self.columns * self.rows


class Shape(NamedTuple):
    """A grid of cells and the number of columns of text on it."""

    grid: Grid
    columns: int


@dataclass(frozen=True, slots=True)
class Fit:
    """A grid, the body type in px, and the layout, in em, that fills it."""

    grid: Grid
    px: float
    flow: Flow
    margin_px: float


@dataclass(frozen=True, slots=True)
class Size:
    """The largest type found on a shape."""

    shape: Shape
    px: float
    strip: Extent

    @property
    def worth(self) -> float:
        """Type size, less the share of lines that suffer from a broken word."""
        return self.px * (1 - 0.5 * self.broken)

    @property
    def broken(self) -> float:
        """Share of lines that suffer from a broken word."""
        return min(1.0, self.strip.broken / max(self.strip.lines, 1))


class Fitter:
    """Fits one measured memory into budgets of cells."""

    def __init__(self, blocks: Sequence[Measured], cell: int, style: Style) -> None:
        self._blocks = blocks
        self._cell = cell
        self._style = style
        self._strips: dict[float, Extent] = {}
        self._widths: list[float] = []
        """Those of the strips, in order."""

    def fit(self, budget: int) -> Fit:
        """The page with the largest type. Never fails: type can always be smaller."""
        best: Size | None = None
        for shape in _shapes(budget, self._style.columns):
            found = self._largest(shape, best)
            if found and (best is None or found.worth > best.worth):
                best = found
        assert best is not None
        if best.px >= self._style.cap_px:
            best = self._smallest(best)
        return self._trimmed(self._set(best), budget)

    def fit_pages(self, budget: int) -> list[Fit]:
        """As few pages as hold the memory at the legible size, each with the same type."""
        if self.fits(budget, self._style.floor_px):
            return [self.fit(budget)]
        floor = self._style.floor_px
        split = [
            (pages, shape)
            for shape in _shapes(budget, self._style.columns)
            if (pages := self._split(shape, floor))
        ]
        if not split:
            return [self.fit(budget)]
        pages, shape = min(split, key=lambda pair: len(pair[0]))
        count, px, high = len(pages), floor, floor * _GROWTH
        for _ in range(_GROWTH_STEPS):
            middle = math.sqrt(px * high)
            larger = self._split(shape, middle)
            if larger and len(larger) <= count:
                pages, px = larger, middle
            else:
                high = middle
        return [
            self._trimmed(Fit(shape.grid, px, flow, self._margin(px)), budget) for flow in pages
        ]

    def _split(self, shape: Shape, px: float) -> list[Flow]:
        """The pages that hold the memory at a size; none if the shape is too narrow for it."""
        width = self._width(shape, px)
        if width <= 0 or (shape.columns > 1 and width < _NARROWEST):
            return []
        strip = lay_out(self._blocks, width, self._style)
        parts = slices(strip, self._height(shape, px))
        if parts is None or strip.overflows:
            return []
        pages = [parts[i : i + shape.columns] for i in range(0, len(parts), shape.columns)]
        return [side_by_side(strip, page, self._style.column_gap) for page in pages]

    def fits(self, budget: int, px: float) -> bool:
        """Whether some grid of the budget holds the memory at this type size."""
        return any(self._at(shape, px) for shape in _shapes(budget, self._style.columns))

    @cached_property
    def _needed(self) -> float:
        return max(map(needed_width, self._blocks), default=0.0) + 1e-6

    @cached_property
    def _area(self) -> float:
        """What the memory may be expected to cover, in square em."""
        return max(sum(map(text_area, self._blocks)), 1.0) * self._style.line_height

    def _strip(self, width: float) -> Extent:
        strip = self._strips.get(width)
        if strip is None:
            strip = self._strips[width] = extent(self._blocks, width, self._style)
            insort(self._widths, width)
        return strip

    def _margin(self, px: float) -> float:
        return max(self._style.margin_px, px * _OVERHANG)

    def _width(self, shape: Shape, px: float) -> float:
        """Of one column of text, in em."""
        width = (shape.grid.columns * self._cell - 2 * self._margin(px)) / px
        return (width - (shape.columns - 1) * self._style.column_gap) / shape.columns

    def _height(self, shape: Shape, px: float) -> float:
        """Of one column of text, in em."""
        return (shape.grid.rows * self._cell - 2 * self._margin(px)) / px

    def _room(self, shape: Shape, px: float) -> float:
        """Of all columns together, as far as they can be filled."""
        lost = (shape.columns - 1) * _RAGGED * self._style.line_height
        return shape.columns * self._height(shape, px) - lost

    def _at(self, shape: Shape, px: float) -> Size | None:
        """The strip at a size, or None if it is too long or too wide."""
        width, room = self._width(shape, px), self._room(shape, px)
        if width <= 0 or (shape.columns > 1 and width < max(_NARROWEST, self._needed)):
            return None
        # A strip is hardly ever shorter than a wider one.
        wider = bisect_left(self._widths, width)
        if wider < len(self._widths) and self._strips[self._widths[wider]].height > room:
            return None
        strip = self._strip(width)
        if strip.overflows or strip.height > room:
            return None
        return Size(shape, px, strip)

    def _largest(self, shape: Shape, best: Size | None) -> Size | None:
        """The largest type on a shape, or None if it is not worth more than `best`."""
        cap = self._style.cap_px
        low: Size | None = None
        high = math.inf
        if best is None:
            px = min(cap, self._cell * math.sqrt(shape.grid.cells / self._area))
        elif best.worth >= cap:
            return None
        else:
            px = min(cap, best.worth * _CLOSE)
        for step in range(_STEPS):
            found = self._at(shape, px)
            if found:
                low = found
                if px >= cap:
                    return found
            elif best is not None and step == 0:
                return None
            else:
                high = px
            if low and high / low.px < _CLOSE:
                break
            px = self._next(low, high, step)
        return self._rounded(low) if low else None

    def _next(self, low: Size | None, high: float, step: int) -> float:
        """The next size to try: by the height that is left, or the middle every other time."""
        if low is None:
            return high * (0.93 if step < 2 else 0.7)
        if high == math.inf:
            return min(self._style.cap_px, low.px * self._stretch(low))
        middle = math.sqrt(low.px * high)
        guess = low.px * self._stretch(low)
        return guess if step % 2 and low.px * 1.004 < guess < high / 1.004 else middle

    def _stretch(self, size: Size) -> float:
        room = self._room(size.shape, size.px)
        return max(1.02, min(2.0, math.sqrt(room / max(size.strip.height, 1e-6))))

    def _rounded(self, size: Size) -> Size:
        """Rounds the size down, so that pages share glyphs; keeps it if that does not fit."""
        step = 2.0 ** (math.floor(math.log2(size.px)) - _FINENESS)
        px = math.floor(size.px / step) * step
        if px < self._style.floor_px <= size.px:
            px = self._style.floor_px
        return self._at(size.shape, px) or size

    def _set(self, size: Size) -> Fit:
        """Lays out the page. Columns that come out uneven cost a little of the size."""
        shape, px = size.shape, size.px
        while True:
            strip = lay_out(self._blocks, self._width(shape, px), self._style)
            parts = self._parts(strip, shape, px)
            if parts is not None:
                flow = strip
                if shape.columns > 1:
                    flow = side_by_side(strip, parts, self._style.column_gap)
                return Fit(shape.grid, px, flow, self._margin(px))
            px /= _CLOSE

    def _parts(self, strip: Flow, shape: Shape, px: float) -> list[Slice] | None:
        if shape.columns == 1:
            return [Slice(0.0, strip.height)]
        parts = slices(strip, self._height(shape, px))
        return parts if parts and len(parts) <= shape.columns else None

    def _smallest(self, size: Size) -> Size:
        """The fewest cells that hold the memory at this size."""
        best, most = size, size.shape.grid.cells
        least = min(self._style.minimum, most)
        used = size.shape.grid.columns * self._rows(size)
        counts = {round(math.sqrt(used / ratio)) for ratio in RATIOS}
        for count in sorted({*counts, *range(1, _SMALL_BUDGET // 2 + 1)} - {0}):
            tall = self._at(Shape(Grid(count, _LONGEST_SIDE * count), 1), size.px)
            if not tall or tall.broken > size.broken:
                continue
            grid = Grid(count, max(self._rows(tall), -(-least // count)))
            if grid.cells < best.shape.grid.cells and _sane(grid):
                best = Size(Shape(grid, 1), tall.px, tall.strip)
        return best

    def _rows(self, size: Size) -> int:
        return _rows(size.strip.height, size.px, self._margin(size.px), self._cell)

    def _trimmed(self, fit: Fit, budget: int) -> Fit:
        """Gives back rows of cells that nothing stands in."""
        least = -(-min(self._style.minimum, budget) // fit.grid.columns)
        used = _rows(fit.flow.height, fit.px, fit.margin_px, self._cell)
        rows = min(fit.grid.rows, max(used, least, 1))
        return Fit(Grid(fit.grid.columns, rows), fit.px, fit.flow, fit.margin_px)


def most_kept(count: int, fits: Callable[[int], bool]) -> int:
    """The largest number from 1 to `count` that fits, by bisection; 1 if none does."""
    low, high = 1, count + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _rows(height: float, px: float, margin_px: float, cell: int) -> int:
    return math.ceil((height * px + 2 * margin_px) / cell - 1e-9)


def _shapes(budget: int, columns: int) -> Iterator[Shape]:
    for grid in _grids(budget):
        for count in range(1, columns + 1):
            yield Shape(grid, count)


def _grids(budget: int) -> Iterator[Grid]:
    columns: list[int] = []
    for ratio in RATIOS:
        ideal = math.sqrt(budget / ratio)
        near = [max(1, math.floor(ideal)), math.ceil(ideal)]
        # Of many cells, hardly any are lost either way: one shape is enough.
        columns += near if budget <= _MIDDLE_BUDGET else [max(near, key=lambda c: budget // c * c)]
    if budget <= _SMALL_BUDGET:
        columns += range(1, budget + 1)
    for count in dict.fromkeys(min(max(count, 1), budget) for count in columns):
        grid = Grid(count, budget // count)
        if _sane(grid):
            yield grid


def _sane(grid: Grid) -> bool:
    return max(grid) <= _LONGEST_SIDE * min(grid)
