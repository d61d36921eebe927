"""Checkpoints: whole or not at all, and a run that goes on from one to the same numbers."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the `train` extra")
pytest.importorskip("transformers", reason="needs the `train` extra")

from palimpsest.errors import ConfigurationError, InputError  # noqa: E402
from palimpsest.training.checkpoint import Checkpoints, Progress  # noqa: E402
from palimpsest.training.logbook import read_log  # noqa: E402
from palimpsest.training.opening import Opening  # noqa: E402
from palimpsest.training.policy import Policy  # noqa: E402
from palimpsest.training.recipe import Recipe  # noqa: E402
from palimpsest.training.recipes import checked_recipe  # noqa: E402
from palimpsest.training.trainer import Trainer  # noqa: E402
from palimpsest.training.transcripts import transcript_steps  # noqa: E402

torch.set_num_threads(1)

TESTS = Path(__file__).parent


def recipe_of(agent: str = "letters", **changes: Any) -> Recipe:
    table = {
        "steps": 3,
        "model": {"tiny": {"width": 32, "layers": 1, "heads": 2}},
        "data": {"task": "toy-echo", "limit": 5},
        "agent": {"path": f"trainer_agents:{agent}"},
        "optimiser": {"learning_rate": 3e-3, "warmup_steps": 2, "schedule": "cosine"},
        "batch": {"prompts": 2, "rollouts": 3, "updates": 2},
        "loss": {"kl": 0.05},
        "evaluation": {"every": 2, "items": 2},
        "checkpoints": {"every": 1, "keep": 2},
        "log": {"to": [], "curves": False},
    }
    return checked_recipe(table | changes, "test")


def untimed(folder: Path) -> list[dict[str, Any]]:
    """The log of a run without what a clock says."""
    return [
        {"step": line.step, "phase": line.phase}
        | {name: value for name, value in line.values.items() if not name.startswith("time/")}
        for line in read_log(folder)
    ]


def test_a_killed_run_goes_on_to_the_same_numbers(tmp_path, monkeypatch):
    """Killed by the system in a warm-started run's second step of reinforcement, with a distance
    to a reference model, a falling learning rate and held-out questions."""
    countdown = tmp_path / "countdown"
    monkeypatch.setenv("COUNTDOWN", str(countdown))
    warm = {"steps": 2, "lessons": 4, "lowest_score": 0.0, "conversations": 4}
    recipe = recipe_of("deadly", warm_start=warm)
    countdown.write_text("100000")
    asyncio.run(Trainer.begin(recipe, tmp_path / "whole").run())
    # Two evaluations of the warm start, its lessons, a step of six rollouts, and into the next.
    countdown.write_text(str(2 * 2 + 4 + 6 + 4))
    Trainer.begin(recipe, tmp_path / "parts")
    script = (
        "import asyncio; from pathlib import Path; "
        "from palimpsest.training.trainer import Trainer; "
        f"asyncio.run(Trainer.resume(Path({str(tmp_path / 'parts')!r})).run())"
    )
    environment = os.environ | {"PYTHONPATH": str(TESTS)}
    killed = subprocess.run([sys.executable, "-c", script], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [line["step"] for line in untimed(tmp_path / "parts")] == [0, 1, 2, 3]
    countdown.write_text("100000")
    asyncio.run(Trainer.resume(tmp_path / "parts").run())
    whole = untimed(tmp_path / "whole")
    assert untimed(tmp_path / "parts") == whole
    assert [line["step"] for line in whole] == [0, 1, 2, 3, 4, 5]
    assert whole[4]["loss/kl"] > 0


def test_what_came_after_the_checkpoint_is_forgotten(tmp_path):
    recipe = recipe_of(checkpoints={"every": 2, "keep": 2}, evaluation={"every": 0})
    asyncio.run(Trainer.begin(recipe, tmp_path / "whole").run())
    asyncio.run(Trainer.begin(recipe, tmp_path / "parts").run())
    later = tmp_path / "parts/checkpoints/step-3"
    later.rename(later.with_name(".new-3"))
    with (tmp_path / "parts/log.jsonl").open("a") as file:
        file.write('{"step": 4, "pha')
    asyncio.run(Trainer.resume(tmp_path / "parts").run())
    assert untimed(tmp_path / "parts") == untimed(tmp_path / "whole")
    assert transcript_steps(tmp_path / "parts") == [1, 2, 3]


def policy_of() -> Policy:
    return Opening(recipe_of()).policy()


def test_the_last_and_the_best_are_kept(tmp_path):
    policy = policy_of()
    optimiser = torch.optim.AdamW(policy.trained().values())
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in range(1, 7):
        checkpoints.save(Progress(step=step, best_step=2, best_score=0.5), policy, optimiser)
    assert checkpoints.steps() == [2, 5, 6]
    assert checkpoints.progress().step == 6


def test_a_checkpoint_holds_all_that_chance_depends_on(tmp_path):
    import random

    import numpy as np

    policy = policy_of()
    optimiser = torch.optim.AdamW(policy.trained().values(), lr=0.1)
    for parameter in policy.trained().values():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    checkpoints = Checkpoints(tmp_path, keep=1)
    random.seed(5)
    checkpoints.save(Progress(step=1), policy, optimiser)
    drawn = random.random(), np.random.random(), torch.rand(1)
    optimiser.step()
    after = policy.state()
    again = policy_of()
    other = torch.optim.AdamW(again.trained().values(), lr=0.1)
    checkpoints.restore(1, again, other)
    assert (random.random(), np.random.random(), torch.rand(1)) == drawn
    for parameter in again.trained().values():
        parameter.grad = torch.ones_like(parameter)
    other.step()
    assert all(torch.equal(after[name], value) for name, value in again.state().items())


def test_half_a_checkpoint_is_none(tmp_path, monkeypatch):
    policy = policy_of()
    optimiser = torch.optim.AdamW(policy.trained().values())
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(Progress(step=1), policy, optimiser)

    def full(*_: object) -> None:
        raise OSError("no space left on the disk")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OSError, match="no space"):
        checkpoints.save(Progress(step=2), policy, optimiser)
    monkeypatch.undo()
    assert checkpoints.steps() == [1]
    checkpoints.save(Progress(step=2), policy, optimiser)
    assert checkpoints.steps() == [1, 2]


def test_damage_is_named(tmp_path):
    policy = policy_of()
    optimiser = torch.optim.AdamW(policy.trained().values())
    checkpoints = Checkpoints(tmp_path, keep=2)
    assert checkpoints.progress() is None
    checkpoints.save(Progress(step=1), policy, optimiser)
    (tmp_path / "checkpoints/step-1/state.pt").write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"state\.pt"):
        checkpoints.restore(1, policy, optimiser)
    (tmp_path / "checkpoints/step-1/progress.json").write_text("{")
    with pytest.raises(InputError, match=r"progress\.json"):
        checkpoints.progress()


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    policy = policy_of()
    optimiser = torch.optim.AdamW(policy.trained().values())
    Checkpoints(tmp_path, keep=1).save(Progress(step=1), policy, optimiser)
    table = recipe_of().model_dump(exclude_none=True)
    table["model"]["tiny"]["layers"] = 2
    other = Opening(checked_recipe(table, "test")).policy()
    with pytest.raises(ConfigurationError, match="not those"):
        Checkpoints(tmp_path, keep=1).restore(1, other)


def test_two_processes_do_not_train_one_run(tmp_path):
    from filelock import FileLock

    trainer = Trainer.begin(recipe_of(), tmp_path / "run")
    with FileLock(tmp_path / "run/.lock"), pytest.raises(ConfigurationError, match="another"):
        asyncio.run(trainer.run())
