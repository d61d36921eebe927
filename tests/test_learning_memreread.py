"""A tiny policy that rereads without looking learns when it need not, by credit for few rereads."""

from __future__ import annotations

import asyncio
import re
import statistics
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the `train` extra")
pytest.importorskip("transformers", reason="needs the `train` extra")

from palimpsest.training.recipes import load_recipe
from palimpsest.training.trainer import Trainer
from palimpsest.training.transcripts import (
    read_transcript,
    transcript_file,
    transcript_steps,
)
from palimpsest.training.whereabouts import NEEDS, NEEDS_NOT, Whereabouts

RECIPE = Path(__file__).parents[1] / "recipes/toy-memreread.toml"
KINDS = (NEEDS_NOT, NEEDS)


def told(folder: Path, step: int) -> dict[str, tuple[float, float]]:
    """Of each kind of held-out question the rereads an item and the share answered right."""
    lines = read_transcript(transcript_file(folder, "held-out", step))
    found = {}
    for kind in KINDS:
        own = [line for line in lines if line["group"].endswith(kind)]
        rereads = statistics.fmean(line["nodes"] - 1 for line in own)
        found[kind] = (rereads, statistics.fmean(line["reward"] for line in own))
    return found


@pytest.mark.learning
def test_credit_for_few_rereads_ends_those_that_are_not_needed_and_no_others(tmp_path):
    recipe = load_recipe(RECIPE, ["log.to=[]", "log.curves=false"])
    asyncio.run(Trainer.begin(recipe, tmp_path / "run").run())
    warm = recipe.warm_start.steps
    assert transcript_steps(tmp_path / "run", "held-out")[-1] == warm + recipe.steps
    before, after = (told(tmp_path / "run", step) for step in (warm, warm + recipe.steps))
    assert before[NEEDS_NOT][0] > 0.6
    assert after[NEEDS_NOT][0] < 0.3
    assert after[NEEDS][0] > 0.9
    for kind in KINDS:
        assert after[kind][1] > before[kind][1] - 0.05


def test_an_item_that_needs_a_reread_names_the_answer_before_the_one_it_is_known_by():
    world = Whereabouts()
    for item in (world.item("train", number) for number in range(40)):
        first, second, _ = item.documents[0].text.split("\n")
        place = item.answers[0]
        if item.category == NEEDS:
            holder = re.search(r"(\w+) has key", second)[1]
            assert place.startswith(f"{holder} in ")
            assert place in first
            assert item.question == "Where is key?"
        else:
            assert item.question == f"Where is {place.split()[0]}?"


def test_items_are_the_same_again_and_the_held_out_ones_are_others():
    assert Whereabouts().item("train", 3) == Whereabouts().item("train", 3)
    assert Whereabouts().item("train", 3).id != Whereabouts().item("held_out", 3).id
