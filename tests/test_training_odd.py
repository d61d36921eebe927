"""Odd rollouts, by what they do to an update: nothing that they should not."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="needs the `train` extra")
pytest.importorskip("transformers", reason="needs the `train` extra")

from palimpsest.models.model import Sampling, user  # noqa: E402
from palimpsest.training.agents import Outcome, roll_out  # noqa: E402
from palimpsest.training.batching import trained_tokens  # noqa: E402
from palimpsest.training.crediting import credited  # noqa: E402
from palimpsest.training.echo import Echo  # noqa: E402
from palimpsest.training.gathering import Gathered  # noqa: E402
from palimpsest.training.logbook import read_log  # noqa: E402
from palimpsest.training.logprobs import logprobs_of  # noqa: E402
from palimpsest.training.opening import Opening  # noqa: E402
from palimpsest.training.policy import Policy  # noqa: E402
from palimpsest.training.recipe import CreditPart, Recipe  # noqa: E402
from palimpsest.training.recipes import checked_recipe  # noqa: E402
from palimpsest.training.recorder import Recorder  # noqa: E402
from palimpsest.training.rollout import Conversation, Rollout  # noqa: E402
from palimpsest.training.sampler import PolicyModel  # noqa: E402
from palimpsest.training.trainer import Trainer  # noqa: E402
from palimpsest.training.update import Updater  # noqa: E402

torch.set_num_threads(1)

TESTS = Path(__file__).parent
TINY: dict[str, Any] = {"width": 32, "layers": 1, "heads": 2}
EYES = TINY | {"family": "qwen2_5_vl", "vision_width": 16, "vision_layers": 1}
WEIGHTS = {"standard": 1.0, "cloze": 0.3}


def recipe_of(**changes: Any) -> Recipe:
    table: dict[str, Any] = {
        "steps": 1,
        "model": {"tiny": TINY},
        "data": {"task": "toy-echo"},
        "agent": {"path": "trainer_agents:letters"},
        "optimiser": {"learning_rate": 1e-2, "weight_decay": 0.0, "clip_norm": 0.0},
        "batch": {"prompts": 2, "rollouts": 2, "updates": 1},
        "evaluation": {"every": 0},
        "log": {"to": [], "curves": False},
    }
    return checked_recipe(table | changes, "test")


def policy_of(**changes: Any) -> Policy:
    return Opening(recipe_of(**changes)).policy()


def wrote(
    policy: Policy, group: str, tokens: int = 4, colour: tuple[int, int, int] | None = None
) -> Conversation:
    """A conversation of random tokens, about a picture of two cells where a colour is given, with
    the probabilities that the policy gives them."""
    generator = np.random.default_rng(sum(map(ord, group)) + tokens)
    ids = tuple(int(token) for token in generator.integers(0, 200, 5 + tokens))
    prompt, pictures = ids[:5], ()
    if colour:
        cell = policy.encoder.family.eyes.cell_px
        file = BytesIO()
        Image.new("RGB", (2 * cell, cell), colour).save(file, "PNG")
        pictures = (file.getvalue(),)
        prompt += (policy.encoder.family.eyes.placeholder,) * 2
    made = Conversation("turn", prompt, ids[5:], (0.0,) * tokens, (True,) * tokens, images=pictures)
    (own,) = logprobs_of(policy, [made])
    return replace(made, logprobs=tuple(own.tolist()))


def group_of(policy: Policy, name: str, rewards: Sequence[float], tokens: int = 4) -> list[Rollout]:
    return [
        Rollout(name, number, (wrote(policy, f"{name}{number}", tokens),), {"standard": reward})
        for number, reward in enumerate(rewards)
    ]


def gathered(*groups: Sequence[Rollout]) -> Gathered:
    advantages = [one for group in groups for one in credited(group, CreditPart(), WEIGHTS)]
    return Gathered([one for group in groups for one in group], advantages)


def pull(*groups: Sequence[Rollout]) -> Any:
    """The gradient of an update, times the tokens that it is a mean of."""
    conversations, advantages = gathered(*groups).conversations()
    return pulled(conversations, advantages)


def pulled(
    conversations: Sequence[Conversation], advantages: Sequence[float], **changes: Any
) -> Any:
    policy = policy_of(**changes)
    updater = Updater(policy, recipe_of(**changes))
    found = [torch.zeros(sum(value.numel() for value in policy.trained().values()))]

    def see(*_: object) -> None:
        found[0] = torch.cat(
            [
                (torch.zeros_like(value) if value.grad is None else value.grad).flatten()
                for value in policy.trained().values()
            ]
        )

    updater.optimiser.register_step_pre_hook(see)
    updater.learn(conversations, advantages, 0)
    return found[0] * trained_tokens(conversations)


def assert_same(one: Any, other: Any) -> None:
    assert one.abs().max() > 1e-3
    torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def run(agent: str, folder: Path, **changes: Any) -> Trainer:
    recipe = recipe_of(agent={"path": f"test_training_odd:{agent}"}, **changes)
    trainer = Trainer.begin(recipe, folder)
    asyncio.run(trainer.run())
    return trainer


def stayed(trainer: Trainer) -> bool:
    before = Opening(trainer.recipe).policy().state()
    after = trainer._policy.state()
    return all(torch.equal(before[name], after[name]) for name in before)


async def unknown(item: Any, recorder: Recorder) -> Outcome:
    await recorder.complete(user(item.question), Sampling(max_tokens=4))
    return Outcome(recorder.conversations(), {"standard": math.nan})


async def silent(item: Any, recorder: Recorder) -> Outcome:
    """Says nothing, to another reward each time."""
    await recorder.complete(user(item.question), Sampling(max_tokens=4))
    (one,) = recorder.conversations()
    empty = Conversation(one.role, one.prompt_ids, (), (), ())
    return Outcome((empty,), {"standard": float(recorder._number)})


def test_an_unknown_reward_leaves_the_rest_of_its_group_as_it_would_be():
    policy = policy_of()
    known = group_of(policy, "a", [1.0, 0.0])
    odd = replace(group_of(policy, "a", [0.0] * 3)[2], scores={"standard": math.nan})
    assert_same(pull([*known, odd]), pull(known))


def test_a_group_of_unknown_rewards_alone_teaches_nothing(tmp_path):
    trainer = run("unknown", tmp_path / "run", loss={"kl": 0.0})
    (line,) = read_log(tmp_path / "run")
    assert trainer.progress.step == 1
    assert stayed(trainer)
    assert "reward/reward" not in line.values
    assert line.values["update/skipped"] == 0


def test_a_group_of_equal_rewards_does_not_pull_beside_another():
    policy = policy_of()
    telling = group_of(policy, "a", [1.0, 0.0])
    for reward in (0.0, 1.0):
        assert_same(pull(telling, group_of(policy, "b", [reward] * 3)), pull(telling))


def test_a_group_of_one_does_not_pull_beside_another():
    policy = policy_of()
    telling = group_of(policy, "a", [1.0, 0.0])
    assert_same(pull(telling, group_of(policy, "b", [1.0])), pull(telling))


@pytest.mark.parametrize(
    "credit",
    [
        CreditPart(),
        CreditPart(by_std=True),
        CreditPart(kind="multi_task"),
        CreditPart(kind="multi_task", by_std=True),
        CreditPart(kind="rea"),
        CreditPart(kind="rea", efficiency_cap="none"),
        CreditPart(state_alpha=0.5),
    ],
)
@pytest.mark.parametrize("members", [1, 3])
def test_one_member_or_equal_members_have_no_advantage_in_any_credit(credit, members):
    policy = policy_of()
    told = wrote(policy, "a")
    group = [
        Rollout("a", number, (replace(told, role="draft", state_reward=0.7),), scores, nodes=2)
        for number in range(members)
        for scores in [{"standard": 1.0, "cloze": 0.2}]
    ]
    advantages = credited(group, credit, WEIGHTS)
    assert [value.tolist() for value in advantages] == [[0.0]] * members


def test_an_empty_answer_counts_in_its_group_and_has_nothing_to_learn():
    policy = policy_of()
    spoke = group_of(policy, "a", [1.0, 0.0])
    silent = replace(spoke[1], number=2, conversations=(wrote(policy, "a2", tokens=0),))
    found = gathered([*spoke, silent])
    conversations, advantages = found.conversations()
    assert len(conversations) == 2
    assert advantages == pytest.approx([2 / 3, -1 / 3])
    assert_same(pull([*spoke, silent]), pulled(conversations, [2 / 3, -1 / 3]))


def test_a_step_of_empty_answers_leaves_the_weights_alone(tmp_path):
    trainer = run("silent", tmp_path / "run")
    (line,) = read_log(tmp_path / "run")
    assert stayed(trainer)
    assert line.values["batch/conversations"] == 0
    assert line.values["loss/total"] == 0
    assert line.values["update/skipped"] == 0


@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_an_answer_without_an_end_is_learnt_from_as_far_as_it_goes(advantage):
    """Every token that was written moves the way of the advantage, and none is added to end it."""

    async def cut(item: Any, recorder: Recorder) -> Outcome:
        await recorder.complete(user(item.question), Sampling(max_tokens=3))
        return Outcome(recorder.conversations(), {"standard": 1.0})

    policy = policy_of()
    model = PolicyModel(policy, seed=0)
    rollout = asyncio.run(roll_out(cut, Echo().item("train", 1), model, temperature=1.0))
    (one,) = rollout.conversations
    assert (one.finish, len(one.response_ids), sum(one.mask)) == ("length", 3, 3)
    assert not set(one.response_ids) & policy.encoder.ends
    (before,) = logprobs_of(policy, [one])
    np.testing.assert_allclose(before, one.logprobs, atol=1e-5)
    Updater(policy, recipe_of(optimiser={"learning_rate": 1e-3})).learn([one], [advantage], 0)
    (after,) = logprobs_of(policy, [one])
    assert (np.sign(after - before) == advantage).all()


def test_a_picture_beside_texts_pulls_as_each_of_them_alone():
    changes = {"model": {"tiny": EYES}, "loss": {"entropy": 0.01}}
    policy = policy_of(**changes)
    rows = [
        wrote(policy, "a", 3),
        wrote(policy, "b", 6, colour=(200, 30, 30)),
        wrote(policy, "c", 9),
    ]
    advantages = [1.0, -0.5, 0.25]
    alone = [
        pulled([row], [advantage], **changes)
        for row, advantage in zip(rows, advantages, strict=True)
    ]
    assert_same(pulled(rows, advantages, **changes), torch.stack(alone).sum(0))
    other = replace(rows[1], images=wrote(policy, "b", 6, colour=(30, 30, 200)).images)
    assert not torch.allclose(alone[1], pulled([other], [-0.5], **changes), atol=1e-4)


def test_a_run_killed_between_the_updates_of_a_step_goes_on_to_the_same_losses(tmp_path):
    """Killed after the first of the two updates of its fourth step, two steps after a checkpoint
    and one after the last line of its log."""
    recipe = recipe_of(
        steps=5, batch={"prompts": 2, "rollouts": 3, "updates": 2}, loss={"kl": 0.05},
        checkpoints={"every": 2},
    )  # fmt: skip
    asyncio.run(Trainer.begin(recipe, tmp_path / "whole").run())
    Trainer.begin(recipe, tmp_path / "parts")
    script = f"""
import asyncio, itertools, os, pathlib, signal
from torch.optim.optimizer import register_optimizer_step_post_hook
from palimpsest.training.trainer import Trainer

number = itertools.count(1)
register_optimizer_step_post_hook(
    lambda *_: os.kill(os.getpid(), signal.SIGKILL) if next(number) == 7 else None
)
asyncio.run(Trainer.resume(pathlib.Path({str(tmp_path / "parts")!r})).run())
"""
    environment = os.environ | {"PYTHONPATH": str(TESTS)}
    killed = subprocess.run([sys.executable, "-c", script], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [line.step for line in read_log(tmp_path / "parts")] == [1, 2, 3]
    trainer = Trainer.resume(tmp_path / "parts")
    asyncio.run(trainer.run())
    whole, parts = (
        [
            {name: value for name, value in line.values.items() if not name.startswith("time/")}
            for line in read_log(tmp_path / name)
        ]
        for name in ("whole", "parts")
    )
    assert [values["loss/total"] for values in parts] == [values["loss/total"] for values in whole]
    assert parts == whole
    assert len(whole) == 5
