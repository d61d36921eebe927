"""verl's replay buffer, in which a group is kept or left out by its advantages."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import transfer_queue
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer

from palimpsest.training.crediting import reward_of
from palimpsest.training.recipe import Recipe
from palimpsest.training.verl.outputs import RECORD
from palimpsest.training.verl.records import Record, Session, advantages_of, sessions_of

_POLL_S = 0.5


class Buffer(ReplayBuffer):  # type: ignore[misc]
    """Waits for the groups of a step.

    Under `filter.keep = "informative"` it leaves out those in which nothing has an advantage, and
    has others rolled out in their place. Once `filter.refills` times as many as a step takes were
    left out, it takes what comes.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        refill: Callable[[int], int],
        on_poll: Callable[[], None],
        settings: Mapping[str, Any],
    ) -> None:
        """Args:
        on_poll: Called while it waits.
        settings: Further arguments of verl's buffer.
        """
        informative = recipe.filter.keep == "informative"
        super().__init__(
            trainer_mode="sync",
            poll_interval=_POLL_S,
            refill_fn=refill,
            filter_groups_metric="reward" if informative else None,
            train_batch_size=recipe.batch.prompts,
            gen_batch_size=1 if informative else recipe.batch.prompts,
            **settings,
        )
        self._recipe = recipe
        self._on_poll = on_poll
        self.left_out: list[Session] = []
        """Of the step under way, the rollouts of groups that were left out."""
        self._groups = 0
        """That were."""
        self._useless: dict[str, list[Session] | None] = {}
        """The rollouts of a group in which nothing has an advantage; None for any other."""

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> Any:  # noqa: ANN401
        self.left_out = []
        self._groups = 0
        self._useless.clear()
        return super().sample(global_steps, partition_id, batch_size)

    def _sync_metadata_from_transfer_queue(self) -> None:
        """Forgets rows that a process had begun to write when it died: they have no tag, which
        comes last."""
        super()._sync_metadata_from_transfer_queue()
        for partition_id, rows in self.partitions.items():
            ended = self.finished_keys[partition_id] | self.failure_keys[partition_id]
            begun = [key for key, tag in rows.items() if not tag and key.split("_")[0] in ended]
            for key in begun:
                del rows[key]
            if begun:
                transfer_queue.kv_clear(keys=begun, partition_id=partition_id)

    def _wait_for_next_poll(self, partition_id: str, last_debug_time: float) -> float:
        self._on_poll()
        waited: float = super()._wait_for_next_poll(partition_id, last_debug_time)
        return waited

    def _dapo_filtered_keys(self, partition_id: str) -> tuple[set[str], Counter[float]]:
        """The groups to leave out, and how often each mean reward is among them."""
        limit = self._recipe.filter.refills * self._recipe.batch.prompts
        if partition_id == "val" or self.filter_groups_metric is None or self._groups >= limit:
            return set(), Counter()
        finished = self.finished_keys[partition_id]
        self._judge(partition_id, finished - self._useless.keys())
        useless = {group: found for group in finished if (found := self._useless[group])}
        self._groups += len(useless)
        self.left_out += [session for sessions in useless.values() for session in sessions]
        return set(useless), Counter(map(self._reward, useless.values()))

    def _judge(self, partition_id: str, groups: set[str]) -> None:
        keys = [key for key in self.partitions[partition_id] if key.split("_")[0] in groups]
        of_group: defaultdict[str, list[Session]] = defaultdict(list)
        for session in sessions_of(fetched(keys, partition_id)):
            of_group[session.rollout.group].append(session)
        for group in groups:
            teaches = any(advantages_of(of_group[group], self._recipe).values())
            self._useless[group] = None if teaches else of_group[group]

    def _reward(self, sessions: Sequence[Session]) -> float:
        rewards = [reward_of(one.rollout, self._recipe.weights) for one in sessions]
        return sum(rewards) / len(rewards)


def fetched(keys: list[str], partition_id: str, name: str = RECORD) -> dict[str, Record]:
    """The records of rows, or another of their extra fields, by their keys."""
    if not keys:
        return {}
    data = transfer_queue.kv_batch_get(
        keys=keys, partition_id=partition_id, select_fields=["extra_fields"]
    )
    # Depending on the store, an element comes as it is or in a wrapping.
    fields = (getattr(one, "data", one) for one in list(data["extra_fields"]))
    return {key: one[name] for key, one in zip(keys, fields, strict=True)}
