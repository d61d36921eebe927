"""verl's synchronous trainer with our credit, our number of updates, and our choice of groups."""

from __future__ import annotations

import random
from typing import Any

import torch
import transfer_queue
from omegaconf import open_dict
from tensordict import TensorDict
from verl.trainer.ppo.v1.trainer_base import register_trainer
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.utils.metric import reduce_metrics
from verl.utils.py_functional import rename_dict

from palimpsest.training.crediting import reward_of
from palimpsest.training.gathering import check_some_came_out
from palimpsest.training.verl.buffer import Buffer, fetched
from palimpsest.training.verl.carried import unpacked
from palimpsest.training.verl.dealing import dealt
from palimpsest.training.verl.loop import NAME
from palimpsest.training.verl.outputs import TOLD
from palimpsest.training.verl.records import Record, Session, advantages_of, sessions_of


@register_trainer(NAME)
class Trainer(PPOTrainerSync):  # type: ignore[misc]
    """Trains by the recipe in verl's configuration.

    Each step has the recipe's number of updates, however many conversations there are, and each
    update is a mean over about as many trained tokens.
    """

    def __init__(self, config: Any) -> None:  # noqa: ANN401
        self._recipe = unpacked(config)
        self._records: dict[str, Record] = {}
        """Of the step's rows, by their keys."""
        self._advantages: dict[str, float] = {}
        """Of the same rows."""
        self._updates = self._recipe.batch.updates
        with open_dict(config):
            # The name picks the buffer, too.
            config.trainer.v1.trainer_mode = "sync"
            config.algorithm.filter_groups.enable = self._recipe.filter.keep == "informative"
        super().__init__(config)

    def _build_replay_buffer(self) -> Buffer:
        sampler = self.config.trainer.v1.sampler
        return Buffer(
            self._recipe,
            refill=self._add_prompts_to_generate,
            on_poll=self._mend,
            settings={
                "trainer_config": self.config.trainer.v1.sync,
                "max_off_policy_threshold": sampler.max_off_policy_threshold,
                "max_off_policy_strategy": sampler.max_off_policy_strategy,
                "sampler_kwargs": sampler.sampler_kwargs,
                "max_inflight_gen_batches": (
                    self.config.algorithm.filter_groups.max_inflight_gen_batches
                ),
            },
        )

    def _mend(self) -> None:
        """Gives up what processes that have died were at, while the step is waited for."""
        mend = getattr(self.agent_loop_manager, "mend", None)
        if mend is None:
            return
        buffer = self.replay_buffer
        for partition in ("train", "val"):
            waiting = buffer.pending_keys[partition] | buffer.running_keys[partition]
            if waiting:
                mend(sorted(waiting), partition)

    def _balance_batch(self, batch: Any, metrics: dict[str, Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Adds rows without tokens to learn from where the number does not divide, and orders the
        rows by update and by GPU."""
        self._records = fetched(list(batch.keys), batch.partition_id)
        sessions = sessions_of(self._records)
        check_some_came_out([session.rollout for session in sessions])
        metrics.update(_told([*sessions, *self.replay_buffer.left_out], self._recipe.weights))
        self._updates = max(1, min(self._recipe.batch.updates, self._learnt))
        batch = super()._balance_batch(batch, metrics, *args, **kwargs)
        order = dealt(
            [self._records.get(key, {}).get("tokens", 0) for key in batch.keys],
            [tag["seq_len"] for tag in batch.tags],
            updates=self._updates,
            ranks=self._ranks,
            chance=random.Random(f"{self._recipe.seed}/{self.global_steps}/updates"),
        )
        batch.reorder(order)
        return batch

    def _get_required_batch_multiple(self, dp_size: int) -> int:
        self._ranks = dp_size
        return dp_size * self._updates

    def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:  # noqa: ANN401
        """The advantages of rollouts, spread to their conversations and these to their tokens."""
        advantages = advantages_of(sessions_of(self._records), self._recipe)
        self._advantages = advantages
        data = transfer_queue.kv_batch_get(
            keys=batch.keys, partition_id=batch.partition_id, select_fields=["response_mask"]
        )
        spread = torch.nested.as_nested_tensor(
            [
                mask.float() * advantages.get(key, 0.0)
                for key, mask in zip(batch.keys, data["response_mask"].unbind(), strict=True)
            ],
            layout=torch.jagged,
        )
        sizes = [abs(value) for value in advantages.values()]
        metrics["palimpsest/advantage"] = sum(sizes) / len(sizes)
        fields = TensorDict({"advantages": spread, "returns": spread}, batch_size=len(batch))
        return transfer_queue.kv_batch_put(
            keys=batch.keys, partition_id=batch.partition_id, fields=fields
        )

    def _update_actor(self, batch: Any, metrics: dict[str, Any]) -> Any:  # noqa: ANN401
        """The step's updates; none where nothing is learnt from."""
        metrics["palimpsest/updates"] = self._updates if self._learnt else 0
        if not self._learnt:
            return batch
        actor = self.config.actor_rollout_ref.actor
        batch.extra_info.update(
            {
                "calculate_entropy": bool(actor.calculate_entropy or actor.entropy_coeff),
                "distillation_use_topk": False,
                "distillation_only": False,
                "global_batch_size": len(batch) // self._updates,
                "num_mini_batch": self._updates,
                "epochs": actor.ppo_epochs,
                "seed": actor.data_loader_seed,
                # The order was made on purpose.
                "dataloader_kwargs": {"shuffle": False},
                "temperature": self.config.actor_rollout_ref.rollout.temperature,
            }
        )
        told = rename_dict(self.actor_rollout_wg.update_actor(batch)["metrics"], "actor/")
        told["perf/mfu/actor"] = told.pop("actor/mfu")
        metrics.update(reduce_metrics(told))
        return batch

    def _dump_generations(
        self,
        inputs: Any,  # noqa: ANN401
        outputs: Any,  # noqa: ANN401
        gts: Any,  # noqa: ANN401
        scores: Any,  # noqa: ANN401
        reward_extra_infos_dict: dict[str, list[Any]],
        dump_path: str,
    ) -> None:
        """Keeps with what was learnt from what verl keeps with held-out rollouts alone, and its
        advantages."""
        columns = dict(reward_extra_infos_dict)
        if dump_path == self.config.trainer.rollout_data_dir:
            keys = columns["uid"]
            told = fetched([key for key in keys if key in self._records], "train", TOLD)
            names = dict.fromkeys(name for one in told.values() for name in one)
            columns |= {name: [told.get(key, {}).get(name) for key in keys] for name in names}
            columns["advantage"] = [self._advantages.get(key) for key in keys]
        super()._dump_generations(inputs, outputs, gts, scores, columns, dump_path)

    @property
    def _learnt(self) -> int:
        """Rows of the step with tokens to learn from."""
        return sum(1 for record in self._records.values() if record.get("tokens"))


def _told(sessions: list[Session], weights: dict[str, float]) -> dict[str, float]:
    """What is worth telling of a step's rollouts, those that were left out among them."""
    rollouts = [one.rollout for one in sessions]
    tasks = dict.fromkeys(task for one in rollouts for task in one.scores)
    told = {
        f"palimpsest/reward/{task}": [one.scores[task] for one in rollouts if task in one.scores]
        for task in tasks
    }
    told["palimpsest/reward"] = [reward_of(one, weights) for one in rollouts]
    told["palimpsest/failed"] = [float(bool(one.failure)) for one in rollouts]
    told["palimpsest/conversations"] = [float(len(one.conversations)) for one in rollouts]
    told["palimpsest/nodes"] = [float(one.nodes) for one in rollouts]
    told["palimpsest/rollouts"] = [float(len(rollouts))]
    known = {name: [value for value in values if value == value] for name, values in told.items()}
    return {name: sum(values) / len(values) for name, values in known.items() if values}
