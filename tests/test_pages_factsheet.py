"""The identifiers of a memory: which are found, which come first, and at what cost."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palimpsest.errors import InputError
from palimpsest.pages.factsheet import Fact, factsheet
from palimpsest.sources import EstimateTokenizer, count


def found(markdown: str) -> list[str]:
    return [fact.text for fact in factsheet(markdown).facts]


@pytest.mark.parametrize(
    ("markdown", "facts"),
    [
        # Names.
        ("The light was rebuilt by Henrietta Osei-Lund in summer.", ["Henrietta Osei-Lund"]),
        ("Her assistant Tobias Wren kept it.", ["Tobias Wren"]),
        ("In Oslo and Bergen nobody knew.", []),
        ("the Kingdom of the Netherlands paid", ["Kingdom of the Netherlands"]),
        ("J. R. R. Tolkien met St. John Philby", ["J. R. R. Tolkien", "St. John Philby"]),
        ("built by Brandt & Keller", ["Brandt & Keller"]),
        ("режиссёр Ингрид Сульхейм и другие", ["Ингрид Сульхейм"]),
        ("the Émile Zola papers, and Dvořák", ["Émile Zola"]),
        ("see Report 7, page 31, and Doc 12.", ["Report 7", "31", "Doc 12"]),
        ("patent DRP 88,412 was granted", ["DRP 88,412"]),
        ("He wrote *The Call of the Sea* there.", ["The Call of the Sea"]),
        # Dates.
        ("on 4 June 1883 and 12 November", ["4 June 1883", "12 November"]),
        ("on June 4, 1883 or Sept. 1884", ["June 4, 1883", "Sept. 1884"]),
        ("am 12. November 1881", ["12. November 1881"]),
        ("el 4 de junio de 1883", ["4 de junio de 1883"]),
        ("born 2024-05-01, died 01.02.2025", ["2024-05-01", "01.02.2025"]),
        ("1971年3月3日生まれ、1996年卒業", ["1971年3月3日", "1996年"]),
        ("from 1941–1943 and in 1881 it burned", ["1941–1943", "1881"]),
        # Numbers.
        ("it cost 41,500 crowns and weighs 340 kilograms", ["41,500 crowns", "340 kilograms"]),
        ("grew by 12.5 % to $ 3.2 million", ["12.5 %", "$ 3.2 million"]),
        ("at -4 °C, 12:30, 3/4 and €9", ["-4 °C", "12:30", "3/4", "€9"]),
        ("it has 3 and 4 of them", ["3", "4"]),
        # Codes and addresses.
        ("unit XK-42/b, file_name and iPhone", ["XK-42/b", "file_name", "iPhone"]),
        ("attended VGIK in spring", ["VGIK"]),
        ("run `git commit -m x` twice", ["git commit -m x"]),
        ("see https://example.org/a?b=1, or there", ["https://example.org/a?b=1"]),
        ("see (www.example.org).", ["www.example.org"]),
        ("write to first.last+tag@mail.example.org!", ["first.last+tag@mail.example.org"]),
        # Quotes.
        ('It says "a light of our own" there', ['"a light of our own"']),
        ("„ein Licht“ und «une lampe» und 「灯台」", ["„ein Licht“", "«une lampe»", "「灯台」"]),
        # Nothing.
        ("plain words only, not one fact", []),
        ("", []),
    ],
)  # fmt: skip
def test_identifiers_are_found(markdown: str, facts: list[str]) -> None:
    assert found(markdown) == facts


def test_each_fact_stands_once_where_it_is_first() -> None:
    sheet = factsheet("Tobias Wren, 1841.\n\nAgain **Tobias Wren**, 1841, 1842.")
    assert sheet.facts == (
        Fact("Tobias Wren", 0, prominent=True),
        Fact("1841", 0, prominent=False),
        Fact("1842", 2, prominent=False),
    )
    assert sheet.text == "Tobias Wren; 1841\n1842"
    assert sheet.left_out == 0


def test_part_of_a_longer_fact_is_not_repeated() -> None:
    assert found("Osei Lund came. Later Henrietta Osei Lund left.") == ["Henrietta Osei Lund"]
    assert found("In 1883, on 4 June 1883.") == ["4 June 1883"]
    assert found('He said "Gull Rock" of Gull Rock.') == ['"Gull Rock"']


def test_facts_name_their_source_line() -> None:
    sheet = factsheet("# Anno 1841\n\n- one\n  two 1842\n\n| Year |\n|---|\n| 1843 |\n")
    assert [(fact.text, fact.line) for fact in sheet.facts] == [
        ("Anno 1841", 0),
        ("1842", 3),
        ("1843", 7),
    ]


def test_headings_and_bold_are_the_last_to_be_cut() -> None:
    memory = "Early Bird 11\n\nthe **Bold Fact** of\n\n## The Heading Fact\n\nLate Bird 22"
    assert factsheet(memory, characters=25).text == "Bold Fact\nHeading Fact"
    assert factsheet(memory, characters=40).text == "Early Bird 11\nBold Fact\nHeading Fact"
    assert factsheet(memory, characters=40).left_out == 1
    assert factsheet(memory, characters=0).text == ""


def test_fact_without_room_leaves_it_to_a_shorter_one() -> None:
    assert factsheet('"a rather long quotation" in 1841', characters=10).text == "1841"


def test_sizes_below_nothing_and_memories_too_large_are_refused() -> None:
    with pytest.raises(InputError):
        factsheet("a", tokens=-1)
    with pytest.raises(InputError):
        factsheet("a" * 65_537)


FACTS = st.sampled_from(
    ["Tobias Wren", "41,500 crowns", "1883", "XK-42", '"a light"', "https://a.example/b", "Ελένη Κ"]
)


@settings(deadline=None, max_examples=60)
@given(st.lists(FACTS, max_size=40), st.integers(0, 80), st.sampled_from([" and ", "\n\n", ", "]))
def test_text_keeps_within_its_size(facts: list[str], limit: int, between: str) -> None:
    memory = between.join(f"{fact} {number}" for number, fact in enumerate(facts))
    assert len(factsheet(memory, characters=limit).text) <= limit
    by_tokens = factsheet(memory, tokens=limit)
    assert asyncio.run(count(EstimateTokenizer(), by_tokens.text)) <= limit


@settings(deadline=None, max_examples=80)
@given(st.text(st.sampled_from("aA1 .,-_\"„“«»@:/'\n&年ÉЖ#*`$%"), max_size=200))
def test_any_text_gives_facts_that_it_contains(text: str) -> None:
    sheet = factsheet(text)
    spelled = "".join(text.split()).casefold()
    for fact in sheet.facts:
        assert fact.text
        letters = [letter for letter in fact.text.casefold() if letter.isalnum()]
        assert all(letter in spelled for letter in letters)


HOSTILE = {
    "letters": "a" * 65_000,
    "capitals": "A" * 65_000,
    "capital words": "Aa " * 21_000,
    "particles": "A" + " of the" * 9_000,
    "digits": "1" * 65_000,
    "numbers": "1 " * 32_000,
    "points": "1." * 32_000,
    "colons": "1:" * 32_000,
    "dashes": "a-" * 32_000,
    "at signs": "a@" * 32_000,
    "dotted domain": "a@" + "a." * 32_000,
    "quotes": '"' * 65_000,
    "open quotes": "„" * 65_000,
    "quoted pairs": '"a" ' * 16_000,
    "addresses": "http://" * 9_000,
    "one address": "http://" + "a" * 64_000,
    "closing": "http://a" + ")" * 64_000,
    "days": "1 of " * 13_000,
    "months": "may " * 16_000,
    "dates": "4 June 1883 " * 5_000,
    "initials": "A. " * 21_000,
    "apostrophes": "A'" * 32_000,
    "code": "`a` " * 16_000,
    "distinct": " and ".join(f"Name{n} Of{n}" for n in range(3_000)),
    "spaces": " " * 65_000 + "1",
    "line breaks": "1\n" * 32_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_text_takes_long(name: str) -> None:
    started = time.process_time()
    factsheet(HOSTILE[name], tokens=64)
    assert time.process_time() - started < 5
