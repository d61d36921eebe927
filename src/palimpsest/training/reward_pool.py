"""Rewards that take a processor for long, in processes of their own, each call with a time-out.

    async with RewardPool(reward, workers=4, timeout_s=10) as pool:
        score = await pool(completion, answers)

A call that runs out of time, that ends its process, or that raises scores 0 and is counted in
`failures`; its process is replaced where need be, and the others never hear of it. Processes are
spawned, so the reward is a function that can be imported, and nothing of the trainer's is copied.
"""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import pickle
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Literal, NamedTuple, Self

from palimpsest.errors import ConfigurationError
from palimpsest.training.rewards import Reward

Mishap = Literal["timed out", "died", "raised", "no number"]
_START_S = 120.0
"""For a process to import what the reward needs; no part of a call's time."""
_SPAWN = multiprocessing.get_context("spawn")


class _Scored(NamedTuple):
    value: float = 0.0
    mishap: Mishap | None = None


class RewardPool:
    """A reward in `workers` processes. Calls beyond that wait for one that is free."""

    def __init__(self, reward: Reward, *, workers: int = 2, timeout_s: float = 10.0) -> None:
        if workers < 1 or timeout_s <= 0:
            raise ConfigurationError(
                f"a pool of {workers} processes with {timeout_s} s a call does nothing",
                hint="give at least one process and more than no time",
            )
        _check_importable(reward)
        self.failures: Counter[Mishap] = Counter()
        """How many calls came to nothing, by what happened to them."""
        self._reward = reward
        self._timeout_s = timeout_s
        self._workers = {_Worker(reward) for _ in range(workers)}
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="rewards")
        self._free = asyncio.Queue[_Worker]()
        for worker in self._workers:
            self._free.put_nowait(worker)

    async def __call__(self, completion: str, answers: Sequence[str]) -> float:
        """The reward; 0 where there is none."""
        worker = await self._free.get()
        call = partial(worker.score, completion, answers, self._timeout_s)
        try:
            scored = await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except asyncio.CancelledError:
            worker = self._replaced(worker)
            raise
        finally:
            self._free.put_nowait(worker)
        if scored.mishap:
            self.failures[scored.mishap] += 1
        return scored.value

    def _replaced(self, worker: _Worker) -> _Worker:
        """Another in place of one whose call nobody waits for."""
        worker.give_up()
        other = _Worker(self._reward)
        self._workers = (self._workers - {worker}) | {other}
        return other

    async def aclose(self) -> None:
        """Ends the processes."""
        for worker in self._workers:
            worker.give_up()
        self._threads.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


class _Worker:
    """One process at a time, started when a call needs it."""

    def __init__(self, reward: Reward) -> None:
        self._reward = reward
        self._running: _Running | None = None
        self._given_up = False

    def score(self, completion: str, answers: Sequence[str], timeout_s: float) -> _Scored:
        """Blocks until the call has ended, one way or another."""
        try:
            pipe = self._pipe()
            pipe.send((completion, tuple(answers)))
            if pipe.poll(timeout_s):
                return _checked(pipe.recv())
            self._stop()
            return _Scored(mishap="timed out")
        except (EOFError, OSError):
            self._stop()
            return _Scored(mishap="died")
        finally:
            if self._given_up:
                self._stop()

    def give_up(self) -> None:
        """Ends the process, and with it a call that is under way in another thread."""
        self._given_up = True
        running = self._running
        if running:
            running.process.kill()
            running.process.join()

    def _pipe(self) -> Connection:
        """To a process that is ready. Raises `EOFError` if none gets so far."""
        if self._running is None:
            ours, theirs = _SPAWN.Pipe()
            process = _SPAWN.Process(target=_serve, args=(theirs, self._reward), daemon=True)
            process.start()
            theirs.close()
            self._running = _Running(process, ours)
            if not ours.poll(_START_S):
                raise EOFError
            ours.recv()
        return self._running.pipe

    def _stop(self) -> None:
        running, self._running = self._running, None
        if running:
            running.process.kill()
            running.process.join()
            running.pipe.close()


class _Running(NamedTuple):
    process: SpawnProcess
    pipe: Connection


def _serve(pipe: Connection, reward: Reward) -> None:
    """The life of a process: a number, or None for an error, to each call."""
    pipe.send("ready")
    while True:
        try:
            completion, answers = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(float(reward(completion, answers)))
        except Exception:
            pipe.send(None)


def _checked(value: float | None) -> _Scored:
    if value is None:
        return _Scored(mishap="raised")
    return _Scored(value) if math.isfinite(value) else _Scored(mishap="no number")


def _check_importable(reward: Reward) -> None:
    try:
        pickle.dumps(reward)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigurationError(
            f"the reward cannot be given to another process: {error}",
            hint="give a function that stands in a module by its name",
        ) from error
