"""`palimpsest dataset`: files made, left alone when they are there, filtered and converted."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest

from loopback import Loopback, chat
from palimpsest.cli.dataset import dataset
from palimpsest.datasets.storing import read_items
from palimpsest.errors import ConfigurationError, InputError, PalimpsestError
from test_datasets_building import passages


@pytest.fixture(autouse=True)
def no_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("PALIMPSEST_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").write_text("")
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "PALIMPSEST_MODEL", "PALIMPSEST_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def data(tmp_path):
    """A folder of HotpotQA, as it is published, and a file of further passages."""
    rows = [
        {
            "_id": f"q{number}",
            "question": f"Who keeps lamp {number}?",
            "answer": f"Ada Grey{number}",
            "type": "bridge",
            "level": "hard",
            "supporting_facts": [[f"Lamp {number}", 0], [f"Keeper {number}", 0]],
            "context": [
                [f"Lamp {number}", [f"Lamp {number} is kept by the keeper."]],
                [f"Keeper {number}", [f"The keeper is Ada Grey{number}.", " She rows."]],
                [f"Other {number}", [f"Nothing {number} is of note here."]],
            ],
        }
        for number in range(6)
    ]
    folder = tmp_path / "data" / "hotpotqa"
    folder.mkdir(parents=True)
    (folder / "dev_distractor.jsonl").write_text("\n".join(map(json.dumps, rows)))
    more = [one.model_dump_json() for one in passages(80)]
    (tmp_path / "more.jsonl").write_text("\n".join(more))
    return tmp_path


def call(*arguments):
    return dataset(
        [str(one) for one in arguments],
        exit_on_error=False, print_error=False, result_action="return_value",
    )  # fmt: skip


def build(data, *arguments):
    call(
        "build", "hotpotqa", "--data", data / "data", "--out", data / "out",
        "--distractors", data / "more.jsonl", *arguments,
    )  # fmt: skip


def test_a_file_for_each_length_is_made(data, capsys):
    build(data, "--lengths", "1k,700", "--limit", "4", "--json")
    made = json.loads(capsys.readouterr().out)
    assert [one["file"] for one in made] == ["hotpotqa_1k.parquet", "hotpotqa_700.parquet"]
    assert [(one["items"], one["skipped"], one["most_tokens"]) for one in made] == [
        (4, 0, 1024), (4, 0, 700)
    ]  # fmt: skip
    assert made[0]["tokenizer"] == "estimate"
    rows = pq.read_table(data / "out" / "hotpotqa_1k.parquet").to_pylist()
    assert [row["extra_info"]["index"] for row in rows] == [0, 1, 2, 3]
    ids = [item.id for item in read_items(data / "out" / "hotpotqa_1k.parquet")]
    assert ids == [item.id for item in read_items(data / "out" / "hotpotqa_700.parquet")]


def test_a_finished_file_is_left_and_the_missing_ones_are_made(data, capsys):
    build(data, "--lengths", "700")
    first = data / "out" / "hotpotqa_700.parquet"
    written = first.stat().st_mtime_ns
    capsys.readouterr()
    build(data, "--lengths", "700,1k")
    printed = capsys.readouterr()
    assert first.stat().st_mtime_ns == written
    assert "hotpotqa_700.parquet is there already" in printed.err
    assert "hotpotqa_700.parquet: 6 items, 700 tokens at most" in printed.out
    assert "tokens counted by estimate" in printed.out
    with pytest.raises(InputError, match=r"hotpotqa_700\.parquet is there already and was made"):
        build(data, "--lengths", "700", "--limit", "2")


def test_contexts_are_also_made_of_so_many_documents(data):
    build(data, "--documents", "10,20", "--limit", "2", "--format", "papers-json")
    rows = json.loads((data / "out" / "hotpotqa_20docs.json").read_text())
    assert [row["num_docs"] for row in rows] == [20, 20]
    assert all(row["context"].startswith("Document 1:\n") for row in rows)
    assert all(len(row["evidence_idx"]) == 2 for row in rows)


def test_without_a_length_contexts_are_as_the_benchmark_gives_them(data):
    build(data, "--format", "jsonl")
    items = list(read_items(data / "out" / "hotpotqa_given.jsonl"))
    assert [len(item.documents) for item in items] == [3] * 6


def test_items_that_do_not_fit_are_counted_and_the_file_is_still_made(data, capsys):
    file = data / "data" / "hotpotqa" / "dev_distractor.jsonl"
    first, *others = file.read_text().splitlines()
    row = json.loads(first)
    row["context"][0][1] = ["A long word. " * 300]
    file.write_text("\n".join([json.dumps(row), *others]))
    build(data, "--lengths", "700", "--json")
    (made,) = json.loads(capsys.readouterr().out)
    assert (made["items"], made["skipped"]) == (5, 1)
    assert "q0: its gold documents alone are" in made["skipped_because"]


def test_a_length_that_no_item_can_have_leaves_no_file(data):
    with pytest.raises(InputError, match="were asked for") as caught:
        build(data, "--lengths", "1m")
    assert "--distractors" in caught.value.hint
    assert not list((data / "out").iterdir())


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (["--lengths", "8k", "--documents", "5"], InputError, "either tokens or documents"),
        (["--lengths", "8x"], InputError, "is no length"),
        (["--documents", "5,many"], InputError, "'many' is no number of documents"),
    ],
)
def test_what_is_wrong_is_said(data, arguments, error, said):
    with pytest.raises(error, match=said):
        build(data, *arguments)


def test_a_task_that_is_not_made_of_passages_takes_none(data):
    with pytest.raises(ConfigurationError, match="ruler is not made of passages"):
        call("build", "ruler", "--documents", "5", "--out", data / "out")
    with pytest.raises(ConfigurationError, match="there is no task nothing"):
        call("build", "nothing", "--out", data / "out")


def test_a_file_is_converted_there_and_back(data, capsys):
    build(data, "--lengths", "700")
    out = data / "out"
    made = out / "hotpotqa_700.parquet"
    for source, target in (
        (made, "a.json"),
        (out / "a.json", "b.jsonl"),
        (out / "b.jsonl", "c.parquet"),
    ):
        call("convert", source, out / target)
    assert "6 items" in capsys.readouterr().out
    assert (out / "c.parquet").read_bytes() == made.read_bytes()


def test_doubles_and_unanswerable_items_are_filtered_out(data, capsys):
    build(data, "--format", "jsonl")
    given = data / "out" / "hotpotqa_given.jsonl"
    first = given.read_text().splitlines()[0]
    lost = json.loads(first) | {"id": "lost", "question": "Who else?", "answers": ["Bo Blue"]}
    given.write_text(given.read_text() + first + "\n" + json.dumps(lost) + "\n")
    capsys.readouterr()
    kept = data / "kept.jsonl"
    call("filter", given, "--out", kept, "--duplicates", "--unanswerable", "--json")
    told = json.loads(capsys.readouterr().out)
    assert (told["kept"], told["dropped"], told["failed_calls"]) == (6, 2, 0)
    dropped = [json.loads(line) for line in (data / "kept.dropped.jsonl").read_text().splitlines()]
    assert [one["id"] for one in dropped] == ["q0", "lost"]
    assert dropped[0]["reason"] == "the same question as q0"
    assert "no accepted answer" in dropped[1]["reason"]
    assert [item.id for item in read_items(kept)] == [f"q{number}" for number in range(6)]


def test_what_a_model_knows_by_heart_is_filtered_out(data, capsys):
    build(data, "--format", "jsonl")
    given = data / "out" / "hotpotqa_given.jsonl"

    def answer(request):
        return chat("\\boxed{Ada Grey3}" if "lamp 3" in request.body.decode() else "\\boxed{Bo}")

    with Loopback(answer) as server:
        capsys.readouterr()
        for _ in range(2):
            call(
                "filter", given, "--out", data / "kept.parquet", "--closed-book", "--tries", "2",
                "--model", "m", "--base-url", server.url, "--api-key", "k",
                "--record", data / "calls.sqlite",
            )  # fmt: skip
        asked = [one for one in server.requests if one.path.endswith("/chat/completions")]
    assert "5 kept, 1 dropped" in capsys.readouterr().out
    assert len(asked) == 11
    assert "q3" not in [item.id for item in read_items(data / "kept.parquet")]


def test_a_filter_has_to_be_named(data):
    with pytest.raises(InputError, match="no filter is named"):
        call("filter", data / "x.jsonl", "--out", data / "y.jsonl")
    with pytest.raises(PalimpsestError, match="no metric nothing"):
        call(
            "filter", data / "x.jsonl", "--out", data / "y.jsonl", "--closed-book",
            "--metric", "nothing", "--model", "m", "--base-url", "http://127.0.0.1:9/v1",
        )  # fmt: skip
