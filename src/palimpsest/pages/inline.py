"""Inline markdown, and the few HTML tags a memory may use, as spans of one look each.

Known tags: mark, b, strong, i, em, s, del, u, br, and span or font with a colour. They are read
from plain text (the parser's own HTML is off); every other tag is drawn as the text that it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from markdown_it.token import Token
from PIL import ImageColor

from palimpsest.pages.block import HARD_BREAK, Look, Span
from palimpsest.pages.style import Colour

_TAG = re.compile(r"<(/?)(mark|strong|em|del|span|font|br|[bisu])(\s[^<>]*)?/?>", re.IGNORECASE)
_COLOUR = re.compile(r"(?<![-\w])color\s*[:=]\s*[\"']?\s*(#\w+|rgb\([\d\s,%]*\)|[a-z]+)", re.I)
_BACKGROUND = re.compile(r"background(-color)?\s*:", re.IGNORECASE)

_CHANGES: dict[str, dict[str, Any]] = {
    "mark": {"mark": True},
    "b": {"bold": True},
    "strong": {"bold": True},
    "i": {"italic": True},
    "em": {"italic": True},
    "s": {"strike": True},
    "del": {"strike": True},
    "u": {"underline": True},
}
_BRIGHTEST = 140
"""Luma above which a colour is too pale to be read on white."""
_STEP = 51
"""Colours are rounded to multiples of this, which bounds the layers a page can need."""


def read_inline(token: Token, line: int, look: Look) -> tuple[Span, ...]:
    """The spans of an inline token that starts on source line `line`."""
    return tuple(_Inline(line, look).spans(token.children or ()))


class _Inline:
    """Walks inline tokens; keeps the look and the source line. Tags left open end here."""

    def __init__(self, line: int, look: Look) -> None:
        self.line = line
        self.looks: list[tuple[str, Look]] = [("", look)]

    @property
    def look(self) -> Look:
        return self.looks[-1][1]

    def spans(self, tokens: Sequence[Token]) -> Iterator[Span]:
        for token in tokens:
            if token.type == "text":
                yield from self.tagged(token.content)
            elif token.type in ("softbreak", "hardbreak"):
                yield self.span(HARD_BREAK if token.type == "hardbreak" else " ")
                self.line += 1
            elif token.type == "code_inline":
                yield self.span(token.content, replace(self.look, code=True))
            elif token.nesting == 1:
                self.open(token.tag, "")
            elif token.nesting == -1:
                self.close(token.tag)
            elif token.content:
                yield self.span(token.content.replace("\n", " "))

    def tagged(self, text: str) -> Iterator[Span]:
        """Plain text, with known tags taken out and applied."""
        start = 0
        for tag in _TAG.finditer(text) if "<" in text else ():
            if tag.start() > start:
                yield self.span(text[start : tag.start()])
            start = tag.end()
            name = tag[2].lower()
            if name == "br":
                yield self.span(HARD_BREAK)
            elif tag[1]:
                self.close(name)
            else:
                self.open(name, tag[3] or "")
        if start < len(text):
            yield self.span(text[start:])

    def span(self, text: str, look: Look | None = None) -> Span:
        return Span(text, look or self.look, self.line)

    def open(self, name: str, attributes: str) -> None:
        self.looks.append((name, _changed(self.look, name, attributes)))

    def close(self, name: str) -> None:
        """Ends the innermost `name`; what was opened inside and not closed ends with it."""
        for depth in range(len(self.looks) - 1, 0, -1):
            if self.looks[depth][0] == name:
                del self.looks[depth:]
                return


def _changed(look: Look, name: str, attributes: str) -> Look:
    changes = dict(_CHANGES.get(name, {}))
    found = _COLOUR.search(attributes)
    if found and name in ("span", "font"):
        changes["colour"] = _legible(found[1]) or look.colour
    if name == "span" and _BACKGROUND.search(attributes):
        changes["mark"] = True
    return replace(look, **changes) if changes else look


@lru_cache(maxsize=256)
def _legible(name: str) -> Colour | None:
    """A CSS colour, darkened if it would vanish on white; None if there is no such colour."""
    try:
        red, green, blue = ImageColor.getrgb(name)[:3]
    except ValueError:
        return None
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    factor = min(1.0, _BRIGHTEST / max(luma, 1.0)) / _STEP
    return (
        round(red * factor) * _STEP,
        round(green * factor) * _STEP,
        round(blue * factor) * _STEP,
    )
