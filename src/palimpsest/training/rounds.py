"""Calls that wait at the same time are answered together.

Coroutines ask one at a time, each for itself; a model answers best many at a time. A round takes
all that wait once nothing more arrives. Where agents take seats, it begins only when every seat
waits, so that the same agents make the same rounds however fast each of them is.

    async with rounds.seat("first agent"):
        answer = await rounds.ask(request)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

PATIENCE_S = 30.0
"""How long a round waits for a seat that does not ask: it may be waiting for another seat."""
_TICKS = 5
"""Turns of the event loop without a new call after which no more are expected."""

Request = TypeVar("Request")
Answer = TypeVar("Answer")


@dataclass(frozen=True, eq=False)
class _Seat:
    """Held by one agent while it may ask."""

    name: str


class _Call(NamedTuple, Generic[Request, Answer]):
    request: Request
    answer: asyncio.Future[Answer]
    seat: _Seat | None


_seat: ContextVar[_Seat | None] = ContextVar("seat", default=None)


def seated() -> str:
    """The name of the seat that the caller holds; empty for none."""
    seat = _seat.get()
    return seat.name if seat else ""


class Rounds(Generic[Request, Answer]):
    """Gathers calls into rounds, and answers each round batch by batch in a thread."""

    def __init__(
        self,
        plan: Callable[[Sequence[Request]], list[list[int]]],
        serve: Callable[[Sequence[Request]], Sequence[Answer]],
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Args:
        plan: Cuts the requests of a round into batches, each a list of places.
        serve: Answers a batch; what it raises is raised to all of the batch.
        """
        self._plan, self._serve, self._patience_s = plan, serve, patience_s
        self._waiting: list[_Call[Request, Answer]] = []
        self._seats: set[_Seat] = set()
        self._changed = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None

    async def ask(self, request: Request) -> Answer:
        """The answer to a request, from the round that takes it."""
        loop = asyncio.get_running_loop()
        call = _Call(request, loop.create_future(), _seat.get())
        self._waiting.append(call)
        self._changed.set()
        if self._pump is None or self._pump.done():
            self._pump = loop.create_task(self._run())
        answer: Answer = await call.answer
        return answer

    @asynccontextmanager
    async def seat(self, name: str = "") -> AsyncIterator[None]:
        """While it is held, no round begins without a call from inside it.

        Calls of tasks that are started inside count as its own. Leave it before doing anything
        long that is no call.
        """
        seat = _Seat(name)
        token = _seat.set(seat)
        self._seats.add(seat)
        try:
            yield
        finally:
            _seat.reset(token)
            self._seats.discard(seat)
            self._changed.set()

    async def _run(self) -> None:
        taken: list[_Call[Request, Answer]] = []
        try:
            while self._waiting:
                await self._all_here()
                taken, self._waiting = self._waiting, []
                await self._round([call for call in taken if not call.answer.done()])
        finally:
            for call in (*taken, *self._waiting):
                call.answer.cancel()

    async def _round(self, calls: list[_Call[Request, Answer]]) -> None:
        requests = [call.request for call in calls]
        for places in self._plan(requests):
            batch = [calls[place] for place in places]
            try:
                served = await asyncio.to_thread(self._serve, [call.request for call in batch])
            except Exception as error:  # whatever it is belongs to those who asked
                _fail(batch, error)
                continue
            for call, answer in zip(batch, served, strict=True):
                if not call.answer.done():
                    call.answer.set_result(answer)

    async def _all_here(self) -> None:
        await self._quiet()
        while self._missing():
            self._changed = asyncio.Event()
            try:
                await asyncio.wait_for(self._changed.wait(), self._patience_s)
            except TimeoutError:
                return
            await self._quiet()

    async def _quiet(self) -> None:
        """Returns once nothing has arrived for some turns of the event loop."""
        seen, quiet = len(self._waiting), 0
        while quiet < _TICKS:
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(self._waiting) == seen else 0
            seen = len(self._waiting)

    def _missing(self) -> bool:
        present = {call.seat for call in self._waiting if not call.answer.done()}
        return not self._seats <= present


def _fail(batch: Sequence[_Call[Request, Answer]], error: Exception) -> None:
    for call in batch:
        if not call.answer.done():
            call.answer.set_exception(error)
