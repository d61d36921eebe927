"""BABILong: stories among a book's sentences, whole, in order, evenly, of the size asked for."""

import asyncio
import gzip
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from palimpsest.datasets.babilong import TASKS, Resources, generate, read_stories
from palimpsest.errors import ConfigurationError, InputError
from palimpsest.evals.scoring import score
from palimpsest.sources import EstimateTokenizer, count
from ruler_resources import RESOURCES, file_tokenizer

DATA = os.environ.get("PALIMPSEST_DATA")

STORIES = """\
1 Nadia went to the cellar.
2 Omar picked up the lantern.
3 Where is Nadia? \tcellar\t1
4 Omar went to the attic.
5 Nadia went to the porch.
6 Where is the lantern? \tattic\t2 4
1 Omar went to the porch.
2 Where is Omar?\tporch\t1
"""
LISTS = "1 Nadia got the key.\n2 Nadia got the rope.\n3 What is Nadia carrying? \tkey,rope\t1 2\n"
PATHS = "1 The attic is north of the porch.\n2 How do you go there? \tn,e\t1\n"
BEGIN, END = "*** START OF THIS BOOK ***", "*** END OF THIS BOOK ***"
BABI = Resources(
    stories={"qa1": read_stories(STORIES), "qa8": read_stories(LISTS), "qa19": read_stories(PATHS)},
    books=(
        f"Licence.\n{BEGIN}\n{RESOURCES.essay[:60_000]}\n{END}\nLicence.",
        RESOURCES.essay[60_000:],
    ),
)


def make(task="qa1", number=0, tokens=8192, tokenizer=None, resources=BABI):
    return asyncio.run(generate(task, number, tokens, tokenizer or EstimateTokenizer(), resources))


def text_of(item):
    return item.documents[0].text


def test_each_question_is_a_story_with_the_facts_before_it():
    first, second, third = read_stories(STORIES)
    assert first.facts == ("Nadia went to the cellar.", "Omar picked up the lantern.")
    assert (first.question, first.answer, first.support) == ("Where is Nadia?", "cellar", (0,))
    assert len(second.facts) == 4
    assert [second.facts[place] for place in second.support] == [
        "Omar picked up the lantern.",
        "Omar went to the attic.",
    ]
    assert third.facts == ("Omar went to the porch.",)


@pytest.mark.parametrize("tokens", [1024, 8192, 131_072])
def test_the_context_is_filled_to_the_hundredth(tokens):
    counted = asyncio.run(count(EstimateTokenizer(), make("qa1", 1, tokens).source().text))
    assert 0.99 * tokens <= counted <= tokens


def test_the_context_is_filled_by_a_real_tokenizer(tmp_path):
    tokenizer = file_tokenizer(tmp_path)
    item = make("qa1", 1, 8192, tokenizer)
    assert 0.99 * 8192 <= asyncio.run(count(tokenizer, item.source().text)) <= 8192


def test_facts_stand_whole_and_in_order_and_once():
    for number in range(3):
        item = make("qa1", number)
        text = text_of(item)
        places = [text.index(fact) for fact in item.details["facts"]]
        assert places == sorted(places)
        assert all(text.count(fact) == 1 for fact in item.details["facts"])
        assert all(one.quote in item.details["facts"] for one in item.evidence)


def test_a_book_that_tells_the_story_too_is_not_heard():
    fact = "Nadia went to the cellar."
    told = RESOURCES.essay[:20_000].replace("old town sells", f"old town, where {fact[:-1]}, sells")
    told = told.replace(fact[:-1] + ",", fact)
    item = make(resources=replace(BABI, books=(told,)))
    assert told.count(fact) > 10
    assert text_of(item).count(fact) == 1


def test_a_book_of_nothing_but_the_story_is_refused():
    book = "And then Nadia went to the cellar. It was told that Nadia went to the cellar. " * 90
    with pytest.raises(InputError, match="stays at"):
        make(resources=replace(BABI, books=(book,)))


def test_facts_lie_uniformly():
    story = "".join(f"{n} Nadia ate {n} figs.\n" for n in range(1, 21)) + "21 How many?\t20\t20\n"
    resources = replace(BABI, stories={"qa1": read_stories(story * 60)})
    depths = [
        depth
        for number in range(60)
        for depth in make("qa1", number, 2048, resources=resources).details["depths"]
    ]
    counts = np.histogram(depths, bins=5, range=(0, 100))[0]
    expected = len(depths) / 5
    assert ((counts - expected) ** 2 / expected).sum() < 18.5  # once in a thousand, for four


