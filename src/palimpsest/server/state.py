"""What a running server holds: the model, the stores, the counters; opened once, closed once.

    state = ServerState(config)  # or ServerState(config, model=ScriptedModel(...))
    async with state.running():
        store = state.readings(caller)
        reading = await kept_reading(store, state.reader, source, question, state.model)

Routes get it as an argument of their factory, `routes(state)`, dependencies as
`request.app.state.server`.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Set
from pathlib import Path
from typing import Any

from palimpsest.errors import ConfigurationError
from palimpsest.memory.saved import MemoryStore
from palimpsest.memory.store import ReadingStore
from palimpsest.models import Model
from palimpsest.pages.cache import PageCache
from palimpsest.server.config import ServerConfig
from palimpsest.server.limits import Limiter
from palimpsest.server.metrics import Metrics
from palimpsest.server.passthrough import Upstream
from palimpsest.server.security import LOCAL_ID, Caller
from palimpsest.server.tracing import ObservedModel
from palimpsest.settings import open_model

Hook = Callable[[], Awaitable[None]]

_LETTING_GO_S = 5.0


class ServerState:
    """One server's. Belongs to one event loop once it is running."""

    def __init__(self, config: ServerConfig, *, model: Model | None = None) -> None:
        """`model` instead of the one that the configuration describes, which is opened lazily.
        Raises `ConfigurationError` when the state folder cannot be written to."""
        self.config = config
        self.metrics = Metrics()
        self.limiter = Limiter(config)
        self.reader = config.reader.build()
        self.model: Model = ObservedModel(
            model or open_model(config.upstream), self.metrics, config.upstream.base_url
        )
        """Every call is counted and traced."""
        self.upstream = self._upstream()
        """What requests that fit are passed through to; None where the model is no endpoint."""
        self.stopping = asyncio.Event()
        """Set as soon as the server was told to stop: begin nothing long any more."""
        self._stop_by = math.inf
        self.cut_off = 0
        """Requests and background tasks that the end of the grace cut off."""
        self._folder = _writable(config.state_folder)
        self.pages = PageCache(
            capacity_bytes=config.page_cache_bytes,
            folder=self._folder / "pages" if config.pages_on_disk else None,
        )
        self._background: set[asyncio.Task[Any]] = set()
        self._requests: set[asyncio.Task[Any]] = set()
        self._at_start: list[Hook] = []
        self._at_stop: list[Hook] = []
        self._gauges()

    @property
    def folder(self) -> Path:
        """Where everything is kept that outlives the process."""
        return self._folder

    @property
    def callers_folder(self) -> Path:
        """What callers have, a folder each."""
        return self._folder / "callers"

    def caller_folder(self, caller: Caller) -> Path:
        """What is one caller's alone; the id of a key cannot lead out of it."""
        return self.callers_folder / caller.id

    def readings(self, caller: Caller) -> ReadingStore:
        """The caller's own readings."""
        return ReadingStore(self.caller_folder(caller) / "readings")

    def memories(self, caller: Caller) -> MemoryStore:
        """The caller's own saved memories."""
        return MemoryStore(self.caller_folder(caller) / "memories")

    def callers(self) -> list[Caller]:
        """Those who have something stored and may still call: for going on with their readings
        after a restart."""
        known = {key.id: Caller(key.id, key) for key in self.config.keys}
        if not known:
            known = {LOCAL_ID: Caller(LOCAL_ID)}
        return [caller for caller in known.values() if self.caller_folder(caller).is_dir()]

    def at_start(self, hook: Hook) -> None:
        """Has a coroutine function run when the server starts, before it answers anything."""
        self._at_start.append(hook)

    def at_stop(self, hook: Hook) -> None:
        """Has a coroutine function run when everything under way has ended."""
        self._at_stop.append(hook)

    def spawn(self, work: Coroutine[Any, Any, Any], *, name: str = "") -> asyncio.Task[Any]:
        """Runs something beside the requests; waited for at shutdown within the grace, and
        cancelled after it. A failure is the work's own to tell."""
        task = asyncio.get_running_loop().create_task(work, name=name or None)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """Around each request, so that shutdown waits for the last of them."""
        task = asyncio.current_task()
        assert task
        self._requests.add(task)
        try:
            yield
        finally:
            self._requests.discard(task)

    def begin_stopping(self, grace_s: float | None = None) -> None:
        """From now on the grace runs; a later call can only shorten it."""
        self.stopping.set()
        grace = self.config.grace_s if grace_s is None else grace_s
        self._stop_by = min(self._stop_by, time.monotonic() + grace)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """From start to shutdown."""
        try:
            for hook in self._at_start:
                await hook()
            yield
        finally:
            self.begin_stopping()
            # Those that the end of the grace cancelled have yet to let go of what they hold.
            await _end_within(_LETTING_GO_S, self._requests)
            await self._finish_background()
            for hook in self._at_stop:
                await hook()
            if self.upstream:
                await self.upstream.aclose()
            await self.model.aclose()

    async def ready(self) -> dict[str, str]:
        """What stands against taking requests, by what it is of; empty when nothing does."""
        problems: dict[str, str] = {}
        if self.stopping.is_set():
            problems["server"] = "it is being stopped"
        try:
            await asyncio.to_thread(_writable, self._folder)
        except ConfigurationError:
            problems["state"] = "the state folder cannot be written to"
        if self.upstream and (problem := await self.upstream.problem()):
            problems["upstream"] = problem
        return problems

    async def _finish_background(self) -> None:
        left_s = max(0.0, self._stop_by - time.monotonic())
        self.cut_off += await _end_within(left_s, self._background)

    def _upstream(self) -> Upstream | None:
        config = self.config
        if not config.upstream.base_url:
            return None
        return Upstream(config.upstream, self.metrics, own_keys=bool(config.keys))

    def _gauges(self) -> None:
        slots = self.limiter.slots
        self.metrics.gauge("working", "Requests being worked on.", lambda: slots.working)
        self.metrics.gauge("queue_depth", "Requests waiting for a place.", lambda: slots.waiting)
        self.metrics.gauge(
            "background_tasks", "Readings that go on without a client.",
            lambda: len(self._background),
        )  # fmt: skip


async def _end_within(seconds: float, tasks: Set[asyncio.Task[Any]]) -> int:
    """Waits for tasks to end, then cancels the rest and gives their number."""
    others = tasks - {asyncio.current_task()}
    if not others:
        return 0
    _, late = await asyncio.wait(others, timeout=seconds)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    return len(late)


def _writable(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise ConfigurationError(
            f"{folder} cannot hold the server's state: {error.strerror}",
            hint="name another folder with --state",
        ) from error
