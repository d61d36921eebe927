"""The processes that roll out: one that dies costs the rollouts it was at, not the step."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import ray
import transfer_queue
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopManagerTQ

_LOG = logging.getLogger(__name__)
_LOST = {"status": "failure"}
"""What verl says of a group whose rollouts did not all come to an end."""


@dataclass
class _Place:
    """A process and what it was given to do."""

    worker: Any
    groups: set[str] = field(default_factory=set)
    """Of the step under way, all that it was given."""
    sign: Any = None
    """Of life, on its way."""


class Manager(AgentLoopManagerTQ):  # type: ignore[misc]
    """verl's manager of agent loops, which replaces processes that have died."""

    async def _init_agent_loop_workers(self) -> None:
        await super()._init_agent_loop_workers()
        self._places = [_Place(worker) for worker in self.agent_loop_workers]

    def generate_sequences(self, prompts: Any) -> None:  # noqa: ANN401
        """Hands prompts to the processes, and waits for none of them."""
        parts = zip(self._places, prompts.chunk(len(self._places)), strict=False)
        sent = [(place, part, self._send(place, part)) for place, part in parts]
        for place, part, reference in sent:
            try:
                ray.get(reference)
            except ray.exceptions.RayActorError:
                self._replace(place)
                ray.get(self._send(place, part))

    def mend(self, waiting: Sequence[str], partition_id: str) -> None:
        """Looks after the processes.

        What one that has died was at is given up: its groups go on with the rollouts they have.

        Args:
            waiting: The groups that have not come to an end.
        """
        for place in self._places:
            place.groups &= set(waiting)
            if place.groups and self._is_dead(place):
                lost = sorted(place.groups)
                _LOG.error("a process died; %d groups go on without its rollouts", len(lost))
                transfer_queue.kv_batch_put(
                    keys=lost, partition_id=partition_id, tags=[_LOST] * len(lost)
                )
                self._replace(place)

    def _send(self, place: _Place, part: Any) -> Any:  # noqa: ANN401
        place.groups |= set(part["uid"])
        return place.worker.generate_sequences.remote(part)

    def _is_dead(self, place: _Place) -> bool:
        if place.sign is None:
            place.sign = place.worker.__ray_ready__.remote()
        arrived, _ = ray.wait([place.sign], timeout=0)
        if not arrived:
            return False
        sign, place.sign = place.sign, None
        try:
            ray.get(sign)
        except ray.exceptions.RayActorError:
            return True
        return False

    def _replace(self, place: _Place) -> None:
        at = self.agent_loop_workers.index(place.worker)
        options = self.agent_loop_workers_class.options(name=f"agent_loop_worker_{uuid4().hex}")
        place.worker = options.remote(
            self.config, self.llm_client, self.teacher_client, self.reward_loop_worker_handles
        )
        place.groups, place.sign = set(), None
        self.agent_loop_workers[at] = place.worker
