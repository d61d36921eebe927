"""Where clients and their jobs meet: a job outlives its client, and an answer waits for it.

What becomes of a job whose client leaves is the request's to say (`on_disconnect`): it reads on to
the end of the chunk that it is at, and what was read is kept (`keep`, the default); it goes on to
the answer, which waits for the same request (`finish`); or it stops at once (`cancel`). A job that
was under way when the process was killed is finished after the restart.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from palimpsest.errors import PalimpsestError
from palimpsest.server.errors import CLIENT_GONE, RETRY_AFTER_S, ApiError, api_error
from palimpsest.server.gateway.answering import ANSWERING, Clerk, Listener
from palimpsest.server.gateway.chat import Chat
from palimpsest.server.gateway.conversation import DialectName, Json
from palimpsest.server.gateway.jobs import Job, JobJournal, Outcome, Waiting, request_key
from palimpsest.server.gateway.making import Shelf
from palimpsest.server.gateway.orders import Office, Order, Pass
from palimpsest.server.gateway.responses_api import Responses
from palimpsest.server.gateway.streaming import (
    DONE,
    comment,
    encode,
    failure,
    numbered,
    thinking,
)
from palimpsest.server.gateway.upstream import Dialect, Refused
from palimpsest.server.security import Caller, disconnected
from palimpsest.server.state import ServerState

_LOG = logging.getLogger("palimpsest.server")

DIALECTS: dict[DialectName, Dialect] = {"chat": Chat(), "responses": Responses()}
MOST_WAITING = 16
"""Jobs of one caller that go on without a client; one more is kept as it is."""
RESUMED_AT_ONCE = 2
"""Jobs of before a restart that are gone on with side by side."""
_WAITS_S = (2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0)
"""Between the tries of a job of before a restart: its upstream may start later than the server."""
_PASSING = frozenset({429, 502, 503, 504})
_SILENCE_S = 15.0
"""After which a stream says that it still lives."""
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class Counter:
    """All that one caller has under way."""

    def __init__(self, state: ServerState, caller: Caller) -> None:
        self.caller = caller
        self.shelf = Shelf(state.readings(caller))
        self.journal = JobJournal(state.caller_folder(caller) / "jobs")
        self.waiting = Waiting()


class Desk:
    """Takes requests of clients and gives them their answers."""

    def __init__(self, state: ServerState, office: Office, clerk: Clerk) -> None:
        self._state = state
        self._office = office
        self._clerk = clerk
        self._counters: dict[str, Counter] = {}
        self._resuming = asyncio.Semaphore(RESUMED_AT_ONCE)

    async def resume(self) -> None:
        """Goes on with what a former process left, beside what comes in."""
        for caller in self._state.callers():
            counter = self._counter(caller)
            for entry in await asyncio.to_thread(lambda: list(counter.journal.left())):  # noqa: B023
                job = Job(entry.name, entry.key)
                counter.waiting.put(job)
                if entry.outcome:
                    job.settle(entry.outcome)
                    continue
                work = self._resumed(counter, job, DIALECTS[entry.dialect], entry.body)
                job.task = self._state.spawn(work, name=f"resumed {entry.name}")

    async def take(self, request: Request, caller: Caller, dialect: Dialect) -> Response:
        """The response to a request. Raises `ApiError` and `PalimpsestError`."""
        raw = await request.body()
        counter = self._counter(caller)
        order = await self._office.order(dialect, raw)
        if isinstance(order, Pass):
            assert self._state.upstream is not None
            return await self._state.upstream.forward(
                request, dialect.path, body=order.body, model=order.model
            )
        key = await asyncio.to_thread(request_key, dialect.name, raw)
        claimed = counter.waiting.claim(key)
        if claimed is not None:
            return await self._serve(request, counter, claimed, order, claimed=True)
        name = ""
        if order.split is not None:
            name = await asyncio.to_thread(counter.journal.begin, dialect.name, raw)
        job = Job(name, key)
        job.task = self._state.spawn(self._work(counter, job, order), name=f"job {name}")
        return await self._serve(request, counter, job, order, claimed=False)

    async def _serve(
        self, request: Request, counter: Counter, job: Job, order: Order, *, claimed: bool
    ) -> Response:
        if order.streamed:
            stream = _Stream(self, counter, job, order, claimed=claimed)
            return StreamingResponse(
                stream.sent(), media_type="text/event-stream", headers=_HEADERS
            )
        gone = asyncio.create_task(disconnected(request))
        try:
            either: set[asyncio.Future[Any]] = {gone, job.outcome}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self.left(counter, job, order)
            raise
        finally:
            gone.cancel()
        if not job.outcome.done():
            self.left(counter, job, order)
            raise ApiError(CLIENT_GONE, "the client left")
        outcome = job.outcome.result()
        ending = BackgroundTask(self.delivered, counter, job)
        return JSONResponse(
            outcome.body, outcome.status, _headers(outcome), background=ending
        )  # fmt: skip

    def left(self, counter: Counter, job: Job, order: Order) -> None:
        """The client of a job has gone before it had its answer."""
        choice = order.extension.on_disconnect if order.split else "cancel"
        if choice == "finish" and len(counter.waiting) >= MOST_WAITING:
            choice = "keep"
        if job.outcome.done() or choice == "finish":
            counter.waiting.put(job)
        elif job.task and (choice == "cancel" or job.in_final_turn):
            job.task.cancel()
            # A task that is cancelled before its first step never comes to end its entry.
            self._cut_off(counter, job)
        else:
            job.left_by_client = True

    async def delivered(self, counter: Counter, job: Job) -> None:
        """A client has the answer of a job."""
        if job.name:
            await asyncio.to_thread(counter.journal.end, job.name)

    def _counter(self, caller: Caller) -> Counter:
        if caller.id not in self._counters:
            self._counters[caller.id] = Counter(self._state, caller)
        return self._counters[caller.id]

    async def _resumed(self, counter: Counter, job: Job, dialect: Dialect, raw: bytes) -> None:
        async with self._resuming:
            try:
                order = await self._office.order(dialect, raw)
            except (ApiError, PalimpsestError) as error:
                order = None
                _LOG.warning("not resumed", extra={"fields": {"error": type(error).__name__}})
            if not isinstance(order, Order):
                # The configuration is another one by now: the client's next try will tell.
                counter.waiting.drop(job)
                counter.journal.end(job.name)
                job.settle(_outcome_of(ApiError(503, "the server was set up anew: try again")))
                return
            await self._work(counter, job, order, waits_s=_WAITS_S)

    async def _work(
        self, counter: Counter, job: Job, order: Order, *, waits_s: Sequence[float] = ()
    ) -> None:
        """Works on a job to its outcome, whatever that is; after a passing failure again, once
        for each of the waits."""
        try:
            outcome = await self._outcome(counter, job, order)
            for wait_s in waits_s:
                if outcome.status not in _PASSING:
                    break
                await asyncio.sleep(wait_s)
                outcome = await self._outcome(counter, job, order)
            await self._settle(counter, job, outcome)
        except asyncio.CancelledError:
            self._cut_off(counter, job)
            raise

    async def _outcome(self, counter: Counter, job: Job, order: Order) -> Outcome:
        try:
            return Outcome(200, await self._clerk.answer(order, counter.shelf, self._listener(job)))
        except Refused as refusal:
            return Outcome(refusal.status, refusal.body)
        except ApiError as refusal:
            return _outcome_of(refusal)
        except PalimpsestError as error:
            _LOG.warning("not answered", extra={"fields": {"error": type(error).__name__}})
            return _outcome_of(api_error(error))
        except Exception:
            _LOG.exception("a job failed")
            return _outcome_of(ApiError(500, "a fault of the server; its log has it"))

    async def _settle(self, counter: Counter, job: Job, outcome: Outcome) -> None:
        if job.name and outcome.status == 200:
            await asyncio.to_thread(counter.journal.answer, job.name, outcome)
        elif job.name:
            # A failure is told to who waits now; the next try is to begin anew.
            await asyncio.to_thread(counter.journal.end, job.name)
            counter.waiting.drop(job)
        job.settle(outcome)

    def _cut_off(self, counter: Counter, job: Job) -> None:
        """A job was cancelled: by its client's leaving, or because the server stops."""
        if not self._state.stopping.is_set() and job.name:
            counter.journal.end(job.name)
        counter.waiting.drop(job)
        job.settle(_outcome_of(ApiError(503, "the server is being stopped: try again")))

    def _listener(self, job: Job) -> Listener:
        def say(text: str) -> None:
            job.in_final_turn = text == ANSWERING
            job.events.put_nowait(text)

        def send(event: Json) -> None:
            job.events.put_nowait(event)

        def chunk_done() -> None:
            if job.left_by_client and job.task:
                job.task.cancel()

        return Listener(say, send, chunk_done)


