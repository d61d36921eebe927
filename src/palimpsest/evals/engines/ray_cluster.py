"""Items spread over a Ray cluster: one that runs already, or one of this machine alone.

    with RayEngine(settings, workers=2) as engine:
        await evaluate(items, reader, model, folder, config, engine=engine)

Each worker process opens the model of the settings for itself and reads by the same code as
`LocalEngine`; results go back to the process that runs the evaluation, which alone writes them.
Where the workers see the run's folder, readings are kept there as they go, and one whose worker
died goes on from its last chunk; else they come back with the result. What is not done: nothing
is installed on the cluster's machines, which need this package and the model's files.
"""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, NamedTuple, Self

from palimpsest.errors import CapReached, ConfigurationError, PalimpsestError
from palimpsest.evals.job import Job
from palimpsest.evals.outcome import failed_result, read_job
from palimpsest.evals.run import CONFIG_FILE, READINGS_FOLDER, ItemResult
from palimpsest.evals.spending import Ledger
from palimpsest.memory.reading import Reading
from palimpsest.memory.store import ReadingStore, load_reading
from palimpsest.models.caps import Caps
from palimpsest.models.model import Model
from palimpsest.settings import ModelSettings, open_model

_LOOPBACK = "127.0.0.1"
_LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
"""With no cluster to be part of, Ray takes the loopback address for its own, and listens there
alone. It reads this once, when it is imported."""
_KNOCK_S = 5.0
_TRIES = 2
"""How often an item is given to a worker, where the worker dies of it."""


@dataclass(frozen=True)
class _Order:
    """What a worker is told."""

    job: Job
    settings: ModelSettings
    caps: Caps | None
    folder: Path
    config: str
    """Text of the run's configuration, by which a worker knows the folder when it sees it."""


class _Done(NamedTuple):
    result: ItemResult
    lines: list[str]
    """Of the reading, where the worker could not keep it in the run's folder."""


class RayEngine:
    """Reads each item in a worker process of Ray.

    `address` is a cluster's, as in `ray.init`; without one, Ray is started on this machine and
    stopped when the engine is left, and listens on the loopback address alone. `workers` is the
    most items at once, by default one for each processor. Caps are dealt out beforehand: an item
    gets the part of what is left that the items at once leave it.
    """

    def __init__(
        self, settings: ModelSettings, *, address: str | None = None, workers: int | None = None
    ) -> None:
        self._settings = _absolute(settings)
        self._address = address
        self._workers = workers
        self._ray: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        ray = _ray(loopback=self._address is None)
        if self._address is None:
            where: dict[str, Any] = {"address": "local", "num_cpus": self._workers}
        else:
            _knock(self._address)
            where = {"address": self._address}
        try:
            ray.init(**where, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise _no_cluster(error) from error
        self._ray = ray
        # Tries are counted here: Ray would try as often as a worker runs out of memory.
        self._task = ray.remote(num_cpus=1, max_retries=0)(_work)
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()

    @property
    def at_once(self) -> int:
        return self._workers or max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    async def read(self, job: Job, folder: Path, ledger: Ledger | None) -> ItemResult:
        caps = ledger.share_of(job.key, self.at_once) if ledger else None
        if ledger and caps is None:
            error = CapReached("the caps leave nothing for this item")
            return failed_result(job, str(error), error)
        try:
            done = await self._asked(self._order(job, folder, caps))
        except self._ray.exceptions.RayError as error:
            return failed_result(job, f"failed on {_TRIES} workers: {_line(error)}", error)
        return _kept(done, ReadingStore(folder / READINGS_FOLDER))

    def _order(self, job: Job, folder: Path, caps: Caps | None) -> _Order:
        text = (folder / CONFIG_FILE).read_text(encoding="utf-8")
        return _Order(job, self._settings, caps, folder.absolute(), text)

    async def _asked(self, order: _Order) -> _Done:
        """What a worker answers, the second where the first died."""
        for _ in range(_TRIES - 1):
            try:
                return await self._once(order)
            except self._ray.exceptions.RayError:
                continue
        return await self._once(order)

    async def _once(self, order: _Order) -> _Done:
        reference = self._task.remote(order)
        try:
            done: _Done = await reference
        except asyncio.CancelledError:
            self._ray.cancel(reference, force=True)
            raise
        return done


def _work(order: _Order) -> _Done:
    """Done in a worker process."""
    try:
        place = _workplace(order.settings)
    except PalimpsestError as error:
        return _Done(failed_result(order.job, str(error), error), [])
    return place.runner.run(_read(order, place.model))


class _Workplace(NamedTuple):
    runner: asyncio.Runner
    model: Model


@cache
def _workplace(settings: ModelSettings) -> _Workplace:
    """A worker's model, which is opened once and used for all its items in one event loop."""
    return _Workplace(asyncio.Runner(), open_model(settings))


async def _read(order: _Order, model: Model) -> _Done:
    if _sees_folder(order):
        store = ReadingStore(order.folder / READINGS_FOLDER)
        return _Done(await read_job(order.job, model, store, caps=order.caps), [])
    with TemporaryDirectory(prefix="palimpsest-") as passing:
        store = ReadingStore(Path(passing))
        result = await read_job(order.job, model, store, caps=order.caps)
        lines = load_reading(store.folder / result.reading).to_lines() if result.reading else []
    return _Done(result, lines)


def _sees_folder(order: _Order) -> bool:
    """Whether the run's folder is the same here as where it is written."""
    try:
        return (order.folder / CONFIG_FILE).read_text(encoding="utf-8") == order.config
    except OSError:
        return False


def _kept(done: _Done, store: ReadingStore) -> ItemResult:
    """The result, with the reading that came with it in the store."""
    if not done.lines:
        return done.result
    with store.create(Reading.from_lines(done.lines)) as journal:
        return done.result.model_copy(update={"reading": journal.folder.name})


def _ray(*, loopback: bool) -> ModuleType:
    """The library. With `loopback`, one that will not listen on any other address."""
    if loopback:
        os.environ.update(_LOOPBACK_ONLY)
    try:
        ray = import_module("ray")
    except ImportError:
        raise ConfigurationError(
            "--engine ray needs ray", hint='pip install "palimpsest-memory[eval]"'
        ) from None
    if loopback and import_module("ray.util").get_node_ip_address() != _LOOPBACK:
        raise ConfigurationError(
            "Ray was imported before, so that a cluster started now would listen on the network",
            hint="make the engine before anything imports ray, or give the address of a cluster",
        )
    return ray


def _knock(address: str) -> None:
    """Raises `ConfigurationError` where nothing answers at an address: Ray would try for long."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _no_cluster(f"{address}: {error}") from error


def _no_cluster(reason: object) -> ConfigurationError:
    return ConfigurationError(
        f"no Ray cluster can be used: {reason}",
        hint="give the address of one that runs (RAY_AUTH_MODE=token where it asks for a token), or"
        " none for one on this machine",
    )


def _absolute(settings: ModelSettings) -> ModelSettings:
    """Workers need not be in the same folder."""
    files = settings.model_dump(include={"tokenizer", "record"}, exclude_none=True)
    return settings.model_copy(
        update={name: str(Path(path).absolute()) for name, path in files.items()}
    )


def _line(error: Exception) -> str:
    """The first line of what Ray says, which says much."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
