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

from palimpsest.pages.block import PLAIN, Look
from palimpsest.pages.fit import Fit
from palimpsest.pages.font import Face, Shaped
from palimpsest.pages.layout import BASELINE, Line
from palimpsest.pages.style import Colour, Style

core: Any = Image.core  # type: ignore[attr-defined]
_MOST_PIXELS = 24_000_000
"""Largest canvas; type of a fraction of a pixel is drawn at a smaller multiple."""
_STROKE = 0.07
_STRIKE_HEIGHT = 0.27
_UNDERLINE_DEPTH = 0.12
_FILL_TOP, _FILL_BOTTOM = 0.82, -0.22
_PHASES = 4
"""Words stand on quarters of a final pixel, whatever the multiple."""
_MOST_WORDS = 8_192
"""New ones; as many older ones are kept beside them. A word takes about a kilobyte."""


def draw(fit: Fit, cell: int, style: Style) -> Image.Image:
    """The page as an RGB image of exactly the grid's pixels."""
    return _Canvas((fit.grid.columns * cell, fit.grid.rows * cell), fit, style).draw()


def _multiple(px: float, pixels: int) -> int:
    """How many times larger to draw than to show."""
    wanted = 2 if px < 10 else 1
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
        self._phases = -(-_PHASES // self._multiple)
        self._paper = Image.new("RGB", size, style.paper)
        self._colours: Image.Image | None = None

    def draw(self) -> Image.Image:
        self._draw_bars()
        for line in self._fit.flow.lines:
            self._write(line)
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

    def _write(self, line: Line) -> None:
        scale, phases, stamp = line.scale, self._phases, self._pen.draw_bitmap
        em = self._em * scale
        size = max(1, round(em * 64))
        left = line.x * self._em + self._margin
        base = round((line.y + BASELINE * scale) * self._em + self._margin)
        for fragment, x, advance in line.segment.visual(line.first, line.last):
            look = fragment.look
            if look is not PLAIN and look.is_decorated:
                self._decorate(look, line, line.x + x * scale, advance * scale)
            whole, phase = divmod(round((left + x * em) * phases), phases)
            mask, offset, rise = _STAMPS.of(fragment.shaped, size, phase, phases)
            if mask:
                stamp((whole + offset, base - rise), mask, 255)


class _Stamp(NamedTuple):
    mask: Any
    """Coverage as Pillow's core image; None for what has no ink."""
    left: int
    top: int
    """Of the image's top left corner from the pen, upwards."""


class _Stamps:
    """Words drawn before: most of a page's were on others of the same type size."""

    def __init__(self) -> None:
        # A shaped word is kept beside its stamp, so that its identity stays its own.
        self._new: dict[tuple[int, int, int, int], tuple[Shaped, _Stamp]] = {}
        self._old: dict[tuple[int, int, int, int], tuple[Shaped, _Stamp]] = {}

    def of(self, shaped: Shaped, size: int, phase: int, phases: int) -> _Stamp:
        """A word with its pen `phase` parts of a pixel to the right. `size` is in 64ths."""
        key = id(shaped), size, phase, phases
        known = self._new.get(key)
        if known is None:
            if len(self._new) >= _MOST_WORDS:
                self._old, self._new = self._new, {}
            known = self._old.get(key) or (shaped, _word(shaped, size, phase, phases))
            self._new[key] = known
        return known[1]


_STAMPS = _Stamps()


def _word(shaped: Shaped, size: int, phase: int, phases: int) -> _Stamp:
    em = size / 64
    placed: list[tuple[int, int, _Stamp]] = []
    for face, number, x, y, _ in shaped.glyphs:
        whole, part = divmod(round(x * em * phases) + phase, phases)
        stamp = _glyph(face, number, size, part * 64 // phases)
        if stamp.mask:
            placed.append((whole + stamp.left, round(y * em) + stamp.top, stamp))
    if not placed:
        return _Stamp(None, 0, 0)
    left = min(x for x, _, _ in placed)
    top = max(y for _, y, _ in placed)
    width = max(x + stamp.mask.size[0] for x, _, stamp in placed) - left
    height = top - min(y - stamp.mask.size[1] for _, y, stamp in placed)
    # Pillow's own image class would take longer to make than the word to draw.
    mask = core.fill("L", (width, height), 0)
    pen = core.draw(mask, 0)
    for x, y, stamp in placed:
        pen.draw_bitmap((x - left, top - y), stamp.mask, 255)
    return _Stamp(mask, left, top)


@lru_cache(maxsize=8_192)
def _glyph(face: Face, number: int, size: int, shift: int) -> _Stamp:
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