class _Stream:
    """The streamed response to one client."""

    def __init__(
        self, desk: Desk, counter: Counter, job: Job, order: Order, *, claimed: bool
    ) -> None:
        self._desk = desk
        self._counter = counter
        self._job = job
        self._order = order
        self._claimed = claimed
        """Whether the events of the answer were another client's, so that it is sent whole."""
        self._sent = 0

    async def sent(self) -> AsyncIterator[bytes]:
        """The bytes of the response."""
        whole = False
        try:
            async for data in self._events():
                yield data
            for data in self._ending(self._job.outcome.result()):
                yield data
            whole = True
        finally:
            if not whole:
                self._desk.left(self._counter, self._job, self._order)
        await self._desk.delivered(self._counter, self._job)

    async def _events(self) -> AsyncIterator[bytes]:
        yield comment("palimpsest")
        # Another client may have heard of the end already.
        while not (self._job.outcome.done() and self._job.events.empty()):
            try:
                async with asyncio.timeout(_SILENCE_S):
                    event = await self._job.events.get()
            except TimeoutError:
                yield comment("still reading")
                continue
            if event is None:
                return
            if isinstance(event, str):
                if told := self._told(event):
                    yield told
            elif not self._claimed:
                self._sent += 1
                yield encode(self._order.dialect, self._as_one(event))

    def _told(self, text: str) -> bytes:
        wish = self._order.extension.progress
        if wish == "reasoning" and self._order.dialect.name == "chat":
            model = self._order.body.get("model")
            return encode(self._order.dialect, thinking(self._id, str(model), text))
        return b"" if wish == "none" else comment(text)

    def _as_one(self, event: Json) -> Json:
        """A chunk under the id of the chunks of thinking before it, where there are any."""
        if self._order.extension.progress != "reasoning" or self._order.dialect.name != "chat":
            return event
        return {**event, "id": self._id}

    @property
    def _id(self) -> str:
        return f"chatcmpl-{self._job.name}"

    def _ending(self, outcome: Outcome) -> Iterator[bytes]:
        dialect = self._order.dialect
        if outcome.status != 200:
            yield encode(dialect, failure(dialect, outcome.body, self._sent))
        elif self._claimed:
            for event in numbered(dialect, dialect.streamed(outcome.body)):
                yield encode(dialect, self._as_one(event))
        if dialect.name == "chat":
            yield DONE


def _outcome_of(error: ApiError) -> Outcome:
    return Outcome(error.status, error.body)


def _headers(outcome: Outcome) -> dict[str, str]:
    passing = outcome.status in (429, 503)
    return {"Retry-After": str(RETRY_AFTER_S)} if passing else {}
