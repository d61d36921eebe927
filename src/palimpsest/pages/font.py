"""Faces from font packages: HarfBuzz shapes words, FreeType draws glyphs without hinting.

A word is shaped in runs of one face and one script. A face is opened when a character first needs
it. Lengths of shaped text are in em. Both results are cached up to a fixed number of entries.
"""

from __future__ import annotations

import ctypes
import io
import re
import threading
import unicodedata
from collections.abc import Iterator
from functools import cache, cached_property, lru_cache
from itertools import groupby
from typing import Any, NamedTuple

import freetype as untyped_freetype
import numpy as np
import uharfbuzz as untyped_harfbuzz
from numpy.typing import NDArray

from palimpsest.pages.families import FontFile, by_preference, checked, file_hash, font_file
from palimpsest.pages.script import COMMON, clusters

# Neither library has types.
freetype: Any = untyped_freetype
harfbuzz: Any = untyped_harfbuzz

_REGULAR, _BOLD = 400, 700
_LOAD = freetype.FT_LOAD_NO_HINTING | freetype.FT_LOAD_NO_BITMAP | freetype.FT_LOAD_RENDER
# Ligatures would make the letters of a broken word inseparable and read no better.
_FEATURES = {"liga": False}
_FLAGS = harfbuzz.BufferFlags.REMOVE_DEFAULT_IGNORABLES
_UNITS = 64
"""FreeType's fractions of a pixel."""

_SIGNS = "!-@\\[-`{-~\u00a1-\u00ac\u00ae-\u00bf\u2010-\u2015\u2018-\u201e\u2020-\u2026"
_ONE_SCRIPT = re.compile(
    f"(?P<Latn>[{_SIGNS} A-Za-z\u00c0-\u024f\u1e00-\u1eff]*)"
    f"|(?P<Grek>[{_SIGNS}\u0370-\u03ff\u1f00-\u1fff]*)"
    f"|(?P<Cyrl>[{_SIGNS}\u0400-\u052f]*)"
)
_STAND_INS = {"✅": "✔", "❌": "✖", "❎": "✖", "➕": "+", "➖": "−", "⭐": "★"}
"""What to draw where the font of the emoji is not installed."""
_FLAG_LETTERS = "".join(map(chr, range(0x1F1E6, 0x1F200)))
_MISDRAWN = frozenset({"🇳🇴", "🇸🇯"})
"""Flags under which the emoji font writes the letters of another country."""


class Glyph(NamedTuple):
    """A glyph of a face at its place behind the start of the shaped text, in em, y upwards."""

    face: Face
    number: int
    x: float
    y: float
    cluster: int
    """Index of the character it stands for."""


class Shaped(NamedTuple):
    """Glyphs of a piece of text in one look and one direction, from left to right."""

    text: str
    glyphs: tuple[Glyph, ...]
    width: float
    cuts: tuple[tuple[int, float], ...]
    """For each unbreakable cluster: the index of its first character, and its width."""
    missing: str = ""
    """Characters that no font has. A box stands for each."""
    faces: frozenset[Face] = frozenset()


class Bitmap(NamedTuple):
    """Coverage of a glyph (0 to 255), and its top left corner relative to the pen, y upwards."""

    coverage: NDArray[np.uint8]
    left: int
    top: int


class _Run(NamedTuple):
    """Text to be shaped at once; `start` is the index of its first character in the word."""

    face: Face
    script: str
    start: int
    text: str


