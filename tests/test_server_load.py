"""Many clients at once: bench/gateway.py in small. Times are for a quiet machine, not for tests."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent.parent / "bench" / "gateway.py"


@pytest.fixture(scope="module")
def told():
    options = {
        "clients": 20, "straight": 0.5, "seconds": 2, "flood": 1, "kill-load": 2, "delay": 0.05,
        "think": 0.1, "places": 2, "readings": 2, "warm": 0, "draft": 0.1,
    }  # fmt: skip
    command = [sys.executable, str(BENCH), "--json"]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_no_answer_is_lost_or_crossed(told):
    through = told["passed_through"]["gateway"]
    assert through["answers"] > 20
    assert through["wrong"] == {}


def test_whoever_does_not_fit_the_queue_is_refused_cleanly(told):
    assert told["refused"]["refused"] > 0
    assert told["refused"]["answers"] > 0
    assert told["refused"]["wrong"] == {}


def test_readings_go_on_after_a_kill_and_nothing_finished_is_read_again(told):
    killed = told["killed"]
    assert killed["answered_once"] == killed["readings"] == 2
    assert killed["chunks_before"] >= 4
    assert killed["asked_again"] == killed["of_them_under_way"]
    assert killed["passed_wrong"] == {}
