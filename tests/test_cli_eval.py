"""`palimpsest eval`: a benchmark's rows in, a run's folder and its summary out."""

from __future__ import annotations

import json
import signal
import time

import pytest
from rich.console import Console

from loopback import Loopback, chat, failure
from palimpsest.cli.scoreboard import Scoreboard
from palimpsest.evals.job import configure
from palimpsest.evals.run import ItemResult, Scored, load_run
from palimpsest.readers import MemAgent
from test_cli import CHUNKS, SENTENCES, Desk, is_draft, prompt_of, reads

ROWS = 4
QUESTIONS = [f"Where is the lamp of keeper {number}?" for number in range(ROWS)]


def row(number: int) -> dict:
    """In the benchmark's own form; the third answer cannot be found."""
    return {
        "_id": f"row-{number}",
        "question": QUESTIONS[number],
        "answer": "Gull Rock" if number != 2 else "the harbour",
        "type": "bridge",
        "level": "hard",
        "context": [[f"Log {n}", [f"{line} "] * 12] for n, line in enumerate(SENTENCES)],
        "supporting_facts": [["Log 1", 0]],
    }


@pytest.fixture
def desk(tmp_path, capsys):
    with Loopback(reads) as server:
        (tmp_path / "rows.json").write_text(json.dumps([row(number) for number in range(ROWS)]))
        yield Desk(tmp_path, server, capsys)


def evaluate(desk, *arguments):
    return desk.call("eval", "hotpotqa", "--data", "rows.json", *CHUNKS, *arguments)


def chats(desk) -> int:
    return len(desk.server.asked("/v1/chat/completions"))


def only_run(desk):
    [folder] = (desk.folder / "runs").iterdir()
    return load_run(folder)


def test_a_run_is_a_folder_and_its_summary_is_printed(desk):
    result = evaluate(desk, "--reader", "memagent", "--budgets", "48, 1024,8", "--limit", 9)
    assert result.code == 0, result.err
    run = only_run(desk)
    assert run.folder.name.startswith("hotpotqa-memagent-")
    assert run.config.budgets == (1024, 48, 8)
    assert len(run.results) == ROWS
    scores = {one.id: one.answers[0].scores["exact_match"] for one in run.results}
    assert scores == {f"row-{number}": float(number != 2) for number in range(ROWS)}
    assert "75.0" in result.out
    for said in ("1/9 row-", "'Gull Rock' 1.00", "at 1024", "0 failed", "tokens", "left"):
        assert said in result.err
    drafts = len(desk.drafts())
    assert chats(desk) == drafts + 3 * ROWS
    asked = chats(desk)
    again = evaluate(desk, "--reader", "memagent", "--budgets", "1024,48,8", "--limit", 9, "-q")
    assert again.out == result.out
    assert chats(desk) == asked


def test_lines_of_a_runs_memories_are_found_in_what_was_read(desk):
    evaluate(desk, "--reader", "memagent", "--limit", 1)
    folder = only_run(desk).folder
    [reading] = (folder / "readings").iterdir()
    assert "without the source" not in desk.call("blame", str(reading)).err
    assert len(list((folder / "sources").iterdir())) == 1


def test_a_run_keeps_no_sources_where_it_is_told_so(desk):
    evaluate(desk, "--reader", "memagent", "--limit", 1, "--no-sources")
    folder = only_run(desk).folder
    assert not (folder / "sources").exists()
    [reading] = (folder / "readings").iterdir()
    assert "without the source" in desk.call("blame", str(reading)).err


def test_json_holds_the_summary(desk):
    told = json.loads(evaluate(desk, "--json", "--quiet", "--out", "out").out)
    assert (told["run"], told["capped"], told["task"]) == ("out", False, "hotpotqa")
    assert told["reader"] == "memagent"
    [cell] = told["cells"]
    assert (cell["items"], cell["scores"]["exact_match"]["mean"]) == (ROWS, 0.75)
    assert not (desk.folder / "runs").exists()


def test_a_run_goes_on_by_its_folder_alone(desk):
    evaluate(desk, "--reader", "memagent", "--out", "out", "--max-calls", 7)
    assert len(load_run(desk.folder / "out").results) < ROWS
    model = json.loads((desk.folder / "out" / "model.json").read_text())
    assert (model["name"], "api_key" in model) == ("served", False)
    result = desk.call("eval", "--resume", "out")
    assert result.code == 0, result.err
    assert "items are done" in result.err
    assert [one.status for one in load_run(desk.folder / "out").results] == ["answered"] * ROWS


def test_a_capped_run_says_so_and_is_no_error(desk):
    options = ("--reader", "memagent", "--limit", ROWS, "--concurrency", 1, "--out", "out")
    result = evaluate(desk, *options, "--max-calls", 8)
    done = len(load_run(desk.folder / "out").results)
    assert result.code == 0
    assert 0 < done < ROWS
    assert f"capped: {done} of {ROWS} items" in result.err


def test_failed_items_are_named_and_read_again_when_asked(desk):
    broken = [True]

    def sometimes(request):
        if request.path.endswith("/completions") and "keeper 1?" in prompt_of(request) and broken:
            return failure(400, "I will not.")
        return reads(request)

    desk.server._respond = sometimes
    result = evaluate(desk, "--out", "out")
    assert result.code == 0
    assert "failed: " in result.err
    assert "I will not." in result.err
    assert "--retry-failed" in result.err
    assert sum(one.status == "failed" for one in load_run(desk.folder / "out").results) == 1
    broken.clear()
    assert evaluate(desk, "--out", "out", "--retry-failed").code == 0
    assert {one.status for one in load_run(desk.folder / "out").results} == {"answered"}


