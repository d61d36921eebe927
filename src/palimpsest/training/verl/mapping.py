"""A recipe in verl's own keys.

Every key of a recipe is in one of these, which a test holds to:

    settings(recipe, run)    verl's keys, each with the keys of the recipe that it comes from
    OURS                     read by the agent loop and the trainer in verl's processes
    unheld.notes             said before a run: verl does otherwise, or does not do it
    unheld.refuse            an error: a run without it would be another one

docs/scale.md has the whole table, and where the two do not mean the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from palimpsest.training.lora import LAYERS
from palimpsest.training.recipe import ClusterPart, Recipe
from palimpsest.training.verl.written import written_folder

PLUGIN = "palimpsest.training.verl.plugin"
CHECKPOINTS = "checkpoints"
TRAINING_ROWS = "questions/train.jsonl"
HELD_OUT_ROWS = "questions/held-out.jsonl"

OURS = (
    "data",
    "reader",
    "agent",
    "reward",
    "objectives",
    "credit",
    "loss.overlong",
    "filter.refills",
    "evaluation.items",
    "evaluation.data",
)
"""Keys, with all below them, that our own code reads from the recipe it is handed."""

_NO_BOUND = 1e9
"""verl has no word for no limit."""
_EYES = ".*visual.*"


class Setting(NamedTuple):
    """One key of verl's."""

    key: str
    value: Any
    origins: tuple[str, ...] = ()
    """Keys of the recipe; none for what is so whatever the recipe says."""
    new: bool = False
    """Whether verl's defaults lack it."""

    @property
    def text(self) -> str:
        """As verl's command line takes it."""
        return f"{'+' if self.new else ''}{self.key}={_said(self.value)}"


def settings(recipe: Recipe, run: Path) -> tuple[Setting, ...]:
    """All that is set of verl's configuration. `run` is the run's folder."""
    cluster = recipe.cluster or ClusterPart()
    parts = (
        _model(recipe),
        _data(recipe, run),
        _sampling(recipe),
        _servers(recipe, cluster),
        _optimiser(recipe),
        _batch(recipe, cluster),
        _loss(recipe),
        _credit(recipe),
        _machines(cluster),
        _course(recipe, run),
        _log(recipe, run),
    )
    made = tuple(setting for part in parts for setting in part)
    return (*made, *(Setting(*one) for one in _overrides(cluster.overrides)))


def _model(recipe: Recipe) -> Iterator[Setting]:
    part, root = recipe.model, "actor_rollout_ref.model"
    yield Setting(f"{root}.path", str(part.folder), ("model.folder",))
    gradient = part.gradient_checkpointing
    yield Setting(
        f"{root}.enable_gradient_checkpointing", gradient, (_of("gradient_checkpointing"),)
    )
    yield Setting(f"{root}.use_remove_padding", True)
    # Weights stay in float32; this is what is computed in.
    for place in ("actor", "ref"):
        yield Setting(f"actor_rollout_ref.{place}.fsdp_config.dtype", part.dtype, (_of("dtype"),))
    yield Setting("actor_rollout_ref.rollout.dtype", part.dtype, (_of("dtype"),))
    if part.template:
        yield Setting("data.apply_chat_template_kwargs", dict(part.template), (_of("template"),))
    if part.lora:
        yield Setting(f"{root}.lora_rank", part.lora.rank, (_of("lora.rank"),))
        yield Setting(f"{root}.lora_alpha", int(part.lora.alpha), (_of("lora.alpha"),))
        layers = list(part.lora.layers or LAYERS)
        yield Setting(f"{root}.target_modules", layers, (_of("lora.layers"),))
        yield Setting(f"{root}.exclude_modules", _EYES)


def _of(name: str) -> str:
    return f"model.{name}"


def _data(recipe: Recipe, run: Path) -> Iterator[Setting]:
    yield Setting("data.train_files", str(run / TRAINING_ROWS), ("data",))
    yield Setting("data.val_files", str(run / HELD_OUT_ROWS), ("evaluation.items",))
    yield Setting("data.custom_cls.path", "pkg://palimpsest.training.verl.rows")
    yield Setting("data.custom_cls.name", "Rows")
    yield Setting("data.train_batch_size", recipe.batch.prompts, ("batch.prompts",))
    yield Setting("data.return_raw_chat", True)
    yield Setting("data.filter_overlong_prompts", False)
    yield Setting("data.shuffle", True)
    yield Setting("data.seed", recipe.seed, ("seed",))
    yield Setting("data.dataloader_num_workers", 0)


