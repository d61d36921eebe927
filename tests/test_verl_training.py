"""verl's own `main_ppo` trains through our adapter, on a Ray cluster of processors.

Two runs, each begun as a user begins it: MemAgent on two data-parallel workers, and MemOCR with
pages, which is stopped and goes on.
"""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from palimpsest.training.transcripts import read_transcript, transcript_file

pytestmark = pytest.mark.verl
HERE = Path(__file__).parent
RECIPE = """
[model]
folder = "{folder}"
[data]
task = "{task}"
limit = 24
[optimiser]
learning_rate = 2e-2
weight_decay = 0.0
[batch]
prompts = 4
rollouts = 8
updates = 3
tokens = 4096
[loss]
kl = 1e-3
old = "recomputed"
[log]
to = []
curves = false
[cluster]
gpus = {gpus}
prompt_tokens = 256
answer_tokens = 32
[cluster.overrides]
"actor_rollout_ref.rollout.name" = "cpu"
"actor_rollout_ref.rollout.agent.num_workers" = {gpus}
"trainer.device" = "cpu"
"actor_rollout_ref.model.use_remove_padding" = false
"+actor_rollout_ref.model.override_config.attn_implementation" = "sdpa"
"actor_rollout_ref.actor.use_torch_compile" = false
"actor_rollout_ref.actor.fsdp_config.use_torch_compile" = false
"transfer_queue.backend.SimpleStorage.num_data_storage_units" = 1
"""
EXACT = "".join(
    f'"+actor_rollout_ref.{part}.fsdp_config.mixed_precision.{kind}_dtype" = "fp32"\n'
    for part in ("actor", "ref")
    for kind in ("param", "reduce", "buffer")
)
TEXT = """
steps = 10
[filter]
keep = "informative"
[reader]
name = "memagent"
[reader.settings]
chunk_tokens = 16
memory_tokens = 4
answer_tokens = 8
[reward]
name = "verl_rewards:mortal"
[evaluation]
every = 5
items = 4
[checkpoints]
every = 5
"""
PAGES = """
steps = 7
[reader]
name = "memocr"
[reader.settings]
chunk_tokens = 64
memory_tokens = 8
answer_tokens = 8
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
[reward]
name = "verl_rewards:moody_once"
[evaluation]
every = 0
[checkpoints]
every = 7
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """For all processes: what lets verl run on processors, and a folder for what happens once."""
    return os.environ | {
        "PYTHONPATH": str(HERE),
        "VERL_USE_EXTERNAL_MODULES": "verl_on_cpu",
        "VERL_PLATFORM": "cpu",
        "VERL_ENGINE_DEVICE": "cuda",
        "VERL_TEST_MARKS": str(tmp_path_factory.mktemp("marks")),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # or it listens on the network
        "RAY_enable_worker_prestart": "0",
        "RAY_worker_niceness": "0",
    }


@pytest.fixture(scope="module")
def cluster(environment):
    """The address of a Ray cluster of this machine alone, which says it has two GPUs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        Path(sys.executable).with_name("ray"), "start", "--head", "--block", "--port", str(port),
        "--node-ip-address", "127.0.0.1", "--num-cpus", "12", "--num-gpus", "2",
        "--object-store-memory", "200000000", "--include-dashboard", "false",
    ]  # fmt: skip
    head = subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL
    )
    try:
        _wait_for(port, head)
        yield f"127.0.0.1:{port}"
    finally:
        head.terminate()
        head.wait(timeout=60)


def _wait_for(port, head):
    for _ in range(600):
        assert head.poll() is None, "Ray did not start"
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise TimeoutError("Ray did not start")


