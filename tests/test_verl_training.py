"""verl trains through our adapter, on processors: its own trainer, engine and losses with ours."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from verl_run import CLUSTER, settings_of

pytestmark = [
    pytest.mark.verl,
    pytest.mark.skipif(find_spec("verl") is None, reason="needs the `verl` extra"),
]
TEXT = """
steps = 12
[model]
folder = "{folder}"
[data]
task = "toy-echo"
limit = 24
[reader]
name = "memagent"
[reader.settings]
chunk_tokens = 8
memory_tokens = 8
answer_tokens = 8
[reward]
name = "verl_rewards:letters"
[optimiser]
learning_rate = 6e-3
weight_decay = 0.0
[batch]
prompts = 4
rollouts = 4
updates = 3
tokens = 4096
[loss]
kl = 1e-3
old = "recomputed"
[filter]
keep = "informative"
[evaluation]
every = 0
[log]
to = []
curves = false
"""
PAGES = """
budgets = [6]
cell = 28
[reader.settings.style]
policy = "drop"
columns = 1
[objectives]
low_budgets = [1]
gaps = 1
[credit]
kind = "multi_task"
[reward]"""
FRAGILE = """
[agent]
path = "verl_agents:Fragile"
[agent.settings]
how = "{how}"
mark = "{mark}"
"""


@pytest.fixture(scope="module")
def text_model(tmp_path_factory):
    return _model(tmp_path_factory.mktemp("text"), "qwen2")


@pytest.fixture(scope="module")
def page_model(tmp_path_factory):
    return _model(tmp_path_factory.mktemp("pages"), "qwen2_5_vl")


def _model(folder, family):
    from palimpsest.training.pinboard import Pinboard
    from palimpsest.training.policy import Policy
    from palimpsest.training.tiny import tiny_text, tiny_tokenizer, tiny_vision

    tokenizer = tiny_tokenizer(Pinboard.pieces)
    make = tiny_vision if family.endswith("vl") else tiny_text
    module = make(tokenizer, family=family, width=32, layers=1, heads=2, window=512)
    Policy(module, tokenizer, name="tiny", device="cpu").save(folder)
    return folder


def trained(recipe: str, tmp_path: Path, how: str, *, gpus: int = 1):
    """The log of a run by steps, and what else it told."""
    run = tmp_path / "run"
    run.mkdir()
    file = tmp_path / "recipe.toml"
    file.write_text(recipe + CLUSTER.format(gpus=gpus))
    script = Path(__file__).with_name("verl_run.py")
    done = subprocess.run(
        [sys.executable, str(script), str(file), str(run), how],
        env=settings_of(run),
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    lines = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return [line["data"] for line in lines], json.loads((run / "told.json").read_text())


def rose(log, name="palimpsest/reward"):
    values = [step[name] for step in log]
    return sum(values[-3:]) / 3 - sum(values[:3]) / 3


def agree(log):
    """Whether sampler and update give each token the same probability."""
    gaps = [step["training/rollout_probs_diff_max"] for step in log]
    return max(gaps) < 0.05


def test_several_conversations_of_a_rollout_are_trained_by_one_reward(text_model, tmp_path):
    recipe = TEXT.format(folder=text_model).replace("every = 0", "every = 6\nitems = 4")
    log, told = trained(recipe, tmp_path, "hand")
    held_out = [step for step in log if "val-core/toy-echo/reward/mean@1" in step]
    scores = [step["val-core/toy-echo/reward/mean@1"] for step in held_out]
    assert len(scores) == 3
    assert scores[-1] > scores[0] + 0.3
    log = [step for step in log if "palimpsest/reward" in step]
    assert len(log) == 12
    assert rose(log) > 0.04
    assert agree(log)
    assert all(step["palimpsest/conversations"] >= 3 for step in log)
    assert [updates for _, updates in told["updates"]] == [3] * 12
    assert all(math.isfinite(step["actor/grad_norm"]) for step in log)
    assert log[-1]["actor/kl_loss"] > 0


def test_pages_are_read_in_the_last_turns_and_trained_for_each_task(page_model, tmp_path):
    log, _ = trained(_with_pages(page_model), tmp_path, "hand")
    assert rose(log) > 0.05
    assert agree(log)
    assert all(step["palimpsest/conversations"] > 3 for step in log)
    assert {"palimpsest/reward/low_budget", "palimpsest/reward/cloze"} <= log[0].keys()


def test_an_error_in_one_rollout_costs_that_rollout(text_model, tmp_path):
    table = FRAGILE.format(how="raise", mark=tmp_path / "mark")
    log, _ = trained(_with_agent(text_model, table), tmp_path, "hand")
    failed = [step["palimpsest/failed"] for step in log]
    assert len(log) == 4
    assert max(failed) == pytest.approx(1 / 16)
    assert sum(failed) == pytest.approx(1 / 16)


def test_a_process_that_is_killed_costs_its_rollouts_on_a_cluster_of_two(text_model, tmp_path):
    table = FRAGILE.format(how="kill", mark=tmp_path / "mark")
    recipe = _with_agent(text_model, table)
    log, _ = trained(recipe, tmp_path, "ray", gpus=2)
    assert (tmp_path / "mark").exists()
    assert len(log) == 4
    assert agree(log)
    assert log[-1]["actor/kl_loss"] > 0


def _with_pages(folder):
    recipe = TEXT.format(folder=folder).replace("memagent", "memocr")
    recipe = recipe.replace("toy-echo", "toy-pinboard").replace("chunk_tokens = 8\n", "")
    return recipe.replace("[reward]", PAGES.strip())


def _with_agent(folder, table):
    recipe = TEXT.format(folder=folder).replace('keep = "informative"', 'keep = "all"')
    head, _, rest = recipe.replace("steps = 12", "steps = 4").partition("[reader]")
    return head + "[reward]" + rest.partition("[reward]")[2] + table


def test_a_plugin_that_cannot_be_registered_says_so(tmp_path):
    metadata = tmp_path / "verl-0.8.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: verl\nVersion: 0.8.0\n")
    done = subprocess.run(
        [sys.executable, "-c", "import palimpsest.training.verl.plugin"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode
    assert "palimpsest is not registered with verl" in done.stderr
    assert "verl 0.8.0 is installed" in done.stderr
