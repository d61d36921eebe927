"""Warm starts: what is imitated of teachers, readings and runs, and what is left out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the `train` extra")
pytest.importorskip("transformers", reason="needs the `train` extra")

from palimpsest.datasets.item import Item  # noqa: E402
from palimpsest.errors import ConfigurationError, InputError  # noqa: E402
from palimpsest.memory import ReadingStore  # noqa: E402
from palimpsest.models import ScriptedModel  # noqa: E402
from palimpsest.models.model import Message, Sampling  # noqa: E402
from palimpsest.training.echo import Echo  # noqa: E402
from palimpsest.training.logbook import read_log  # noqa: E402
from palimpsest.training.opening import Opening  # noqa: E402
from palimpsest.training.recipe import Recipe  # noqa: E402
from palimpsest.training.recipes import checked_recipe  # noqa: E402
from palimpsest.training.trainer import Trainer  # noqa: E402

torch.set_num_threads(1)


def recipe_of(warm_start: dict[str, Any], **changes: Any) -> Recipe:
    table = {
        "steps": 0,
        "model": {"tiny": {"width": 32, "layers": 1, "heads": 2}},
        "data": {"task": "toy-echo", "limit": 6},
        "reader": {
            "name": "memagent",
            "settings": {"chunk_tokens": 12, "memory_tokens": 40, "answer_tokens": 20},
        },
        "batch": {"prompts": 2, "rollouts": 2, "updates": 1},
        "evaluation": {"every": 0},
        "log": {"to": [], "curves": False, "rollouts": "tokens"},
        "warm_start": {"steps": 2, "learning_rate": 1e-2, "conversations": 8} | warm_start,
    }
    return checked_recipe(table | changes, "test")


class Heard:
    """What a run says of itself."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def began(self, trainer: Trainer) -> None: ...

    def rolled_out(self, done: int, of: int) -> None: ...

    def logged(self, line: object) -> None: ...

    def noted(self, text: str) -> None:
        self.notes.append(text)


def trained(recipe: Recipe, folder: Path) -> list[str]:
    heard = Heard()
    asyncio.run(Trainer.begin(recipe, folder, heard).run())
    return heard.notes


def losses(folder: Path) -> list[float]:
    return [line.values["loss/imitation"] for line in read_log(folder)]


def test_a_teacher_is_imitated(tmp_path):
    recipe = recipe_of({"lessons": 6, "lowest_score": 0.0, "steps": 12})
    notes = trained(recipe, tmp_path / "run")
    assert notes[-1] == "18 conversations to imitate"
    assert losses(tmp_path / "run")[-1] < 0.6 * losses(tmp_path / "run")[0]
    assert (tmp_path / "run/model/model.safetensors").exists()


def test_only_what_scored_high_enough_is_imitated(tmp_path):
    notes = trained(recipe_of({"lessons": 6, "steps": 1}), tmp_path / "run")
    left_out = int(notes[0].split()[0])
    assert "scored too low" in notes[0]
    assert notes[-1] == f"{3 * (6 - left_out)} conversations to imitate"
    assert 0 < left_out < 6


def readings(folder: Path, recipe: Recipe, items: Sequence[Item]) -> None:
    """Readings of the items by a model that knows the words."""
    reader = Opening(recipe).reader

    def respond(messages: Sequence[Message], sampling: Sampling) -> str:
        prompt = str(messages[-1]["content"])
        word = next((word for word in ("red", "blue", "green", "black") if word in prompt), "-")
        return rf"\boxed{{{word}}}" if prompt.endswith("answer") else f"noted {word}"

    async def read(item: Item) -> None:
        model = ScriptedModel(respond, name="served")
        reading = await reader.read(item.source(), item.question, model)
        reading.raise_for_status()
        store.create(reading).close()

    store = ReadingStore(folder)
    for item in items:
        asyncio.run(read(item))


def test_readings_are_imitated_with_the_prompts_they_were_made_with(tmp_path):
    recipe = recipe_of({"readings": [str(tmp_path / "readings")], "steps": 10})
    known = [Echo().item("train", number) for number in range(3)]
    foreign = known[0].model_copy(update={"question": "What else?"})
    readings(tmp_path / "readings", recipe, [*known, foreign])
    notes = trained(recipe, tmp_path / "run")
    assert "1 left out of the warm start: are of no question of the data" in notes
    found = [line for line in notes if line.endswith("to imitate")]
    count = int(found[0].split()[0])
    assert count >= 6
    assert losses(tmp_path / "run")[-1] < losses(tmp_path / "run")[0]


def test_a_reading_with_other_prompts_is_left_out(tmp_path):
    recipe = recipe_of({"readings": [str(tmp_path / "readings")]})
    readings(tmp_path / "readings", recipe, [Echo().item("train", 0)])
    prompts = tmp_path / "prompts.toml"
    prompts.write_text(
        'id = "other"\n[final]\ntext = "{question} {memory} answer"\n'
        '[draft]\nmemory_first = "{question} {memory} {section}"\n'
    )
    settings = recipe.reader.model_dump() | {"prompts": str(prompts)}
    other = recipe_of({"readings": [str(tmp_path / "readings")]}, reader=settings)
    with pytest.raises(ConfigurationError, match="cannot be made again"):
        trained(other, tmp_path / "run")


def test_rollouts_of_a_run_are_imitated(tmp_path):
    agent = {"path": "trainer_agents:letters"}
    table = recipe_of({"lessons": 1, "lowest_score": 0.0}).model_dump(exclude_none=True)
    del table["warm_start"], table["reader"]
    first = checked_recipe(table | {"steps": 1, "agent": agent}, "test")
    asyncio.run(Trainer.begin(first, tmp_path / "first").run())
    warm = {"runs": [str(tmp_path / "first")], "lowest_score": 0.0}
    notes = trained(recipe_of(warm), tmp_path / "second")
    assert notes[-1] == "8 conversations to imitate"
    texts = checked_recipe(
        table | {"steps": 1, "agent": agent, "log": table["log"] | {"rollouts": "text"}}, "test"
    )
    asyncio.run(Trainer.begin(texts, tmp_path / "texts").run())
    with pytest.raises(InputError, match="without their tokens"):
        trained(recipe_of({**warm, "runs": [str(tmp_path / "texts")]}), tmp_path / "third")


def test_nothing_to_imitate_is_an_error(tmp_path):
    (tmp_path / "readings").mkdir()
    with pytest.raises(ConfigurationError, match="nothing to imitate"):
        trained(recipe_of({"readings": [str(tmp_path / "readings")]}), tmp_path / "run")
    with pytest.raises(ConfigurationError, match="no folder of readings"):
        trained(recipe_of({"readings": [str(tmp_path / "none")]}), tmp_path / "other")
