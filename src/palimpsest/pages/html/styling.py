"""Lets through the CSS that shapes and colours text, and nothing that fetches, hides, covers or
grows without bound: known properties, plain values, sizes within limits. Generated content,
`calc()`, font families and at-rules are left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import tinycss2 as untyped_tinycss2

from palimpsest.errors import InputError

MAX_RULES = 500
_LONGEST_SELECTOR = 400
_LONGEST_VARIABLE = 20
"""In tokens."""


def names(text: str) -> frozenset[str]:
    """Names written in a row."""
    return frozenset(text.split())


_SIDES = ("top", "right", "bottom", "left")
_PROPERTIES = names(
    "align-items align-self background background-color border border-collapse border-color"
    " border-spacing border-style border-width caption-side color column-count"
    " column-gap column-rule direction display flex flex-basis flex-direction flex-flow flex-grow"
    " flex-wrap font-size font-style font-variant font-weight gap grid-column"
    " grid-template-columns justify-content line-height list-style list-style-position"
    " list-style-type margin padding row-gap table-layout text-align text-decoration"
    " text-decoration-color text-decoration-line text-decoration-style text-transform"
    " vertical-align white-space width"
).union(
    (f"{name}-{side}" for name in ("border", "margin", "padding") for side in _SIDES),
    (f"border-{side}-{what}" for side in _SIDES for what in ("color", "style", "width")),
)
_FUNCTIONS = names("rgb rgba hsl hsla repeat minmax linear-gradient radial-gradient")
_REFUSED = {
    "display": {"none", "contents"},
    "color": {"transparent"},
    "white-space": {"nowrap"},
}
# Not every font has the other bullets.
_INSTEAD = {
    ("white-space", "pre"): "pre-wrap",
    **{
        (name, bullet): "disc"
        for name in ("list-style", "list-style-type")
        for bullet in ("circle", "square")
    },
}
_LARGEST = {"px": 64.0, "pt": 48.0, "em": 4.0, "rem": 4.0, "fr": 12.0, "deg": 360.0, "%": 100.0}
_SPACES = {"px": 10.0, "pt": 8.0, "em": 0.6, "rem": 0.6}
"""White space is paid for in visual tokens: it stays, but little of it."""
_TRACKS = {"px": 400.0, "pt": 300.0, "em": 25.0, "rem": 25.0, "fr": 12.0, "%": 100.0}
"""Columns side by side: narrower than asked for, they would overlap."""
_SMALLEST_TYPE = {"px": 6.0, "pt": 5.0, "em": 0.4, "rem": 0.4, "%": 40.0}
_LOWEST_LINE, _TALLEST_LINE = 0.9, 1.3
_NUMBER, _COUNT = 1000.0, 24.0
"""The largest plain number, and the largest that counts tracks, columns or shares."""
_IDENT = re.compile(r"-?[a-zA-Z][a-zA-Z0-9-]*")
_HEX = re.compile(r"[0-9a-fA-F]{3,8}")
_SELECTOR = re.compile(r"[\w\s.>+~*,:()\[\]=\"^$|-]+")
_NAME = re.compile(r"[\w-]+")

# The library has no types.
tinycss2: Any = untyped_tinycss2
Token = Any


class Styling:
    """The CSS of one draft. Raises `InputError` if its sheet has too many rules."""

    def __init__(self, css: str) -> None:
        rules = tinycss2.parse_stylesheet(css, skip_comments=True, skip_whitespace=True)
        if len(rules) > MAX_RULES:
            raise InputError(
                f"an HTML draft with {len(rules):,} style rules is too large",
                hint=f"use at most {MAX_RULES}",
            )
        self._rules = [rule for rule in rules if rule.type == "qualified-rule"]
        self._variables: dict[str, list[Token]] = {}
        for rule in self._rules:
            for node in _parsed(rule.content):
                if node.name.startswith("--") and len(node.value) <= _LONGEST_VARIABLE:
                    self._variables[node.name] = node.value

    def sheet(self) -> str:
        """The rules that may stay. Selectors of ids ask for `data-id` instead."""
        kept: list[str] = []
        for rule in self._rules:
            selector, declarations = _selector(rule.prelude), self._declarations(rule.content)
            if selector and declarations:
                kept.append(f"{selector} {{{declarations}}}")
        return "\n".join(kept)

    def attribute(self, css: str) -> str:
        """The declarations of a style attribute that may stay."""
        return self._declarations(tinycss2.parse_component_value_list(css))

    def _declarations(self, tokens: list[Token]) -> str:
        kept: list[str] = []
        for node in _parsed(tokens):
            if node.lower_name in _PROPERTIES:
                value = _values(node.lower_name, self._resolved(node.value))
                if value:
                    kept.append(f"{node.lower_name}: {value}")
        return "; ".join(kept)

    def _resolved(self, tokens: list[Token]) -> Iterator[Token]:
        """The tokens of a value with its variables replaced. Variables within functions or within
        variables are not, and are refused later: their lengths could multiply."""
        for token in tokens:
            if token.type == "function" and token.lower_name == "var":
                name = next((part.value for part in token.arguments if part.type == "ident"), "")
                yield from self._variables.get(name, [token])
            else:
                yield token


def _parsed(tokens: list[Token]) -> list[Token]:
    """The declarations among what stands between two braces."""
    nodes = tinycss2.parse_blocks_contents(tokens, skip_comments=True, skip_whitespace=True)
    return [node for node in nodes if node.type == "declaration"]


def _selector(tokens: list[Token]) -> str | None:
    parts = []
    for token in tokens:
        if token.type == "hash" and _NAME.fullmatch(token.value):
            parts.append(f'[data-id="{token.value}"]')
        else:
            parts.append(token.serialize())
    selector = "".join(parts).strip()
    good = len(selector) <= _LONGEST_SELECTOR and _SELECTOR.fullmatch(selector)
    return selector if good else None


def _values(name: str, tokens: Iterable[Token]) -> str | None:
    """The value of a property as text, or None if any part of it is refused."""
    parts = []
    for token in tokens:
        part = _value(name, token)
        if part is None:
            return None
        parts.append(part)
    return "".join(parts).strip()


def _value(name: str, token: Token) -> str | None:
    match token.type:
        case "whitespace":
            return " "
        case "comment":
            return ""
        case "ident":
            return _keyword(name, token.lower_value)
        case "literal":
            return token.value if token.value in {",", "/"} else None
        case "hash":
            return f"#{token.value}" if _HEX.fullmatch(token.value) else None
        case "number":
            return _number(name, token.value)
        case "percentage":
            return _length(name, token.value, "%")
        case "dimension":
            return _length(name, token.value, token.lower_unit)
        case "function" if token.lower_name in _FUNCTIONS:
            inside = _values(name, token.arguments)
            return None if inside is None else f"{token.lower_name}({inside})"
    return None


def _keyword(name: str, word: str) -> str | None:
    if word in _REFUSED.get(name, ()) or not _IDENT.fullmatch(word):
        return None
    return _INSTEAD.get((name, word), word)


def _number(name: str, value: float) -> str | None:
    if value < 0 or (name == "font-size" and value == 0):
        return None
    if name == "line-height":
        return f"{min(value, _TALLEST_LINE):g}" if value >= _LOWEST_LINE else None
    counts = name.startswith(("grid", "column", "flex"))
    return f"{min(value, _COUNT if counts else _NUMBER):g}"


def _length(name: str, value: float, unit: str) -> str | None:
    """A length within limits. Widths stay only as shares, as the page has no width in advance."""
    largest = _limits(name).get(unit)
    if largest is None or value < 0 or name == "line-height" or (name == "width" and unit != "%"):
        return None
    if name == "font-size":
        largest = 400.0 if unit == "%" else largest
        value = max(value, _SMALLEST_TYPE.get(unit, value))
    return f"{min(value, largest):g}{unit}"


def _limits(name: str) -> dict[str, float]:
    if name.startswith(("margin", "padding", "border-spacing")) or name.endswith("gap"):
        return _SPACES
    return _TRACKS if name.startswith(("flex", "grid")) else _LARGEST