class Face:
    """One font file at one weight."""

    def __init__(self, file: FontFile, weight: int) -> None:
        face, self._characters = _opened(file)
        program = file.program()
        source = io.BytesIO(program) if isinstance(program, bytes) else str(program)
        self._drawer = freetype.Face(source)
        self.sha256 = file_hash(file)
        self._scale = file.scale
        self._units_per_em = face.upem / file.scale
        self._shaper = harfbuzz.Font(face)
        self._lock = threading.Lock()
        axes = {axis.tag: axis.default_value for axis in face.axis_infos}
        if "wght" in axes:
            self._shaper.set_variations({"wght": weight})
            values = [
                weight if axis.tag == "wght" else axis.default
                for axis in self._drawer.get_variation_info().axes
            ]
            self._drawer.set_var_design_coords(values)

    def has(self, characters: str) -> bool:
        return self._characters.issuperset(characters)

    def shape(
        self, text: str, offset: int, script: str = "Latn", *, rtl: bool = False
    ) -> Iterator[tuple[Glyph, float]]:
        """Glyphs from left to right with their advances; clusters count from `offset`."""
        buffer = harfbuzz.Buffer()
        buffer.add_str(text)
        buffer.flags = _FLAGS
        # Guessing would take the language from the machine's settings.
        buffer.script = script
        buffer.language = "und"
        buffer.direction = "rtl" if rtl else "ltr"
        harfbuzz.shape(self._shaper, buffer, _FEATURES)
        pen = 0
        for info, place in zip(buffer.glyph_infos, buffer.glyph_positions, strict=True):
            x = (pen + place.x_offset) / self._units_per_em
            y = place.y_offset / self._units_per_em
            advance = place.x_advance / self._units_per_em
            yield Glyph(self, info.codepoint, x, y, offset + info.cluster), advance
            pen += place.x_advance

    def bitmap(self, number: int, size: int, shift: int) -> Bitmap:
        """Draws a glyph. `size` of the em and `shift` to the right in 64ths of a pixel."""
        size = max(1, round(size * self._scale))
        with self._lock:
            # FreeType takes no size under a pixel: draw at one and scale the outline.
            self._drawer.set_char_size(max(size, _UNITS))
            factor = 0x10000 * min(size, _UNITS) // _UNITS
            matrix = freetype.Matrix(factor, 0, 0, factor)
            self._drawer.set_transform(matrix, freetype.Vector(shift, 0))
            self._drawer.load_glyph(number, _LOAD)
            slot = self._drawer.glyph
            return Bitmap(_coverage(slot.bitmap), slot.bitmap_left, slot.bitmap_top)


class _Opened(NamedTuple):
    face: Any
    characters: frozenset[str]


@cache
def _opened(file: FontFile) -> _Opened:
    """HarfBuzz's view of a font, which all its weights share."""
    program = file.program()
    blob = harfbuzz.Blob
    opened = blob(program) if isinstance(program, bytes) else blob.from_file_path(str(program))
    face = harfbuzz.Face(opened)
    return _Opened(face, frozenset(map(chr, face.unicodes)))


def _coverage(bitmap: untyped_freetype.Bitmap) -> NDArray[np.uint8]:
    rows, pitch = bitmap.rows, bitmap.pitch
    if not rows:
        return np.zeros((0, 0), np.uint8)
    # The wrapper's own `buffer` copies byte by byte.
    data = ctypes.string_at(bitmap._FT_Bitmap.buffer, rows * pitch)
    return np.frombuffer(data, np.uint8).reshape(rows, pitch)[:, : bitmap.width]


