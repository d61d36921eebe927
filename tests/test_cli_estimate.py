"""`palimpsest estimate`, and the flags of `ask` and `show` that are about cost."""

from __future__ import annotations

import json

import pytest

from loopback import Loopback
from test_cli import CHUNKS, QUESTION, SENTENCES, Desk, reads


@pytest.fixture
def desk(tmp_path, capsys):
    with Loopback(reads) as server:
        yield Desk(tmp_path, server, capsys)


def estimated(desk, *arguments):
    result = desk.call("estimate", *arguments, *CHUNKS, "--json")
    assert result.code == 0, result.err
    return json.loads(result.out)


def test_an_estimate_foresees_the_calls_and_asks_no_model(desk):
    told = estimated(desk, desk.text, QUESTION)
    assert not desk.server.asked("/v1/chat/completions")
    asked = json.loads(desk.ask("--json").out)
    assert told["chunks"] == asked["chunks"]
    assert told["expected"]["calls"] == asked["calls"]
    assert told["expected"]["cost"] is None


def test_the_question_may_be_left_out_and_files_may_be_many(desk):
    other = desk.folder / "other.txt"
    other.write_text(SENTENCES[1])
    assert estimated(desk, desk.text)["chunks"] == estimated(desk, desk.text, QUESTION)["chunks"]
    both = estimated(desk, desk.text, other)
    assert both["source_tokens"] > estimated(desk, desk.text)["source_tokens"]
    globbed = estimated(desk, desk.folder / "other.txt", desk.folder / "st*.txt")
    assert globbed["source_tokens"] == both["source_tokens"]


def test_people_see_a_table_and_what_was_assumed(desk):
    result = desk.call(
        "estimate", desk.text, *CHUNKS, "--rate", "1000,50", "--price-in", 2, "--price-out", 8
    )
    for part in ("calls", "tokens in", "money", "$", "seconds", "expected", "low", "high"):
        assert part in result.out
    for part in ("assumed: memories of 25%", "every reread", "estimate"):
        assert part in result.err


def test_the_rate_can_be_measured_from_earlier_readings(desk):
    result = desk.call("estimate", desk.text, "--rate", "measured")
    assert result.code == 3
    assert "ask it something first" in result.err
    desk.ask()
    assert estimated(desk, desk.text, "--rate", "measured")["expected"]["seconds"] > 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--rate", "fast"], 2, "no rate"),
        (["--fill", "3"], 2, "no share"),
        (["--price-in", "1"], 3, "--price-out"),
        (["--reader", "memagnet"], 3, "memagent"),
        (["--reader", "memagent+memocr"], 3, "memocr+memagent"),
        (["--reader", "gated+full"], 3, "no memory"),
        (["--chunks", "3"], 2, "--chunks"),
    ],
)
def test_what_is_wrong_is_said(desk, arguments, code, said):
    result = desk.call("estimate", desk.text, *arguments)
    assert result.code == code, result
    assert said in result.err
    assert "Traceback" not in result.err


def test_a_capped_answer_is_printed_and_the_same_command_goes_on(desk):
    capped = desk.ask("--max-calls", 2)
    assert (capped.code, capped.out) == (0, "Gull Rock\n")
    assert "partial: the cap of 2 calls would be passed" in capped.err
    assert "from 1 of " in capped.err
    asked = len(desk.drafts())
    whole = desk.ask("--max-calls", 20, "--json")
    assert json.loads(whole.out)["status"] == "answered"
    assert "going on after chunk 1" in whole.err
    assert len(desk.drafts()) == json.loads(whole.out)["chunks"]
    assert asked == 1
    assert len(desk.readings()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--max-tokens-total", "50"], "larger cap"),
        (["--max-calls", "1"], "larger cap"),
        (["--max-cost", "1"], "--price-in"),
        (["--max-cost", "0.0001", "--price-in", "9", "--price-out", "9"], "larger cap"),
        (["--max-seconds", "0"], "above 0"),
    ],
)
def test_a_cap_that_lets_nothing_be_asked_is_an_error_and_costs_nothing(desk, arguments, said):
    result = desk.ask(*arguments)
    assert result.code == 3, result
    assert said in result.err
    assert result.out == ""
    assert not desk.server.asked("/v1/chat/completions")


def test_the_receipt_ends_the_answer_and_is_shown_again(desk):
    prices = ["--price-in", "1000", "--price-out", "0"]
    asked = desk.ask(*prices)
    calls = len(desk.server.asked("/v1/chat/completions"))
    line = asked.err.splitlines()[-1]
    for part in (f"{calls} calls", f"{7 * calls} tokens in", "$0.0", "s passed"):
        assert part in line
    name = next(iter(desk.store))[0]
    shown = desk.call("show", name, *prices)
    assert f"draft: {calls - 1} calls" in shown.out
    assert f"{calls} calls, {7 * calls} tokens in" in shown.out
    told = json.loads(desk.call("show", name, "--json", *prices).out)["receipt"]
    assert told["cost"] == pytest.approx(7 * calls * 1000 / 1e6)
    assert "no price known" in desk.call("show", name).out
