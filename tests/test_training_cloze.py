from __future__ import annotations

import random
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from palimpsest.pages import render
from palimpsest.training.cloze import GAPS, make_cloze

_MEMORY = """# ADA BRANDT
- born in **Bergen**, 12 May 1912; the Bergenhus fort is near
- wrote *The Blue Heron* (1938), which sold 1,204 copies

# KILMORE TOWER
- built by O'Neil, nine floors
"""
_SHOWN = render(_MEMORY, 256).text


def _box(text):
    return rf"\boxed{{{text}}}"


def _clozes(text, count=60, **options):
    return [make_cloze(text, random.Random(seed), **options) for seed in range(count)]


def test_a_cloze_masks_three_words_of_the_page_in_their_order():
    for cloze in _clozes(_SHOWN):
        assert len(cloze.words) == GAPS
        filled = cloze.text
        for number, word in enumerate(cloze.words, start=1):
            assert filled.count(f"[gap {number}]") == 1
            filled = filled.replace(f"[gap {number}]", word)
        assert filled in " ".join(_SHOWN.split())
        assert [int(n) for n in re.findall(r"\[gap (\d)\]", cloze.text)] == [1, 2, 3]


def test_words_that_touch_punctuation_are_masked_without_it():
    words = {word for cloze in _clozes(_SHOWN, 200) for word in cloze.words}
    assert {"1938", "1,204", "floors", "1912"} <= words
    assert not any(word.endswith((",", ";", ")", ".")) for word in words)


def test_a_word_that_stands_on_the_page_in_another_form_is_not_masked():
    words = {word for cloze in _clozes(_SHOWN, 200) for word in cloze.words}
    assert "Bergen" not in words
    assert "Bergenhus" not in words


def test_function_words_are_not_masked():
    assert make_cloze("this is what they were with, and so on", random.Random(1)) is None


@settings(deadline=None)
@example("1A-1", 0)
@example("1A 1", 0)
@given(st.text(st.sampled_from("abcde AB.,-12"), max_size=400), st.integers(0, 5))
def test_no_masked_word_stands_in_the_text_that_is_shown(text, seed):
    cloze = make_cloze(text, random.Random(seed))
    if cloze:
        shown = re.sub(r"\[gap \d\]", " ", cloze.text).casefold()
        shown = re.findall(r"[^\W_]+", shown)
        for word in cloze.words:
            assert not set(re.findall(r"[^\W_]+", word.casefold())) & set(shown)
        assert cloze.score(_box("; ".join(cloze.words))) == len(cloze.words) / GAPS


def test_equal_chances_make_equal_clozes():
    assert make_cloze(_SHOWN, random.Random("a/1")) == make_cloze(_SHOWN, random.Random("a/1"))
    assert len(set(_clozes(_SHOWN))) > 10


def test_a_long_page_is_shown_in_part():
    page = " ".join(f"x{number}y{number * 7}" for number in range(900))
    clozes = _clozes(page, 20)
    assert all(len(cloze.text) < 320 for cloze in clozes)
    assert len({cloze.text[:20] for cloze in clozes}) > 10


def test_the_score_is_the_part_of_the_gaps_filled_in_their_order():
    cloze = next(one for one in _clozes(_SHOWN) if one.words[1] == "1938")
    first, second, third = cloze.words
    assert cloze.score(_box(f"{first}; {second}; {third}")) == 1
    assert cloze.score(_box(f"{first.upper()}, {second}., the {third}")) == 1
    assert cloze.score(_box(f"1. {first}\n2. {second}\n3. {third}")) == 1
    assert cloze.score(_box(f"{first}; {third}; {second}")) == pytest.approx(1 / 3)
    assert cloze.score(_box(f"{first}; ; {third}")) == pytest.approx(2 / 3)
    assert cloze.score(_box(first)) == pytest.approx(1 / 3)


@pytest.mark.parametrize("completion", ["", _box(""), _box("; ;"), _box("the; a; an")])
def test_saying_nothing_scores_nothing(completion):
    assert all(cloze.score(completion) == 0 for cloze in _clozes(_SHOWN, 5))


def test_listing_the_page_scores_nothing():
    (cloze,) = _clozes(_SHOWN, 1)
    assert cloze.score(_box("; ".join(_SHOWN.split()))) == 0
    assert cloze.score(_box("; ".join([*cloze.words, "more"]))) == 0
    assert cloze.score("; ".join(cloze.words)) == 0


def test_a_page_of_one_word_is_not_worth_full_marks():
    cloze = make_cloze("Bergen", random.Random(1))
    assert cloze.text == "[gap 1]"
    assert cloze.score(_box("Bergen")) == pytest.approx(1 / 3)


@pytest.mark.parametrize("text", ["", " \n", "Bergen Bergen", "to be or not to be", "--- * ..."])
def test_a_page_without_a_word_to_mask_makes_no_cloze(text):
    assert make_cloze(text, random.Random(1)) is None


def test_an_empty_memory_makes_no_cloze():
    assert make_cloze(render("", 32).text, random.Random(1)) is None
