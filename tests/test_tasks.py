import asyncio
import logging
from pathlib import Path

import pytest

from palimpsest.datasets.item import Item
from palimpsest.errors import ConfigurationError, InputError
from palimpsest.evals.scoring import METRICS
from palimpsest.evals.tasks import TASKS, ContextTask, choose, find_task, rank, task_of
from palimpsest.sources import EstimateTokenizer
from palimpsest.sources.tokens import count
from task_files import HOTPOT, built, passages, questions, write

# Names, parts, folders


def test_every_task_says_what_it_is_and_scores_by_known_metrics():
    assert len(TASKS) == 13
    for name, task in TASKS.items():
        assert task.name == name
        assert task.about
        assert task.metrics
        assert set(task.metrics) <= set(METRICS)


def test_a_task_is_found_by_name_alias_and_part():
    assert find_task("2wiki").name == "2wikimultihopqa"
    assert find_task("LongBench-v2").name == "longbench_v2"
    assert find_task("longbench:qasper").name == "longbench:qasper"
    assert find_task("hotpotqa") is not find_task("hotpotqa")
    with pytest.raises(ConfigurationError, match="there is no task hotpot9"):
        find_task("hotpot9")
    with pytest.raises(ConfigurationError, match="locomo has no part qa1"):
        find_task("locomo:qa1")


@pytest.mark.parametrize("given", ["", "HotpotQA", "HotpotQA/hotpot_dev_distractor_v1.json"])
def test_data_is_the_root_the_folder_or_the_file(tmp_path, given):
    write(tmp_path, "HotpotQA/hotpot_dev_distractor_v1.json", [HOTPOT])
    write(tmp_path, "HotpotQA/hotpot_train_v1.1.json", [HOTPOT | {"_id": "trained"}])

    assert [item.id for item in questions("hotpotqa", tmp_path / given)] == ["h1"]


def test_the_training_set_is_read_only_when_it_is_named(tmp_path):
    write(tmp_path, "hotpot_train_v1.1.json", [HOTPOT | {"_id": "trained"}])
    write(tmp_path, "hotpot_dev_distractor_v1.json", [HOTPOT])

    assert [item.id for item in questions("hotpotqa", tmp_path)] == ["h1"]
    assert [item.id for item in questions("hotpotqa:train", tmp_path)] == ["trained"]


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(ConfigurationError, match="squad needs its data"):
        questions("squad", None)
    with pytest.raises(InputError, match="no such file or folder"):
        questions("squad", tmp_path / "none")
    with pytest.raises(InputError, match="holds no questions of squad") as caught:
        questions("squad", tmp_path)
    assert "dev*" in caught.value.hint


def test_a_row_of_another_shape_is_named(tmp_path):
    file = write(tmp_path, "dev_distractor.jsonl", [HOTPOT, {"query": "?"}])

    missing = "row 2 is no row of hotpotqa: no field 'answer'"
    with pytest.raises(InputError, match=missing) as caught:
        questions("hotpotqa", file)
    assert "query" in caught.value.hint


def test_a_file_belongs_to_the_task_of_its_folder(tmp_path):
    assert task_of(tmp_path / "LongBench_v2" / "data.json").base == "longbench_v2"
    assert task_of(tmp_path / "babi" / "en" / "qa1.txt").base == "babilong"
    with pytest.raises(InputError, match="lies in no folder of a task"):
        task_of(tmp_path / "other" / "data.json")


# Limits


def made(number):
    return [Item(task="t", id=str(n), question="?") for n in range(number)]


def test_a_limit_takes_a_part_of_a_larger_one_whatever_the_order():
    items = made(300)
    twenty = [item.id for item in choose(items, 20)]

    assert twenty == [item.id for item in choose(reversed(items), 50)][:20]
    assert twenty != [str(n) for n in range(20)]
    assert twenty == [item.id for item in sorted(items, key=rank)][:20]


