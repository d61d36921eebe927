"""Draws a fitted layout: glyphs at a multiple of the size, then one bicubic reduction.

All ink is one layer of coverage (0 to 255), whatever its colours; a second picture of the final
size says which colour it has where. So there is one reduction however colourful the page is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from palimpsest.pages.block import Look
from palimpsest.pages.fit import Fit
from palimpsest.pages.font import Face
from palimpsest.pages.layout import BASELINE, Line
from palimpsest.pages.style import Colour, Style
from palimpsest.pages.words import Fragment

_MOST_PIXELS = 24_000_000
"""Largest canvas; type of a fraction of a pixel is drawn at a smaller multiple."""
_STROKE = 0.07
_STRIKE_HEIGHT = 0.27
_UNDERLINE_DEPTH = 0.12
_FILL_TOP, _FILL_BOTTOM = 0.82, -0.22
_PHASES = 4
"""Glyphs stand on quarters of a final pixel, whatever the multiple."""


def draw(fit: Fit, cell: int, style: Style) -> Image.Image:
    """The page as an RGB image of exactly the grid's pixels."""
    return _Canvas((fit.grid.columns * cell, fit.grid.rows * cell), fit, style).draw()


def _multiple(px: float, pixels: int) -> int:
    """How many times larger to draw than to show."""
    wanted = 2 if px < 12 else 1
    while wanted > 1 and pixels * wanted**2 > _MOST_PIXELS:
        wanted -= 1
    return wanted


class _Canvas:
    """`paper` and `colours` have the final size, `ink` a multiple of it."""

    def __init__(self, size: tuple[int, int], fit: Fit, style: Style) -> None:
        self._size = size
        self._fit = fit
        self._style = style
        self._multiple = _multiple(fit.px, size[0] * size[1])
        self._em = fit.px * self._multiple
        self._margin = fit.margin_px * self._multiple
        self._ink = Image.new("L", (size[0] * self._multiple, size[1] * self._multiple))
        self._pen: Any = ImageDraw.Draw(self._ink).draw
        self._paper = Image.new("RGB", size, style.paper)
        self._colours: Image.Image | None = None

    def draw(self) -> Image.Image:
        self._draw_bars()
        for line in self._fit.flow.lines:
            scale = line.scale
            for fragment, offset, advance in line.segment.visual(line.first, line.last):
                x, look = line.x + offset * scale, fragment.look
                if look.code or look.mark or look.strike or look.underline or look.colour:
                    self._decorate(look, line, x, advance * scale)
                self._write(fragment, line, x)
        coverage = self._ink
        if self._multiple > 1:
            coverage = coverage.resize(self._size, Image.Resampling.BICUBIC)
        ink = self._colours or self._style.ink
        self._paper.paste(ink, (0, 0, *self._size), coverage)
        return self._paper

    def _draw_bars(self) -> None:
        px, margin = self._fit.px, self._fit.margin_px
        for kind, x0, y0, x1, y1 in self._fit.flow.bars:
            colour = self._style.rule if kind == "rule" else self._style.shade
            self._fill(
                colour, x0 * px + margin, y0 * px + margin, x1 * px + margin, y1 * px + margin
            )

    def _fill(self, colour: Colour, x0: float, y0: float, x1: float, y1: float) -> None:
        """Paints a rectangle under the ink, given in final pixels; edges cover pixels in part."""
        left, across = _shares(x0, x1, self._size[0])
        top, down = _shares(y0, y1, self._size[1])
        if not across.size or not down.size:
            return
        mask = Image.fromarray(np.rint(np.outer(down, across) * 255).astype(np.uint8))
        self._paper.paste(colour, (left, top, left + mask.width, top + mask.height), mask)

    def _decorate(self, look: Look, line: Line, x: float, advance: float) -> None:
        """Shades, strokes and the colour of a fragment."""
        if look.code and line.role != "code":
            self._fill(self._style.shade, *self._band(line, x, advance, _FILL_TOP, _FILL_BOTTOM))
        if look.mark:
            band = self._band(line, x, advance, _FILL_TOP, _FILL_BOTTOM)
            self._fill(self._style.highlight, *band)
        if look.colour:
            self._colour(look.colour, *self._band(line, x, advance, BASELINE, -0.25))
        if look.strike:
            top = _STRIKE_HEIGHT + _STROKE
            self._stroke(*self._band(line, x, advance, top, _STRIKE_HEIGHT))
        if look.underline:
            top = _STROKE - _UNDERLINE_DEPTH
            self._stroke(*self._band(line, x, advance, top, -_UNDERLINE_DEPTH))

    def _band(
        self, line: Line, x: float, advance: float, top: float, bottom: float
    ) -> tuple[float, float, float, float]:
        """A strip along a line of type in final pixels, its heights in em over the baseline."""
        px, margin = self._fit.px, self._fit.margin_px
        base = line.y + BASELINE * line.scale
        return (
            x * px + margin,
            (base - top * line.scale) * px + margin,
            (x + advance) * px + margin,
            (base - bottom * line.scale) * px + margin,
        )

    def _colour(self, colour: Colour, x0: float, y0: float, x1: float, y1: float) -> None:
        """Gives the ink in a rectangle its colour."""
        if self._colours is None:
            self._colours = Image.new("RGB", self._size, self._style.ink)
        self._colours.paste(colour, (round(x0), round(y0), round(x1), round(y1)))

    def _stroke(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Inks a line, at least a pixel of the canvas thick."""
        left, top = round(x0 * self._multiple), round(y0 * self._multiple)
        right = max(left + 1, round(x1 * self._multiple))
        bottom = max(top + 1, round(y1 * self._multiple))
        self._ink.paste(255, (left, top, right, bottom))

    def _write(self, fragment: Fragment, line: Line, x: float) -> None:
        em = self._em * line.scale
        size = max(1, round(em * 64))
        left = x * self._em + self._margin
        base = (line.y + BASELINE * line.scale) * self._em + self._margin
        phases = -(-_PHASES // self._multiple)
        stamp = self._pen.draw_bitmap
        for face, number, glyph_x, glyph_y, _ in fragment.shaped.glyphs:
            whole, phase = divmod(round((left + glyph_x * em) * phases), phases)
            mask, offset, rise = _stamp(face, number, size, phase * 64 // phases)
            if mask:
                stamp((whole + offset, round(base - glyph_y * em) - rise), mask, 255)


class _Stamp(NamedTuple):
    mask: Any
    """Coverage as Pillow's core image; None for a glyph without ink."""
    left: int
    top: int


@lru_cache(maxsize=32_768)
def _stamp(face: Face, number: int, size: int, shift: int) -> _Stamp:
    coverage, left, top = face.bitmap(number, size, shift)
    mask = Image.fromarray(coverage).im if coverage.size else None
    return _Stamp(mask, left, top)


def _shares(start: float, end: float, length: int) -> tuple[int, NDArray[np.float64]]:
    """How much of each pixel from the first index on an interval covers, cut off at 0 and
    `length`; a hairline covers a quarter at least."""
    end = max(end, start + 1 / _PHASES)
    start, end = max(start, 0.0), min(end, float(length))
    if end <= start:
        return 0, np.zeros(0)
    first, last = int(start), int(np.ceil(end))
    shares = np.ones(last - first)
    shares[0] -= start - first
    shares[-1] -= last - end
    return first, shares
