"""RULER's tasks: size, answers that the context yields, and nothing that answers by chance."""

import asyncio
import random
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from palimpsest.datasets.concordance import holds, searched_answers
from palimpsest.datasets.ruler import GENERATORS, generate
from palimpsest.datasets.ruler.haystack import DEPTHS
from palimpsest.errors import ConfigurationError, InputError
from palimpsest.evals.scoring import score
from palimpsest.sources import EstimateTokenizer, count
from ruler_resources import RESOURCES, file_tokenizer


def make(name, number=0, tokens=8192, tokenizer=None, resources=RESOURCES):
    return asyncio.run(generate(name, number, tokens, tokenizer or EstimateTokenizer(), resources))


def text_of(item):
    (document,) = item.documents
    return document.text


def check_size(item, tokens, tokenizer):
    """Within 1%, or within a line where that is more, as of UUIDs by a small vocabulary."""
    text = item.source().text
    line = asyncio.run(count(tokenizer, max(text.split("\n"), key=len)))
    slack = max(0.01 * tokens, line if item.category == "niah_multikey_3" else 0)
    assert tokens - slack <= asyncio.run(count(tokenizer, text)) <= tokens


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("tokens", [8192, 131_072])
def test_every_task_fills_its_context_to_the_hundredth(name, tokens):
    check_size(make(name, 3, tokens), tokens, EstimateTokenizer())


@pytest.mark.parametrize("name", GENERATORS)
def test_every_task_fills_its_context_by_a_real_tokenizer(name, tmp_path):
    tokenizer = file_tokenizer(tmp_path)
    check_size(make(name, 1, 8192, tokenizer), 8192, tokenizer)


@pytest.mark.parametrize("name", GENERATORS)
def test_all_answers_score_full_and_none_score_nothing(name):
    item = make(name)
    assert item.metric == ("ruler_any" if name.startswith("qa") else "ruler_all")
    assert score(item.metric, " ".join(item.answers), item.answers) == 1
    assert score(item.metric, "", item.answers) == 0


@pytest.mark.parametrize("name", GENERATORS)
def test_items_say_where_their_answer_stands(name):
    item = make(name, 2)
    assert item.id == f"{name}-0002"
    assert (item.task, item.category, item.details["tokens"]) == ("ruler", name, 8192)
    assert bool(item.gold) == (name not in ("cwe", "fwe"))
    for one in item.evidence:
        assert one.quote in item.documents[one.document].text
        assert one.document in item.gold


def test_the_same_item_is_made_in_another_process():
    program = (
        "import asyncio; from ruler_resources import RESOURCES\n"
        "from palimpsest.datasets.ruler import GENERATORS, generate\n"
        "from palimpsest.sources import EstimateTokenizer\n"
        "for name in GENERATORS:\n"
        "    item = asyncio.run(generate(name, 5, 4096, EstimateTokenizer(), RESOURCES))\n"
        "    print(item.key)\n"
    )
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=here, check=True
    )
    assert done.stdout.split() == [make(name, 5, 4096).key for name in GENERATORS]


def test_items_do_not_depend_on_those_made_before_nor_on_global_randomness():
    random.seed(1)
    first = make("niah_multikey_1", 4)
    make("fwe", 9)
    random.seed(2)
    assert make("niah_multikey_1", 4) == first


def test_items_differ_by_number_and_by_length():
    items = [make("vt", number) for number in range(20)] + [make("vt", 0, 4096)]
    assert len({item.answers for item in items}) == len(items)


@pytest.mark.parametrize("name", [name for name in GENERATORS if name.startswith("niah")])
def test_each_value_occurs_once_and_only_under_its_key(name):
    item = make(name, 1)
    text = text_of(item)
    for needle in item.details["needles"]:
        assert text.count(needle["value"]) == text.count(needle["key"] + " is " + needle["value"])
        assert text.count(needle["value"]) == 1
    told = dict.fromkeys(needle["key"] for needle in item.details["needles"])
    values = {
        needle["value"] for needle in item.details["needles"] if needle["key"] in item.question
    }
    assert set(item.answers) == values
    assert set(item.details["asked"]) <= set(told)


