"""Distractor passages: each once, counted once, and none that gives an answer away."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest

from palimpsest.datasets import Item, Passage
from palimpsest.datasets.distractors import BOOK_PASSAGE_CHARACTERS, read_passages
from palimpsest.datasets.lengths import length_label, parse_length, parse_lengths
from palimpsest.datasets.pool import BATCH_CHARACTERS, Pool, count_passages
from palimpsest.errors import InputError
from palimpsest.evals.scoring import substring_match
from palimpsest.sources import EstimateTokenizer, Source, count

TEXTS = (
    "Peter Frank lives in New-York's harbour.",
    "The U.S.A. is a country.",
    "Malmö lies by the sea.",
    "Nothing of note stands here.",
    "There were yes-men and no others.",
    "Wilhelm Röntgen won it in 1901.",
    "东京是日本的首都。",
    "A category of cats.",
)


def pool_of(*texts):
    return Pool(Passage(title=f"Title {number}", text=text) for number, text in enumerate(texts))


def item_with(*answers, documents=(), gold=(), metric="f1"):
    return Item(
        task="t", id="1", question="?", answers=answers, documents=documents, gold=gold,
        metric=metric,
    )  # fmt: skip


class Counting:
    """The estimate, with what it was asked."""

    name = "counting"
    exact = True

    def __init__(self):
        self.texts = []

    async def offsets(self, text):
        self.texts.append(text)
        return await EstimateTokenizer().offsets(text)


def test_passages_with_the_same_words_are_one_and_empty_ones_none():
    pool = pool_of("One lamp.", "one  LAMP", "", "  ", "...", "Two lamps.")
    assert [one.text for one in pool.passages] == ["One lamp.", "Two lamps."]
    assert len(pool) == 2


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        ("New York", {0}),
        ("new york's", {0}),
        ("USA", {1}),
        ("U.S.A.", {1}),
        ("Malmo", {2}),
        ("the sea", {2}),
        ("Rontgen", {5}),
        ("Röntgen", {5}),
        ("190", set()),
        ("1901", {5}),
        ("首都", {6}),
        ("cat", set()),
        ("harbour nothing", set()),
        ("Title 3", {3}),
    ],
)
def test_a_passage_that_holds_the_answer_as_words_is_refused(answer, refused):
    assert pool_of(*TEXTS).refused(item_with(answer)) == refused


@pytest.mark.parametrize("verdict", ["yes", "No", "no answer", "", "The", "?"])
def test_verdicts_and_empty_answers_refuse_nothing(verdict):
    assert pool_of(*TEXTS).refused(item_with(verdict)) == set()


def test_of_a_multiple_choice_the_text_is_looked_for_and_not_the_letter():
    pool = pool_of("Plan B was chosen.", "A red lamp.")
    assert pool.refused(item_with("B", "red lamp", metric="choice")) == {1}
    assert pool.refused(item_with("B", "red lamp")) == {0, 1}


def test_what_the_scorer_would_find_is_refused():
    answers = ["U.S.A", "new yorks", "Röntgen", "yesmen", "lies by sea", "東京"]
    pool = pool_of(*TEXTS)
    for answer in answers:
        found = {
            number
            for number, one in enumerate(pool.passages)
            if substring_match(f"{one.title}\n{one.text}", [answer])
        }
        assert found <= pool.refused(item_with(answer))


def test_gold_titles_and_the_items_own_documents_are_refused():
    own = (Passage(title="Lamp!", text="gold"), Passage(title="Other", text="The same, words."))
    pool = Pool(
        [
            Passage(title="lamp", text="another text of that title"),
            Passage(title="Elsewhere", text="the same words"),
            Passage(title="Other", text="a title that is not gold"),
        ]
    )
    assert pool.refused(item_with(documents=own, gold=(0,))) == {0, 1}


def test_each_passage_is_counted_once_and_many_in_a_call():
    texts = [f"Passage number {number}. " + "word " * 400 for number in range(300)]
    pool, tokenizer = pool_of(*texts), Counting()

    async def counted():
        first = await pool.sizes(tokenizer, [7, 3])
        everything = await pool.sizes(tokenizer, range(300))
        await asyncio.gather(*(pool.size(tokenizer, number) for number in range(300)))
        return first, everything

    first, everything = asyncio.run(counted())
    assert list(first) == [everything[7], everything[3]]
    characters = sum(map(len, texts))
    assert len(tokenizer.texts) <= characters // BATCH_CHARACTERS + 2
    assert all(sum(f"number {n}." in text for text in tokenizer.texts) == 1 for n in range(300))
    asyncio.run(pool.sizes(tokenizer, [5]))  # in another event loop
    asyncio.run(pool.sizes(Counting(), [5]))  # another tokenizer of the same name


def test_sizes_add_up_to_the_source_they_make():
    passages = pool_of(*TEXTS).passages
    tokenizer = EstimateTokenizer()
    sizes = asyncio.run(count_passages(passages, tokenizer))
    text = Source.from_documents((one.title, one.text) for one in passages).text
    blank_line = 2  # before every heading but the first
    assert sum(size.whole for size in sizes) - blank_line == asyncio.run(count(tokenizer, text))
    assert all(0 < size.heading < size.whole for size in sizes)


def test_passages_come_from_rows_and_books(tmp_path):
    rows = tmp_path / "rows.jsonl.gz"
    with gzip.open(rows, "wt", encoding="utf-8") as file:
        file.write(json.dumps({"title": "A", "text": "a text"}) + "\n")
        file.write(json.dumps({"id": 7, "paragraph_text": "another"}) + "\n")
    book = tmp_path / "book.txt"
    book.write_text("\n\n".join(f"Paragraph {n}. {'word ' * 50}" for n in range(9)))
    passages = list(read_passages([rows, book]))
    assert passages[:2] == [
        Passage(title="A", text="a text"), Passage(title="7", text="another")
    ]  # fmt: skip
    pieces = passages[2:]
    assert [one.title for one in pieces[:2]] == ["book 1", "book 2"]
    assert all(len(one.text) <= BOOK_PASSAGE_CHARACTERS + 2 for one in pieces)
    assert sum(one.text.count("Paragraph") for one in pieces) == 9


def test_a_row_without_a_text_is_named(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "fine"}\n{"question": "what?"}\n')
    with pytest.raises(InputError, match=r"rows\.jsonl, row 2 is no passage"):
        list(read_passages([rows]))


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("8k", 8192), ("1M", 1048576), ("5000", 5000), (" 128K ", 131072), ("0.5k", 512)],
)
def test_lengths_are_read_as_the_papers_write_them(text, tokens):
    assert parse_length(text) == tokens


@pytest.mark.parametrize("text", ["8x", "", "-1", "0", "k", "1.0001k", "1g"])
def test_what_is_no_length_is_refused(text):
    with pytest.raises(InputError, match="is no length"):
        parse_length(text)


def test_lengths_have_labels_that_are_read_back():
    assert [length_label(one) for one in (8192, 1048576, 3145728, 5000)] == [
        "8k", "1m", "3m", "5000"
    ]  # fmt: skip
    assert length_label(None) == "given"
    assert parse_lengths("8k, 1m,8192") == (8192, 1048576)
