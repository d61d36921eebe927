"""Chooses the grid and the layout width together, so that an HTML page is full.

A narrower layout is drawn larger but is longer. For a few page shapes, the narrowest layout whose
height still fits is searched; the shape that is drawn largest wins.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

from palimpsest.errors import InputError
from palimpsest.pages.html.engine import Canvas, Size

LARGEST_SCALE = 1.75
"""Delivered pixels for a CSS px: body type of 16 px comes out at 28 at most."""
_RATIOS = (1.6, 2.3, 1.1, 3.0, 0.7)
"""Shapes tried, height by width; later ones need only be refuted."""
_CLOSE = 1.012
"""The search ends when the page could be drawn larger by no more than this factor."""
_WIDEN = 1.35
_WIDEST = 100_000
"""CSS px; more than the densest page of the longest draft needs."""
_FIRST_WIDTH = 600
_LONGEST_SIDE = 200
"""Servers refuse images whose sides differ by a larger factor."""
_ENLARGED = ((16, 0.06), (8, 0.15), (4, 0.5), (3, 0.8), (2, LARGEST_SCALE))
"""How many times larger than delivered a page is drawn, and up to which scale. Small type gains
most; borders would get lost beyond six pixels for a CSS px."""
_MOST_PIXELS = 16_000_000
_MOST_PIXELS_A_SIDE = 16_000
"""As drawn; engines refuse more."""
_MOST_ROWS = 225
"""No engine draws pictures of any length; the tallest page of the largest budget has fewer."""
_LEAST_CELLS = 4
"""Servers enlarge smaller images."""


class Fit(NamedTuple):
    """A grid and the width, in CSS px, of the layout that fills it."""

    columns: int
    rows: int
    width: int
    scale: float
    """Delivered pixels for a CSS px."""
    enlarged: int
    """How many times larger than delivered it is measured and to be drawn."""


class Fitter:
    """Fits one document into one budget of cells."""

    def __init__(self, canvas: Canvas, budget: int, cell: int) -> None:
        self._canvas = canvas
        self._budget = budget
        self._cell = cell
        self._sizes: dict[tuple[int, float], Size] = {}

    def fit(self) -> Fit:
        """The page that is drawn largest.

        Raises `InputError` when the document fits at no width: lines and borders cannot be less
        than a pixel as drawn.
        """
        best: Fit | None = None
        for columns, rows in _grids(self._budget):
            found = self._narrowest(columns, rows, best.scale if best else 0.0)
            if found and (best is None or found.scale > best.scale):
                best = found
        if best is None:
            raise InputError(
                f"the HTML draft does not fit into {self._budget} visual tokens",
                hint="shorten it, or use fewer lines and columns",
            )
        return self._smallest(best) if best.scale * _CLOSE > LARGEST_SCALE else self._trimmed(best)

    def _narrowest(self, columns: int, rows: int, scale: float) -> Fit | None:
        """The narrowest layout that fits a grid, or None if it is not drawn larger than `scale`."""
        side = columns * self._cell
        least = max(math.ceil(side / LARGEST_SCALE), self._longest_word)
        if scale:
            high = math.floor(side / scale / _CLOSE)
            if high < least or not self._fits(high, columns, rows):
                return None
        else:
            first = self._size(_FIRST_WIDTH, columns)
            area = min(first.width * first.height * columns / rows, _WIDEST**2)
            high = max(least, math.floor(math.sqrt(area)))
            while not self._fits(high, columns, rows):
                high = math.ceil(high * _WIDEN)
                if high > _WIDEST:
                    return None
        width = self._bisect(least, high, columns, rows)
        return self._fit(columns, rows, width)

    def _bisect(self, least: int, high: int, columns: int, rows: int) -> int:
        """A width from `least` to `high` that fits, `high` being one."""
        low = least - 1
        step = 0
        while high > low + 1 and high > low * _CLOSE:
            # The narrowest is likelier just under the width that is known to fit.
            middle = math.floor(high / _WIDEN) if step == 0 else (low + high) // 2
            middle = min(max(middle, low + 1), high - 1)
            low, high = (low, middle) if self._fits(middle, columns, rows) else (middle, high)
            step += 1
        return high

    def _fits(self, width: int, columns: int, rows: int) -> bool:
        size = self._size(width, columns)
        return size.width <= width and size.height * columns <= width * rows

    @cached_property
    def _longest_word(self) -> int:
        """The width under which something overflows."""
        return math.ceil(min(self._canvas.measure(1, 1.0).width, _WIDEST))

    def _size(self, width: int, columns: int) -> Size:
        scale = columns * self._cell / width
        scale *= self._enlarged(columns, scale)
        if (width, scale) not in self._sizes:
            self._sizes[width, scale] = self._canvas.measure(width, scale)
        return self._sizes[width, scale]

    def _enlarged(self, columns: int, scale: float) -> int:
        pixels = self._budget * self._cell**2
        side = max(columns, self._budget // columns) * self._cell
        for times, largest in _ENLARGED:
            small = pixels * times**2 <= _MOST_PIXELS and side * times <= _MOST_PIXELS_A_SIDE
            if scale <= largest and small:
                return times
        return 1

    def _fit(self, columns: int, rows: int, width: int) -> Fit:
        scale = columns * self._cell / width
        return Fit(columns, rows, width, scale, self._enlarged(columns, scale))

    def _smallest(self, fit: Fit) -> Fit:
        """The fewest cells that hold the document at the largest scale."""
        best = self._trimmed(fit)
        used = best.columns * best.rows
        ideal = [round(math.sqrt(used / ratio)) for ratio in _RATIOS]
        for columns in sorted({*ideal, 1, 2, 3, 4} - {0}):
            width = math.ceil(columns * self._cell / LARGEST_SCALE)
            if width < self._longest_word or self._size(width, columns).width > width:
                continue
            found = self._trimmed(self._fit(columns, 1, width))
            fewer = found.columns * found.rows < best.columns * best.rows
            if fewer and found.rows <= _MOST_ROWS and _sane(found.columns, found.rows):
                best = found
        return best

    def _rows(self, columns: int, width: int) -> int:
        """Rows of cells that the document covers."""
        return max(1, math.ceil(self._size(width, columns).height * columns / width - 1e-9))

    def _trimmed(self, fit: Fit) -> Fit:
        """Gives back rows of cells that nothing stands in."""
        least = min(math.ceil(_LEAST_CELLS / fit.columns), self._budget // fit.columns)
        return fit._replace(rows=max(self._rows(fit.columns, fit.width), least))


def _grids(budget: int) -> Iterator[tuple[int, int]]:
    columns: list[int] = []
    for ratio in _RATIOS:
        ideal = math.sqrt(budget / ratio)
        columns += [math.floor(ideal), math.ceil(ideal)]
    for count in dict.fromkeys(min(max(count, 1), budget) for count in columns):
        if _sane(count, budget // count):
            yield count, budget // count


def _sane(columns: int, rows: int) -> bool:
    return max(columns, rows) <= _LONGEST_SIDE * min(columns, rows)