def _sampling(recipe: Recipe) -> Iterator[Setting]:
    part, held_out, root = recipe.sampling, recipe.evaluation, "actor_rollout_ref.rollout"
    yield Setting(f"{root}.n", recipe.batch.rollouts, ("batch.rollouts",))
    yield Setting(f"{root}.temperature", part.temperature, ("sampling.temperature",))
    yield Setting(f"{root}.top_p", part.top_p, ("sampling.top_p",))
    yield Setting(f"{root}.seed", recipe.seed, ("seed",))
    yield Setting(f"{root}.calculate_log_probs", True)
    if part.top_p < 1 and part.temperature == 1:
        # Else the sampler's are of the cut distribution and the update's of the whole one.
        yield Setting(f"{root}.logprobs_mode", "raw_logprobs", ("sampling.top_p",))
    values = f"{root}.val_kwargs"
    yield Setting(f"{values}.temperature", held_out.temperature, ("evaluation.temperature",))
    yield Setting(f"{values}.do_sample", held_out.temperature > 0, ("evaluation.temperature",))
    yield Setting(f"{values}.top_p", held_out.top_p, ("evaluation.top_p",))
    yield Setting(f"{values}.n", held_out.repeats, ("evaluation.repeats",))
    yield Setting(f"{root}.agent.default_agent_loop", "palimpsest")
    manager = "palimpsest.training.verl.manager.Manager"
    yield Setting(f"{root}.agent.agent_loop_manager_class", manager, new=True)


def _servers(recipe: Recipe, cluster: ClusterPart) -> Iterator[Setting]:
    root = "actor_rollout_ref.rollout"
    window = recipe.model.window or cluster.prompt_tokens + cluster.answer_tokens
    for key, value, origin in (
        ("name", cluster.server, "cluster.server"),
        ("tensor_model_parallel_size", cluster.tensor_parallel, "cluster.tensor_parallel"),
        ("gpu_memory_utilization", cluster.server_memory, "cluster.server_memory"),
        ("max_num_batched_tokens", cluster.server_tokens, "cluster.server_tokens"),
        ("max_num_seqs", cluster.server_sequences, "cluster.server_sequences"),
        ("max_model_len", window, "model.window"),
    ):
        yield Setting(f"{root}.{key}", value, (origin,))
    yield Setting("data.max_prompt_length", cluster.prompt_tokens, ("cluster.prompt_tokens",))
    yield Setting("data.max_response_length", cluster.answer_tokens, ("cluster.answer_tokens",))


def _optimiser(recipe: Recipe) -> Iterator[Setting]:
    part, root = recipe.optimiser, "actor_rollout_ref.actor.optim"
    for key, value, name in (
        ("lr", part.learning_rate, "learning_rate"),
        ("betas", list(part.betas), "betas"),
        ("override_optimizer_config", {"eps": part.epsilon}, "epsilon"),
        ("weight_decay", part.weight_decay, "weight_decay"),
        ("clip_grad", part.clip_norm or _NO_BOUND, "clip_norm"),
        ("lr_warmup_steps", part.warmup_steps, "warmup_steps"),
        ("lr_scheduler_type", part.schedule, "schedule"),
    ):
        yield Setting(f"{root}.{key}", value, (f"optimiser.{name}",))


