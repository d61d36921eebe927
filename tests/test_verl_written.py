"""What verl writes of a run, read as the embedded trainer's log and rollouts. No verl is needed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from palimpsest.errors import InputError
from palimpsest.server.viewer.library import Library
from palimpsest.server.viewer.trainings import told_rollout, told_rollouts, told_training
from palimpsest.training.logbook import has_log, read_log
from palimpsest.training.rollout import Conversation, Rollout
from palimpsest.training.transcripts import (
    conversations_of,
    read_transcript,
    transcript_file,
    transcript_steps,
)
from palimpsest.training.verl.records import of_conversation, rows_of
from palimpsest.training.verl.written import log_file, record_text, written_folder

GROUP = "5f0c7a52-0000-4000-8000-000000000001"


def _log(run, start, *lines, end="\n"):
    file = log_file(run, start)
    file.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(json.dumps({"step": step, "data": data}) for step, data in lines)
    file.write_text(text + end)


def _row(uid, text, score=0.5, **more):
    row = {"input": f"user\n{text}?", "output": text, "gts": ["north"], "score": score, "step": 1}
    return row | more | {"uid": uid}


def _told_of(rollout):
    return [of_conversation(row.conversation) for row in rows_of(rollout) if row.conversation]


def _write(run, occasion, step, rows):
    folder = written_folder(run, occasion)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{step}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _conversation(role, step=0, task="", finish="stop"):
    return Conversation(
        role=role,
        prompt_ids=(1, 2),
        response_ids=(3, 4, 5),
        logprobs=(-0.1,) * 3,
        mask=(True,) * 3,
        finish=finish,
        step=step,
        task=task,
    )


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "runs" / "lighthouse"
    _log(folder, 0, (1, {"palimpsest/reward": 0.25}), (2, {"palimpsest/reward": 0.5}))
    rows = [
        _row(f"{GROUP}_0_1", "second"),
        _row(f"{GROUP}_10_0", "eleventh", score=1.0),
        _row(f"{GROUP}_0_10", "last"),
        _row(f"{GROUP}_0_2", "third"),
        _row(f"{GROUP}_0_0", "first"),
        _row("pad00000000000000000000000000000000_0_0", "", score=0.0) | {"input": ""},
    ]
    _write(folder, "step", 2, rows)
    return folder


def test_numbers_that_mean_the_same_have_the_embedded_trainers_names(tmp_path):
    told = {
        "palimpsest/reward": 0.5,
        "palimpsest/reward/cloze": 0.25,
        "palimpsest/conversations": 3.0,
        "actor/kl_loss": 0.01,
        "val-core/harbour/reward/mean@1": 1.0,
        "val-aux/harbour/failed/mean@1": 0.0,
        "perf/throughput": 150.0,
    }
    _log(tmp_path, 0, (1, told))
    [line] = read_log(tmp_path)
    assert line.values == {
        "reward/reward": 0.5,
        "reward/cloze": 0.25,
        "palimpsest/conversations": 3.0,
        "loss/kl": 0.01,
        "held_out/harbour/reward/mean@1": 1.0,
        "val-aux/harbour/failed/mean@1": 0.0,
        "perf/throughput": 150.0,
    }


def test_what_is_no_number_is_not_in_the_log(tmp_path):
    _log(tmp_path, 0, (1, {"actor/loss": None, "actor/lr": float("nan"), "note": "x", "n": 2}))
    assert read_log(tmp_path)[0].values == {"n": 2}


def test_steps_done_again_are_those_of_the_later_start(tmp_path):
    _log(tmp_path, 0, *((step, {"n": step, "old": 1}) for step in range(1, 10)))
    _log(tmp_path, 7, (8, {"n": 80}), (9, {"n": 90}), (10, {"n": 100}))
    _log(tmp_path, 10, (11, {"n": 110}))
    lines = read_log(tmp_path)
    assert [line.step for line in lines] == list(range(1, 12))
    assert lines[6].values == {"n": 7, "old": 1}
    assert [dict(line.values) for line in lines[7:]] == [{"n": n} for n in (80, 90, 100, 110)]


def test_an_evaluation_at_the_beginning_of_a_start_leaves_its_step_standing(tmp_path):
    before, again = {"val-core/a/reward/mean@1": 0.5}, {"val-core/a/reward/mean@1": 0.625}
    _log(tmp_path, 0, (0, before), (1, {"palimpsest/reward": 0.25}))
    _log(tmp_path, 1, (1, again), (2, {}))
    lines = read_log(tmp_path)
    assert [(line.step, line.phase) for line in lines] == [
        (0, "start"),
        (1, "learning"),
        (2, "learning"),
    ]
    assert lines[1].values == {"reward/reward": 0.25, "held_out/a/reward/mean@1": 0.625}


def test_half_of_a_line_at_the_end_of_a_log_is_not_read(tmp_path):
    _log(tmp_path, 0, (1, {"n": 1}), (2, {"n": 2}), end="")
    assert [line.step for line in read_log(tmp_path)] == [1]


def test_a_folder_without_a_log_holds_no_run(tmp_path):
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "other.jsonl").write_text("{}\n")
    assert not has_log(tmp_path)
    with pytest.raises(InputError, match="no training run"):
        read_log(tmp_path)


def test_rows_of_a_session_are_one_rollout_in_their_order(run):
    assert transcript_steps(run) == [2]
    assert transcript_steps(run, "held-out") == []
    lines = read_transcript(transcript_file(run, "step", 2))
    assert [(line["group"], line["number"], line["reward"]) for line in lines] == [
        (GROUP, 0, 0.5),
        (GROUP, 10, 1.0),
    ]
    said = lines[0]["conversations"]
    assert [one["text"] for one in said] == ["first", "second", "third", "last"]
    assert said[0]["prompt"] == "user\nfirst?"
    assert lines[0]["expected"] == ["north"]


def test_what_verl_does_not_keep_is_null(run):
    line = read_transcript(transcript_file(run, "step", 2))[0]
    assert line["scores"] == {}
    assert [line[name] for name in ("nodes", "answer", "failure")] == [None] * 3
    names = ("role", "step", "task", "finish", "prompt_tokens", "tokens", "advantage")
    assert [line["conversations"][0][name] for name in names] == [None] * len(names)


def test_a_held_out_rollout_is_told_by_its_record(tmp_path):
    half = "\ud800"
    conversations = (
        _conversation("draft", step=1, finish="length"),
        _conversation("read", task="standard"),
    )
    rollout = Rollout("one", 0, conversations, {"standard": 1.0}, answer=f"north{half}")
    text = record_text(rollout.answer, "", _told_of(rollout))
    more = {"reward": 1.0, "standard": 1.0, "failed": 0.0, "nodes": 1.0, "record": text}
    rows = [_row(f"{GROUP}_0_{place}", f"text {place}", score=1.0, **more) for place in (0, 1)]
    _write(tmp_path, "held-out", 4, rows)
    [line] = read_transcript(transcript_file(tmp_path, "held-out", 4))
    assert text.isascii()
    assert (line["scores"], line["nodes"]) == ({"standard": 1.0}, 1.0)
    assert (line["answer"], line["failure"]) == (f"north{half}", "")
    told = [(one["role"], one["step"], one["task"], one["finish"], one["tokens"])
            for one in line["conversations"]]  # fmt: skip
    assert told == [("draft", 1, "", "length", 3), ("read", 0, "standard", "stop", 3)]


def test_a_failed_rollout_without_conversations_says_why(tmp_path):
    rollout = Rollout("one", 1, (), {"standard": 0.0}, failure="the window is full")
    text = record_text("", rollout.failure, _told_of(rollout))
    row = _row(f"{GROUP}_1_0", "", score=0.0, failed=1.0, record=text) | {"input": ""}
    _write(tmp_path, "held-out", 0, [row])
    [line] = read_transcript(transcript_file(tmp_path, "held-out", 0))
    assert (line["failure"], line["conversations"]) == ("the window is full", [])


def test_no_warm_start_can_learn_from_what_verl_wrote(run):
    file = transcript_file(run, "step", 2)
    with pytest.raises(InputError, match="without their tokens"):
        list(conversations_of(read_transcript(file)[0], file))


def test_the_viewer_shows_such_a_run(run):
    [entry] = Library([run.parent]).entries()
    assert (entry.kind, entry.name) == ("training", "lighthouse")
    told = told_training(entry)
    assert told["series"]["reward/reward"] == [(1, 0.25), (2, 0.5)]
    assert told["rollouts"] == {"step": [2], "held-out": []}
    shown = told_rollouts(entry, "step", 2)["rollouts"]
    assert [(one["number"], one["answer"], one["expected"]) for one in shown] == [
        (0, "", ["north"]),
        (10, "", ["north"]),
    ]
    said = told_rollout(entry, "step", 2, 1)["conversations"]
    assert [(one["prompt"], one["text"]) for one in said] == [("user\neleventh?", "eleventh")]


def test_the_command_shows_them(run, capsys):
    from palimpsest.cli.train import rollouts

    rollouts(run, best=1)
    assert capsys.readouterr().out == (
        f"=== {GROUP} #10: reward 1, wanted north\n--- conversation 1\neleventh\n\n"
    )
    rollouts(run, as_json=True)
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["number"] for line in lines] == [0, 10]


def test_reading_needs_no_heavy_package():
    code = (
        "import sys; import palimpsest.training.logbook, palimpsest.training.transcripts;"
        "print([name for name in ('verl', 'torch', 'ray', 'omegaconf') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
