"""Plain text and plain emphasis are read without the parser, to the same spans."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palimpsest.pages import render
from palimpsest.pages.block import Look, Span
from palimpsest.pages.inline import parsed, read_inline

STARS = [
    "*",
    "**",
    "***",
    "a",
    "b ",
    " ",
    "\u3000",
    "(",
    ")",
    ",",
    ".",
    '"',
    "'",
    ":",
    "-",
    "–",
    "/",
]
OTHERS = [
    "é",
    "e\u0301",
    "x²",
    "漢",
    "€",
    "\u200b",
    "!",
    "]",
    "{",
    "1",
    "&",
    "&amp;",
    "&;",
    "#",
    "|",
]
MARKUP = ["`", "_", "~~", "[", "](b)", "\\", "<b>", "</b>", "<http://a>", "\n", "\x1c", "\x85"]
PARTS = st.sampled_from([*STARS, *OTHERS, *MARKUP])


@settings(deadline=None, max_examples=600)
@given(st.lists(PARTS, max_size=14), st.booleans())
def test_short_way_gives_the_spans_of_the_parser(parts: list[str], bold: bool) -> None:
    content = "".join(parts).strip()
    look = Look(bold=bold)
    assert read_inline(content, 3, look) == parsed(content, 3, look)


@pytest.mark.parametrize(
    ("content", "spans"),
    [
        ("", []),
        ("a & b", [("a & b", Look())]),
        ("**a** (*b c*), d", [("a", Look(bold=True)), (" (", Look()), ("b c", Look(italic=True))]),
        ("2 * 3 ** 4", [("2 * 3 ** 4", Look())]),
        ("**a *b* c**", [("a ", Look(bold=True)), ("b", Look(bold=True, italic=True))]),
        ("a*b*c", [("a", Look()), ("b", Look(italic=True)), ("c", Look())]),
    ],
)
def test_stars_are_emphasis_where_they_pair(content: str, spans: list[tuple[str, Look]]) -> None:
    expected = [Span(text, look, 0) for text, look in spans]
    assert list(read_inline(content, 0, Look()))[: len(expected)] == expected


def test_confirmed_facts_look_plain() -> None:
    assert render("- <confirmed>Ada</confirmed> keeps it", 16) == render("- Ada keeps it", 16)
