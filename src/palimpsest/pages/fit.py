"""Chooses the grid and the type size together, so that the page is full.

For a few page shapes, the largest type at which the memory still fits is searched; the shape that
allows the largest type wins. A tall page usually does: lists and tables leave short lines.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from palimpsest.pages.layout import Flow, Measured, lay_out
from palimpsest.pages.style import Style

RATIOS = (2.3, 3.0, 1.6, 1.1, 0.7)
"""Shapes tried, height by width; the likeliest first, as later ones need only be refuted."""
_CLOSE = 1.012
"""The search ends when the type could be larger by no more than this factor."""
_STEPS = 60
_OVERHANG = 0.16
"""The least margin in em: italic letters reach about an eighth of an em out of their place."""
_SMALL_BUDGET = 12
"""Up to this many cells, every number of columns is tried."""
_LONGEST_SIDE = 200
"""Servers refuse images whose sides differ by a larger factor."""


class Grid(NamedTuple):
    """Cells of a page."""

    columns: int
    rows: int

    @property
    def cells(self) -> int:
        return self.columns * self.rows


@dataclass(frozen=True, slots=True)
class Fit:
    """A grid, the body type in px, and the layout, in em, that fills it."""

    grid: Grid
    px: float
    flow: Flow
    margin_px: float

    @property
    def worth(self) -> float:
        """Type size, less the share of lines that suffer from a broken word."""
        lines = max(len(self.flow.lines), 1)
        return self.px * (1 - 0.5 * min(1.0, self.flow.broken / lines))


class Fitter:
    """Fits one measured memory into budgets of cells."""

    def __init__(self, blocks: Sequence[Measured], cell: int, style: Style) -> None:
        self._blocks = blocks
        self._cell = cell
        self._style = style

    def fit(self, budget: int) -> Fit:
        """The page with the largest type. Never fails: type can always be smaller."""
        best: Fit | None = None
        for grid in _grids(budget):
            found = self._largest(grid, 0.0 if best is None else best.worth)
            if found and (best is None or found.worth > best.worth):
                best = found
        assert best is not None
        if best.px >= self._style.cap_px:
            best = self._smallest(best)
        return self._trimmed(best, budget)

    def fits(self, budget: int, px: float) -> bool:
        """Whether some grid of the budget holds the memory at this type size."""
        return any(self._at(grid, px) for grid in _grids(budget))

    @cached_property
    def _area(self) -> float:
        """What the memory may be expected to cover, in square em."""
        flow = lay_out(self._blocks, 1e9, self._style)
        length = sum((line.width + 1.0) * line.scale for line in flow.lines)
        return max(length, 1.0) * self._style.line_height

    def _at(self, grid: Grid, px: float) -> Fit | None:
        """The layout at a size, or None if it is too long or too wide."""
        margin = max(self._style.margin_px, px * _OVERHANG)
        width = grid.columns * self._cell - 2 * margin
        flow = lay_out(self._blocks, width / px, self._style)
        if flow.overflows or flow.height * px > grid.rows * self._cell - 2 * margin:
            return None
        return Fit(grid, px, flow, margin)

    def _largest(self, grid: Grid, worth: float) -> Fit | None:
        """The largest type on a grid, or None if that is not worth more than `worth`."""
        cap = self._style.cap_px
        if worth >= cap or (worth and not self._at(grid, worth * _CLOSE)):
            return None
        px = min(cap, self._cell * math.sqrt(grid.cells / self._area))
        low: Fit | None = None
        high = math.inf
        for step in range(_STEPS):
            found = self._at(grid, px)
            if found:
                low = found
                if px >= cap:
                    return found
            else:
                high = px
            if low and high / low.px < _CLOSE:
                break
            px = self._next(low, high, step)
        return self._rounded(low) if low else None

    def _next(self, low: Fit | None, high: float, step: int) -> float:
        """The next size to try: by the height that is left, or the middle every other time."""
        if low is None:
            return high * (0.93 if step < 2 else 0.7)
        if high == math.inf:
            return min(self._style.cap_px, low.px * self._stretch(low))
        middle = math.sqrt(low.px * high)
        guess = low.px * self._stretch(low)
        return guess if step % 2 and low.px * 1.004 < guess < high / 1.004 else middle

    def _stretch(self, fit: Fit) -> float:
        room = fit.grid.rows * self._cell - 2 * fit.margin_px
        return max(1.02, min(2.0, math.sqrt(room / max(fit.flow.height * fit.px, 1e-6))))

    def _rounded(self, fit: Fit) -> Fit:
        """Rounds the size down, so that pages share glyphs; keeps it if that does not fit."""
        digits = 20 if fit.px >= 1 else 10 ** math.ceil(2 - math.log10(fit.px))
        px = math.floor(fit.px * digits) / digits
        return self._at(fit.grid, px) or fit

    def _smallest(self, fit: Fit) -> Fit:
        """The fewest cells that hold the memory at the size of `fit`."""
        best = fit
        least = min(self._style.minimum, fit.grid.cells)
        used = fit.grid.columns * self._rows(fit)
        columns = {round(math.sqrt(used / ratio)) for ratio in RATIOS}
        for count in sorted({*columns, *range(1, _SMALL_BUDGET // 2 + 1)} - {0}):
            tall = self._at(Grid(count, _LONGEST_SIDE * count), fit.px)
            if not tall or tall.flow.broken > fit.flow.broken:
                continue
            grid = Grid(count, max(self._rows(tall), -(-least // count)))
            if grid.cells < best.grid.cells and _sane(grid):
                best = Fit(grid, tall.px, tall.flow, tall.margin_px)
        return best

    def _rows(self, fit: Fit) -> int:
        return math.ceil((fit.flow.height * fit.px + 2 * fit.margin_px) / self._cell - 1e-9)

    def _trimmed(self, fit: Fit, budget: int) -> Fit:
        """Gives back rows of cells that nothing stands in."""
        least = -(-min(self._style.minimum, budget) // fit.grid.columns)
        rows = min(fit.grid.rows, max(self._rows(fit), least, 1))
        return Fit(Grid(fit.grid.columns, rows), fit.px, fit.flow, fit.margin_px)


def most_kept(count: int, fits: Callable[[int], bool]) -> int:
    """The largest number from 1 to `count` that fits, by bisection; 1 if none does."""
    low, high = 1, count + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _grids(budget: int) -> Iterator[Grid]:
    columns: list[int] = []
    for ratio in RATIOS:
        ideal = math.sqrt(budget / ratio)
        columns += [math.floor(ideal), math.ceil(ideal)]
    if budget <= _SMALL_BUDGET:
        columns += range(1, budget + 1)
    for count in dict.fromkeys(min(max(count, 1), budget) for count in columns):
        grid = Grid(count, budget // count)
        if _sane(grid):
            yield grid


def _sane(grid: Grid) -> bool:
    return max(grid) <= _LONGEST_SIDE * min(grid)
