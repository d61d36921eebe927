"""The bench of a training step, in small."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the `train` extra")
pytest.importorskip("transformers", reason="needs the `train` extra")
pytest.importorskip("peft", reason="needs the `train` extra")

SCRIPT = Path(__file__).parent.parent / "bench" / "train_step.py"
SMALL = ("--shape", "tiny", "--scale", "50", "--rounds", "1", "--json")


def step(*arguments):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *SMALL, *arguments],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_all_ways_make_the_same_update_and_rows_by_length_are_padded_least():
    result = step()
    assert result["loss_spread"] < 1e-5
    padding = {(way["rows"], way["scores"]): way["padding"] for way in result["ways"]}
    assert len(padding) == 5
    assert padding["by length", "answers"] < 0.1 < padding["padded", "answers"]
    assert all(way["peak_bytes"][0] >= result["held_bytes"] for way in result["ways"])


def test_a_step_runs_with_adapters_narrow_numbers_and_checkpointed_layers():
    result = step("--lora", "--dtype", "bfloat16", "--checkpointing", "--readings", "1")
    assert result["loss_spread"] < 1e-2
    assert all(way["tokens_a_second"][0] > 0 for way in result["ways"])
