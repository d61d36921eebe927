"""The toy of MemOCR: its world, and whether the budget-aware objectives move what is asked for into
the heading, where a small page shows it."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the `train` extra")
pytest.importorskip("transformers", reason="needs the `train` extra")

from palimpsest.models.model import user  # noqa: E402
from palimpsest.readers.memocr import MemOCR  # noqa: E402
from palimpsest.training.logbook import read_log  # noqa: E402
from palimpsest.training.opening import Opening  # noqa: E402
from palimpsest.training.pinboard import KINDS, Pinboard, in_heading  # noqa: E402
from palimpsest.training.recipes import load_recipe  # noqa: E402
from palimpsest.training.trainer import Trainer  # noqa: E402
from palimpsest.training.transcripts import read_transcript, transcript_file  # noqa: E402

RECIPE = Path(__file__).parent.parent / "recipes" / "toy-memocr.toml"
WARM, STEPS, ITEMS = 300, 16, 96
CHANGES = [
    f"warm_start.steps={WARM}",
    "warm_start.lessons=1500",
    f"steps={STEPS}",
    "batch.prompts=8",
    f"evaluation.items={ITEMS}",
    "evaluation.every=1000",
    "checkpoints.every=1000",
    "log.curves=false",
]


def notes_of(number: int) -> str:
    item = Pinboard().item("train", number)
    return Pinboard().teach(item, user("notes"))


def test_the_teacher_puts_each_line_into_the_heading_equally_often():
    places = Counter(
        place
        for number in range(1000)
        for place, line in enumerate(notes_of(number).split("\n\n"))
        if line.startswith("#")
    )
    assert len(places) == len(KINDS)
    assert all(150 < count < 250 for count in places.values())


def test_a_page_of_one_token_shows_an_answer_in_the_heading_and_none_below():
    reader = Opening(load_recipe(RECIPE)).reader
    assert isinstance(reader, MemOCR)
    shown = {True: 0, False: 0}
    for number in range(50):
        answer = Pinboard().item("train", number).answers[0]
        notes = notes_of(number)
        assert answer in reader.page(notes, max(reader.budgets)).text.split()
        for heads in (True, False):
            lines = [line.strip("# ") for line in notes.split("\n\n")]
            marked = -1 if heads else 1
            lines[marked] = f"# {lines[marked]}"
            shown[heads] += answer in reader.page("\n\n".join(lines), 1).text.split()
    assert shown[True] >= 45
    assert shown[False] == 0


def heading_share(run: Path, step: int) -> float:
    """Of the held-out answers, those that stand in a heading of the notes."""
    answers = {one.id: one.answers[0] for one in map(held_out, range(ITEMS))}
    lines = read_transcript(transcript_file(run, "held-out", step))
    return float(
        np.mean([in_heading(one["details"]["memory"], answers[one["group"]]) for one in lines])
    )


def held_out(number: int):
    return Pinboard().item("held_out", number)


@pytest.mark.learning
def test_answers_come_into_the_heading_and_the_small_page_is_read_better(tmp_path):
    run = tmp_path / "run"
    asyncio.run(Trainer.begin(load_recipe(RECIPE, CHANGES), run).run())
    lines = {line.step: line.values for line in read_log(run)}
    before, after = lines[WARM], lines[WARM + STEPS]
    assert after["held_out/standard"] > 0.5
    assert heading_share(run, WARM + STEPS) > heading_share(run, WARM) + 0.2
    assert after["held_out/low_budget"] > before["held_out/low_budget"] + 0.2
