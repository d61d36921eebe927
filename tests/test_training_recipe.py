"""Recipes: what they say, what they may not say, and what is checked before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from palimpsest.errors import ConfigurationError, InputError
from palimpsest.training import opening
from palimpsest.training.opening import Opening
from palimpsest.training.recipe import Recipe
from palimpsest.training.recipes import known_keys, load_recipe, recipe_text

RECIPES = Path(__file__).parent.parent / "recipes"
SMALL = """
steps = 3
[model.tiny]
[data]
task = "toy-echo"
[reader]
name = "memagent"
"""


def written(folder: Path, text: str = SMALL) -> Path:
    file = folder / "recipe.toml"
    file.write_text(text)
    return file


def refused(folder: Path, *overrides: str, text: str = SMALL) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        Opening(load_recipe(written(folder, text), overrides)).check()
    return caught.value


def test_what_a_recipe_leaves_out_has_its_default(tmp_path):
    recipe = load_recipe(written(tmp_path))
    assert (recipe.steps, recipe.batch.updates, recipe.loss.clip_high) == (3, 4, 0.2)
    assert recipe.weights == {"standard": 1.0}


def test_overrides_are_toml_or_else_texts(tmp_path):
    overrides = [
        "steps=7", "optimiser.betas=[0.8, 0.9]", "reader.settings.chunk_tokens=50",
        "reward.name=lenient", "early_stop.target=0.9", "data.limit = 12",
    ]  # fmt: skip
    recipe = load_recipe(written(tmp_path), overrides)
    assert (recipe.steps, recipe.optimiser.betas, recipe.data.limit) == (7, (0.8, 0.9), 12)
    assert recipe.reader.settings == {"chunk_tokens": 50}
    assert (recipe.reward.name, recipe.early_stop.target) == ("lenient", 0.9)


def test_an_unknown_key_is_told_with_the_nearest_known(tmp_path):
    error = refused(tmp_path, "batch.promts=3")
    assert "batch.promts" in str(error)
    assert "batch.prompts" in error.hint
    assert "optimiser" in refused(tmp_path, text=SMALL + "[optimizer]\n").hint


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("steps=-1", "steps"),
        ("sampling.temperature=0", "sampling.temperature"),
        ("credit.kind=gae", "credit.kind"),
        ("model.folder=/nowhere", "either a folder or"),
        ("agent.path=nowhere", "agent.path"),
        ("warm_start.steps=3", "lessons"),
        ("steps=0", "nothing to do"),
    ],
)
def test_a_value_that_does_not_fit_is_named(tmp_path, override, said):
    assert said in str(refused(tmp_path, override))


def test_a_missing_table_is_named(tmp_path):
    assert "data is missing" in str(refused(tmp_path, text="steps = 1\n[model.tiny]\n"))


def test_a_file_that_is_no_recipe_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no\.toml"):
        load_recipe(tmp_path / "no.toml")
    with pytest.raises(InputError, match="not valid TOML"):
        load_recipe(written(tmp_path, "steps = = 1"))
    with pytest.raises(InputError, match="sets nothing"):
        load_recipe(written(tmp_path), ["steps"])


def test_a_recipe_reads_back_as_it_was_written(tmp_path):
    text = SMALL + '[model.template]\n"a key" = "line\\nend \\u007f"\nthinking = false\n'
    recipe = load_recipe(
        written(tmp_path, text),
        ["credit.efficiency_cap=none", "reader.settings={budgets=[32, 16], deep={a=[1.5]}}"],
    )
    again = load_recipe(written(tmp_path, recipe_text(recipe)))
    assert again == recipe
    assert again.model.template == {"a key": "line\nend \x7f", "thinking": False}


def test_paths_are_of_the_file_or_of_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    text = SMALL.replace('task = "toy-echo"', 'path = "rows.jsonl"')
    recipe = load_recipe(written(tmp_path, text))
    assert recipe.data.path == tmp_path / "rows.jsonl"
    recipe = load_recipe(written(tmp_path, text), ["data.path=rows.jsonl"])
    assert recipe.data.path == tmp_path / "inside/rows.jsonl"


def test_the_keys_of_a_recipe_are_known_to_their_leaves():
    keys = set(known_keys())
    assert {"batch.prompts", "model.tiny.width", "evaluation.data.task", "seed"} <= keys


@pytest.mark.parametrize("name", ["memagent", "memagent-14b", "memocr", "memreread"])
def test_the_papers_recipes_pass_all_checks(name, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    file = RECIPES / f"{name}.toml"
    recipe = load_recipe(file, [f"model.folder={tmp_path}", f"data.path={tmp_path}"])
    Opening(recipe).check()
    assert Recipe.model_validate(recipe.model_dump()) == recipe


def test_credit_that_the_reader_has_no_use_for_is_refused(tmp_path):
    assert "memagent makes none" in str(refused(tmp_path, "credit.kind=rea"))
    assert "there is one" in str(refused(tmp_path, "credit.kind=multi_task"))
    full = refused(tmp_path, "credit.state_alpha=0.1", "reader.name=full")
    assert "full has none" in str(full)
    objectives = refused(
        tmp_path, "reader.name=memreread+memocr", "credit.kind=rea", "objectives.gaps=2"
    )
    assert "objectives" in str(objectives)


def test_objectives_need_a_page(tmp_path):
    assert "memagent draws no page" in str(refused(tmp_path, "objectives.gaps=2"))


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "find_spec", lambda name: None if name == "torch" else name)
    error = refused(tmp_path)
    assert "torch" in str(error)
    assert "palimpsest-memory[train]" in error.hint
    monkeypatch.setattr(opening, "find_spec", lambda name: None if name == "wandb" else name)
    assert "pip install wandb" in refused(tmp_path, 'log.to=["wandb"]').hint


def test_a_missing_model_is_named(tmp_path):
    text = SMALL.replace("[model.tiny]", '[model]\nfolder = "nowhere"')
    assert f"{tmp_path}/nowhere" in str(refused(tmp_path, text=text))


def test_bfloat16_wants_a_gpu_or_to_be_asked_twice(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="needs the `train` extra")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "bfloat16" in str(refused(tmp_path, "model.dtype=bfloat16"))
    asked = load_recipe(written(tmp_path), ["model.dtype=bfloat16", "model.device=cpu"])
    Opening(asked).check()


def test_names_that_lead_nowhere_are_refused(tmp_path):
    assert "no reward" in str(refused(tmp_path, "reward.name=luck"))
    assert "nowhere:reward" in str(refused(tmp_path, "reward.name=nowhere:reward"))
    assert "no reader" in str(refused(tmp_path, "reader.name=memagnet"))
    assert "no setting" in str(refused(tmp_path, "reader.settings.chunks=3"))
    assert "do not fit" in str(refused(tmp_path, "reader.settings.chunk_tokens=0"))
    lessons = "warm_start={steps=1, lessons=2}"
    assert "no teacher" in str(refused(tmp_path, lessons, "data.task=hotpotqa:train"))