@pytest.mark.parametrize(
    ("name", "needles", "answers"),
    [
        ("niah_single_1", 1, 1),
        ("niah_multikey_1", 4, 1),
        ("niah_multikey_3", 1, 1),
        ("niah_multivalue", 4, 4),
        ("niah_multiquery", 4, 4),
    ],
)
def test_needles_are_as_many_as_the_official_parameters_say(name, needles, answers):
    item = make(name)
    assert (len(item.details["needles"]), len(item.answers)) == (needles, answers)


def test_keys_and_values_are_of_the_official_kinds():
    number, uuid = r"[1-9]\d{6}", r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    (plain,) = make("niah_single_2").details["needles"]
    (both,) = make("niah_multikey_3").details["needles"]
    assert re.fullmatch(number, plain["value"])
    assert re.fullmatch(r"[a-z]+-[a-z]+", plain["key"])
    assert re.fullmatch(uuid, both["value"])
    assert re.fullmatch(uuid, both["key"])


@pytest.mark.parametrize("name", ["niah_multikey_2", "niah_multikey_3"])
def test_a_haystack_of_needles_has_no_key_and_no_value_twice(name):
    told = text_of(make(name)).split("\n")
    lines = [re.fullmatch(r"A secret \w+ of (\S+) is (\S+)\.", line) for line in told]
    assert len(lines) > 100
    assert all(lines)
    assert len({line[1] for line in lines}) == len({line[2] for line in lines}) == len(lines)


def test_needles_lie_in_an_essay_at_the_official_depths_evenly():
    depths = [
        needle["depth"]
        for number in range(100)
        for needle in make("niah_multikey_1", number, 2048).details["needles"]
    ]
    assert set(depths) <= set(DEPTHS.tolist())
    counts = np.histogram(depths, bins=10, range=(0, 100))[0]
    expected = np.histogram(DEPTHS, bins=10, range=(0, 100))[0] / len(DEPTHS) * len(depths)
    # 27.9 is the value that chance exceeds once in a thousand, for nine degrees of freedom.
    assert ((counts - expected) ** 2 / expected).sum() < 27.9


def test_a_needle_in_an_essay_stands_where_its_depth_says():
    for number in range(30):
        item = make("niah_single_2", number)
        text, (needle,) = text_of(item), item.details["needles"]
        place = text.index(item.evidence[0].quote) / len(text) * 100
        assert abs(place - needle["depth"]) < 2


@pytest.mark.parametrize("name", ["niah_single_1", "niah_multikey_2", "vt"])
def test_needles_lie_among_lines_uniformly(name):
    items = [make(name, number, 1024) for number in range(120)]
    places = [
        text_of(item).index(one.quote) / len(text_of(item))
        for item in items
        for one in item.evidence
    ]
    counts = np.histogram(places, bins=5, range=(0, 1))[0]
    expected = len(places) / 5
    assert ((counts - expected) ** 2 / expected).sum() < 18.5  # once in a thousand, for four


def test_an_essay_begins_anew_where_it_is_too_short():
    text = text_of(make("niah_single_2", 0, 131_072))
    assert text.count(RESOURCES.essay[:200]) > 2


def test_values_that_stand_in_the_essay_are_not_drawn():
    numbers = {needle["value"] for needle in make("niah_multivalue").details["needles"]}
    essay = f"{RESOURCES.essay}\nIn all they counted {' and '.join(sorted(numbers))} of them."
    resources = replace(RESOURCES, essay=essay)
    drawn = {
        needle["value"]
        for needle in make("niah_multivalue", resources=resources).details["needles"]
    }
    assert not drawn & numbers
    assert len(drawn) == 4


def test_carrying_out_the_assignments_gives_the_variables():
    for number in range(10):
        item = make("vt", number)
        values = {}
        for name, origin in re.findall(r"^let (\w+) = (\w+)$", text_of(item), re.MULTILINE):
            values[name] = origin if origin.isdigit() else values[origin]
        assert len(values) == 5
        assert [name for name, value in values.items() if value in item.question] == list(
            item.answers
        )