def _batch(recipe: Recipe, cluster: ClusterPart) -> Iterator[Setting]:
    part, actor = recipe.batch, "actor_rollout_ref.actor"
    # Our trainer makes `updates` of a step whatever its rows; verl checks this one all the same.
    nominal = max(1, part.prompts // part.updates)
    yield Setting(f"{actor}.ppo_mini_batch_size", nominal, ("batch.prompts", "batch.updates"))
    yield Setting(f"{actor}.ppo_epochs", 1)
    yield Setting(f"{actor}.shuffle", False)
    yield Setting(f"{actor}.data_loader_seed", recipe.seed, ("seed",))
    yield Setting(f"{actor}.fsdp_config.seed", recipe.seed, ("seed",))
    yield Setting(f"{actor}.use_dynamic_bsz", True)
    yield Setting(f"{actor}.ppo_max_token_len_per_gpu", part.tokens, ("batch.tokens",))
    probabilities = cluster.probability_tokens
    for place, most, origin in (
        ("rollout", probabilities, "cluster.probability_tokens"),
        ("ref", cluster.reference_tokens or probabilities, "cluster.reference_tokens"),
    ):
        root = f"actor_rollout_ref.{place}"
        yield Setting(f"{root}.log_prob_use_dynamic_bsz", True)
        yield Setting(f"{root}.log_prob_max_token_len_per_gpu", most, (origin,))


def _loss(recipe: Recipe) -> Iterator[Setting]:
    part, actor = recipe.loss, "actor_rollout_ref.actor"
    yield Setting(f"{actor}.loss_agg_mode", "token-mean")
    yield Setting(f"{actor}.clip_ratio_low", part.clip_low, ("loss.clip_low",))
    yield Setting(f"{actor}.clip_ratio_high", part.clip_high, ("loss.clip_high",))
    yield Setting(f"{actor}.clip_ratio_c", part.dual or _NO_BOUND, ("loss.dual",))
    yield Setting(f"{actor}.use_kl_loss", part.kl > 0, ("loss.kl",))
    yield Setting(f"{actor}.kl_loss_coef", part.kl, ("loss.kl",))
    yield Setting(f"{actor}.kl_loss_type", "low_var_kl")
    yield Setting(f"{actor}.entropy_coeff", part.entropy, ("loss.entropy",))
    sampled = part.old == "sampler"
    yield Setting("algorithm.rollout_correction.bypass_mode", sampled, ("loss.old",))


def _credit(recipe: Recipe) -> Iterator[Setting]:
    # Our trainer computes advantages itself: of verl's estimators any that wants no critic will do.
    yield Setting("algorithm.adv_estimator", "grpo")
    by_std = recipe.credit.by_std
    yield Setting("algorithm.norm_adv_by_std_in_grpo", by_std, ("credit.by_std",))
    yield Setting("algorithm.use_kl_in_reward", False)
    informative = recipe.filter.keep == "informative"
    yield Setting("algorithm.filter_groups.enable", informative, ("filter.keep",))
    yield Setting("algorithm.filter_groups.metric", "reward")
    yield Setting("critic.enable", False)
    # The agent loop scores its rollouts itself.
    yield Setting("reward.num_workers", 1)


def _machines(cluster: ClusterPart) -> Iterator[Setting]:
    yield Setting("trainer.nnodes", cluster.nodes, ("cluster.nodes",))
    yield Setting("trainer.n_gpus_per_node", cluster.gpus, ("cluster.gpus",))
    for place in ("actor", "ref"):
        root = f"actor_rollout_ref.{place}"
        yield Setting(f"{root}.strategy", "fsdp2")
        yield Setting(f"{root}.fsdp_config.fsdp_size", cluster.shard or -1, ("cluster.shard",))
        offload = cluster.offload
        yield Setting(f"{root}.fsdp_config.param_offload", offload, ("cluster.offload",))
    offload = cluster.offload
    root = "actor_rollout_ref.actor.fsdp_config"
    yield Setting(f"{root}.optimizer_offload", offload, ("cluster.offload",))


def _course(recipe: Recipe, run: Path) -> Iterator[Setting]:
    yield Setting("trainer.v1.trainer_mode", "palimpsest")
    yield Setting("trainer.total_training_steps", recipe.steps, ("steps",))
    # No fewer than there can be.
    yield Setting("trainer.total_epochs", max(1, recipe.steps), ("steps",))
    every = recipe.evaluation.every
    yield Setting("trainer.test_freq", every or -1, ("evaluation.every",))
    yield Setting("trainer.val_before_train", every > 0, ("evaluation.every",))
    yield Setting("trainer.save_freq", recipe.checkpoints.every, ("checkpoints.every",))
    keep = recipe.checkpoints.keep
    yield Setting("trainer.max_actor_ckpt_to_keep", keep, ("checkpoints.keep",))
    yield Setting("trainer.default_local_dir", str(run / CHECKPOINTS))
    yield Setting("trainer.resume_mode", "auto")


def _log(recipe: Recipe, run: Path) -> Iterator[Setting]:
    yield Setting("trainer.project_name", "palimpsest")
    yield Setting("trainer.experiment_name", run.name)
    yield Setting("trainer.logger", ["console", "file", *recipe.log.to], ("log.to",))
    if recipe.log.rollouts != "none":
        origin = ("log.rollouts",)
        yield Setting("trainer.rollout_data_dir", str(written_folder(run, "step")), origin)
        yield Setting("trainer.validation_data_dir", str(written_folder(run, "held-out")), origin)


def _overrides(table: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any, Any, bool]]:
    """Keys of verl's own, in one piece or nested; a plus sign in front adds one."""
    for name, value in table.items():
        key = f"{before}{name}"
        if isinstance(value, dict) and value:
            yield from _overrides(value, f"{key}.")
        else:
            yield key.removeprefix("+"), value, ("cluster.overrides",), key.startswith("+")


def _said(value: object) -> str:
    """A value in Hydra's grammar."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case list():
            return f"[{','.join(map(_said, value))}]"
        case dict():
            return f"{{{','.join(f'{key}:{_said(one)}' for key, one in value.items())}}}"
        case str() if not value or not value.replace("_", "").replace("-", "").isalnum():
            escaped = value.replace("\\", "\\\\").replace("'", "\\'")
            return f"'{escaped}'"
    return str(value)
