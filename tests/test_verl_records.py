from __future__ import annotations

import json
import math
import random
from dataclasses import replace

import pytest

from palimpsest.errors import ConfigurationError
from palimpsest.training.crediting import credited
from palimpsest.training.recipe import Recipe
from palimpsest.training.rollout import Conversation, Rollout
from palimpsest.training.verl.carried import packed, text_in, unpacked
from palimpsest.training.verl.dealing import dealt
from palimpsest.training.verl.records import advantages_of, rows_of, sessions_of

_CREDITS = (
    {"kind": "shared"},
    {"kind": "shared", "by_std": True},
    {"kind": "multi_task"},
    {"kind": "multi_task", "state_alpha": 0.2},
    {"kind": "rea"},
    {"kind": "rea", "state_alpha": 0.05, "efficiency_cap": "none"},
)


def _recipe(credit=None, **given):
    objectives = {"weights": {"standard": 1.0, "low_budget": 0.7, "cloze": 0.3}}
    table = {"model": {"tiny": {}}, "data": {"task": "toy-echo"}, "reader": {"name": "memocr"}}
    table |= {"steps": 1, "objectives": objectives, "credit": credit or {}}
    return Recipe.model_validate(table | given)


def _conversation(chance, role, step, task=""):
    tokens = chance.randint(1, 9)
    return Conversation(
        role=role,
        prompt_ids=(1, 2),
        response_ids=(3,) * tokens,
        logprobs=(-0.5,) * tokens,
        mask=(True,) * tokens,
        finish=chance.choice(["stop", "length"]),
        step=step,
        task=task,
        state_reward=chance.choice([None, chance.random()]) if role == "draft" else None,
        trained=chance.random() > 0.1,
    )


def _rollout(chance, group, number):
    drafts = [_conversation(chance, "draft", step) for step in range(chance.randint(0, 4))]
    finals = [
        _conversation(chance, "read", 0, "standard"),
        _conversation(chance, "low-resolution", 0, "low_budget"),
        _conversation(chance, "cloze", 0, "cloze"),
    ]
    failed = chance.random() < 0.1
    unknown = chance.random() < 0.1
    return Rollout(
        group=group,
        number=number,
        conversations=() if failed else tuple(drafts + finals),
        scores={
            "standard": 0.0 if failed else float(chance.random() < 0.5),
            "low_budget": 0.0 if failed else chance.random(),
            "cloze": math.nan if unknown else chance.random(),
        },
        nodes=chance.randint(1, 4),
        failure="ModelError: the server is gone" if failed else "",
    )


def _rollouts(seed):
    chance = random.Random(seed)
    return [_rollout(chance, f"group-{group}", number) for group in range(5) for number in range(6)]


def _records(rollouts):
    """As verl keeps them, by its keys, through other processes and back."""
    kept = {}
    for one in rollouts:
        for place, row in enumerate(rows_of(one)):
            kept[f"{one.group}_{one.number}_{place}"] = json.loads(json.dumps(row.record))
    return kept


@pytest.mark.parametrize("credit", _CREDITS, ids=lambda credit: "-".join(map(str, credit.values())))
@pytest.mark.parametrize("seed", range(5))
def test_advantages_are_those_of_the_embedded_trainer(credit, seed):
    recipe = _recipe(credit, loss={"overlong": {"limit": 8, "margin": 4}})
    rollouts = _rollouts(seed)
    expected = {}
    for one, values in zip(
        rollouts,
        credited(rollouts, recipe.credit, recipe.weights, recipe.loss.overlong),
        strict=True,
    ):
        learnt = [
            value
            for conversation, value in zip(one.conversations, values, strict=True)
            if conversation.trained
        ]
        for place, value in enumerate(learnt or [0.0]):
            expected[f"{one.group}_{one.number}_{place}"] = value
    records = _records(rollouts)
    shuffled = dict(random.Random(seed).sample(sorted(records.items()), len(records)))
    found = advantages_of(sessions_of(shuffled), recipe)
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, abs=1e-6)
    assert any(found.values())


def test_a_rollout_of_which_nothing_is_learnt_still_counts_in_its_group():
    chance = random.Random(1)
    right = replace(
        _rollout(chance, "a", 0),
        conversations=(replace(_conversation(chance, "draft", 0), trained=True),),
        scores={"standard": 1.0},
        failure="",
    )
    lost = replace(right, number=1, conversations=(), scores={"standard": 0.0}, failure="gone")
    found = advantages_of(sessions_of(_records([right, lost])), _recipe())
    assert found == {"a_0_0": 0.5, "a_1_0": 0.0}


def test_a_recipe_is_carried_whole_through_a_configuration_that_replaces_dollars():
    recipe = _recipe(
        reader={"name": "memocr", "settings": {"prefix": "${trainer.nnodes} and $HOME"}}
    )
    assert "$" not in packed(recipe)
    config = {"palimpsest": {"recipe": packed(recipe)}}
    assert unpacked(config) == recipe
    assert text_in(config) == packed(recipe)


def test_a_configuration_without_a_recipe_is_refused():
    with pytest.raises(ConfigurationError, match=r"palimpsest\.recipe"):
        unpacked({})


@pytest.mark.parametrize(("updates", "ranks", "rows", "learnt"), [(4, 2, 24, 17), (3, 1, 9, 3)])
def test_each_update_has_as_many_rows_for_each_gpu_and_something_to_learn(
    updates, ranks, rows, learnt
):
    chance = random.Random(updates)
    trained = [chance.randint(1, 100) for _ in range(learnt)] + [0] * (rows - learnt)
    order = dealt(trained, trained, updates=updates, ranks=ranks, chance=chance)
    assert sorted(order) == list(range(rows))
    size = rows // updates // ranks
    pieces = [
        [
            trained[place]
            for rank in range(ranks)
            for place in order[(rank * updates + update) * size :][:size]
        ]
        for update in range(updates)
    ]
    assert all(any(piece) for piece in pieces)
    assert max(map(sum, pieces)) - min(map(sum, pieces)) <= max(trained)
