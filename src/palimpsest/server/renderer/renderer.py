"""Draws each page once, however many ask for it, and keeps the latest.

The cache holds the files that are sent, not pixels: they are a tenth of the size or less, and HTML
can be kept like Markdown. Its keys are hashes of everything that decides the bytes.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from palimpsest.errors import PalimpsestError
from palimpsest.server.errors import ApiError, api_error
from palimpsest.server.limits import too_many
from palimpsest.server.renderer.limits import RendererLimits
from palimpsest.server.renderer.order import Drawn, Order
from palimpsest.server.renderer.workers import Pool


class Found(NamedTuple):
    """A page, and whether it was drawn before, or for another who asked at the same time."""

    drawn: Drawn
    cached: bool


class DrawnCache:
    """The pages used last, up to so many bytes."""

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity = capacity_bytes
        self._pages: OrderedDict[str, Drawn] = OrderedDict()
        self.held_bytes = 0

    def get(self, key: str) -> Drawn | None:
        if key in self._pages:
            self._pages.move_to_end(key)
        return self._pages.get(key)

    def put(self, key: str, drawn: Drawn) -> None:
        if key not in self._pages:
            self.held_bytes += drawn.size
        self._pages[key] = drawn
        while self.held_bytes > self._capacity:
            self.held_bytes -= self._pages.popitem(last=False)[1].size


class Renderer:
    """The pages of one server."""

    def __init__(self, limits: RendererLimits, *, workers: int) -> None:
        self.limits = limits
        self.pool = Pool(workers, limits)
        self.cache = DrawnCache(limits.cache_bytes)
        self._flights: dict[str, asyncio.Task[Drawn]] = {}
        self._warming: asyncio.Task[None] | None = None
        self._workers = workers
        self._inside = 0

    async def start(self) -> None:
        """Begins to start the workers; pages may be asked for at once."""
        self._warming = asyncio.create_task(self.pool.warm())

    async def close(self) -> None:
        """Ends the workers, and with them what they draw."""
        under_way = [*self._flights.values(), *([self._warming] if self._warming else [])]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await self.pool.close()

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """One request. Raises 429 when as many as may are drawn or wait."""
        if self._inside >= self.limits.queue:
            raise too_many("the renderer's queue is full", 1.0)
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    async def draw(self, order: Order) -> Found:
        """The page. Raises what `Pool.draw` raises."""
        key = order.key
        kept = self.cache.get(key)
        if kept:
            return Found(kept, cached=True)
        flight = self._flights.get(key)
        shared = flight is not None
        if flight is None:
            flight = asyncio.create_task(self._draw(key, order))
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._landed(key, done))
        # Others may wait for the same page: who leaves does not take it from them.
        return Found(await asyncio.shield(flight), cached=shared)

    async def draw_all(self, orders: Sequence[Order | ApiError]) -> list[Found | ApiError]:
        """The pages in order, with what went wrong in the places of those that are none."""
        at_once = asyncio.Semaphore(self._workers)

        async def one(order: Order | ApiError) -> Found | ApiError:
            if isinstance(order, ApiError):
                return order
            async with at_once:
                return await self._outcome(order)

        tasks = [asyncio.create_task(one(order)) for order in orders]
        try:
            await asyncio.wait(tasks, timeout=self.limits.batch_s)
        finally:
            for task in tasks:
                task.cancel()
        return [await self._unless_late(task) for task in tasks]

    async def _unless_late(self, task: asyncio.Task[Found | ApiError]) -> Found | ApiError:
        await asyncio.wait([task])
        if task.cancelled():
            most = f"{self.limits.batch_s:g} s"
            return ApiError(504, f"the batch took longer than {most}", code="too_slow")
        return task.result()

    async def _outcome(self, order: Order) -> Found | ApiError:
        try:
            return await self.draw(order)
        except PalimpsestError as error:
            return api_error(error)
        except ApiError as error:
            return error

    async def _draw(self, key: str, order: Order) -> Drawn:
        drawn = await self.pool.draw(order)
        self.cache.put(key, drawn)
        return drawn

    def _landed(self, key: str, flight: asyncio.Task[Drawn]) -> None:
        del self._flights[key]
        if not flight.cancelled():
            # Fetched even if everybody has left, or asyncio would complain of it.
            flight.exception()