def test_seeds_are_readings_of_their_own_where_the_model_samples(desk):
    evaluate(desk, "--seeds", 2, "--seed", 7, "--temperature", 0.5, "--limit", 2, "--out", "out")
    run = load_run(desk.folder / "out")
    assert run.config.seeds == (7, 8)
    assert len(run.results) == 4
    assert {r.json["seed"] for r in desk.server.asked("/v1/chat/completions")} == {7, 8}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["hotpotqa", "--reader", "closed", "--budgets", "64"], 3, "closed has no use for it"),
        (["hotpotqa", "--budgets", "64,none"], 2, "'none' is no budget"),
        (["hotpotqa", "--budgets", "0"], 2, "'0' is no budget"),
        (["hotpotqa", "--budgets", ","], 2, "--budgets is empty"),
        (["hotpotqa", "--lengths", "8q"], 2, "'8q' is no length"),
        (["hotpotqa", "--seeds", "3"], 3, "give --temperature"),
        (["hotpotqa", "--limit", "0"], 2, "--limit 0"),
        (["hotpotqa", "--ray-address", "auto"], 2, "--engine ray"),
        (["hotpotpie"], 3, "hotpotpie"),
        ([], 2, "hotpotqa"),
        (["--resume", "nowhere"], 2, "nowhere is no run"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_asked(desk, arguments, code, said):
    result = desk.call("eval", *arguments)
    assert result.code == code, result
    assert said in result.err
    assert not chats(desk)


def test_a_run_that_was_begun_keeps_its_settings(desk):
    evaluate(desk, "--out", "out", "--limit", 1)
    kept = (desk.folder / "out" / "model.json").read_text()
    other = evaluate(desk, "--out", "out", "--limit", 2, "--base-url", "http://127.0.0.1:9/v1")
    assert other.code == 3
    assert "limit was 1, now 2" in other.err
    assert (desk.folder / "out" / "model.json").read_text() == kept
    resumed = desk.call("eval", "--resume", "out", "--limit", 2)
    assert (resumed.code, "--limit cannot be changed" in resumed.err) == (2, True)
    model = desk.call("eval", "--resume", "out", "--model", "another")
    assert (model.code, "model was served, now another" in model.err) == (3, True)


def test_ctrl_c_stops_a_run_that_goes_on_later(desk):
    def slow(request):
        if request.path.endswith("/completions") and not is_draft(prompt_of(request)):
            return chat(
                r"\boxed{Gull Rock}", delay_s=30 if "keeper 3?" in prompt_of(request) else 0
            )
        return reads(request)

    desk.server._respond = slow
    process = desk.start("eval", "hotpotqa", "--data", "rows.json", *CHUNKS, "--out", "out")
    results = desk.folder / "out" / "results.jsonl"
    arrived = lambda: results.exists() and results.read_text().count("\n") == ROWS - 1  # noqa: E731
    assert desk.server.wait_for(arrived, timeout_s=60)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "goes on" in err
    desk.server._respond = reads
    assert desk.call("eval", "--resume", "out").code == 0
    assert len(load_run(desk.folder / "out").results) == ROWS


def result_of(number: int, score: float, **fields) -> ItemResult:
    given = {
        "key": str(number), "task": "toy", "id": f"item-{number}", "category": "", "length": 8192,
        "seed": 0, "question": "Where?", "accepted": ("here",), "metric": "f1",
        "status": "answered", "prompt": 900, "completion": 100, "cost": 0.5,
        "answers": (Scored(budget=None, prediction="there", scores={"f1": score}),),
    }  # fmt: skip
    return ItemResult(**{**given, **fields})


def board(*, terminal: bool, **options) -> tuple[Scoreboard, Console]:
    config = configure(
        task="toy", data="", name="memagent", reader=MemAgent(), model="m", metrics=("f1",), limit=4
    )  # fmt: skip
    console = Console(force_terminal=terminal, record=True, width=200, file=_Nowhere())
    times = iter(range(0, 1000, 60))
    given = {"earlier": [result_of(0, 1.0)], "quiet": False, "clock": lambda: next(times)}
    return Scoreboard(console, config, **{**given, **options}), console


class _Nowhere:
    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        """Nothing is kept."""


def test_a_line_tells_how_the_run_stands():
    shown, console = board(terminal=False)
    with shown:
        shown.result(result_of(1, 0.0))
        shown.result(result_of(2, 0.5, status="failed", reason="[b]gone[/b]"))
    first, second, third = console.export_text().splitlines()
    assert first == "going on, 1 items are done: f1 100.0 | 0 failed | 1,000 tokens | $0.5"
    assert second == (
        "2/4 item-1 8k: 'there' 0.00 | f1 50.0 ±98.0 | 0 failed | 2,000 tokens | $1.00 | 2 min left"
    )
    assert third.startswith("3/4 item-2 8k: failed: [b]gone[/b] | f1 50.0 ±56.6 | 1 failed")


def test_a_terminal_shows_one_line_and_what_failed():
    shown, console = board(terminal=True, earlier=[], clock=time.monotonic)
    with shown:
        shown.result(result_of(1, 1.0))
        shown.result(result_of(2, 0.0, status="failed", reason="gone"))
    said = console.export_text()
    assert "item-1" not in said
    assert "item-2 8k: failed: gone" in said


def test_quiet_says_nothing():
    shown, console = board(terminal=False, quiet=True)
    with shown:
        shown.result(result_of(1, 1.0))
    assert console.export_text() == ""
