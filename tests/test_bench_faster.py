"""The benches of reading side by side and of prefix caches, in small."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from loopback import Loopback, chat
from palimpsest.models import RecordedModel, Sampling, ScriptedModel, user
from palimpsest.models.model import Completion, Usage

BENCH = Path(__file__).parent.parent / "bench"
SMALL = ("--rollouts", "3", "--rereads", "1", "--chunk-tokens", "15000")


def run(script, *arguments):
    done = subprocess.run(
        [sys.executable, str(BENCH / script), *arguments],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def parallel(*arguments):
    return json.loads(run("parallel.py", "--json", *arguments))


def test_side_by_side_is_faster_and_its_merges_are_counted():
    result = parallel("--tokens", "200000", "--fact-tokens", "100")
    serial, side_by_side = result["runs"]["memagent"], result["runs"]["parallel"]
    assert serial["all"]["calls"] == serial["chunks"] + 1
    assert side_by_side["all"]["calls"] == serial["chunks"] + 1 + side_by_side["merges"]["calls"]
    assert side_by_side["merges"] == {**side_by_side["merges"], "calls": 3}
    assert side_by_side["rounds"] == 2
    assert 4 < result["times_faster"] < 8


def test_one_call_at_a_time_is_no_faster():
    options = ("--tokens", "60000", "--fact-tokens", "1024", "--concurrency", "1")
    assert parallel(*options)["times_faster"] < 1


def test_rates_are_fitted_to_a_recording(tmp_path):
    usages = [Usage(prompt=100, completion=10), Usage(prompt=50, completion=40)]
    answers = [
        Completion(text="x", usage=usage, seconds=usage.prompt / 200 + usage.completion / 10)
        for usage in usages
    ]
    file = tmp_path / "calls.sqlite"
    model = RecordedModel(ScriptedModel(answers), file)
    for number in range(len(answers)):
        asyncio.run(model.complete(user(str(number)), Sampling(max_tokens=9)))
    settings = parallel("--tokens", "30000", "--record", str(file))["settings"]
    assert (settings["prompt"], settings["answer"]) == (pytest.approx(200), pytest.approx(10))


def test_section_first_shares_more_with_what_was_read_before():
    shares = json.loads(run("prefix.py", "--json", *SMALL))
    first, last = shares["memory_first"]["all"], shares["section_first"]["all"]
    assert 0 < first["share"] < 0.4 < last["share"] < 1
    assert last["prompt"] == pytest.approx(first["prompt"], rel=0.02)


def test_a_small_cache_spares_less():
    few = json.loads(run("prefix.py", "--json", "--cache-tokens", "2000", *SMALL))
    assert few["section_first"]["all"]["share"] < 0.4


def served(body):
    reply = chat("x")
    reply.body.update(body)
    return reply


@pytest.mark.parametrize(
    "counters",
    [
        {"timings": {"cache_n": 30, "prompt_n": 10}},
        {"usage": {"prompt_tokens": 40, "prompt_tokens_details": {"cached_tokens": 30}}},
    ],
    ids=["timings", "usage"],
)
def test_a_servers_own_counters_are_summed(counters):
    with Loopback() as server:
        server.replies = [served(counters)]
        printed = run("prefix.py", "--server", server.url, "--limit", "3", *SMALL)
        assert len(server.asked("/v1/chat/completions")) == 6
        request = server.requests[0].json
    assert "| memory first | 3 | 120 | 90 | 75.0% |" in printed
    assert request["max_tokens"] == 1
    assert "Next section:" in request["messages"][0]["content"]


def test_a_server_without_counters_is_named():
    with Loopback() as server:
        done = subprocess.run(
            [sys.executable, str(BENCH / "prefix.py"), "--server", server.root, *SMALL],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert "does not say how many tokens" in done.stderr
