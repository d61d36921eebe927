"""Items in files: the papers' rows both ways, streamed, and whole or not at all."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palimpsest.datasets import Evidence, Item, Passage
from palimpsest.datasets.schema import (
    documents_of,
    evaluation_row,
    item_of,
    numbered,
    training_row,
)
from palimpsest.datasets.storing import ROW_GROUP_CHARACTERS, open_items, read_items
from palimpsest.errors import InputError

ITEM = Item(
    task="hotpotqa",
    id="5a8c",
    question="Who keeps the lamp?",
    answers=("Ada", "Ada of the Rock"),
    metric="substring",
    documents=(
        Passage(title="Lamp", text="The lamp of Gull Rock.\n\nDocument 2:\nnot a document"),
        Passage(title="", text="A text without a title."),
        Passage(title="Ada\nof the Rock", text="Ada keeps the lamp.\n\n"),
    ),
    gold=(0, 2),
    evidence=(Evidence(document=2, quote="Ada keeps the lamp."),),
    category="bridge",
    details={"level": "hard", "tokens": 40, "gold_order": [2, 0], "min_distance": 2},
)
OPEN = Item(task="nq", id="1", question="Where?", answers=("here",))
SUFFIXES = (".parquet", ".jsonl", ".json")


def kept(path, items):
    with open_items(path) as file:
        for item in items:
            file.add(item)
    return list(read_items(path))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_items_come_back_as_they_were(tmp_path, suffix):
    assert kept(tmp_path / f"items{suffix}", [ITEM, OPEN]) == [ITEM, OPEN]
    assert kept(tmp_path / f"none{suffix}", []) == []


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.sampled_from(
    ["Document 1:\n", "\n\nDocument 2:\nx", "\n", "\r\n", "\u2028"]
)
items = st.builds(
    Item,
    task=texts,
    id=texts,
    question=texts,
    answers=st.lists(texts, max_size=3).map(tuple),
    documents=st.lists(st.builds(Passage, title=texts, text=texts), max_size=4).map(tuple),
    details=st.dictionaries(texts, st.integers() | st.none() | texts, max_size=2),
)


@given(items)
@settings(max_examples=150, deadline=None)
def test_any_item_survives_either_row(item):
    assert item_of(json.loads(json.dumps(training_row(item, 3))), "row") == item
    assert item_of(json.loads(json.dumps(evaluation_row(item, 3))), "row") == item


def test_a_training_row_has_the_fields_that_the_papers_train_on(tmp_path):
    row = training_row(ITEM, 7)
    assert row["data_source"] == "hotpotqa"
    assert row["prompt"] == [{"role": "user", "content": "Who keeps the lamp?"}]
    assert row["context"].startswith("Document 1:\nLamp\nThe lamp of Gull Rock.")
    assert "\n\nDocument 2:\n\nA text without a title.\n\nDocument 3:\nAda" in row["context"]
    assert row["ability"] == "memory"
    assert row["reward_model"] == {"style": "rule", "ground_truth": ["Ada", "Ada of the Rock"]}
    extra = row["extra_info"]
    assert (extra["index"], extra["question"], extra["num_docs"]) == (7, ITEM.question, 3)
    kept(tmp_path / "items.parquet", [ITEM])
    assert pq.read_table(tmp_path / "items.parquet").to_pylist() == [training_row(ITEM, 0)]


def test_an_evaluation_row_has_the_fields_that_the_papers_evaluate_on():
    row = evaluation_row(ITEM, 7)
    assert row["input"] == ITEM.question
    assert row["answers"] == ["Ada", "Ada of the Rock"]
    assert (row["num_docs"], row["index"], row["actual_length"]) == (3, 7, 40)
    assert row["evidence_idx"] == [2, 0]
    assert (row["is_ordered"], row["is_reverse_ordered"], row["min_distance"]) == (False, True, 2)
    assert (row["level"], row["type"], row["id"]) == ("hard", "bridge", "5a8c")
    assert evaluation_row(OPEN, 0)["evidence_idx"] == []


def test_rows_made_elsewhere_are_items_too():
    context = numbered([Passage(title="A", text="first"), Passage(title="B", text="second")])
    trained = item_of(
        {
            "data_source": "hotpotqa",
            "prompt": [{"role": "user", "content": "Who?"}],
            "context": context,
            "ability": "memory",
            "reward_model": {"style": "rule", "ground_truth": ["Ada"]},
            "extra_info": {"index": 12, "question": "Who?", "num_docs": 2},
        },
        "row",
    )
    assert (trained.task, trained.id, trained.question) == ("hotpotqa", "12", "Who?")
    assert trained.answers == ("Ada",)
    assert [one.title for one in trained.documents] == ["A", "B"]
    evaluated = item_of(
        {
            "context": context, "input": "Who?", "answers": ["Ada"], "index": 5, "num_docs": 2,
            "evidence_idx": [1, 0], "type": "bridge", "level": None, "id": "dev_5",
            "is_reverse_ordered": True,
        },
        "row",
    )  # fmt: skip
    assert (evaluated.id, evaluated.gold, evaluated.category) == ("dev_5", (0, 1), "bridge")
    assert evaluated.details == {"gold_order": [1, 0], "is_reverse_ordered": True}
    again = evaluation_row(evaluated, 5)
    assert (again["evidence_idx"], again["context"]) == ([1, 0], context)


def test_documents_are_those_whose_numbers_come_next():
    context = "Document 1:\nA\nsee\nDocument 7:\nthere\n\nDocument 2:\nB\ntext"
    assert documents_of(context) == (
        Passage(title="A", text="see\nDocument 7:\nthere"),
        Passage(title="B", text="text"),
    )
    assert documents_of("plain text") == (Passage(title="", text="plain text"),)
    assert documents_of("") == ()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "Who?"}, "row 3 is no item: task"),
        ({"input": "Who?", "context": "x"}, "row 3 is no item: KeyError: 'answers'"),
        ({"reward_model": {}, "context": "x"}, "row 3 is no item: KeyError"),
        (training_row(ITEM, 0) | {"context": "another"}, "row 3: the context is not the one"),
    ],
)
def test_what_is_no_item_is_named(row, said):
    with pytest.raises(InputError, match=said):
        item_of(row, "row 3")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_comes_into_being_whole_or_not_at_all(tmp_path, suffix):
    path = tmp_path / f"items{suffix}"

    def broken():
        with open_items(path) as file:
            file.add(ITEM)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert list(tmp_path.iterdir()) == []
    before = kept(path, [OPEN])
    with pytest.raises(KeyboardInterrupt):
        broken()
    assert list(read_items(path)) == before
    assert list(tmp_path.iterdir()) == [path]


def test_long_contexts_are_in_row_groups_of_their_own(tmp_path):
    path = tmp_path / "long.parquet"
    text = "word " * (ROW_GROUP_CHARACTERS // 8)
    documents = (Passage(title="A", text=text),)
    long = ITEM.model_copy(update={"documents": documents, "gold": (), "evidence": ()})
    assert kept(path, [long] * 3 + [OPEN] * 5) == [long] * 3 + [OPEN] * 5
    file = pq.ParquetFile(path)
    rows = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    assert rows == [1, 1, 6]


def test_the_same_items_are_the_same_bytes(tmp_path):
    for suffix in SUFFIXES:
        kept(tmp_path / f"a{suffix}", [ITEM, OPEN])
        kept(tmp_path / f"b{suffix}", [ITEM, OPEN])
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_text_that_no_encoding_can_write_becomes_a_replacement_character(tmp_path):
    item = OPEN.model_copy(
        update={"question": "a\ud800b", "documents": (Passage(title="t\udfff", text="\ud800"),)}
    )
    for suffix in SUFFIXES:
        (back,) = kept(tmp_path / f"items{suffix}", [item])
        assert back.documents == (Passage(title="t\ufffd", text="\ufffd"),)


@pytest.mark.parametrize("name", ["items.txt", "items", "items.csv"])
def test_other_names_are_refused(tmp_path, name):
    with pytest.raises(InputError, match="items are not written as"), open_items(tmp_path / name):
        pass
    assert list(tmp_path.iterdir()) == []
