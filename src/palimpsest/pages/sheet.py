"""A contact sheet: pictures side by side with captions, each pixel as the reader gets it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

import fontpkg
from PIL import Image, ImageDraw, ImageFont

from palimpsest.errors import InputError

_GROUND, _INK = (222, 222, 222), (40, 40, 40)
_MARGIN_PX = 24
_CAPTION_PX = 15
_CAPTION_LINE_PX = 21
_WIDEST_ROW_PX = 4_000
_SHORTEST_PX = 800
"""Even the tallest picture is enlarged to about this height."""
_MOST_PIXELS = 1 << 24
"""Beyond this no picture is enlarged."""


class Exhibit(NamedTuple):
    """A picture and the lines of its caption."""

    image: Image.Image
    caption: tuple[str, ...]


def contact_sheet(groups: Iterable[Sequence[Exhibit]]) -> Image.Image:
    """The pictures in rows from left to right.

    Small ones are enlarged by whole factors, without smoothing, to about the height of the
    tallest; those of a group alike. The caption says by how much.
    """
    shown = [group for group in groups if group]
    if not shown:
        raise InputError("a contact sheet needs a page", hint="give at least one")
    tallest = max(_SHORTEST_PX, *(exhibit.image.height for group in shown for exhibit in group))
    framed: list[Image.Image] = []
    for group in shown:
        factor = min(_factor(exhibit.image, tallest) for exhibit in group)
        framed += [_framed(exhibit, factor) for exhibit in group]
    return _set(list(_rows(framed)))


def _framed(exhibit: Exhibit, factor: int) -> Image.Image:
    """A picture with its caption below."""
    image = exhibit.image
    size = (image.width * factor, image.height * factor)
    scale = f"shown {factor} times as large" if factor > 1 else "shown pixel by pixel"
    lines = [*exhibit.caption, scale]
    width = max(size[0], *(round(_font().getlength(line)) + 1 for line in lines))
    height = size[1] + len(lines) * _CAPTION_LINE_PX
    framed = Image.new("RGB", (width, height), _GROUND)
    framed.paste(image.resize(size, Image.Resampling.NEAREST), (0, 0))
    draw = ImageDraw.Draw(framed)
    for index, line in enumerate(lines):
        draw.text((0, size[1] + index * _CAPTION_LINE_PX), line, fill=_INK, font=_font())
    return framed


def _factor(image: Image.Image, tallest: int) -> int:
    factor = max(1, round(tallest / image.height))
    while factor > 1 and image.width * image.height * factor**2 > _MOST_PIXELS:
        factor -= 1
    return factor


@cache
def _font() -> ImageFont.FreeTypeFont:
    # The basic engine is part of every build of Pillow, so captions are the same everywhere.
    path = str(fontpkg.path("Noto Sans"))
    return ImageFont.truetype(path, _CAPTION_PX, layout_engine=ImageFont.Layout.BASIC)


def _rows(images: Iterable[Image.Image]) -> Iterator[list[Image.Image]]:
    row: list[Image.Image] = []
    for image in images:
        if row and _width([*row, image]) > _WIDEST_ROW_PX:
            yield row
            row = []
        row.append(image)
    yield row


def _width(row: Sequence[Image.Image]) -> int:
    return _MARGIN_PX + sum(image.width + _MARGIN_PX for image in row)


def _set(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    heights = [max(image.height for image in row) + _MARGIN_PX for row in rows]
    size = (max(map(_width, rows)), _MARGIN_PX + sum(heights))
    sheet = Image.new("RGB", size, _GROUND)
    top = _MARGIN_PX
    for row, height in zip(rows, heights, strict=True):
        left = _MARGIN_PX
        for image in row:
            sheet.paste(image, (left, top))
            left += image.width + _MARGIN_PX
        top += height
    return sheet
