"""`palimpsest train` and `palimpsest rollouts` as people run them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest

torch = pytest.importorskip("torch", reason="needs the `train` extra")
pytest.importorskip("transformers", reason="needs the `train` extra")
pytest.importorskip("tensorboard", reason="needs the `train` extra")

from palimpsest.cli import main  # noqa: E402

torch.set_num_threads(1)

RECIPE = """
steps = 2
[model.tiny]
width = 32
layers = 1
heads = 2
[data]
task = "toy-echo"
[agent]
path = "trainer_agents:letters"
[optimiser]
learning_rate = 3e-3
[batch]
prompts = 2
rollouts = 3
updates = 2
[evaluation]
every = 2
items = 2
"""


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def call(tmp_path, capsys, monkeypatch):
    """The command in a folder with a recipe."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(RECIPE)

    def run(*arguments: object) -> Result:
        with pytest.raises(SystemExit) as exited:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(int(exited.value.code or 0), captured.out, captured.err)

    return run


def test_a_run_is_trained_looked_at_and_gone_on_with(call):
    done = call("train", "tiny.toml", "--set", "seed=3")
    assert done.code == 0, done.err
    assert done.out == ""
    assert "step 0 of 2" in done.err
    assert "learning 2: reward" in done.err
    assert "done at step 2; best held-out reward" in done.err
    names = {path.name for path in Path("runs/tiny").iterdir()}
    assert {"recipe.toml", "log.jsonl", "rollouts", "checkpoints", "curves.png", "model"} <= names
    assert list(Path("runs/tiny/tensorboard").glob("events*"))
    assert "seed = 3" in Path("runs/tiny/recipe.toml").read_text()

    text = call("rollouts", "runs/tiny", "--best", 1)
    assert "--- draft: " in text.out
    assert "advantage +" in text.out
    every = [json.loads(line) for line in call("rollouts", "runs/tiny", "--json").out.splitlines()]
    assert len(every) == 6
    worst = json.loads(call("rollouts", "runs/tiny", "--worst", 1, "--json").out)
    assert worst["reward"] == min(line["reward"] for line in every)
    held_out = call("rollouts", "runs/tiny", "--held-out", "--step", 0)
    assert held_out.out.count("===") == 2

    more = call("train", "--resume", "runs/tiny", "--set", "steps=3", "--json", "--quiet")
    assert more.code == 0, more.err
    lines = [json.loads(line) for line in more.out.splitlines()]
    assert [(line["step"], line["phase"]) for line in lines] == [(3, "learning")]
    assert more.err == ""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("train",), 2, "either a recipe or --resume"),
        (("train", "tiny.toml", "--resume", "runs/x"), 2, "either a recipe or --resume"),
        (("train", "--resume", "runs/x", "--out", "y"), 2, "--out is for a new run"),
        (("train", "--resume", "runs/x"), 2, "holds no training run"),
        (("train", "none.toml"), 2, "none.toml"),
        (("train", "tiny.toml", "--set", "batch.promts=2"), 3, "batch.prompts"),
        (("train", "tiny.toml", "--set", "agent.path=no:where"), 3, "no:where cannot be had"),
        (("rollouts", "runs/x"), 2, "no rollouts in runs/x"),
        (("rollouts", "runs/x", "--step", "4"), 2, "step-4.jsonl"),
    ],
)
def test_what_is_wrong_is_said_before_anything_begins(call, arguments, code, said):
    result = call(*arguments)
    assert (result.code, result.out) == (code, "")
    assert said in result.err
    assert not Path("runs").exists()


def test_a_stopped_run_says_how_to_go_on(call, monkeypatch):
    from palimpsest.training.trainer import Trainer

    async def stopped(self: Trainer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "run", stopped)
    result = call("train", "tiny.toml", "--out", "mine")
    assert result.code == 130
    assert "palimpsest train --resume mine goes on" in result.err
