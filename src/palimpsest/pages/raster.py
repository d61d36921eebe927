"""Draws a fitted layout: glyphs at a multiple of the size, then one bicubic reduction.

Each colour has a layer of coverage (0 to 255) of its own. Reducing coverage and then mixing the
colours gives what reducing the mixed picture would, for a third of the work.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from palimpsest.pages.block import Look
from palimpsest.pages.fit import Fit
from palimpsest.pages.font import Bitmap
from palimpsest.pages.layout import BASELINE, Line
from palimpsest.pages.style import Colour, Style
from palimpsest.pages.words import Fragment

_MOST_PIXELS = 24_000_000
"""Largest canvas; type of a fraction of a pixel is drawn at a smaller multiple."""
_STROKE = 0.07
_STRIKE_HEIGHT = 0.27
_UNDERLINE_DEPTH = 0.12
_FILL_TOP, _FILL_BOTTOM = 0.82, -0.22

Coverage = NDArray[np.uint8]


def draw(fit: Fit, cell: int, style: Style) -> Image.Image:
    """The page as an RGB image of exactly the grid's pixels."""
    width, height = fit.grid.columns * cell, fit.grid.rows * cell
    canvas = _Canvas(width, height, fit, style)
    canvas.draw()
    return canvas.reduced()


def _multiple(px: float, pixels: int) -> int:
    """How many times larger to draw than to show."""
    wanted = 4 if px < 7.5 else 2 if px < 12 else 1
    while wanted > 1 and pixels * wanted**2 > _MOST_PIXELS:
        wanted -= 1
    return wanted


class _Canvas:
    def __init__(self, width: int, height: int, fit: Fit, style: Style) -> None:
        self._size = width, height
        self._fit = fit
        self._style = style
        self._multiple = _multiple(fit.px, width * height)
        self._em = fit.px * self._multiple
        self._margin = fit.margin_px * self._multiple
        self._fills: dict[Colour, Coverage] = {}
        self._inks: dict[Colour, Coverage] = {}

    def draw(self) -> None:
        for bar in self._fit.flow.bars:
            colour = self._style.rule if bar.kind == "rule" else self._style.shade
            self._rectangle(self._fills, colour, bar.x0, bar.y0, bar.x1, bar.y1)
        for line in self._fit.flow.lines:
            for fragment, x, advance in _fragments(line):
                self._decorate(fragment.look, line, x, advance)
                self._write(fragment, line, x)

    def reduced(self) -> Image.Image:
        page = np.empty((self._size[1], self._size[0], 3), np.float32)
        page[:] = self._style.paper
        for layers in (self._fills, self._inks):
            for colour, coverage in layers.items():
                image = Image.fromarray(coverage)
                if self._multiple > 1:
                    image = image.resize(self._size, Image.Resampling.BICUBIC)
                share = np.asarray(image, np.float32)[..., None] / np.float32(255)
                page += (np.array(colour, np.float32) - page) * share
        return Image.fromarray(np.rint(page).astype(np.uint8))

    def _layer(self, layers: dict[Colour, Coverage], colour: Colour) -> Coverage:
        if colour not in layers:
            width, height = self._size
            shape = (height * self._multiple, width * self._multiple)
            layers[colour] = np.zeros(shape, np.uint8)
        return layers[colour]

    def _rectangle(
        self,
        layers: dict[Colour, Coverage],
        colour: Colour,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
    ) -> None:
        """Fills a rectangle given in em, at least one canvas pixel thick."""
        left = round(x0 * self._em + self._margin)
        top = round(y0 * self._em + self._margin)
        right = max(left + 1, round(x1 * self._em + self._margin))
        bottom = max(top + 1, round(y1 * self._em + self._margin))
        self._layer(layers, colour)[max(top, 0) : bottom, max(left, 0) : right] = 255

    def _decorate(self, look: Look, line: Line, x: float, advance: float) -> None:
        """Shades and strokes of a fragment."""
        if not (look.code or look.mark or look.strike or look.underline):
            return
        right = x + advance
        base = line.y + BASELINE * line.scale
        ink = look.colour or self._style.ink

        def band(layers: dict[Colour, Coverage], colour: Colour, top: float, end: float) -> None:
            y0, y1 = base - top * line.scale, base - end * line.scale
            self._rectangle(layers, colour, x, y0, right, y1)

        if look.code and line.role != "code":
            band(self._fills, self._style.shade, _FILL_TOP, _FILL_BOTTOM)
        if look.mark:
            band(self._fills, self._style.highlight, _FILL_TOP, _FILL_BOTTOM)
        if look.strike:
            band(self._inks, ink, _STRIKE_HEIGHT + _STROKE, _STRIKE_HEIGHT)
        if look.underline:
            band(self._inks, ink, _STROKE - _UNDERLINE_DEPTH, -_UNDERLINE_DEPTH)

    def _write(self, fragment: Fragment, line: Line, x: float) -> None:
        layer = self._layer(self._inks, fragment.look.colour or self._style.ink)
        em = self._em * line.scale
        size = max(1, round(em * 64))
        left = x * self._em + self._margin
        base = (line.y + BASELINE * line.scale) * self._em + self._margin
        # Glyphs stand on quarters of a final pixel, whatever the multiple.
        phases = max(1, 4 // self._multiple)
        step = 64 // phases
        for face, index, glyph_x, glyph_y, _ in fragment.shaped.glyphs:
            whole, phase = divmod(round((left + glyph_x * em) * phases), phases)
            bitmap = face.bitmap(index, size, phase * step)
            _stamp(layer, bitmap, whole, round(base - glyph_y * em))


def _stamp(layer: Coverage, bitmap: Bitmap, x: int, y: int) -> None:
    """Draws a glyph with its pen at x, y; what would be off the canvas is left out."""
    coverage, left, top = bitmap
    height, width = coverage.shape
    x0, y0 = x + left, y - top
    if x0 < 0 or y0 < 0:
        coverage = coverage[max(-y0, 0) :, max(-x0, 0) :]
        x0, y0 = max(x0, 0), max(y0, 0)
        height, width = coverage.shape
    target = layer[y0 : y0 + height, x0 : x0 + width]
    if target.shape != coverage.shape:
        coverage = coverage[: target.shape[0], : target.shape[1]]
    np.maximum(target, coverage, out=target)


def _fragments(line: Line) -> Iterator[tuple[Fragment, float, float]]:
    """Fragments of a line with their x and advance in body em. The space behind a fragment is
    part of it if the next has the same look, so that shades and strokes do not end at words."""
    segment, scale = line.segment, line.scale
    if line.last <= line.first:
        return
    origin = segment.starts[line.first]
    for index in range(line.first, line.last):
        x = segment.starts[index] - origin
        fragments = segment.pieces[index].fragments
        for fragment in fragments:
            advance = fragment.shaped.width
            if fragment is fragments[-1] and index + 1 < line.last:
                following = segment.pieces[index + 1].fragments
                if following and _continues(fragment.look, following[0].look):
                    advance += segment.spaces[index]
            yield fragment, line.x + x * scale, advance * scale
            x += fragment.shaped.width


def _continues(look: Look, following: Look) -> bool:
    """Whether shades and strokes run on between two words."""
    return look == following or (
        replace(look, bold=False, italic=False) == replace(following, bold=False, italic=False)
    )