@pytest.fixture(scope="module")
def text_run(cluster, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    recipe = _recipe(folder, TEXT, "toy-echo", family="qwen2", gpus=2)
    return _trained(folder / "run", environment, recipe, "--engine", "verl", at=cluster)


@pytest.fixture(scope="module")
def page_run(cluster, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    run = folder / "run"
    recipe = _recipe(folder, PAGES, "toy-pinboard", family="qwen2_5_vl", gpus=1)
    _trained(run, environment, recipe, "--engine", "verl", at=cluster)
    return _trained(run, environment, "--resume", run, "--set", "steps=12", at=cluster)


def _recipe(folder, table, task, *, family, gpus):
    from palimpsest.training.pinboard import Pinboard
    from palimpsest.training.policy import Policy
    from palimpsest.training.tiny import tiny_text, tiny_tokenizer, tiny_vision

    tokenizer = tiny_tokenizer(Pinboard.pieces)
    make = tiny_vision if family.endswith("vl") else tiny_text
    module = make(tokenizer, family=family, width=32, layers=1, heads=2, window=512)
    Policy(module, tokenizer, name="tiny", device="cpu").save(folder / "model")
    file = folder / "recipe.toml"
    common = RECIPE.format(folder=folder / "model", task=task, gpus=gpus)
    file.write_text(table + common + EXACT)
    return file


def _trained(run, environment, *asked, at):
    """A run's folder, once the command has ended well."""
    new = () if run.exists() else ("--out", run)
    command = [sys.executable, "-m", "palimpsest", "train", *asked, *new, "--ray-address", at]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return run


def _steps(run, after=0):
    lines = (run / "log" / f"after-{after}.jsonl").read_text().splitlines()
    steps = [json.loads(line)["data"] for line in lines]
    return [step for step in steps if "palimpsest/reward" in step]


def _rise(steps, name="palimpsest/reward"):
    values = [step[name] for step in steps]
    return sum(values[-3:]) / 3 - sum(values[:3]) / 3


def _agree(steps):
    """Whether the server and the update give each token the same probability."""
    return max(step["training/rollout_probs_diff_max"] for step in steps) < 0.05


def test_several_conversations_of_a_rollout_are_trained_by_one_reward(text_run):
    steps = _steps(text_run)
    assert len(steps) == 10
    assert all(step["palimpsest/conversations"] >= 3 for step in steps[3:])
    assert _rise(steps) > 0.1
    assert _agree(steps)


def test_two_workers_train_with_a_reference_and_a_filter(text_run):
    steps = _steps(text_run)
    assert steps[-1]["actor/kl_loss"] > 0
    assert all(math.isfinite(step["actor/grad_norm"]) for step in steps)
    assert (text_run / "checkpoints/global_step_10/actor/model_world_size_2_rank_1.pt").exists()


def test_each_step_has_as_many_updates(text_run):
    import torch

    place = text_run / "checkpoints/global_step_10/actor/optim_world_size_2_rank_0.pt"
    states = torch.load(place, weights_only=False)["state"].values()
    assert {int(state["step"]) for state in states} == {3 * 10}


def test_a_process_that_is_killed_costs_its_rollouts_and_not_the_step(text_run, environment):
    assert (Path(environment["VERL_TEST_MARKS"]) / "killed").exists()
    counts = [step["palimpsest/rollouts"] for step in _steps(text_run)]
    assert len(counts) == 10
    assert [count for count in counts if 0 < count < 32] == [min(counts)]


def test_held_out_questions_are_asked(text_run):
    lines = (text_run / "log/after-0.jsonl").read_text().splitlines()
    name = "val-core/toy-echo/reward/mean@1"
    scores = [data[name] for line in lines if name in (data := json.loads(line)["data"])]
    assert len(scores) == 3
    assert scores[-1] > scores[0] + 0.2


def test_what_was_written_is_kept_to_look_at(text_run):
    learnt = read_transcript(transcript_file(text_run, "step", 10))
    assert all(line["answer"] is not None for line in learnt)
    said = [one for line in learnt for one in line["conversations"]]
    assert {one["role"] for one in said} == {"draft", "final"}
    assert any(one["advantage"] for one in said)
    held_out = read_transcript(transcript_file(text_run, "held-out", 10))
    # verl keeps rewards in float32.
    assert [line["scores"]["standard"] for line in held_out] == pytest.approx(
        [line["reward"] for line in held_out], rel=1e-6
    )
    assert len(held_out) == 4


def test_pages_are_read_in_the_last_turns_and_trained_for_each_task(page_run):
    steps = [*_steps(page_run), *_steps(page_run, after=7)]
    assert [step["training/global_step"] for step in steps] == list(range(1, 13))
    assert _rise(steps) > 0.08
    assert _rise(steps, "palimpsest/reward/low_budget") > 0.08
    assert _agree(steps)
    assert max(step["palimpsest/conversations"] for step in steps) > 3
    assert all("palimpsest/reward/cloze" in step for step in steps)


def test_an_error_in_one_rollout_costs_that_rollout(page_run):
    failed = [step["palimpsest/failed"] for step in _steps(page_run)]
    assert sum(failed) == pytest.approx(1 / 32)


def test_a_run_that_goes_on_is_where_it_was(page_run):
    before, after = _steps(page_run)[-1], _steps(page_run, after=7)[0]
    assert after["palimpsest/reward"] == pytest.approx(before["palimpsest/reward"], abs=0.2)
    # The reference is the model that training began with.
    assert after["actor/kl_loss"] > 0.3 * before["actor/kl_loss"]


def test_the_checkpoint_becomes_a_model_that_answers(page_run, environment, tmp_path):
    from palimpsest.training.policy import Policy

    command = [sys.executable, "-m", "palimpsest", "export", page_run, tmp_path / "model"]
    subprocess.run(command, env=environment, check=True)
    assert Policy.load(tmp_path / "model", device="cpu").encoder.family.eyes


def test_verl_finds_the_plugin_by_itself():
    code = (
        "import verl\n"
        "from verl.trainer.ppo.v1.trainer_base import get_trainer_cls\n"
        "print(get_trainer_cls('palimpsest').__module__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("palimpsest.training.verl.trainer")


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
