"""Faces from font packages: HarfBuzz shapes words, FreeType draws glyphs without hinting.

Lengths of shaped text are in em. Both results are cached up to a fixed number of entries.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import fontpkg
import freetype as untyped_freetype
import numpy as np
import uharfbuzz as untyped_harfbuzz
from numpy.typing import NDArray

from palimpsest.errors import ConfigurationError

# Neither library has types.
freetype: Any = untyped_freetype
harfbuzz: Any = untyped_harfbuzz

_REGULAR, _BOLD = 400, 700
_LOAD = freetype.FT_LOAD_NO_HINTING | freetype.FT_LOAD_NO_BITMAP | freetype.FT_LOAD_RENDER
# Ligatures would make the letters of a broken word inseparable and read no better.
_FEATURES = {"liga": False}
_UNITS = 64
"""FreeType's fractions of a pixel."""


class Glyph(NamedTuple):
    """A glyph of a face at its place behind the start of the shaped text, in em, y upwards."""

    face: Face
    number: int
    x: float
    y: float
    cluster: int
    """Index of the character it stands for."""


class Shaped(NamedTuple):
    """Glyphs of a piece of text in one look."""

    text: str
    glyphs: tuple[Glyph, ...]
    width: float
    cuts: tuple[tuple[int, float], ...]
    """For each unbreakable cluster: the index of its first character, and its width."""


class Bitmap(NamedTuple):
    """Coverage of a glyph (0 to 255), and its top left corner relative to the pen, y upwards."""

    coverage: NDArray[np.uint8]
    left: int
    top: int


class Face:
    """One font file at one weight."""

    def __init__(self, path: Path, weight: int) -> None:
        face = harfbuzz.Face(harfbuzz.Blob.from_file_path(str(path)))
        self._units_per_em = face.upem
        self._characters = frozenset(face.unicodes)
        self._shaper = harfbuzz.Font(face)
        self._drawer = freetype.Face(str(path))
        self._lock = threading.Lock()
        axes = {axis.tag: axis.default_value for axis in face.axis_infos}
        if "wght" in axes:
            self._shaper.set_variations({"wght": weight})
            values = [
                weight if axis.tag == "wght" else axis.default
                for axis in self._drawer.get_variation_info().axes
            ]
            self._drawer.set_var_design_coords(values)

    def has(self, character: str) -> bool:
        return ord(character) in self._characters

    def shape(self, text: str, offset: int) -> Iterator[tuple[Glyph, float]]:
        """Glyphs from left to right with their advances; clusters count from `offset`."""
        buffer = harfbuzz.Buffer()
        buffer.add_str(text)
        buffer.guess_segment_properties()
        harfbuzz.shape(self._shaper, buffer, _FEATURES)
        pen = 0
        for info, place in zip(buffer.glyph_infos, buffer.glyph_positions, strict=True):
            x = (pen + place.x_offset) / self._units_per_em
            y = place.y_offset / self._units_per_em
            advance = place.x_advance / self._units_per_em
            yield Glyph(self, info.codepoint, x, y, offset + info.cluster), advance
            pen += place.x_advance

    @lru_cache(maxsize=16_384)  # noqa: B019 - faces live as long as the process
    def bitmap(self, number: int, size: int, shift: int) -> Bitmap:
        """Draws a glyph. `size` of the em and `shift` to the right in 64ths of a pixel."""
        with self._lock:
            # FreeType takes no size under a pixel: draw at one and scale the outline.
            self._drawer.set_char_size(max(size, _UNITS))
            factor = 0x10000 * min(size, _UNITS) // _UNITS
            matrix = freetype.Matrix(factor, 0, 0, factor)
            self._drawer.set_transform(matrix, freetype.Vector(shift, 0))
            self._drawer.load_glyph(number, _LOAD)
            slot = self._drawer.glyph
            return Bitmap(_coverage(slot.bitmap), slot.bitmap_left, slot.bitmap_top)


def _coverage(bitmap: untyped_freetype.Bitmap) -> NDArray[np.uint8]:
    rows, pitch = bitmap.rows, bitmap.pitch
    if not rows:
        return np.zeros((0, 0), np.uint8)
    # The wrapper's own `buffer` copies byte by byte.
    data = ctypes.string_at(bitmap._FT_Bitmap.buffer, rows * pitch)
    return np.frombuffer(data, np.uint8).reshape(rows, pitch)[:, : bitmap.width]


class Typeface:
    """The faces of one look, in order of preference."""

    def __init__(self, faces: tuple[Face, ...]) -> None:
        self._faces = faces

    @lru_cache(maxsize=32_768)  # noqa: B019 - typefaces live as long as the process
    def shape(self, text: str) -> Shaped:
        """Shapes a word. A character that no face has becomes a box of the first face."""
        glyphs: list[Glyph] = []
        widths: dict[int, float] = {}
        pen = 0.0
        for face, start, end in self._runs(text):
            run = 0.0
            for glyph, advance in face.shape(text[start:end], start):
                glyphs.append(glyph._replace(x=pen + glyph.x) if pen else glyph)
                widths[glyph.cluster] = widths.get(glyph.cluster, 0.0) + advance
                run += advance
            pen += run
        return Shaped(text, tuple(glyphs), pen, tuple(sorted(widths.items())))

    @property
    def space(self) -> float:
        """Width of a word space."""
        return self.shape(" ").width

    def _runs(self, text: str) -> Iterator[tuple[Face, int, int]]:
        """Stretches of text for one face each. Combining and joining signs stay with their base."""
        if all(map(self._faces[0].has, text)) or len(self._faces) == 1:
            yield self._faces[0], 0, len(text)
            return
        chosen: list[Face] = []
        for character in text:
            if chosen and (not character.isprintable() or _joins(character)):
                chosen.append(chosen[-1])
            else:
                having = (face for face in self._faces if face.has(character))
                chosen.append(next(having, self._faces[0]))
        start = 0
        for face, run in itertools.groupby(chosen, key=lambda face: face):
            end = start + sum(1 for _ in run)
            yield face, start, end
            start = end


def _joins(character: str) -> bool:
    return unicodedata.category(character)[0] == "M"


@cache
def typeface(families: tuple[str, ...], *, bold: bool, italic: bool) -> Typeface:
    """The faces of these families at a weight and slant.

    Raises `ConfigurationError` when a family is not installed. A family without italics is
    upright.
    """
    weight = _BOLD if bold else _REGULAR
    return Typeface(tuple(_face(_file(family, italic=italic), weight) for family in families))


@cache
def _face(path: Path, weight: int) -> Face:
    return Face(path, weight)


def _file(family: str, *, italic: bool) -> Path:
    try:
        if italic and "italic" in fontpkg.family(family).styles:
            return fontpkg.path(family, style="italic")
        return fontpkg.path(family)
    except fontpkg.FamilyNotInstalled as error:
        package = "fontpkg-" + family.lower().replace(" ", "-")
        raise ConfigurationError(
            f"the font family {family!r} is not installed", hint=f"pip install {package}"
        ) from error
