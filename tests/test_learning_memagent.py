"""The toy of MemAgent: what its world is, and that a policy learns in it by reward."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from statistics import fmean

import pytest

torch = pytest.importorskip("torch", reason="needs the `train` extra")
pytest.importorskip("transformers", reason="needs the `train` extra")

from palimpsest.models.model import user  # noqa: E402
from palimpsest.training.agents import ReaderAgent, roll_out  # noqa: E402
from palimpsest.training.diary import DAYS, Diary  # noqa: E402
from palimpsest.training.logbook import read_log  # noqa: E402
from palimpsest.training.opening import Opening  # noqa: E402
from palimpsest.training.recipes import load_recipe  # noqa: E402
from palimpsest.training.trainer import Trainer  # noqa: E402
from palimpsest.training.warmstart import PolicyTokenizer, Teacher  # noqa: E402

ROOT = Path(__file__).parent.parent
RECIPE = ROOT / "recipes/toy-memagent.toml"
OVERRIDES = ("seed=0", "log.to=[]", "log.curves=false", "log.rollouts='none'")


def test_each_day_is_a_chunk_and_the_teacher_is_seldom_right():
    opening = Opening(load_recipe(RECIPE, OVERRIDES))
    agent, world, encoder = opening.agent, Diary(), opening.policy().encoder
    assert isinstance(agent, ReaderAgent)
    tokenizer = PolicyTokenizer(encoder.tokenizer, "teacher")
    scores = []
    for number in range(60):
        item = world.item("train", number)
        model = Teacher(world, item, encoder, tokenizer)
        rollout = asyncio.run(roll_out(agent, item, model))
        assert not rollout.failure
        assert (rollout.details["chunks"], rollout.details["guards"]) == (len(DAYS), 0)
        scores.append(rollout.scores["standard"])
    assert 0.1 < fmean(scores) < 0.4


def test_the_teacher_mostly_notes_what_it_read_last():
    world = Diary()
    habits, answers = [], set()
    for number in range(200):
        item = world.item("train", number)
        day = item.documents[0].text
        noted = world.teach(item, user(f"notes -\nday {day}\nask {item.question}\nnotes"))
        assert noted in day.splitlines()
        habits.append(noted == day.splitlines()[-1])
        box = world.teach(item, user(f"notes {noted}\nask {item.question}\nanswer"))
        answers.add(box == rf"\boxed{{ {noted.split()[1]}}}")
    assert fmean(habits) > 0.6
    assert answers == {True}


def test_the_bench_tells_of_each_seed_and_draws(tmp_path):
    pytest.importorskip("matplotlib", reason="needs the `train` extra")
    short = ("steps=1", "warm_start.steps=1", "warm_start.lessons=8", "evaluation.items=2",
             "batch.prompts=2", "log.to=[]", "log.curves=false")  # fmt: skip
    settings = [part for one in short for part in ("--set", one)]
    command = [sys.executable, ROOT / "bench/learning.py", RECIPE, "--seeds", "1", *settings]
    command += ["--out", tmp_path / "runs", "--plot", tmp_path / "reward.png"]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        row = done.stdout.splitlines()[2].split("|")
        assert [cell.strip() for cell in row[1:2] + row[6:8]] == ["0", "1", "1"]
    assert (tmp_path / "reward.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.learning
def test_a_policy_learns_by_reward_what_to_keep(tmp_path):
    recipe = load_recipe(RECIPE, OVERRIDES)
    asyncio.run(Trainer.begin(recipe, tmp_path / "run").run())
    lines = read_log(tmp_path / "run")
    before = [line.values for line in lines if line.phase != "learning"]
    learning = [line.values for line in lines if line.phase == "learning"]
    assert before[-1]["held_out/reward"] < 0.4
    assert fmean(values["reward/reward"] for values in learning[:3]) < 0.4
    assert learning[-1]["held_out/reward"] >= 0.8