def test_no_limit_keeps_the_order_of_the_file_and_a_large_one_takes_all():
    items = made(30)

    assert list(choose(items, None)) == items
    assert {item.id for item in choose(items, 99)} == {item.id for item in items}


# Contexts of a length


def test_a_context_of_a_length_holds_the_gold_documents_and_passages_of_the_task(tmp_path):
    write(tmp_path, "hotpotqa/dev_distractor.jsonl", [HOTPOT])
    write(tmp_path, "hotpotqa/pool_passages.jsonl", passages(300))

    (item,) = built("hotpotqa", tmp_path, tokens=2000)

    assert asyncio.run(count(EstimateTokenizer(), item.source().text)) == 2000
    assert {item.documents[place].title for place in item.gold} == {"Anna", "Author"}
    assert len(item.documents) > 50
    assert all(one.quote in item.documents[one.document].text for one in item.evidence)
    assert built("hotpotqa", tmp_path, tokens=2000)[0].key == item.key


def test_passages_are_those_of_the_questions_and_of_the_passage_files(tmp_path):
    write(tmp_path, "dev_distractor.jsonl", [HOTPOT])
    write(tmp_path, "wiki_passages.jsonl", passages(2))
    task = find_task("hotpotqa")

    assert isinstance(task, ContextTask)
    titles = [passage.title for passage in task.passages(tmp_path)]
    assert titles == ["Anna", "Author", "Place 0", "Place 1"]


def test_open_questions_that_nothing_answers_are_left_out_and_counted(tmp_path, caplog):
    found = [{"title": "Moon", "text": "The Moon is made of rock."}]
    rows = [
        {"id": "a", "question": "Of what?", "golden_answers": ["Rock"], "passages": found},
        {"id": "b", "question": "Of what?", "golden_answers": ["ock"], "passages": found},
    ]
    write(tmp_path, "retrieved.jsonl", rows)
    write(tmp_path, "wiki_passages.jsonl", passages(100))

    with caplog.at_level(logging.WARNING):
        items = built("nq", tmp_path, tokens=600, limit=2)

    assert [item.id for item in items] == ["a"]
    assert "nq: 1 questions left out" in caplog.text
    assert {item.id: item.gold for item in built("nq", tmp_path)} == {"a": (0,), "b": ()}


def test_a_task_without_a_question_to_build_for_says_so(tmp_path):
    write(tmp_path, "nq_open.jsonl", [{"question": "who", "answer": ["me"]}])

    with pytest.raises(InputError, match="nq has no question with a document"):
        built("nq", tmp_path, tokens=600)


def test_a_gold_document_longer_than_the_context_leaves_its_question_out(tmp_path, caplog):
    long = HOTPOT | {
        "_id": "long",
        "context": [["Anna", ["Very long. " * 900]], ["Author", ["Tula"]]],
    }
    write(tmp_path, "dev_distractor.jsonl", [HOTPOT, long])
    write(tmp_path, "wiki_passages.jsonl", passages(100))

    with caplog.at_level(logging.WARNING):
        items = built("hotpotqa", tmp_path, tokens=600)

    assert [item.id for item in items] == ["h1"]
    assert "hotpotqa: 1 items left out: hotpotqa long: its gold documents alone" in caplog.text


def test_fixed_contexts_refuse_a_length(tmp_path):
    for name in ("locomo", "longmemeval", "longbench", "longbench_v2", "loogle"):
        with pytest.raises(ConfigurationError, match=f"the contexts of {name} are fixed"):
            built(name, tmp_path, tokens=8192)


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.base)
def test_every_task_is_documented_with_its_sets(task):
    docs = (Path(__file__).parent.parent / "docs" / "tasks.md").read_text(encoding="utf-8")
    row = next(line for line in docs.splitlines() if line.startswith(f"| `{task.base}`"))

    assert all(f"`{name}`" in row or f"`{name}*`" in row for name in task.sets if name != "all")
