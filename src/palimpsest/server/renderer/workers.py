"""The processes that draw: a page that ends or overruns one costs one error and a new process.

    pool = Pool(2, RendererLimits())
    drawn = await pool.draw(Order("# A memory"))

A worker is a fresh interpreter, never a fork, with a session of its own, so that what it starts
ends with it. Its environment holds no secrets, and nothing that it writes is logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable
from typing import Any, NoReturn

from palimpsest.errors import InputError, PalimpsestError
from palimpsest.server.errors import ApiError
from palimpsest.server.limits import too_many
from palimpsest.server.renderer.drawing import LENGTHS
from palimpsest.server.renderer.limits import RendererLimits
from palimpsest.server.renderer.order import Drawn, Order

_PROGRAM = "from palimpsest.server.renderer.drawing import serve; serve({memory_bytes})"
_INHERITED = ("LD_LIBRARY_PATH", "PATH", "SYSTEMROOT")
"""Variables without which some interpreters do not start. The others may be secrets."""
_BUFFER_BYTES = 1 << 20
_MOST_BYTES = 128 << 20
"""Of a reply; the largest page at the largest budget has a fraction of it."""
_RETRY_AFTER_S = 1
_BROKEN = (OSError, EOFError, ValueError)
"""What talking to a process that ended, or has lost its mind, raises."""

Reply = tuple[dict[str, Any], bytes]


class Worker:
    """A process that draws, started when first needed and again after it died."""

    def __init__(self, limits: RendererLimits) -> None:
        self.limits = limits
        self._process: asyncio.subprocess.Process | None = None
        self._has_drawn_html = False

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return self._process.pid if self._process else None

    async def draw(self, order: Order) -> Drawn:
        """The page. Raises `InputError` for content that makes none, 503 when the process died of
        it, 504 when it took too long."""
        process = await self.start()
        started = time.perf_counter()
        try:
            facts, image = await self._within(self._patience(order), _asked(process, order))
        except TimeoutError:
            message = f"the page took longer than {self.limits.draw_s:g} s to draw"
            raise ApiError(504, message, code="too_slow") from None
        except _BROKEN:
            raise _ended(
                "the process that drew the page ended; the page may need too much memory"
            ) from None
        self._has_drawn_html |= order.kind == "html"
        if "refusal" in facts:
            _raise(facts["refusal"])
        size = len(image) + len(json.dumps(facts))
        return Drawn(image, facts, size, time.perf_counter() - started)

    async def start(self) -> asyncio.subprocess.Process:
        """The process, ready to draw. Raises 503 when it does not start."""
        if self._process and self._process.returncode is None:
            return self._process
        await self.close()
        self._has_drawn_html = False
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _PROGRAM.format(memory_bytes=self.limits.worker_bytes),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=_BUFFER_BYTES,
            env=_environment(),
            start_new_session=True,
        )
        process = self._process
        try:
            await self._within(self.limits.start_s, _reply(process))
        except _BROKEN:
            raise _ended("no process could be started to draw the page") from None
        return process

    async def _within(self, seconds: float, reply: Awaitable[Reply]) -> Reply:
        """The reply; without one in time the process ends, as what it still says would be taken
        for the reply to the next page."""
        try:
            async with asyncio.timeout(seconds):
                return await reply
        except BaseException:
            await self.close()
            raise

    def _patience(self, order: Order) -> float:
        """Seconds for a page. The first of HTML has a process to start."""
        starting = order.kind == "html" and not self._has_drawn_html
        return self.limits.draw_s + (self.limits.start_s if starting else 0.0)

    async def close(self) -> None:
        """Ends the process and all that it started."""
        process, self._process = self._process, None
        # The number of one that has ended may be another's by now.
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            if sys.platform == "win32":
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


class Pool:
    """Workers that draw one page each at a time."""

    def __init__(self, count: int, limits: RendererLimits) -> None:
        self.workers = [Worker(limits) for _ in range(count)]
        self.limits = limits
        # The last one used comes first: its caches are warm, and idle ones can be swapped out.
        self._idle: asyncio.LifoQueue[Worker] = asyncio.LifoQueue()
        for worker in self.workers:
            self._idle.put_nowait(worker)

    async def draw(self, order: Order) -> Drawn:
        """The page, as soon as a worker is free. Raises what `Worker.draw` raises, and 429 when
        none was free in time."""
        try:
            async with asyncio.timeout(self.limits.wait_s):
                worker = await self._idle.get()
        except TimeoutError:
            raise too_many("the renderer is busy", self.limits.wait_s) from None
        try:
            return await worker.draw(order)
        finally:
            self._idle.put_nowait(worker)

    async def warm(self) -> None:
        """Starts the workers, so that the first pages need not wait for it."""

        async def one() -> None:
            worker = await self._idle.get()
            try:
                with contextlib.suppress(ApiError):
                    await worker.start()
            finally:
                self._idle.put_nowait(worker)

        await asyncio.gather(*(one() for _ in self.workers))

    async def close(self) -> None:
        """Ends all processes."""
        await asyncio.gather(*(worker.close() for worker in self.workers))


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {**kept, "PYTHONPATH": os.pathsep.join(sys.path)}


async def _asked(process: asyncio.subprocess.Process, order: Order) -> Reply:
    assert process.stdin
    process.stdin.write(order.to_line())
    await process.stdin.drain()
    return await _reply(process)


async def _reply(process: asyncio.subprocess.Process) -> Reply:
    assert process.stdout
    told, size = LENGTHS.unpack(await process.stdout.readexactly(LENGTHS.size))
    if told + size > _MOST_BYTES:
        raise ValueError("no page is so large")
    facts: dict[str, Any] = json.loads(await process.stdout.readexactly(told))
    return facts, await process.stdout.readexactly(size)


def _raise(refusal: dict[str, str]) -> NoReturn:
    """The error that the worker met, here."""
    reason, hint = refusal["reason"], refusal["hint"]
    match refusal["fault"]:
        case "input":
            raise InputError(reason, hint=hint)
        case "setup":
            raise ApiError(503, f"{reason} ({hint})", code="not_set_up")
    raise PalimpsestError(reason, hint=hint)


def _ended(message: str) -> ApiError:
    headers = {"Retry-After": str(_RETRY_AFTER_S)}
    return ApiError(503, message, code="worker_ended", headers=headers)
