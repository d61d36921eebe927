import logging

import pytest

from palimpsest.datasets.item import Passage
from palimpsest.errors import ConfigurationError, InputError
from task_files import built, questions, write


def test_ruler_prompts_are_taken_apart(tmp_path):
    needle = "Remember it.\nGrass.\nThe magic number is 7.\nWhat is the magic number? The number is"
    paper = (
        "Answer briefly.\n\nThe following are documents.\n\nDocument 1:\nAnn\nA poet.\n\n"
        "Document 2:\nBo paints.\n\nAnswer briefly.\n\nQuestion: Who paints? Answer:"
    )
    rows = [{"index": 4, "input": needle, "outputs": ["7"], "length": 20}]
    (niah,) = questions("ruler", write(tmp_path, "niah_single_1_4k.jsonl", rows))
    rows = [{"index": 0, "input": paper, "outputs": ["Bo"], "length": 30}]
    (qa,) = questions("ruler", write(tmp_path, "qa_1/validation.jsonl", rows))

    assert niah.documents[0].text == "Grass.\nThe magic number is 7."
    assert niah.question == "What is the magic number?"
    assert (niah.category, niah.metric) == ("niah_single_1", "ruler_all")
    assert qa.documents == (
        Passage(title="Ann", text="A poet."),
        Passage(title="Document 2", text="Bo paints."),
    )
    assert (qa.question, qa.category, qa.metric) == ("Who paints?", "qa_1", "ruler_any")


def test_ruler_reads_pairs_and_strewn_facts(tmp_path):
    pairs = {"ordered_kv_records": [["k1", "v1"], ["k2", "v2"]], "key": "k2", "value": "v2"}
    facts = {
        "id": "f1",
        "question": "How many?",
        "golden": ["2"],
        "context": "One here. Two there.",
        "clue_sections": [[0, 9], [10, 20]],
        "context_length": "8k",
    }
    (pair,) = questions("ruler", write(tmp_path, "kv.jsonl", [pairs]))
    (fact,) = questions("ruler", write(tmp_path, "facts.jsonl", [facts]))

    assert pair.documents[0].text == '"k1": "v1"\n"k2": "v2"'
    assert (pair.answers, pair.details["place"]) == (("v2",), 1)
    assert [one.quote for one in fact.evidence] == ["One here.", "Two there."]


def test_ruler_generates_without_any_data_what_needs_none():
    first, second = built("ruler:niah_single_1", None, tokens=600, limit=2)

    assert (first.id, second.id) == ("niah_single_1-0000", "niah_single_1-0001")
    assert all(answer in first.documents[0].text for answer in first.answers)
    with pytest.raises(ConfigurationError, match="no essay"):
        built("ruler:niah_single_2", None, tokens=600, limit=1)


def test_ruler_refuses_a_length_for_a_ready_made_file(tmp_path):
    file = write(tmp_path, "niah.jsonl", [{"index": 0, "input": "a\nb\nc?", "outputs": ["b"]}])

    assert [item.id for item in built("ruler", file)] == ["niah-0"]
    with pytest.raises(ConfigurationError, match="fixed"):
        built("ruler", file, tokens=600)


def test_ruler_takes_its_tasks_in_turn_and_a_limit_is_part_of_a_larger_one(tmp_path):
    essay = "A sentence about nothing stands here. " * 80
    write(tmp_path, "haystack/PaulGrahamEssays_own.json", {"text": essay})

    three = built("ruler", tmp_path, tokens=600, limit=3)
    two = built("ruler", tmp_path / "haystack", tokens=600, limit=2)

    assert [item.category for item in three] == ["niah_single_1", "niah_single_2", "niah_single_3"]
    assert [item.key for item in two] == [item.key for item in three[:2]]
    with pytest.raises(InputError, match="no such file or folder"):
        built("ruler", tmp_path / "none", tokens=600)


STORY = "1 Ann is in the hall.\n2 Bo is in the yard.\n3 Where is Ann?\thall\t1\n"
BOOK = "It was a very long day in the quiet old town. Nobody there had seen a single ship. " * 40


def babi(folder):
    for number in (1, 2, 3, 4, 5):
        path = folder / f"babi/en/qa{number}_facts_test.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(STORY)
    (folder / "haystack").mkdir()
    (folder / "haystack/book.txt").write_text(BOOK)
    return folder


def test_babilong_strews_stories_into_books(tmp_path):
    babi(tmp_path)
    items = built("babilong", tmp_path, tokens=500, limit=5)

    assert [item.category for item in items] == ["qa1", "qa2", "qa3", "qa4", "qa5"]
    assert all("Ann is in the hall." in item.documents[0].text for item in items)
    assert items[0].answers == ("hall",)
    (again,) = built("babilong:qa1", tmp_path / "babi", tokens=500, limit=1)
    assert again.key == items[0].key


def test_items_past_the_last_story_are_left_out_and_counted(tmp_path, caplog):
    babi(tmp_path)

    with caplog.at_level(logging.WARNING):
        items = built("babilong:qa1", tmp_path, tokens=500, limit=3)

    assert len(items) == 1
    assert "babilong:qa1: 2 items left out: qa1 has 1 items" in caplog.text


def test_babilong_reads_stories_and_ready_made_rows_as_they_are(tmp_path):
    babi(tmp_path)
    row = {"input": "Long. Ann is in the hall.", "question": "Where is Ann?", "target": "hall"}

    (story,) = built("babilong", tmp_path / "babi/en/qa1_facts_test.txt")
    (ready,) = built("babilong", write(tmp_path, "qa3.jsonl", [row]))

    assert story.documents[0].text == "Ann is in the hall.\nBo is in the yard."
    assert [one.quote for one in story.evidence] == ["Ann is in the hall."]
    assert (ready.category, ready.answers) == ("qa3", ("hall",))
    with pytest.raises(ConfigurationError, match="babilong needs its data"):
        built("babilong", None)
