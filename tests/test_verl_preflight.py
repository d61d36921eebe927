"""What is looked at before a run on a cluster begins."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from palimpsest.errors import ConfigurationError, PalimpsestError
from palimpsest.training.recipes import load_recipe
from palimpsest.training.verl.preflight import Preflight, look_at_disk, look_at_model
from palimpsest.training.verl.running import Plan, last_checkpoint, resumed_plan

RECIPES = Path(__file__).parents[1] / "recipes"
VISION = {"patch_size": 14, "spatial_merge_size": 2}


@pytest.fixture
def model(tmp_path):
    """Makes a folder that looks like a model's."""

    def made(**config):
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"model_type": "qwen2", **config}))
        (folder / "tokenizer.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(b"0" * 2000)
        return folder

    return made


def plan_of(folder, name="memagent", *overrides, run=None):
    recipe = load_recipe(
        RECIPES / f"{name}.toml", [f"model.folder={folder}", "data.path=rows.jsonl", *overrides]
    )
    return Plan(recipe, run or folder.parent / "run", None, 0, None)


def test_a_whole_model_is_told(model):
    assert look_at_model(plan_of(model())) == "qwen2, 0.0 GB"


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("config.json", "there is no model in"),
        ("tokenizer.json", r"no tokenizer\.json in"),
        ("model.safetensors", "no weights"),
    ],
)
def test_what_a_model_lacks_is_named(model, missing, said):
    folder = model()
    (folder / missing).unlink()
    with pytest.raises(ConfigurationError, match=said) as refused:
        look_at_model(plan_of(folder))
    assert "model.folder wants" in refused.value.hint


def test_pages_want_a_model_that_sees_cells_of_their_size(model):
    with pytest.raises(ConfigurationError, match="sees none"):
        look_at_model(plan_of(model(), "memocr"))
    wide = model(vision_config={**VISION, "patch_size": 16})
    with pytest.raises(ConfigurationError, match="cells of 28 px, and this model sees cells of 32"):
        look_at_model(plan_of(wide, "memocr"))
    assert look_at_model(plan_of(wide, "memocr", "reader.settings.cell=32"))
    assert look_at_model(plan_of(model(vision_config=VISION), "memocr"))


def test_servers_must_come_out_even(model):
    folder = model(num_attention_heads=28)
    with pytest.raises(ConfigurationError, match="28 attention heads cannot be shared out to 8"):
        look_at_model(plan_of(folder, "memagent", "cluster.tensor_parallel=8"))
    with pytest.raises(ConfigurationError, match="32 GPUs cannot be shared out to servers of 7"):
        look_at_model(plan_of(folder, "memagent", "cluster.tensor_parallel=7"))


def test_room_on_the_disk_is_counted_by_parameters(model):
    # 2,000 bytes of bfloat16 are 1,000 parameters, 12,000 bytes a checkpoint, of which 3 at once.
    told = look_at_disk(plan_of(model()))
    assert told.endswith("3 checkpoints take 0 GB")
    with pytest.raises(ConfigurationError, match="free, 100000000000001 checkpoints take"):
        look_at_disk(plan_of(model(), "memagent", "checkpoints.keep=100000000000000"))


def test_a_run_goes_on_from_its_last_whole_checkpoint(tmp_path):
    assert last_checkpoint(tmp_path) == 0
    tracker = tmp_path / "checkpoints" / "latest_checkpointed_iteration.txt"
    tracker.parent.mkdir()
    tracker.write_text("40")
    assert last_checkpoint(tmp_path) == 40
    tracker.write_text("")
    with pytest.raises(PalimpsestError, match="names no step"):
        last_checkpoint(tmp_path)


def test_a_checkpoint_is_for_as_many_gpus_as_it_was_written_by(model, tmp_path):
    from palimpsest.training.recipes import recipe_text

    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    recipe = plan_of(model()).recipe
    (run / "recipe.toml").write_text(recipe_text(recipe))
    (run / "checkpoints" / "latest_checkpointed_iteration.txt").write_text("40")
    with pytest.raises(ConfigurationError, match="cut for 32 GPUs, not for 16"):
        resumed_plan(run, ["cluster.nodes=2"])


@pytest.mark.verl
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_that_does_not_answer_is_told_at_once(model, tmp_path):
    from palimpsest.training.verl.running import new_plan

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        recipe = plan_of(model(vision_config=VISION)).recipe
        checks = {
            check.name: check
            for check in Preflight(new_plan(recipe, tmp_path / "run", address)).checks()
        }
        assert list(checks) == ["verl", "model", "recipe", "questions", "disk", "cluster"]
        with pytest.raises(ConfigurationError, match=f"no Ray cluster answers at {address}"):
            checks["cluster"].run()
        assert checks["recipe"].run() == "memagent, credit shared"


@pytest.mark.verl
def test_a_draft_must_fit_the_window(model, tmp_path):
    from palimpsest.training.verl.running import new_plan

    recipe = plan_of(model(), "memagent", "cluster.prompt_tokens=4000").recipe
    check = {one.name: one for one in Preflight(new_plan(recipe, tmp_path / "run")).checks()}[
        "recipe"
    ]
    with pytest.raises(ConfigurationError, match="a draft takes 7,048 tokens and its prompt"):
        check.run()
