"""Chunks cover the text, keep to their size, and end where they should."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.errors import InputError
from palimpsest.sources import cut, sentence_windows, token_windows

CUTTINGS = ("sentence", "token")
WORDS = re.compile(r"\w+|[^\w\s]")


@st.composite
def texts_with_offsets(draw):
    """A text full of boundaries, and ascending token starts, some of them shared."""
    alphabet = st.sampled_from("ab Z1.!?\n\n\t #\"'。」記é😀\u0301")
    text = draw(st.text(alphabet, min_size=1, max_size=80) | st.text(min_size=1, max_size=80))
    places = st.integers(0, len(text) - 1)
    return text, sorted(draw(st.lists(places, max_size=2 * len(text))))


def word_offsets(text):
    return [match.start() for match in WORDS.finditer(text)]


def ends(chunks):
    return [chunk.text.rstrip()[-1:] for chunk in chunks]


@pytest.mark.parametrize("how", CUTTINGS)
@given(case=texts_with_offsets(), size=st.integers(1, 12))
def test_chunks_cover_the_text(how, case, size):
    text, offsets = case
    chunks = cut(text, offsets, size, how)
    assert chunks[0].start == 0
    assert chunks[-1].end == len(text)
    assert all(left.end == right.start for left, right in pairwise(chunks))
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    assert all(chunk.text and chunk.text == text[chunk.start : chunk.end] for chunk in chunks)


@pytest.mark.parametrize("how", CUTTINGS)
@given(case=texts_with_offsets(), size=st.integers(1, 12))
def test_chunks_count_the_tokens_that_begin_in_them(how, case, size):
    text, offsets = case
    for chunk in cut(text, offsets, size, how):
        begun = [offset for offset in offsets if chunk.start <= offset < chunk.end]
        assert chunk.tokens == len(begun)
        assert chunk.tokens <= size or len(set(begun)) == 1


@given(case=texts_with_offsets(), size=st.integers(1, 12))
def test_the_last_sentence_chunk_is_not_tiny(case, size):
    text, offsets = case
    offsets = sorted(set(offsets))
    chunks = sentence_windows(text, offsets, size)
    assert len(chunks) == 1 or chunks[-1].tokens >= size // 4


@given(count=st.integers(1, 60), size=st.integers(1, 12))
def test_token_windows_are_exact(count, size):
    chunks = token_windows("ab" * count, range(0, 2 * count, 2), size)
    assert len(chunks) == -(-count // size)
    assert all(chunk.tokens == size for chunk in chunks[:-1])


def test_a_character_of_several_tokens_is_not_split():
    chunks = token_windows("a😀b", [0, 1, 1, 1, 2], 2)
    assert [(chunk.text, chunk.tokens) for chunk in chunks] == [("a", 1), ("😀", 3), ("b", 1)]


@pytest.mark.parametrize("how", CUTTINGS)
def test_a_text_without_tokens_is_one_chunk_and_none_is_none(how):
    assert [chunk.text for chunk in cut(" \n", [], 5, how)] == [" \n"]
    assert cut("", [], 5, how) == []


@pytest.mark.parametrize("how", CUTTINGS)
def test_a_size_without_tokens_is_refused(how):
    with pytest.raises(InputError, match="0 tokens"):
        cut("text", [0], 0, how)


def test_sentence_windows_end_with_sentences():
    sentence = "The rain of {} fell for days, and nobody in town went out. "
    text = "".join(sentence.format(1900 + number) for number in range(60))
    chunks = sentence_windows(text, word_offsets(text), 50)
    assert set(ends(chunks)) == {"."}
    assert all(chunk.text.startswith("The") for chunk in chunks)


def test_a_window_that_ends_with_a_sentence_is_filled():
    text = "One two three. Four five six. Seven eight nine."
    chunks = sentence_windows(text, word_offsets(text), 8)
    assert [chunk.text for chunk in chunks] == [
        "One two three. Four five six. ",
        "Seven eight nine.",
    ]


def test_offsets_on_the_space_before_a_word_are_sentence_ends_too():
    text = "One two three. Four five six. Seven eight nine. Ten."
    offsets = [match.start() for match in re.finditer(r" ?\w+|\.", text)]
    assert sentence_windows(text, offsets, 10)[0].text == "One two three. Four five six."


def test_chinese_and_japanese_sentences_end_chunks():
    text = "王先生喜欢读书。他每天晚上都看！「記憶とは何か。」と彼は言った。" * 5
    chunks = sentence_windows(text, range(len(text)), 20)
    assert all(chunk.text[-1] in "。！」" for chunk in chunks)


def test_quoted_sentences_end_after_the_quote():
    text = 'He said: "It is late now." She did not reply to that at all today.'
    assert sentence_windows(text, word_offsets(text), 12)[0].text.rstrip().endswith('now."')


def test_initials_titles_and_abbreviations_do_not_end_sentences():
    text = "a b c d. Then came Dr. Smith and J. Doe with e.g. apples and other fruit too."
    for size in (8, 9):
        assert sentence_windows(text, word_offsets(text), size)[0].text == "a b c d. "


def test_a_blank_line_is_better_than_a_later_sentence():
    text = "One two three four five.\n\nSix seven. Eight nine ten eleven twelve."
    assert sentence_windows(text, word_offsets(text), 10)[0].text.endswith("five.\n\n")


def test_a_heading_stays_with_its_text():
    text = "One two three. Four five six.\n\n# Heading\n\nSeven eight nine ten eleven twelve."
    assert sentence_windows(text, word_offsets(text), 12)[0].text.endswith("six.\n\n")


def test_an_early_boundary_is_not_worth_half_a_window():
    text = "One.\n\nTwo three four five six seven eight nine ten eleven twelve"
    chunks = sentence_windows(text, word_offsets(text), 10)
    assert chunks[0].tokens > 5


def test_lines_without_marks_are_kept_whole():
    text = "".join(f"key{number} = value {number}\n" for number in range(40))
    chunks = sentence_windows(text, word_offsets(text), 30)
    assert all(chunk.text.endswith("\n") for chunk in chunks)


def test_words_are_kept_whole_where_nothing_else_pauses():
    text = "alpha beta gamma delta " * 10
    letters = [place for place, letter in enumerate(text) if letter != " "]
    assert all(chunk.text.endswith(" ") for chunk in sentence_windows(text, letters, 30))


def test_the_last_two_chunks_share_what_is_left():
    text = "w " * 102
    chunks = sentence_windows(text, word_offsets(text), 100)
    assert [chunk.tokens for chunk in chunks] == [77, 25]


@pytest.mark.parametrize("how", CUTTINGS)
@pytest.mark.parametrize("unit", ["Some words here. ", "....", "    ", "\n\n\n\n", "))))", "abcd"])
def test_long_texts_are_cut_in_linear_time(how, unit):
    text = unit * 200_000
    chunks = cut(text, range(0, len(text), len(unit)), 5000, how)
    assert 40 <= len(chunks) <= 42
