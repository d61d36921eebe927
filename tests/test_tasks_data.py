"""The benchmark rows themselves: what is in the folder that PALIMPSEST_DATA names."""

import asyncio
import json
import os
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from palimpsest.evals.tasks import find_task, task_of
from palimpsest.sources import EstimateTokenizer
from palimpsest.sources.tokens import count

DATA = os.environ.get("PALIMPSEST_DATA")
pytestmark = pytest.mark.skipif(
    not DATA, reason="needs PALIMPSEST_DATA, the folder of benchmark rows"
)
FILES = json.loads((Path(DATA) / "manifest.json").read_text()) if DATA else []
LINE_ENDS_COUNTED = ("wonderwords_",)
"""Word lists, of which the manifest counts the empty line after the last word too."""


@cache
def questions(name):
    return list(find_task(name).questions(DATA))


@pytest.mark.parametrize("entry", FILES, ids=lambda entry: entry["file"])
def test_every_file_loads_through_its_task_row_by_row(entry):
    path = Path(DATA) / entry["file"]
    records = list(task_of(path).rows(path))

    assert len(records) == entry["rows"] - path.name.startswith(LINE_ENDS_COUNTED)
    for record in records:
        assert record.items or record.passages or record.resource is not None
        assert all(passage.text for passage in record.passages)
        for item in record.items:
            assert item.question
            assert item.answers or item.metric == "abstain"
            assert all(0 <= place < len(item.documents) for place in item.gold)


def test_hotpotqa_has_two_gold_documents_and_verbatim_evidence():
    items = questions("hotpotqa")

    assert len(items) == 500
    assert {len(item.gold) for item in items} == {2}
    assert Counter(item.category for item in items) == {"bridge": 427, "comparison": 73}
    assert sum(len(item.evidence) for item in items) == 1239
    for item in items:
        assert all(one.quote in item.documents[one.document].text for one in item.evidence)
        assert {one.document for one in item.evidence} == set(item.gold)


def test_2wiki_tolerates_sentence_numbers_past_the_end():
    items = questions("2wiki")

    assert Counter(len(item.gold) for item in items) == {2: 370, 4: 130}
    assert sum({one.document for one in item.evidence} != set(item.gold) for item in items) <= 3


def test_the_pools_hold_all_gold_passages_of_their_questions():
    assert {len(item.gold) for item in questions("hotpotqa:pool")} == {2}
    assert len(questions("hotpotqa:pool")) == 420
    assert Counter(len(item.gold) for item in questions("2wiki:pool")) == {2: 601, 4: 180}


def test_the_papers_rows_have_their_gold_where_they_say():
    items = questions("2wiki:eval")

    assert [len(item.documents) for item in items] == [80, 132, 259, 525, 1109]
    # Where the answer is a name, a gold document holds one of its forms.
    named = [item for item in items if item.answers != ("yes",)]
    for item in named:
        gold = " ".join(f"{item.documents[n].title} {item.documents[n].text}" for n in item.gold)
        assert any(answer in gold for answer in item.answers)


def test_musique_has_a_gold_paragraph_for_each_hop():
    items = questions("musique")

    assert Counter(item.category for item in items) == {"2hop": 145, "3hop": 32, "4hop": 23}
    assert all(len(item.gold) == int(item.category[0]) for item in items)


def test_squad_has_answers_for_less_than_half():
    items = questions("squad")

    assert len(items) == 4611
    assert Counter(item.metric for item in items) == {"abstain": 2427, "f1": 2184}


def test_locomo_has_its_categories_and_abstains_from_the_adversarial():
    items = questions("locomo")

    assert Counter(item.category for item in items) == {
        "multi-hop": 192,
        "temporal": 214,
        "open-domain": 66,
        "single-hop": 563,
        "adversarial": 312,
    }
    assert all((item.metric == "abstain") == (item.category == "adversarial") for item in items)
    assert all(item.answerable == (item.category != "adversarial") for item in items)


def test_longmemeval_finds_the_sessions_of_the_answer():
    assert [len(item.gold) for item in questions("longmemeval")] == [1, 2, 2, 1]
    # Of the last haystack the file has none but added questions.
    assert [item.category == "added" for item in questions("longmemeval")] == [0, 0, 0, 1]
    assert [item.metric for item in questions("longmemeval:abstain")] == ["abstain"] * 3


def test_longbench_asks_of_paragraphs_that_are_there():
    retrieval = questions("longbench:passage_retrieval_en")

    assert len(questions("longbench")) == 79
    assert len(retrieval) == 12
    for item in retrieval:
        assert item.answers[0] in [document.title for document in item.documents]
        assert len(item.documents) == 30
    for item in questions("longbench:triviaqa"):
        assert item.question.strip().endswith("?")


def test_longbench_v2_knows_the_text_of_the_right_option():
    for item in questions("longbench_v2"):
        letter, option = item.answers
        assert f"\n{letter}. {option}" in item.question


def test_ready_made_needles_are_in_their_haystack():
    for name in ("niah_single_1_len1000", "niah_multikey_3_4096", "kv_retrieval_140"):
        items = list(find_task("ruler").questions(Path(DATA) / "ruler" / f"{name}.jsonl.gz"))
        assert len(items) in (60, 100)
        for item in items:
            assert all(answer in item.documents[0].text for answer in item.answers)
            assert not any(answer in item.question for answer in item.answers)


def test_a_context_is_built_from_the_real_passages():
    tokenizer = EstimateTokenizer()

    async def sizes():
        items = find_task("squad").items(DATA, tokenizer, tokens=8192, limit=2)
        return [(item.gold, await count(tokenizer, item.source().text)) async for item in items]

    (gold, tokens), (_, also) = asyncio.run(sizes())

    assert (tokens, also) == (8192, 8192)
    assert len(gold) == 1
