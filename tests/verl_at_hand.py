"""verl's trainer with all of its parts in one process, without Ray.

What runs is verl's own: trainer, replay buffer, agent loop worker, sharded engine, losses; and
ours in it. What stands in for others is the store between them (a dictionary), the calls from one
process to another, and the inference server (`verl_on_cpu`).

    trainer = trainer_at_hand(config)
    trainer.run()
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from types import SimpleNamespace

import torch
import transfer_queue
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from verl.utils import tensordict_utils
from verl.workers.rollout.base import _ROLLOUT_REGISTRY

import verl_on_cpu


class Store:
    """The key-value part of TransferQueue."""

    def __init__(self):
        self.tags = {}
        self.fields = {}
        self._lock = threading.RLock()

    def install(self, module):
        for name in ("kv_put", "kv_batch_put", "kv_batch_get", "kv_list", "kv_clear"):
            own = getattr(self, name)
            setattr(module, name, own)
            setattr(module, f"async_{name}", _awaited(own))
        module.init = lambda *args, **kwargs: None
        module.close = lambda: None

    def kv_put(self, key, partition_id, fields=None, tag=None):
        assert fields is None
        return self.kv_batch_put([key], partition_id, tags=[tag or {}])

    def kv_batch_put(self, keys, partition_id, fields=None, tags=None):
        with self._lock:
            rows = [{} for _ in keys] if fields is None else _rows(fields, len(keys))
            for place, key in enumerate(keys):
                at = (partition_id, key)
                self.tags.setdefault(at, {}).update(tags[place] if tags else {})
                self.fields.setdefault(at, {}).update(rows[place])
            told = [dict(self.tags[partition_id, key]) for key in keys]
            return KVBatchMeta(keys=list(keys), tags=told, partition_id=partition_id)

    def kv_batch_get(self, keys, partition_id, select_fields=None):
        with self._lock:
            rows = [self.fields[partition_id, key] for key in keys]
        wanted = select_fields or list(rows[0])
        names = [name for name in wanted if all(name in row for row in rows)]
        return _table([{name: row[name] for name in names} for row in rows])

    def kv_list(self, partition_id=None):
        with self._lock:
            found = {}
            for (partition, key), tag in self.tags.items():
                if partition_id in (None, partition):
                    found.setdefault(partition, {})[key] = dict(tag)
            return found

    def kv_clear(self, keys, partition_id):
        with self._lock:
            for key in keys:
                self.tags.pop((partition_id, key), None)
                self.fields.pop((partition_id, key), None)


def _awaited(function):
    async def call(*args, **kwargs):
        return function(*args, **kwargs)

    return call


def _rows(fields, count):
    rows = []
    columns = {
        name: list(column.unbind()) if isinstance(column, torch.Tensor) else list(column)
        for name, column in fields.items()
    }
    for place in range(count):
        row = {name: column[place] for name, column in columns.items()}
        rows.append(
            {
                name: getattr(value, "data", value)
                if not isinstance(value, torch.Tensor)
                else value
                for name, value in row.items()
            }
        )
    return rows


def _table(rows):
    columns = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if isinstance(values[0], torch.Tensor):
            columns[name] = (
                torch.stack(values)
                if values[0].dim() == 0
                else torch.nested.as_nested_tensor(values, layout=torch.jagged)
            )
        else:
            columns[name] = tensordict_utils.NonTensorStack(*values)
    return TensorDict(columns, batch_size=[len(rows)])


class Group:
    """A worker group of one worker, which is at hand."""

    world_size = 1

    def __init__(self, worker, store):
        self._worker = worker
        self._store = store
        self._dispatch_info = {"actor": [0]}
        self.updates = []
        """Of each call of `update_actor`: rows and mini-batches."""

    def update_actor(self, batch):
        self.updates.append((len(batch), batch.extra_info["num_mini_batch"]))
        return self._worker.update_actor(self._data(batch))

    def compute_log_prob(self, batch):
        return self._kept(batch, self._worker.compute_log_prob(self._data(batch)))

    def compute_ref_log_prob(self, batch):
        return self._kept(batch, self._worker.compute_ref_log_prob(self._data(batch)))

    def save_checkpoint(self, *args, **kwargs):
        return self._worker.save_checkpoint(*args, **kwargs)

    def load_checkpoint(self, *args, **kwargs):
        return self._worker.load_checkpoint(*args, **kwargs)

    def _data(self, batch):
        data = self._store.kv_batch_get(batch.keys, batch.partition_id)
        for name, value in batch.extra_info.items():
            tensordict_utils.assign_non_tensor_data(data, name, value)
        return data

    def _kept(self, batch, output):
        names = [name for name, value in output.items() if isinstance(value, torch.Tensor)]
        self._store.kv_batch_put(batch.keys, batch.partition_id, fields=output.select(*names))
        return batch


class RolloutAtHand(verl_on_cpu.CpuRollout):
    server = None

    async def update_weights(self, weights, global_steps=None, **_):
        taken = {name: value.detach().clone() for name, value in weights}
        type(self).server.load(taken, global_steps)


class Client:
    """verl's handle on inference servers, over one that is at hand."""

    def __init__(self, server):
        self._server = server

    async def generate(self, request_id, **call):
        return await self._server.generate(request_id=request_id, **call)


class Manager:
    """Hands prompts to one agent loop worker, in a thread of its own."""

    def __init__(self, config, client):
        from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopWorkerTQ

        kind = AgentLoopWorkerTQ.__ray_metadata__.modified_class
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._worker = self._run(self._made(kind, config, client))

    def generate_sequences(self, prompts):
        self._run(self._worker.generate_sequences(prompts))

    async def _made(self, kind, config, client):
        return kind(config, client, None, [])

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


def trainer_at_hand(config):
    """Our trainer, ready to run: `trainer.run()`."""
    from verl.workers.engine_workers import ActorRolloutRefWorker

    from palimpsest.training.verl.trainer import Trainer
    from verl_cpu_server import CpuServer

    store = Store()
    store.install(transfer_queue)
    _one_process()
    server = CpuServer(config.actor_rollout_ref.model.path)
    RolloutAtHand.server = server
    _ROLLOUT_REGISTRY[verl_on_cpu.SERVER, "async"] = "verl_at_hand.RolloutAtHand"

    trainer = Trainer(config)
    trainer._init_tokenizer()
    trainer._init_dataloader()
    trainer._init_dump_executor()
    trainer.ref_in_actor = False
    trainer.resource_pool_manager = SimpleNamespace(get_n_gpus=lambda: 1)
    role = "actor_rollout_ref" if trainer.use_reference_policy else "actor_rollout"
    worker = ActorRolloutRefWorker(config=config.actor_rollout_ref, role=role)
    worker.init_model()
    trainer.actor_rollout_wg = Group(worker, store)
    trainer.ref_policy_wg = trainer.actor_rollout_wg
    trainer.reward_loop_manager = SimpleNamespace(reward_loop_worker_handles=[])
    trainer.teacher_model_manager = trainer.distillation_config = None
    trainer.checkpoint_manager = SimpleNamespace(
        update_weights=lambda step=None: asyncio.run(worker.update_weights(step, mode="naive")),
        sleep_replicas=lambda: None,
    )
    trainer._load_checkpoint()
    trainer.on_init_end()
    trainer.at_hand = SimpleNamespace(store=store, server=server, worker=worker)
    trainer.run = lambda: trainer.fit(Manager(config, Client(server)))
    return trainer


def _one_process():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {
        "RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_RANK": "0",
        "RAY_LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