@pytest.mark.parametrize(("tokens", "common", "other"), [(8192, 30, 3), (2048, 6, 1)])
def test_the_common_words_are_those_counted_most_often(tokens, common, other):
    item = make("cwe", 1, tokens)
    numbered = re.findall(r"(\d+)\. (\S+)", text_of(item))
    assert [int(number) for number, _ in numbered] == list(range(1, len(numbered) + 1))
    counts = Counter(word for _, word in numbered)
    assert {word for word, _ in counts.most_common(10)} == set(item.answers)
    assert Counter(counts.values()) == {common: 10, other: len(counts) - 10}


def test_common_words_go_on_with_pairs_when_the_lists_are_at_their_end():
    item = make("cwe", 0, 131_072)
    words = {word for _, word in re.findall(r"(\d+)\. (\S+)", text_of(item))}
    assert words > set(RESOURCES.words)
    assert any("-" in word for word in words)


def test_the_frequent_words_are_those_counted_most_often_and_fall_by_the_square_of_their_rank():
    item = make("fwe", 1)
    counts = Counter(text_of(item).split())
    (dots, most), *words = counts.most_common(5)
    assert dots == "..."
    assert [word for word, _ in words[:3]] == list(item.answers)
    assert words[2][1] > words[3][1]
    assert all(re.fullmatch("[a-z]{6}", word) for word in item.answers)
    for rank, (_, times) in enumerate(words[:3], start=2):
        assert times == pytest.approx(most / rank**2, abs=1)
    assert item.details["vocabulary"] == 8192 // 50


@pytest.mark.parametrize("name", ["qa_1", "qa_2"])
def test_questions_have_their_paragraphs_and_no_other_that_answers(name):
    quiz = RESOURCES.squad if name == "qa_1" else RESOURCES.hotpotqa
    for number in range(len(quiz.questions)):
        item = make(name, number)
        question = next(one for one in quiz.questions if one.id == item.details["question"])
        own = {quiz.paragraphs[place] for place in question.own}
        assert own <= set(item.documents)
        assert {item.documents[place] for place in item.gold} == {
            quiz.paragraphs[place] for place in question.gold
        }
        answers = searched_answers(item)
        others = [one for one in item.documents if one not in own]
        assert len(others) > 20
        assert not any(holds(f"{one.title}\n{one.text}", answers) for one in others)
        assert len(set(item.documents)) == len(item.documents)


def test_each_question_is_asked_once():
    asked = [make("qa_1", number).question for number in range(len(RESOURCES.squad.questions))]
    assert sorted(asked) == sorted(one.text for one in RESOURCES.squad.questions)


def test_paragraphs_of_the_same_article_come_first():
    item = make("qa_1", 0, 2048)
    gold = item.documents[item.gold[0]]
    same = [one for one in item.documents if one.title == gold.title]
    assert len(same) == sum(one.title == gold.title for one in RESOURCES.squad.paragraphs)


@pytest.mark.parametrize(
    ("name", "field", "told"),
    [
        ("niah_single_2", "essay", "haystack/"),
        ("qa_1", "squad", "squad/"),
        ("qa_2", "hotpotqa", "hotpotqa/"),
    ],
)
def test_a_missing_file_is_named(name, field, told):
    empty = replace(RESOURCES, **{field: "" if field == "essay" else None})
    with pytest.raises(ConfigurationError) as caught:
        make(name, resources=empty)
    assert told in caught.value.hint


@pytest.mark.parametrize(
    ("name", "number", "tokens", "told"),
    [
        ("niah_9", 0, 8192, "no task"),
        ("vt", 0, 20, "does not fit"),
        ("vt", -1, 8192, "no item -1"),
        ("qa_1", 99, 8192, "asked for"),
        ("qa_2", 0, 300, "does not fit"),
        ("qa_2", 0, 4_000_000, "come to"),
    ],
)
def test_what_cannot_be_made_is_refused(name, number, tokens, told):
    with pytest.raises(InputError, match=told):
        make(name, number, tokens)
