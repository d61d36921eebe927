"""`palimpsest report`, `palimpsest curve` and `palimpsest layout-study` as people run them."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from loopback import Loopback, chat
from sample_runs import evidence, sample_runs
from test_cli import Desk


@pytest.fixture
def desk(tmp_path, capsys):
    with Loopback(lambda _: chat(r"It is \boxed{Gull Rock 0}.")) as server:
        sample_runs(tmp_path / "runs", items=2)
        yield Desk(tmp_path, server, capsys)


RUNS = ("runs/memagent", "runs/memocr")


def test_a_report_is_text_markdown_json_and_a_page(desk):
    text = desk.call("report", *RUNS)
    assert text.code == 0, text.err
    assert "memocr minus memagent (visual against text memory)" in text.out
    told = json.loads(desk.call("report", *RUNS, "--format", "json").out)
    assert [run["memory"] for run in told["runs"]] == ["text", "visual"]
    assert desk.call("report", RUNS[0], "--format", "markdown").out.startswith("## memagent")
    written = desk.call("report", *RUNS, "--out", "out/report.html")
    assert (written.code, written.out) == (0, "")
    assert "written: out/report.html" in written.err
    assert (desk.folder / "out/report.html").read_text().startswith("<!doctype html>")
    desk.call("report", *RUNS, "--out", "report.md", "--format", "json")
    assert json.loads((desk.folder / "report.md").read_text()) == told
    desk.call("report", RUNS[0], "--out", "report.txt")
    assert "What it took" in (desk.folder / "report.txt").read_text()
    assert not desk.server.requests


def test_a_curve_is_drawn_against_budget_and_length(desk):
    assert desk.call("curve", *RUNS, "--out", "a.png").code == 0
    assert desk.call(
        "curve", *RUNS, "--against", "length", "--cost", "money", "--metric", "substring",
        "--out", "b.svg",
    ).code == 0  # fmt: skip
    with Image.open(desk.folder / "a.png") as image:
        assert image.width > image.height > 300
    assert "US dollars" in (desk.folder / "b.svg").read_text()
    for folder in (desk.folder / "runs").glob("*/readings"):
        folder.rename(folder.with_name("gone"))
    without = desk.call("curve", *RUNS, "--out", "c.png")
    assert "the readings are not found" in without.err
    assert without.code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["report"], 2, "no run is named"),
        (["report", "nowhere"], 2, "nowhere is no run"),
        (["curve", *RUNS, "--out", "a.gif"], 2, ".png, .svg or .pdf"),
        (["curve", *RUNS, "--metric", "bleu"], 2, "give one of f1, exact_match, substring"),
        (["curve", *RUNS, "--cost", "money"], 3, "--against length"),
        (["layout-study", RUNS[1]], 3, "either --out FOLDER or --precision"),
        (["layout-study", RUNS[1], "--out", "x", "--budgets", "64,0"], 2, "from 1 to 16,384"),
        (["layout-study", RUNS[0], "--out", "x"], 3, "give a run of memocr"),
        (["layout-study", RUNS[1], "--out", "x", "--inject", "body"], 2, "no such file or folder"),
    ],
)
def test_what_is_wrong_is_said(desk, arguments, code, said):
    result = desk.call(*arguments)
    assert result.code == code, result
    assert said in result.err
    assert not desk.server.asked("/v1/chat/completions")


def test_a_layout_study_is_a_run_that_is_compared_with_its_own(desk):
    rows = [{"id": f"item-{number:03d}", "evidence": evidence(number)} for number in range(2)]
    (desk.folder / "gold.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ("layout-study", RUNS[1], "--evidence", "gold.jsonl", "--at-once", "1")
    done = desk.call(*given, "--inject", "heading", "--budgets", "64,16", "--out", "oracle")
    assert done.code == 0, done.err
    assert "oracle minus memocr" in done.out
    assert "note: the run is of scripted; served answers now" in done.err
    assert "8/8 item-" in done.err
    asked = len(desk.server.asked("/v1/chat/completions"))
    assert asked == 2 * 2 * 2  # the memories of both lengths are the same and are asked once
    again = desk.call(*given, "--inject", "heading", "--budgets", "64,16", "--out", "oracle")
    assert again.out == done.out
    assert len(desk.server.asked("/v1/chat/completions")) == asked
    assert "memocr (evidence in headings" in desk.call("report", "oracle").out
    table = desk.call(*given, "--precision")
    assert [line.split()[0] for line in table.out.splitlines()[1:]] == [
        "headings", "bold", "crucial", "body",
    ]  # fmt: skip
    told = json.loads(desk.call(*given, "--precision", "--json").out)
    assert told[2]["precision"]["mean"] == 0.5
