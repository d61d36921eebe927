"""Inline markdown, and the few HTML tags a memory may use, as spans of one look each.

Known tags: mark, b, strong, i, em, s, del, u, br, confirmed (which looks plain: MemReread's mark
of facts found twice), and span or font with a colour. They are read from plain text (the parser's
own HTML is off); every other tag is drawn as the text that it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token
from PIL import ImageColor

from palimpsest.pages.block import HARD_BREAK, Look, Span
from palimpsest.pages.style import Colour

MAX_LEVEL = 60
"""The parser's own limit of nesting, beyond which it would leave text out."""


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": MAX_LEVEL})
    parser.enable(["table", "strikethrough"])
    # Joined, an escaped "\<mark>" could not be told from a tag. What blocks hold is parsed here.
    return parser.disable(["html_block", "reference", "text_join", "inline"])


PARSER = _parser()
"""Finds the blocks of a text and leaves what they hold unparsed."""

_TAG = re.compile(
    r"<(/?)(mark|strong|em|del|span|font|br|confirmed|[bisu])(\s[^<>]*)?/?>", re.IGNORECASE
)
_COLOUR = re.compile(r"(?<![-\w])color\s*[:=]\s*[\"']?\s*(#\w+|rgb\([\d\s,%]*\)|[a-z]+)", re.I)
_BACKGROUND = re.compile(r"background(-color)?\s*:", re.IGNORECASE)

_MARKUP = re.compile(r"&(?=[#A-Za-z])|[\\`_~\[<\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What stands for more than itself, but for stars."""
_PAIR = re.compile(
    # Stars that can only open, then stars that can only close: no other reading is possible.
    r"(?:(?<!\S)(?=\*+[^\s*])|(?<=[\"'(/,:;–—-])(?=\*+\w))(\*\*?)(?!\*)"
    r"([^*]*)"
    r"(?<=\S)(?:(?<=\w)\1(?=[\"').,:;!?/–—-])|\1(?!\S))"
)

_CHANGES: dict[str, dict[str, Any]] = {
    "code": {"code": True},
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


def read_inline(content: str, line: int, look: Look) -> tuple[Span, ...]:
    """The spans of a block's text that starts on source line `line`."""
    if not _MARKUP.search(content):
        found = _emphasised(content, line, look) if "*" in content else _plain(content, line, look)
        if found is not None:
            return found
    return parsed(content, line, look)


def parsed(content: str, line: int, look: Look) -> tuple[Span, ...]:
    """What `read_inline` gives, always by the parser: ten times as slow on plain text."""
    tokens: list[Token] = []
    PARSER.inline.parse(content, PARSER, {}, tokens)
    return tuple(_Inline(line, look).spans(tokens))


def _plain(content: str, line: int, look: Look) -> tuple[Span, ...]:
    return (Span(content, look, line),) if content else ()


def _emphasised(content: str, line: int, look: Look) -> tuple[Span, ...] | None:
    """Text of which nothing is marked but words in pairs of stars; None if some star is in none."""
    parts = _PAIR.split(content)
    if any("*" in outside for outside in parts[::3]):
        return None
    spans: list[Span] = []
    for outside, stars, inside in zip(parts[::3], parts[1::3], parts[2::3], strict=False):
        if outside:
            spans.append(Span(outside, look, line))
        name = "strong" if len(stars) == 2 else "em"
        spans.append(Span(inside, _changed(look, name, ""), line))
    return (*spans, *_plain(parts[-1], line, look))


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
                yield self.span(token.content, _changed(self.look, "code", ""))
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


@lru_cache(maxsize=1024)
def _changed(look: Look, name: str, attributes: str) -> Look:
    changes = dict(_CHANGES.get(name, {}))
    found = _COLOUR.search(attributes)
    if found and name in ("span", "font"):
        changes["colour"] = _legible(found[1]) or look.colour
    if name == "span" and _BACKGROUND.search(attributes):
        changes["mark"] = True
    return look._replace(**changes) if changes else look


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
