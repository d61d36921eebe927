"""Contexts of a length that was asked for: exact, deterministic, and with gold anywhere."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from palimpsest.datasets import Evidence, Item, Passage
from palimpsest.datasets.building import build_context, build_contexts
from palimpsest.datasets.files import read_rows
from palimpsest.datasets.pool import Pool
from palimpsest.errors import InputError
from palimpsest.evals.scoring import substring_match
from palimpsest.sources import EstimateTokenizer, FileTokenizer, count

DATA = os.environ.get("PALIMPSEST_DATA")
BENCH = Path(__file__).parent.parent / "bench" / "building.py"
needs_data = pytest.mark.skipif(
    not DATA, reason="needs PALIMPSEST_DATA, the folder of benchmark rows"
)
WORDS = (
    "harbour", "lantern", "granite", "ferry", "orchard", "winter", "copper", "bridge", "meadow",
    "signal", "tower", "compass", "archive", "velvet", "canyon", "quay", "buoy", "thistle",
)  # fmt: skip


def passages(number, *, seed=0, least=12, most=90):
    rng = np.random.default_rng(seed)
    for index in range(number):
        chosen = rng.choice(WORDS, size=int(rng.integers(least, most)))
        sentences = [" ".join(chosen[start : start + 9]) for start in range(0, len(chosen), 9)]
        text = " ".join(f"{one.capitalize()}." for one in sentences) + f" In {1900 + index}."
        yield Passage(title=f"Place {index}", text=text)


def chapters(seed):
    return " ".join(one.text for one in passages(300, seed=seed))


def item_number(number=0, *, gold=2, others=3):
    golden = [
        Passage(
            title=f"Gold {number} {place}", text=f"Keeper {number} of {place} is Ada. She rows."
        )
        for place in range(gold)
    ]
    own = [
        Passage(title=f"Own {number} {place}", text=f"A place {place} of {number} by the sea.")
        for place in range(others)
    ]
    documents = (*own[:1], *golden, *own[1:])
    return Item(
        task="lamps",
        id=f"q{number}",
        question="Who is the keeper?",
        answers=("Ada",),
        documents=documents,
        gold=tuple(range(1, gold + 1)),
        evidence=(Evidence(document=gold, quote="She rows."),) if gold else (),
        details={"level": "easy"},
    )


@pytest.fixture(scope="module")
def pool():
    return Pool(passages(600))


@pytest.fixture(scope="module")
def bpe(tmp_path_factory):
    from tokenizers import ByteLevelBPETokenizer

    path = tmp_path_factory.mktemp("bpe") / "tokenizer.json"
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        [one.text for one in passages(200)], vocab_size=400, show_progress=False
    )
    tokenizer.save(str(path))
    return FileTokenizer(path)


def build(item, pool, tokenizer=None, **length):
    return asyncio.run(build_context(item, pool, tokenizer or EstimateTokenizer(), **length))


def tokens_of(item, tokenizer):
    return asyncio.run(count(tokenizer, item.source().text))


@pytest.mark.parametrize("tokens", [300, 1024, 5000, 16_384])
def test_a_context_has_exactly_the_tokens_asked_for(pool, bpe, tokens):
    for tokenizer in (EstimateTokenizer(), bpe):
        for number in range(4):
            built = build(item_number(number), pool, tokenizer, tokens=tokens)
            assert tokens_of(built, tokenizer) == built.details["tokens"] == tokens


def test_a_context_has_exactly_the_documents_asked_for(pool):
    built = build(item_number(), pool, documents=50)
    assert len(built.documents) == 50
    assert len({one.text for one in built.documents}) == 50
    assert built.details["documents"] == 50
    assert built.details["tokens"] == tokens_of(built, EstimateTokenizer())


@pytest.mark.parametrize("length", [{"tokens": 4000}, {"documents": 40}])
def test_gold_and_evidence_point_to_the_same_documents_as_before(pool, length):
    item = item_number()
    built = build(item, pool, **length)
    assert list(built.gold) == sorted(built.gold)
    assert {built.documents[place] for place in built.gold} == {
        item.documents[place] for place in item.gold
    }
    order = [item.documents.index(built.documents[place]) for place in built.details["gold_order"]]
    assert order == list(item.gold)
    (evidence,) = built.evidence
    assert built.documents[evidence.document] == item.documents[2]
    assert built.details["min_distance"] == abs(built.gold[0] - built.gold[1])
    assert built.details["level"] == "easy"


def test_the_items_own_documents_come_first_where_they_may(pool):
    item = item_number()
    telling = Passage(title="Own 0 9", text="Here lives Ada too.")
    item = item.model_copy(update={"documents": (*item.documents, telling)})
    built = build(item, pool, documents=6)
    own = set(item.documents) - {telling}
    assert own < set(built.documents)
    assert telling not in built.documents
    assert len(set(build(item, pool, documents=3).documents) - own) == 0


def test_only_whole_words_are_left_of_the_passage_that_is_cut(pool):
    known = {one.title: one.text for one in pool.passages}
    for number in range(12):
        built = build(item_number(number), pool, tokens=1500)
        cut = [
            (one.text, known[one.title])
            for one in built.documents
            if one.title in known and one.text != known[one.title]
        ]
        assert len(cut) == 1
        text, whole = cut[0]
        assert whole.startswith(text)
        assert whole[len(text)] == " "


def test_passages_of_one_length_leave_no_gap_that_cannot_be_filled():
    same = Pool(
        Passage(title=f"P {number:04d}", text=" ".join([f"w{number:04d}"] * 60))
        for number in range(200)
    )
    for tokens in range(2000, 2160, 7):
        built = build(item_number(), same, tokens=tokens)
        assert built.details["tokens"] == tokens
        assert len({one.title for one in built.documents}) == len(built.documents)


def test_a_context_may_be_made_of_parts_of_books():
    books = Pool(Passage(title=f"Book {number}", text=chapters(number)) for number in range(3))
    assert build(item_number(), books, tokens=5000).details["tokens"] == 5000


def test_an_item_comes_out_the_same_alone_and_among_others(pool):
    items = [item_number(number) for number in range(6)]

    async def all_of(order):
        built = build_contexts(order, Pool(passages(600)), EstimateTokenizer(), tokens=[2000])
        return {item.id: item.key async for item in built}

    forwards = asyncio.run(all_of(items))
    assert forwards == asyncio.run(all_of(items[::-1]))
    assert forwards["q3"] == build(items[3], pool, tokens=2000).key
    assert len(set(forwards.values())) == 6


def test_an_item_comes_out_the_same_in_any_process():
    code = (
        "import test_datasets_building as t\n"
        "pool = t.Pool(t.passages(300))\n"
        "print(t.build(t.item_number(5), pool, tokens=3000).key)\n"
        "print(t.build(t.item_number(5), pool, documents=30).key)"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=Path(__file__).parent, check=True,
            capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(printed) == 1
    assert len(set(printed.pop().split())) == 2


def test_gold_documents_of_a_thousand_items_stand_anywhere(pool):
    slots, items = 20, 1000
    built = [build(item_number(number), pool, documents=slots) for number in range(items)]
    placed = np.array([one.details["gold_order"] for one in built])
    expected = items / slots
    for column in placed.T:
        found = np.bincount(column, minlength=slots)
        chi_square = float(((found - expected) ** 2 / expected).sum())
        assert chi_square < 43.8  # 19 degrees of freedom, p = 0.001
    # Of two places drawn without replacement the correlation is -1 / (slots - 1).
    within = np.corrcoef(placed.T)[0, 1] + 1 / (slots - 1)
    between = np.corrcoef(placed[:-1, 0], placed[1:, 0])[0, 1]
    assert max(abs(within), abs(between)) < 3.3 / np.sqrt(items)
    distance = np.abs(placed[:, 0] - placed[:, 1]).mean()
    assert distance == pytest.approx((slots + 1) / 3, rel=0.08)


def test_gold_documents_stand_anywhere_where_tokens_are_asked_for(pool):
    built = [build(item_number(number, gold=1), pool, tokens=700) for number in range(400)]
    places = np.sort([(one.gold[0] + 0.5) / len(one.documents) for one in built])
    steps = np.arange(1, len(places) + 1) / len(places)
    assert np.abs(places - steps).max() < 1.95 / np.sqrt(len(places)) + 0.5 / 5


def test_lengths_have_distractors_of_their_own(pool):
    short, long = (build(item_number(), pool, documents=number) for number in (20, 40))
    assert not {one.title for one in short.documents} <= {one.title for one in long.documents}


def test_gold_longer_than_asked_is_named(pool):
    with pytest.raises(InputError, match=r"lamps q7: its gold documents alone are \d+ tokens"):
        build(item_number(7), pool, tokens=20)
    with pytest.raises(InputError, match="lamps q7: its gold documents alone are 2 documents"):
        build(item_number(7), pool, documents=1)


def test_a_pool_that_is_too_small_says_how_much_there_is():
    small = Pool(passages(20))
    with pytest.raises(InputError, match=r"only [\d,]+ tokens in 25 documents") as caught:
        build(item_number(), small, tokens=50_000)
    assert "--distractors FILE" in caught.value.hint
    with pytest.raises(InputError, match="only 25 documents") as caught:
        build(item_number(), small, documents=26)
    assert "--distractors FILE" in caught.value.hint
    assert len(build(item_number(), small, documents=25).documents) == 25


def test_an_item_without_a_document_that_answers_it_is_refused(pool):
    open_question = Item(task="nq", id="1", question="?", answers=("Ada",))
    with pytest.raises(InputError, match="nq 1 has no document that answers it"):
        build(open_question, pool, tokens=500)


def test_all_documents_stay_where_gold_is_not_known(pool):
    item = item_number().model_copy(update={"gold": (), "evidence": ()})
    built = build(item, pool, documents=30)
    assert set(item.documents) < set(built.documents)
    assert built.gold == ()
    assert built.details["min_distance"] is None


def test_an_unanswerable_item_has_a_context_too(pool):
    item = Item(task="t", id="1", question="?", metric="abstain")
    assert build(item, pool, tokens=400).details["tokens"] == 400


@pytest.mark.parametrize("length", [{}, {"tokens": 100, "documents": 3}])
def test_a_context_has_either_tokens_or_documents(pool, length):
    with pytest.raises(InputError, match="either tokens or documents"):
        build(item_number(), pool, **length)


def test_items_that_cannot_be_built_are_skipped_where_someone_hears_of_it(pool):
    items = [item_number(1), item_number(2, gold=40), item_number(3)]
    skipped = []

    async def built():
        stream = build_contexts(
            items, pool, EstimateTokenizer(), tokens=[300, 600],
            on_skip=lambda item, error: skipped.append((item.id, str(error))),
        )  # fmt: skip
        return [(one.id, one.details["target_length"]) async for one in stream]

    assert asyncio.run(built()) == [("q1", 300), ("q1", 600), ("q3", 300), ("q3", 600)]
    assert [id_ for id_, _ in skipped] == ["q2", "q2"]
    assert all("gold documents alone" in message for _, message in skipped)


def hotpotqa(limit):
    for row in list(read_rows(Path(DATA) / "hotpotqa/dev_distractor_500.jsonl.gz"))[:limit]:
        titles = {title for title, _ in row["supporting_facts"]}
        documents = [Passage(title=title, text="".join(text)) for title, text in row["context"]]
        gold = [place for place, one in enumerate(documents) if one.title in titles]
        yield Item(
            task="hotpotqa", id=row["_id"], question=row["question"], answers=(row["answer"],),
            documents=tuple(documents), gold=tuple(gold),
        )  # fmt: skip


@needs_data
def test_no_distractor_of_hotpotqa_holds_an_accepted_answer():
    rows = read_rows(Path(DATA) / "hotpotqa/pool500_passages.jsonl.gz")
    pool = Pool(Passage(title=row["title"], text=row["text"]) for row in rows)
    looked_at = 0
    for item in hotpotqa(60):
        built = build(item, pool, tokens=8192)
        assert built.details["tokens"] == 8192
        if built.answers[0].lower() in ("yes", "no"):
            continue
        for place, one in enumerate(built.documents):
            if place not in built.gold:
                looked_at += 1
                assert not substring_match(f"{one.title} {one.text}", built.answers)
    assert looked_at > 2000


@needs_data
def test_the_bench_gives_the_same_bytes_twice(bpe, tmp_path):
    (tmp_path / "hotpotqa").mkdir()
    for name in ("dev_distractor_500.jsonl.gz", "pool500_passages.jsonl.gz"):
        (tmp_path / "hotpotqa" / name).symlink_to(Path(DATA).resolve() / "hotpotqa" / name)
    done = subprocess.run(
        [sys.executable, BENCH, "--data", tmp_path, "--lengths", "16k", "--tokenizer", bpe.name],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("16k: 16,384 tokens") == 2
    assert "the same bytes" in done.stdout


def test_details_are_json_values(pool):
    details = build(item_number(), pool, tokens=900).details
    assert json.loads(json.dumps(details)) == details
