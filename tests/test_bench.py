"""The benches run on the shared rows; PALIMPSEST_DATA names the folder they lie in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent.parent / "bench"
DATA = os.environ.get("PALIMPSEST_DATA")

pytestmark = pytest.mark.skipif(
    not DATA, reason="PALIMPSEST_DATA does not name the folder of benchmark rows"
)


def run(script, *arguments):
    done = subprocess.run(
        [sys.executable, str(BENCH / script), *arguments],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_overhead_reads_a_source_of_the_length_it_was_asked_for():
    printed = run("overhead.py", "--tokens", "60000")
    assert "60,000 tokens" in printed
    assert "peak memory:" in printed


def test_cutting_at_sentences_keeps_supporting_sentences_whole():
    printed = run("cutting.py", "--rows", "40")
    whole = {
        cells[1].strip(): float(cells[4])
        for cells in (line.split("|") for line in printed.splitlines()[2:])
        if len(cells) > 4
    }
    assert whole["sentence"] >= whole["token"]
