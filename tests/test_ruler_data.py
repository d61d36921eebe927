"""RULER's generators on the shared rows; PALIMPSEST_DATA names the folder they lie in."""

import asyncio
import gzip
import json
import os
from pathlib import Path

import pytest

from palimpsest.datasets.ruler import GENERATORS, Resources, generate
from palimpsest.errors import InputError
from palimpsest.evals.scoring import score
from palimpsest.sources import EstimateTokenizer, count

DATA = os.environ.get("PALIMPSEST_DATA")
needs_data = pytest.mark.skipif(
    not DATA, reason="needs PALIMPSEST_DATA, the folder of benchmark rows"
)


@pytest.fixture(scope="module")
def resources():
    return Resources.from_folder(Path(DATA))


@needs_data
@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("tokens", [8192, 131_072])
def test_every_task_has_its_length_and_its_answers(name, tokens, resources):
    item = asyncio.run(generate(name, 11, tokens, EstimateTokenizer(), resources))
    counted = asyncio.run(count(EstimateTokenizer(), item.source().text))
    assert 0.99 * tokens <= counted <= tokens
    assert score(item.metric, " ".join(item.answers), item.answers) == 1
    assert score(item.metric, "", item.answers) == 0


@needs_data
def test_gold_paragraphs_hold_the_answers(resources):
    for number in range(10):
        item = asyncio.run(generate("qa_1", number, 4096, EstimateTokenizer(), resources))
        (gold,) = item.gold
        assert all(answer in item.documents[gold].text for answer in item.answers)


@needs_data
def test_the_parameters_are_those_of_the_official_file():
    parameters = json.loads(Path(DATA, "ruler/synthetic_task_params.json").read_text())
    assert list(parameters) == list(GENERATORS)


def test_a_folder_without_word_lists_has_those_of_the_package(tmp_path):
    pytest.importorskip("wonderwords")
    resources = Resources.from_folder(tmp_path)
    assert len(resources.adjectives) > 800
    assert len(resources.nouns) > 6000
    assert all(word.isalpha() for word in resources.words)
    assert (resources.essay, resources.squad, resources.passages) == ("", None, ())


def test_the_files_of_a_folder_are_read(tmp_path):
    for folder in ("ruler", "haystack", "squad", "hotpotqa"):
        (tmp_path / folder).mkdir()
    for kind in ("adjective", "noun", "verb"):
        (tmp_path / f"ruler/{kind}list.txt").write_text(f"one {kind}\n{kind}s\n\nad-hoc\n{kind}s\n")
    (tmp_path / "haystack/own.txt").write_text("A long essay.")
    asked = [
        {"id": "a", "question": " Who? ", "is_impossible": False,
         "answers": [{"text": "Ann"}, {"text": "Ann"}, {"text": "Ann B."}]},
        {"id": "b", "question": "Whither?", "is_impossible": True, "answers": []},
    ]  # fmt: skip
    article = {"title": "Old_Mill", "paragraphs": [{"context": "Ann B. did.", "qas": asked}]}
    with gzip.open(tmp_path / "squad/dev-v2.0.json.gz", "wt") as file:
        json.dump({"version": "v2.0", "data": [article]}, file)
    row = {
        "_id": "c", "question": "Where?", "answer": "Here",
        "context": [["One", ["Here it is.", " And more."]], ["Two", ["There."]]],
        "supporting_facts": [["One", 0], ["One", 7], ["Three", 0]],
    }  # fmt: skip
    (tmp_path / "hotpotqa/hotpot_dev_distractor_v1.json").write_text(json.dumps([row]))
    lines = [json.dumps({"title": title, "text": "Words."}) for title in ("A", "B", "A")]
    (tmp_path / "hotpotqa/fullwiki_passages.jsonl").write_text("\n".join(lines))

    resources = Resources.from_folder(tmp_path)
    assert resources.words == ("adjectives", "nouns", "verbs")
    assert resources.essay == "A long essay."
    (question,) = resources.squad.questions
    assert (question.text, question.answers) == ("Who?", ("Ann", "Ann B."))
    assert resources.squad.paragraphs[question.gold[0]].title == "Old Mill"
    (question,) = resources.hotpotqa.questions
    assert (question.own, question.gold) == ((0, 1), (0,))
    assert question.evidence == ((0, "Here it is."),)
    assert resources.hotpotqa.paragraphs[0].text == "Here it is. And more."
    assert [one.title for one in resources.passages] == ["A", "B"]


def test_an_essay_of_ones_own_takes_the_place_of_the_folders(tmp_path):
    pytest.importorskip("wonderwords")
    (tmp_path / "haystack").mkdir()
    (tmp_path / "haystack/one.txt").write_text("One.")
    (tmp_path / "mine.txt").write_text("Mine.")
    assert Resources.from_folder(tmp_path, essay=tmp_path / "mine.txt").essay == "Mine."


def test_what_is_no_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        Resources.from_folder(tmp_path / "none")
