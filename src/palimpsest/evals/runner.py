"""Runs an evaluation: items in, a line in the run's folder for each as soon as it is read.

    config = configure(task="hotpotqa", data="data/", name="memagent", reader=reader,
                       model=model.name, metrics=("f1",), lengths=(8192,))
    done = await evaluate(items, reader, model, Path("runs/first"), config)

The same call goes on with a run that was stopped: what has a result is not read again, and what
was being read goes on from its last chunk. Each memory is drafted once, and read at every budget.
Items come as a stream, of which no more are held than are being read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

from palimpsest.datasets.item import Item
from palimpsest.errors import CapReached
from palimpsest.evals.engines import Engine, LocalEngine
from palimpsest.evals.job import Job, make_job
from palimpsest.evals.outcome import source_of
from palimpsest.evals.recording import Recording
from palimpsest.evals.run import ItemResult, Run, RunConfig, load_run
from palimpsest.evals.spending import Ledger, taken_by
from palimpsest.memory.source_store import SourceStore
from palimpsest.models.caps import Caps
from palimpsest.models.model import Model
from palimpsest.models.prices import Price
from palimpsest.readers.reader import Reader

Items = AsyncIterator[tuple[int | None, Item]]
"""Items, each with the length in tokens at which it was asked for."""
OnResult = Callable[[ItemResult], None]


class Evaluated(NamedTuple):
    """A run after one go."""

    run: Run
    capped: bool
    """Whether a cap kept some of its items from being read."""


async def evaluate(
    items: Items,
    reader: Reader,
    model: Model,
    folder: Path,
    config: RunConfig,
    *,
    engine: Engine | None = None,
    concurrency: int = 1,
    price: Price | None = None,
    caps: Caps | None = None,
    retry_failed: bool = False,
    keep_sources: bool = True,
    on_result: OnResult | None = None,
) -> Evaluated:
    """Reads every item at every seed of `config` and keeps the run in `folder`.

    `concurrency` is the most items that are read side by side; an `engine` has its own. `caps`
    are for the whole run: when one is reached no further item is begun, and those that are being
    read share what is left. Items that were not read then have no result. A reading that fails is
    a result with scores of 0, and is read again only with `retry_failed`. With `keep_sources` what
    was read is kept in the folder too, each context once: some 6 MB for 4 million tokens.

    Raises `ConfigurationError` if the folder holds another run or another process writes it, and
    whatever `items` raises.
    """
    reading = engine or LocalEngine(model, at_once=concurrency)
    with Recording(folder, config) as recording:
        ledger = _ledger(caps, recording)
        sources = SourceStore.beside(recording.readings) if keep_sources else None
        session = _Session(reader, config, recording, sources, reading, ledger, price, on_result)
        await session.run(items, retry_failed=retry_failed)
    return Evaluated(load_run(folder), session.capped)


class _Session:
    """One go of a run."""

    def __init__(
        self, reader: Reader, config: RunConfig, recording: Recording,
        sources: SourceStore | None, engine: Engine, ledger: Ledger | None, price: Price | None,
        on_result: OnResult | None,
    ) -> None:  # fmt: skip
        self.capped = False
        self._reader = reader
        self._config = config
        self._recording = recording
        self._sources = sources
        self._engine = engine
        self._ledger = ledger
        self._price = price
        self._on_result = on_result
        self._slots = asyncio.Semaphore(engine.at_once)

    async def run(self, items: Items, *, retry_failed: bool) -> None:
        seen = {key for key, one in self._recording.results.items() if _stands(one, retry_failed)}
        try:
            async with asyncio.TaskGroup() as group:
                async for job in self._jobs(items):
                    if job.key in seen:
                        continue
                    seen.add(job.key)
                    await self._slots.acquire()
                    if self._at_cap():
                        break
                    group.create_task(self._read(job))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _jobs(self, items: Items) -> AsyncIterator[Job]:
        async for length, item in items:
            for seed in self._config.seeds:
                yield make_job(item, length, seed, self._reader, self._config, self._price)

    def _at_cap(self) -> bool:
        self.capped |= self._ledger is not None and self._ledger.used_up
        return self.capped

    async def _read(self, job: Job) -> None:
        try:
            result = await self._engine.read(job, self._recording.folder, self._ledger)
            if self._sources and result.reading:
                await asyncio.to_thread(_keep_source, job, self._sources)
        finally:
            self._slots.release()
        if self._ledger:
            self._ledger.settle(job.key, taken_by(result))
        if result.error == CapReached.__name__:
            self.capped = True
            if result.status == "failed":
                return
            result = result.model_copy(update={"reason": f"{result.reason}; {_OF_THE_RUN}"})
        self._recording.write(result)
        if self._on_result:
            self._on_result(result)


_OF_THE_RUN = "the cap is the run's"


def _keep_source(job: Job, sources: SourceStore) -> None:
    sources.keep(source_of(job))


def _ledger(caps: Caps | None, recording: Recording) -> Ledger | None:
    if not caps:
        return None
    return Ledger(caps, {key: taken_by(one) for key, one in recording.results.items()})


def _stands(result: ItemResult, retry_failed: bool) -> bool:
    """Whether a result is not to be had again. One that a cap ended goes on under a larger."""
    if result.status == "partial":
        return result.error != CapReached.__name__
    return result.status == "answered" or not retry_failed