def test_noise_is_the_book_between_its_marks_in_order_from_any_place():
    items = [make("qa1", 2, 600 + step) for step in range(30)]
    sentences = re.findall(r"The [^.]+ winter\.", RESOURCES.essay)
    places = []
    for item in items:
        assert "Licence" not in text_of(item)
        assert "THIS BOOK" not in text_of(item)
        found = [sentences.index(one) for one in re.findall(r"The [^.]+ winter\.", text_of(item))]
        places.append(found[0])
        steps = {after - before for before, after in pairwise(found)}
        assert all(step == 1 or step < 0 for step in steps)
    assert len(set(places)) > 20


def test_short_sentences_of_the_book_are_left_out():
    book = "Too short. " + "The rope that nobody had ever used lay in the cellar. Shut up! " * 20
    assert "Shut up" not in text_of(make(tokens=300, resources=replace(BABI, books=(book,))))


def test_lists_are_accepted_in_any_order_and_spelling():
    item = make("qa8")
    for prediction in ("key,rope", "rope, key", "The key and the rope."):
        assert score(item.metric, prediction, item.answers) == 1
    assert score(item.metric, "key", item.answers) == 0
    assert item.details["labels"] == ["key", "rope"]


def test_ways_are_accepted_as_initials_and_words_in_order():
    item = make("qa19")
    for prediction in ("n,e", "n, e", "north, east", "First north then east"):
        assert score(item.metric, prediction, item.answers) == 1
    assert score(item.metric, "e,n", item.answers) == 0
    assert score(item.metric, "", item.answers) == 0


def test_picked_stories_take_the_place_of_all():
    picked = replace(BABI, picked={"qa1": (2,)})
    assert make("qa1", 0, resources=picked).answers == ("porch",)
    with pytest.raises(InputError, match="1 items"):
        make("qa1", 1, resources=picked)


def test_the_same_item_is_made_in_another_process():
    program = "from test_babilong import make; print(make('qa1', 1, 4096).key)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        check=True,
    )
    assert done.stdout.strip() == make("qa1", 1, 4096).key


def test_items_say_what_they_are():
    item = make("qa1", 1)
    assert (item.task, item.id, item.category) == ("babilong", "qa1-0001", "qa1")
    assert item.details["labels"] == ["attic", "cellar", "porch"]
    assert "Where is the lantern?" in item.question


@pytest.mark.parametrize(
    ("task", "number", "tokens", "told"),
    [("qa21", 0, 8192, "no task"), ("qa1", 3, 8192, "asked for"), ("qa1", 1, 10, "does not fit")],
)
def test_what_cannot_be_made_is_refused(task, number, tokens, told):
    with pytest.raises(InputError, match=told):
        make(task, number, tokens)


@pytest.mark.parametrize(
    ("resources", "told"),
    [
        (replace(BABI, books=()), "haystack/"),
        (replace(BABI, books=("Short. Very short.",)), "haystack/"),
        (replace(BABI, stories={}), "babi/en/"),
    ],
)
def test_what_is_missing_is_named(resources, told):
    with pytest.raises(ConfigurationError) as caught:
        make(resources=resources)
    assert told in caught.value.hint


def test_the_files_of_a_folder_are_read(tmp_path):
    (tmp_path / "babi/en").mkdir(parents=True)
    (tmp_path / "haystack").mkdir()
    with gzip.open(tmp_path / "babi/en/qa1_single_test.txt.gz", "wt") as file:
        file.write(STORIES)
    (tmp_path / "babi/en/qa10_other_test.txt").write_text(PATHS)
    (tmp_path / "babi/babilong_test_100_idxs.json").write_text(json.dumps({"qa1": [2, 0]}))
    (tmp_path / "haystack/book.txt").write_text("A book.")
    found = Resources.from_folder(tmp_path)
    assert {task: len(stories) for task, stories in found.stories.items()} == {"qa1": 3, "qa10": 1}
    assert (found.books, found.picked) == (("A book.",), {"qa1": (2, 0)})


@pytest.mark.skipif(not DATA, reason="needs PALIMPSEST_DATA, the folder of benchmark rows")
def test_every_task_is_made_of_the_real_stories_and_books():
    resources = Resources.from_folder(Path(DATA))
    for task in TASKS:
        item = make(task, 3, 8192, resources=resources)
        assert 0.99 * 8192 <= asyncio.run(count(EstimateTokenizer(), text_of(item))) <= 8192
        assert score(item.metric, item.details["answer"], item.answers) == 1
        assert len(resources.stories[task]) == 1000