class Typeface:
    """The faces of one look. `language` ("ja" or "ko") decides on the shapes of Han characters."""

    def __init__(
        self, families: tuple[str, ...], *, bold: bool, italic: bool, language: str = ""
    ) -> None:
        self._families = families
        self._bold = bold
        self._italic = italic
        self._language = language

    @lru_cache(maxsize=2_048)  # noqa: B019 - typefaces live as long as the process
    def shape(self, text: str, *, rtl: bool = False) -> Shaped:
        """Shapes a word. A character that no face has becomes a box of the first face."""
        simple = _ONE_SCRIPT.fullmatch(text)
        if simple and simple.lastgroup and not rtl and self._first.has(text):
            return _shaped(text, [_Run(self._first, simple.lastgroup, 0, text)], "", rtl=rtl)
        runs, missing = self._runs(text)
        return _shaped(text, runs, missing, rtl=rtl)

    @cached_property
    def space(self) -> float:
        """Width of a word space."""
        return self.shape(" ").width

    @cached_property
    def _first(self) -> Face:
        return next(self._faces(COMMON))

    def _runs(self, text: str) -> tuple[list[_Run], str]:
        """Stretches of one face and one script, and the characters that no face has."""
        found: list[tuple[Face, str, str]] = []
        missing = ""
        for start, end, script in clusters(text):
            face, shown = self._chosen(text[start:end], script)
            if face is None:
                missing += text[start]
            found.append((face or self._first, script, shown))
        runs: list[_Run] = []
        start = 0
        for (face, script), group in groupby(found, key=lambda part: part[:2]):
            shown = "".join(part[2] for part in group)
            runs.append(_Run(face, script, start, shown))
            start += len(shown)
        return runs, missing

    @lru_cache(maxsize=16_384)  # noqa: B019 - typefaces live as long as the process
    def _chosen(self, cluster: str, script: str) -> tuple[Face | None, str]:
        """The face for a cluster, if any has it, and what to shape: as many characters."""
        shown = "".join(map(_visible, cluster))
        needed = "".join(filter(_is_drawn, shown))
        if not needed:
            return self._first, "\u2060" * len(cluster)
        having = (face for face in self._faces(script) if face.has(needed))
        if needed not in _MISDRAWN and (found := next(having, None)):
            return found, shown
        if stand_in := _stand_in(needed):
            face, _ = self._chosen(stand_in, COMMON)
            return face, stand_in.ljust(len(cluster), "\u2060")
        # A base without one of its marks is better than a box.
        partial = (face for face in self._faces(script) if face.has(needed[0]))
        return next(partial, None), shown

    def _faces(self, script: str) -> Iterator[Face]:
        """Faces in the order in which to look for a character of a script, opened one by one."""
        for family in by_preference(self._families, script, self._language):
            if file := font_file(family, bold=self._bold, italic=self._italic):
                yield _face(file, _BOLD if self._bold else _REGULAR)


def _stand_in(needed: str) -> str:
    """What says the same in a font that is always there; a flag becomes its two letters."""
    if all(letter in _FLAG_LETTERS for letter in needed):
        return "".join(chr(ord(letter) - ord(_FLAG_LETTERS[0]) + ord("A")) for letter in needed)
    return _STAND_INS.get(needed, "")


def _visible(character: str) -> str:
    """The character itself, or for a control character one that fonts know to be invisible."""
    return "\u2060" if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") else character


def _is_drawn(character: str) -> bool:
    """Whether a font must have the character: not joiners, selectors and the like."""
    return not (
        unicodedata.category(character) == "Cf"
        or "\ufe00" <= character <= "\ufe0f"
        or "\U000e0000" <= character <= "\U000e0fff"
        or character in "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u3164\uffa0"
    )


def _shaped(text: str, runs: list[_Run], missing: str, *, rtl: bool) -> Shaped:
    """Sets the runs side by side, in reading order from the left or from the right."""
    glyphs: list[Glyph] = []
    widths: dict[int, float] = {}
    pen = 0.0
    for face, script, start, shown in reversed(runs) if rtl else runs:
        run = 0.0
        for glyph, advance in face.shape(shown, start, script, rtl=rtl):
            glyphs.append(glyph._replace(x=pen + glyph.x) if pen else glyph)
            widths[glyph.cluster] = widths.get(glyph.cluster, 0.0) + advance
            run += advance
        pen += run
    cuts = tuple(sorted(widths.items()))
    return Shaped(text, tuple(glyphs), pen, cuts, missing, frozenset(run.face for run in runs))


@cache
def typeface(
    families: tuple[str, ...], *, bold: bool, italic: bool, language: str = ""
) -> Typeface:
    """The faces of these families at a weight and slant.

    Raises `ConfigurationError` when a family is not installed. A family without italics is
    upright.
    """
    return Typeface(checked(families), bold=bold, italic=italic, language=language)


@cache
def _face(file: FontFile, weight: int) -> Face:
    return Face(file, weight)
