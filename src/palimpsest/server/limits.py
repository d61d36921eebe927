"""How much one client and all of them together may ask for at once, and what is refused.

Everything here runs on one event loop; nothing waits on a lock.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from palimpsest.server.config import ApiKey, ServerConfig
from palimpsest.server.errors import ApiError

_LONGEST_RETRY_S = 60
_USUAL_S = 1.0
"""What a request is taken to last before any has ended."""


class Rate:
    """So many a minute, refilled steadily; a minute's worth may come at once."""

    def __init__(self, a_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = float(a_minute)
        self._left = self._most
        self._clock = clock
        self._at = clock()

    def take(self) -> float:
        """Takes one and gives 0, or the seconds until there is one to take."""
        now = self._clock()
        a_second = self._most / 60
        self._left = min(self._most, self._left + (now - self._at) * a_second)
        self._at = now
        if self._left < 1:
            return (1 - self._left) / a_second
        self._left -= 1
        return 0.0


class Slots:
    """Places for requests that are worked on, and a queue of bounded length before them."""

    def __init__(self, most: int, queue: int) -> None:
        self._most = most
        self._queue = queue
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.working = 0
        self._mean_s = _USUAL_S

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def refuse_if_full(self) -> None:
        """Raises 429 when the next one would neither work nor wait."""
        if self.working >= self._most and self.waiting >= self._queue:
            raise too_many("the server is busy", self._retry_after())

    @contextmanager
    def held(self) -> Iterator[None]:
        """Gives a place that was taken back at the end."""
        started = time.monotonic()
        try:
            yield
        finally:
            self._mean_s += (time.monotonic() - started - self._mean_s) / 8
            self._give_back()

    def take_free(self) -> bool:
        """Takes a place if one is free and nobody waits for it."""
        if self.working >= self._most or self._waiting:
            return False
        self.working += 1
        return True

    async def take_in_turn(self) -> None:
        """Waits for a place and takes it. Raises 429 when the queue is full."""
        self.refuse_if_full()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            if turn.done() and not turn.cancelled():
                self._give_back()
            raise

    def _give_back(self) -> None:
        """Hands the place to the next who still waits, else frees it."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.working -= 1

    def _retry_after(self) -> float:
        return self._mean_s * (1 + self.waiting) / self._most


class KeyUse:
    """What one key has in use."""

    def __init__(self, key: ApiKey | None, config: ServerConfig) -> None:
        a_minute = (key and key.requests_a_minute) or config.requests_a_minute
        self._rate = Rate(a_minute) if a_minute else None
        self._most = (key and key.concurrency) or config.key_concurrency
        self._at_once = 0

    @contextmanager
    def request(self) -> Iterator[None]:
        """One request. Raises 429 when the key has no more."""
        if self._most is not None and self._at_once >= self._most:
            raise too_many(f"this key may have {self._most} requests at once", 1.0)
        wait = self._rate.take() if self._rate else 0.0
        if wait:
            raise too_many("this key has had its requests for this minute", wait)
        self._at_once += 1
        try:
            yield
        finally:
            self._at_once -= 1


class Limiter:
    """All limits of one server."""

    def __init__(self, config: ServerConfig) -> None:
        self.slots = Slots(config.concurrency, config.queue)
        self._config = config
        self._keys: dict[str, KeyUse] = {}

    def use(self, caller_id: str, key: ApiKey | None) -> KeyUse:
        """What a caller has in use."""
        if caller_id not in self._keys:
            self._keys[caller_id] = KeyUse(key, self._config)
        return self._keys[caller_id]


def too_many(message: str, retry_after_s: float) -> ApiError:
    """A 429 that says when to come back."""
    seconds = max(1, min(_LONGEST_RETRY_S, math.ceil(retry_after_s)))
    return ApiError(
        429,
        f"{message}; try again in {seconds} s",
        code="rate_limit_exceeded",
        headers={"Retry-After": str(seconds)},
    )
