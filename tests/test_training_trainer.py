"""The trainer: what a step takes in, what it does to the weights, and when it ends."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the `train` extra")
pytest.importorskip("transformers", reason="needs the `train` extra")

from palimpsest.errors import ConfigurationError, InputError, ModelError  # noqa: E402
from palimpsest.sources.tokens import EstimateTokenizer  # noqa: E402
from palimpsest.training.crediting import credited, reward_of  # noqa: E402
from palimpsest.training.logbook import Line, read_log  # noqa: E402
from palimpsest.training.policy import Policy  # noqa: E402
from palimpsest.training.questions import questions_of, taken  # noqa: E402
from palimpsest.training.recipe import (  # noqa: E402
    CreditPart,
    OptimiserPart,
    OverlongPart,
    Recipe,
)
from palimpsest.training.recipes import checked_recipe  # noqa: E402
from palimpsest.training.rollout import Conversation, Rollout  # noqa: E402
from palimpsest.training.trainer import Trainer  # noqa: E402
from palimpsest.training.transcripts import read_transcript, transcript_file  # noqa: E402
from palimpsest.training.update import Updater, learning_rate, pieces  # noqa: E402

torch.set_num_threads(1)

TINY = {"width": 32, "layers": 1, "heads": 2}
BASE = {
    "steps": 2,
    "model": {"tiny": TINY},
    "data": {"task": "toy-echo"},
    "agent": {"path": "trainer_agents:letters"},
    "optimiser": {"learning_rate": 3e-3, "weight_decay": 0.0},
    "batch": {"prompts": 2, "rollouts": 4, "updates": 2},
    "evaluation": {"every": 0},
    "log": {"to": [], "curves": False},
}


def recipe_of(**changes: Any) -> Recipe:
    """The recipe of these tests with some of its tables changed."""
    table = dict(BASE)
    for name, value in changes.items():
        old = table.get(name)
        table[name] = old | value if isinstance(old, dict) and isinstance(value, dict) else value
    return checked_recipe(table, "test")


def agent(name: str, **settings: Any) -> dict[str, Any]:
    return {"path": f"trainer_agents:{name}", "settings": settings}


def trained(recipe: Recipe, folder: Path) -> Trainer:
    trainer = Trainer.begin(recipe, folder)
    asyncio.run(trainer.run())
    return trainer


def learnt(folder: Path) -> list[Line]:
    return [line for line in read_log(folder) if line.phase == "learning"]


def start_of(recipe: Recipe) -> dict[str, Any]:
    """The weights that a run of the recipe begins with."""
    from palimpsest.training.opening import Opening

    return Opening(recipe).policy().state()


def moved(trainer: Trainer) -> bool:
    before = start_of(trainer.recipe)
    after = trainer._policy.state()
    assert all(bool(value.isfinite().all()) for value in after.values())
    return any(not torch.equal(before[name], after[name]) for name in before)


def test_the_reward_rises(tmp_path):
    recipe = recipe_of(
        steps=12, batch={"prompts": 4, "rollouts": 16}, optimiser={"learning_rate": 1e-2}
    )
    trained(recipe, tmp_path / "run")
    rewards = [line.values["reward/reward"] for line in learnt(tmp_path / "run")]
    assert np.mean(rewards[:2]) < 0.4
    assert np.mean(rewards[-2:]) > 0.7


def test_the_same_recipe_gives_the_same_numbers(tmp_path):
    recipe = recipe_of(evaluation={"every": 1, "items": 2})
    for name in ("one", "two"):
        trained(recipe, tmp_path / name)
    one, two = ([{**line.values} for line in read_log(tmp_path / name)] for name in ("one", "two"))
    for values in (*one, *two):
        for name in [name for name in values if name.startswith("time/")]:
            del values[name]
    assert one == two
    assert len(one) == 3


def test_the_number_of_updates_does_not_depend_on_the_conversations(tmp_path):
    recipe = recipe_of(agent=agent("many"), batch={"updates": 3, "rollouts": 3, "prompts": 2})
    trainer = trained(recipe, tmp_path / "run")
    lines = learnt(tmp_path / "run")
    assert [line.values["update/count"] for line in lines] == [3, 3]
    assert lines[0].values["batch/conversations"] == 2 * (1 + 4 + 7)
    assert moved(trainer)


def test_groups_without_an_advantage_make_way_for_others(tmp_path):
    recipe = recipe_of(
        agent=agent("half_same"), filter={"keep": "informative", "refills": 5}, steps=1,
        batch={"prompts": 3},
    )  # fmt: skip
    trained(recipe, tmp_path / "run")
    (line,) = learnt(tmp_path / "run")
    assert line.values["batch/refills"] >= 1
    assert line.values["batch/dropped"] >= 4
    written = read_transcript(transcript_file(tmp_path / "run", "step", 1))
    kept = [one for one in written if not one.get("dropped")]
    assert len({one["group"] for one in kept}) == 3
    assert all(int(one["group"].rpartition("-")[2]) % 2 == 0 for one in kept)
    assert len(written) == len({(one["group"], one["number"]) for one in written})


def test_refills_end(tmp_path):
    recipe = recipe_of(agent=agent("same"), filter={"keep": "informative", "refills": 2}, steps=1)
    trainer = trained(recipe, tmp_path / "run")
    (line,) = learnt(tmp_path / "run")
    assert line.values["batch/rollouts"] == line.values["batch/dropped"] == 3 * 2 * 4
    assert trainer.progress.position == 6
    assert not moved(trainer)


def test_groups_of_equal_outcome_leave_the_weights_alone(tmp_path):
    assert not moved(trained(recipe_of(agent=agent("same")), tmp_path / "run"))


def test_a_group_of_one_leaves_the_weights_alone(tmp_path):
    assert not moved(trained(recipe_of(batch={"rollouts": 1, "prompts": 4}), tmp_path / "run"))


def test_odd_rollouts_are_data(tmp_path):
    """No reward, no word, a failure and an answer without an end in each group."""
    trainer = trained(recipe_of(agent=agent("odd"), loss={"kl": 0.01}), tmp_path / "run")
    line = learnt(tmp_path / "run")[-1]
    assert line.values["written/failed"] == 0.25
    assert line.values["written/cut_off"] > 0.5
    assert moved(trainer)
    written = {
        one["number"]: one
        for one in read_transcript(transcript_file(tmp_path / "run", "step", 1))[:4]
    }
    assert written[0]["scores"] == {"standard": None}
    assert [one["advantage"] for one in written[0]["conversations"]] == [0.0]
    assert written[1]["conversations"][0]["tokens"] == 0
    assert "the tool broke" in written[2]["failure"]
    assert (written[2]["reward"], written[2]["conversations"][0]["advantage"] < 0) == (0.0, True)
    assert written[3]["conversations"][0]["advantage"] > 0


def test_pictures_stand_beside_texts_in_an_update(tmp_path):
    tiny = TINY | {"family": "qwen2_5_vl", "vision_width": 16, "vision_layers": 1}
    recipe = recipe_of(
        model={"tiny": tiny}, agent=agent("looks"), loss={"kl": 0.01}, steps=1,
        log={"rollouts": "tokens"},
    )  # fmt: skip
    trainer = trained(recipe, tmp_path / "run")
    eyes = [name for name in start_of(recipe) if "visual" in name]
    before, after = start_of(recipe), trainer._policy.state()
    assert any(not torch.equal(before[name], after[name]) for name in eyes)
    written = read_transcript(transcript_file(tmp_path / "run", "step", 1))
    assert [len(one["images"]) for one in written[0]["conversations"]] == [0, 1]


def test_a_step_of_which_all_rollouts_fail_says_why(tmp_path):
    with pytest.raises(ModelError, match="the disk is full"):
        trained(recipe_of(agent=agent("broken")), tmp_path / "run")


def test_an_agent_may_have_settings(tmp_path):
    trained(recipe_of(agent=agent("scaled", factor=0.0)), tmp_path / "run")
    assert learnt(tmp_path / "run")[0].values["reward/reward"] == 0


def test_training_ends_when_the_target_is_reached(tmp_path):
    recipe = recipe_of(steps=9, evaluation={"every": 2, "items": 2}, early_stop={"target": 0.0})
    trainer = trained(recipe, tmp_path / "run")
    assert trainer.progress.step == 2
    assert "came to" in trainer.progress.ended
    assert (tmp_path / "run/model/config.json").exists()


def test_training_ends_when_nothing_is_gained(tmp_path):
    recipe = recipe_of(
        agent=agent("same"), steps=9, evaluation={"every": 1, "items": 2},
        early_stop={"patience": 2},
    )  # fmt: skip
    trainer = trained(recipe, tmp_path / "run")
    assert trainer.progress.step == 3
    assert "2 evaluations" in trainer.progress.ended
    lines = read_log(tmp_path / "run")
    assert [line.values["held_out/reward"] for line in lines] == [1.0] * 4


def test_a_low_temperature_evaluates_what_is_most_probable(tmp_path):
    recipe = recipe_of(steps=1, evaluation={"every": 1, "items": 1, "repeats": 3})
    trained(recipe, tmp_path / "run")
    written = read_transcript(transcript_file(tmp_path / "run", "held-out", 1))
    assert len({one["answer"] for one in written}) == 1
    recipe = recipe_of(
        steps=1, evaluation={"every": 1, "items": 1, "repeats": 3, "temperature": 1.0}
    )
    trained(recipe, tmp_path / "warm")
    written = read_transcript(transcript_file(tmp_path / "warm", "held-out", 1))
    assert len({one["answer"] for one in written}) == 3


def test_a_cancelled_run_goes_on_to_the_same_numbers(tmp_path, monkeypatch):
    flag = tmp_path / "stop"
    monkeypatch.setenv("COUNTDOWN", str(flag))
    recipe = recipe_of(agent=agent("slow"), steps=3, checkpoints={"every": 50})
    trained(recipe, tmp_path / "whole")

    class Stopper:
        def began(self, trainer: Trainer) -> None: ...

        def rolled_out(self, done: int, of: int) -> None: ...

        def noted(self, text: str) -> None: ...

        def logged(self, line: Line) -> None:
            if line.step == 2 and not flag.exists():
                flag.touch()
                asyncio.get_running_loop().call_later(0.2, task_of_run[0].cancel)

    task_of_run: list[asyncio.Task[Any]] = []

    async def stopped() -> None:
        trainer = Trainer.begin(recipe, tmp_path / "parts", Stopper())
        task_of_run.append(asyncio.ensure_future(trainer.run()))
        await task_of_run[0]

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(stopped())
    flag.unlink()
    assert len(read_log(tmp_path / "parts")) == 2
    asyncio.run(Trainer.resume(tmp_path / "parts").run())
    whole, parts = (read_log(tmp_path / name)[-1].values for name in ("whole", "parts"))
    assert whole["loss/total"] == parts["loss/total"]
    assert whole["update/gradient_norm"] == parts["update/gradient_norm"]


def test_a_folder_holds_one_run(tmp_path):
    trained(recipe_of(steps=1), tmp_path / "run")
    with pytest.raises(ConfigurationError, match="holds a training run"):
        Trainer.begin(recipe_of(), tmp_path / "run")
    with pytest.raises(ConfigurationError, match="its own recipe"):
        Trainer.resume(tmp_path / "run", ["batch.prompts=3"])
    with pytest.raises(InputError, match="holds no training run"):
        Trainer.resume(tmp_path / "none")


def test_a_finished_run_goes_on_for_more_steps(tmp_path):
    trained(recipe_of(steps=1), tmp_path / "run")
    asyncio.run(Trainer.resume(tmp_path / "run", ["steps=2"]).run())
    assert [line.step for line in learnt(tmp_path / "run")] == [1, 2]


def conversations(policy: Policy, lengths: list[int]) -> list[Conversation]:
    generator = np.random.default_rng(0)
    made = []
    for length in lengths:
        ids = tuple(int(token) for token in generator.integers(0, 200, length))
        made.append(Conversation("draft", (5, 6, 7), ids, (-5.0,) * length, (True,) * length))
    return made


def test_an_update_does_not_depend_on_how_it_is_cut():
    from palimpsest.training.opening import Opening

    told, weights = [], []
    for tokens in (8, 30, 10_000):
        recipe = recipe_of(
            batch={"updates": 1, "tokens": tokens}, loss={"kl": 0.1, "entropy": 0.01}
        )
        policy = Opening(recipe).policy()
        policy.keep_reference()
        talk = conversations(policy, [3, 9, 1, 5, 4])
        told.append(Updater(policy, recipe).learn(talk, [1.0, -0.5, 0.0, 0.25, -2.0], 0))
        weights.append(torch.cat([value.flatten() for value in policy.state().values()]))
    for one in told[1:]:
        for name in ("loss/total", "loss/policy", "loss/entropy", "update/gradient_norm"):
            assert one[name] == pytest.approx(told[0][name], rel=1e-4)
    assert torch.allclose(weights[0], weights[2], atol=1e-4)


def test_an_update_of_no_number_is_left_out():
    from palimpsest.training.opening import Opening

    recipe = recipe_of(batch={"updates": 1})
    policy = Opening(recipe).policy()
    before = policy.state()
    with pytest.raises(InputError, match="conversation 1"):
        Updater(policy, recipe).learn(conversations(policy, [3, 2]), [1.0, math.nan], 0)
    told = Updater(policy, recipe).learn(conversations(policy, [3, 2]), [1e38, 1e38], 0)
    assert told["update/skipped"] == 1
    assert all(torch.equal(before[name], value) for name, value in policy.state().items())


@settings(deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 8))
def test_pieces_hold_everything_once_and_none_is_empty(lengths, count):
    talk = [Conversation("x", (1,), (2,) * n, (0.0,) * n, (True,) * n) for n in lengths]
    order = list(range(len(talk)))
    cut = pieces(order, talk, count)
    assert [place for piece in cut for place in piece] == order
    assert len(cut) == count
    if len(talk) >= count:
        assert all(cut)


def test_equal_conversations_are_cut_evenly():
    talk = [Conversation("x", (1,), (2,), (0.0,), (True,))] * 12
    assert [len(piece) for piece in pieces(range(12), talk, 4)] == [3, 3, 3, 3]


def test_the_learning_rate_rises_and_falls():
    part = OptimiserPart(learning_rate=1.0, warmup_steps=2, schedule="linear")
    assert [learning_rate(part, step, 6) for step in range(6)] == [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    part = OptimiserPart(learning_rate=1.0, schedule="cosine")
    assert learning_rate(part, 0, 4) == 1.0
    assert learning_rate(part, 2, 4) == pytest.approx(0.5)
    assert learning_rate(OptimiserPart(learning_rate=2.0), 99, 4) == 2.0


def questions(**changes: Any) -> Any:
    return asyncio.run(questions_of(recipe_of(**changes), EstimateTokenizer()))


def test_each_epoch_has_all_questions_in_its_own_order():
    stream = questions(data={"limit": 6}, batch={"prompts": 2}).training
    epochs = [[stream.at(6 * epoch + place).id for place in range(6)] for epoch in range(3)]
    assert epochs[0] != epochs[1]
    assert {tuple(sorted(epoch)) for epoch in epochs} == {tuple(sorted(epochs[0]))}


def test_no_question_comes_twice_in_a_step():
    stream = questions(data={"limit": 6}, batch={"prompts": 2}).training
    first = taken(stream, 4, 4)
    assert len({item.id for item in first.items}) == 4
    rest = taken(stream, first.position, 9, {item.id for item in first.items})
    assert len(rest.items) == 2


def test_held_out_questions_are_not_trained_on(tmp_path):
    from palimpsest.training.echo import Echo

    rows = tmp_path / "rows.jsonl"
    items = [Echo().item("train", number) for number in range(12)]
    rows.write_text("".join(item.model_dump_json() + "\n" for item in items))
    found = questions(data={"task": "", "path": rows}, evaluation={"every": 1, "items": 4})
    kept = {item.id for item in found.held_out}
    assert len(kept) == 4
    assert found.training.distinct == 8
    assert not kept & {found.training.at(place).id for place in range(8)}
    with pytest.raises(ConfigurationError, match="too few"):
        questions(data={"task": "", "path": rows}, evaluation={"every": 1, "items": 11})


def test_the_papers_rows_are_read(tmp_path):
    rows = tmp_path / "rows.jsonl"
    row = (
        '{"data_source": "hotpotqa", "prompt": [{"role": "user", "content": "Who?"}], "context": '
        '"Document 1:\\nLamp\\nAda has it.\\n\\nDocument 2:\\nRock\\nA rock.", "reward_model": '
        '{"style": "rule", "ground_truth": ["Ada"]}, "extra_info": {"index": %d}}\n'
    )
    rows.write_text(row % 1 + row % 2)
    stream = questions(data={"task": "", "path": rows}).training
    item = stream.at(0)
    assert (item.question, item.answers) == ("Who?", ("Ada",))
    assert [one.title for one in item.documents] == ["Lamp", "Rock"]
    rows.write_text(row % 1 + row % 1)
    with pytest.raises(InputError, match="two questions have the id"):
        questions(data={"task": "", "path": rows})
    rows.write_text('{"question": 3}\n')
    with pytest.raises(InputError, match="row 1"):
        questions(data={"task": "", "path": rows})


def rollout(number: int, tokens: int = 1, **scores: float) -> Rollout:
    talk = Conversation("draft", (1,), (2,) * tokens, (0.0,) * tokens, (True,) * tokens)
    return Rollout("g", number, (talk,), scores, nodes=1 + number)


def test_the_reward_of_several_tasks_is_their_weighted_mean():
    weights = {"standard": 1.0, "cloze": 0.5}
    assert reward_of(rollout(0, standard=1.0, cloze=0.4), weights) == pytest.approx(1.2 / 1.5)
    assert reward_of(rollout(0, standard=1.0, cloze=math.nan), weights) == 1.0
    assert math.isnan(reward_of(rollout(0, standard=math.nan), weights))


def test_credit_is_as_the_recipe_names_it():
    pair = [rollout(0, standard=1.0), rollout(1, standard=1.0)]
    assert [value[0] for value in credited(pair, CreditPart(), {})] == [0.0, 0.0]
    rea = credited(pair, CreditPart(kind="rea", efficiency_cap="none"), {})
    assert rea[0][0] > 0.5 > -0.5 > rea[1][0]
    pair = [rollout(0, standard=1.0, cloze=0.0), rollout(1, standard=0.0, cloze=0.0)]
    (first, _) = credited(pair, CreditPart(kind="multi_task"), {"standard": 1.0, "cloze": 1.0})
    assert first[0] == pytest.approx(0.25)


def test_long_answers_cost():
    overlong = OverlongPart(limit=10, margin=5, factor=0.5)
    pair = [rollout(0, tokens=2, standard=1.0), rollout(1, tokens=20, standard=1.0)]
    assert [value[0] for value in credited(pair, CreditPart(), {}, overlong)] == [0.25, -0.25]
