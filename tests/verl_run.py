"""Trains by a recipe over verl, on processors: `python verl_run.py RECIPE RUN hand|ray`.

In the environment: `settings_of` of this module. The log is RUN/log.jsonl; what else a test wants
to know is in RUN/told.json.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
CLUSTER = """
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
"+ray_kwargs.ray_init.address" = "local"
"ray_kwargs.ray_init.num_cpus" = 12
"+ray_kwargs.ray_init.num_gpus" = {gpus}
"+ray_kwargs.ray_init.include_dashboard" = false
"+ray_kwargs.ray_init.object_store_memory" = 200000000
"+actor_rollout_ref.actor.fsdp_config.mixed_precision.param_dtype" = "fp32"
"+actor_rollout_ref.actor.fsdp_config.mixed_precision.reduce_dtype" = "fp32"
"+actor_rollout_ref.actor.fsdp_config.mixed_precision.buffer_dtype" = "fp32"
"+actor_rollout_ref.ref.fsdp_config.mixed_precision.param_dtype" = "fp32"
"+actor_rollout_ref.ref.fsdp_config.mixed_precision.reduce_dtype" = "fp32"
"+actor_rollout_ref.ref.fsdp_config.mixed_precision.buffer_dtype" = "fp32"
"""


def settings_of(run: Path) -> dict[str, str]:
    """The environment of a run and of all processes that it starts."""
    return os.environ | {
        "PYTHONPATH": str(HERE),
        "VERL_USE_EXTERNAL_MODULES": "verl_on_cpu,palimpsest.training.verl.plugin",
        "VERL_PLATFORM": "cpu",
        "VERL_ENGINE_DEVICE": "cuda",
        "VERL_FILE_LOGGER_PATH": str(run / "log.jsonl"),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "RAY_enable_worker_prestart": "0",
    }


def main(recipe_file: str, folder: str, how: str) -> None:
    from palimpsest.sources.tokens import FileTokenizer
    from palimpsest.training.recipes import load_recipe
    from palimpsest.training.verl.configuration import compose
    from palimpsest.training.verl.rows import write_questions

    recipe, run = load_recipe(Path(recipe_file)), Path(folder)
    tokenizer = FileTokenizer(recipe.model.folder / "tokenizer.json")
    asyncio.run(write_questions(recipe, tokenizer, run / "questions"))
    (run / "log").mkdir()
    config = compose(recipe, run)
    told = _at_hand(config) if how == "hand" else _on_ray(config, run)
    (run / "told.json").write_text(json.dumps(told))


def _at_hand(config):
    from verl_at_hand import trainer_at_hand

    trainer = trainer_at_hand(config)
    trainer.run()
    return {"updates": trainer.actor_rollout_wg.updates}


def _on_ray(config, run):
    """As `python -m verl.trainer.main_ppo` does with such a configuration."""
    from verl.trainer.main_ppo import TaskRunnerV1, run_ppo
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config

    variables = config.ray_kwargs.ray_init.runtime_env.env_vars
    variables["VERL_FILE_LOGGER_PATH"] = str(run / "log.jsonl")
    validate_config(config, need_reference_policy(config), need_critic(config))
    run_ppo(config, TaskRunnerV1)
    return {}


if __name__ == "__main__":
    main(*sys.argv[1:])
