"""Who calls, and what may come in: keys, limits, web pages, the size and pace of bodies.

A route that works (reads, asks, draws) takes `caller`, one that only shows takes `known_caller`:

    @router.post("/v1/chat/completions")
    async def create(request: Request, caller: Annotated[Caller, Depends(caller)]) -> Response: ...

`Caller.id` scopes what is stored: `state.readings(caller)` holds that caller's alone, so another's
is not found there.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple
from urllib.parse import urlsplit

from fastapi import Depends
from fastapi.security import HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from palimpsest.server.config import SLOWEST_BYTES_A_SECOND, ApiKey, ServerConfig, is_loopback
from palimpsest.server.errors import CLIENT_GONE, ApiError
from palimpsest.server.limits import Slots

if TYPE_CHECKING:
    from palimpsest.server.state import ServerState

LOCAL_ID = "local"
"""The id of whoever calls a server without keys."""


class Caller(NamedTuple):
    """Whoever makes a request."""

    id: str
    key: ApiKey | None = None


_bearer = HTTPBearer(auto_error=False, description="An API key, as OpenAI's clients send it.")


async def known_caller(
    request: Request,
    _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Caller:
    """The caller by its key; takes no place and counts for no limit. Raises 401, and 403 for a
    web page that may not call."""
    state: ServerState = request.app.state.server
    _refuse_strange_page(request, state.config)
    keys = state.config.keys
    found = _by_key(presented_key(request.headers), keys) if keys else Caller(LOCAL_ID)
    request.state.caller_id = found.id
    return found


async def caller(
    request: Request, known: Annotated[Caller, Depends(known_caller)]
) -> AsyncIterator[Caller]:
    """The caller, with a place to work in that is held until the answer is sent.

    The body is read before a place is taken, so that a slow client keeps none. Raises 401, 403,
    408, 413 and 429; nothing is worked on for a client that left while it waited.
    """
    state: ServerState = request.app.state.server
    limits = state.limiter
    try:
        limits.slots.refuse_if_full()
        with limits.use(known.id, known.key).request():
            if not _is_read(request):
                await request.body()
            await _take_place(request, limits.slots)
            with limits.slots.held():
                yield known
    except ApiError as refusal:
        if refusal.status == 429:
            state.metrics.refusals.labels("limit").inc()
        raise


def _is_read(request: Request) -> bool:
    """Whether the framework has read the body already, to make the route's arguments of it."""
    return getattr(request.scope.get("route"), "body_field", None) is not None


async def disconnected(request: Request) -> None:
    """Returns when the client has gone. The body has to be read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _take_place(request: Request, slots: Slots) -> None:
    """Takes a place, in turn where none is free; gives up when the client does."""
    if slots.take_free():
        return
    turn = asyncio.create_task(slots.take_in_turn())
    gone = asyncio.create_task(disconnected(request))
    try:
        await asyncio.wait({turn, gone}, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        _abandon(turn, slots)
        raise
    finally:
        gone.cancel()
    if not turn.done():
        _abandon(turn, slots)
        raise ApiError(CLIENT_GONE, "the client left")
    turn.result()


def _abandon(turn: asyncio.Task[None], slots: Slots) -> None:
    """Waits no longer; a place that was taken meanwhile goes to the next."""
    if turn.done() and not turn.cancelled() and turn.exception() is None:
        with slots.held():
            return
    turn.cancel()


def presented_key(headers: Mapping[str, str]) -> str:
    """The API key that a request came with; some clients send it as Azure's do."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    return headers.get("api-key", "")


def _by_key(given: str, keys: Sequence[ApiKey]) -> Caller:
    key = _owner(given, keys)
    if key is None:
        problem = "this API key is not known here" if given else "no API key was given"
        raise ApiError(401, problem, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
    return Caller(key.id, key)


def _owner(given: str, keys: Sequence[ApiKey]) -> ApiKey | None:
    """Whose key it is, found in a time that tells nothing of the keys there are."""
    digest = hashlib.sha256(given.encode("utf-8", "surrogateescape")).hexdigest()
    matching = [key for key in keys if hmac.compare_digest(digest, key.sha256)]
    return matching[0] if matching else None


def _refuse_strange_page(request: Request, config: ServerConfig) -> None:
    """Keeps web pages from using a server that asks for no key.

    A browser on this machine reaches loopback for any page that it shows. It names the page's
    origin, and where a page's own name was made to lead here, that name is the request's host.
    """
    if config.keys:
        return
    host = request.headers.get("host", "")
    name = urlsplit(f"//{host}").hostname or ""
    if not is_loopback(name) and name not in config.hosts:
        raise ApiError(403, f"this server is not called {name!r}", code="unknown_host")
    origin = request.headers.get("origin")
    if origin is None or origin in config.origins:
        return
    if urlsplit(origin).netloc != host:
        raise ApiError(403, "pages of this origin may not call the server", code="unknown_origin")


class BodyLimit:
    """Middleware: a body that is too large or comes too slowly is refused, chunked or not."""

    def __init__(self, app: ASGIApp, config: ServerConfig) -> None:
        self._app = app
        self._config = config

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        body = _Body(receive, self._config, self._most(headers))
        try:
            body.refuse_announced(headers.get("content-length"))
        except HTTPException as refusal:
            told = ApiError(refusal.status_code, refusal.detail, headers=refusal.headers)
            await told.response()(scope, receive, send)
            return
        await self._app(scope, body.receive, send)

    def _most(self, headers: Headers) -> int:
        """Bodies are read before routes look at keys, so whoever has none sends little."""
        if not self._config.keys or _owner(presented_key(headers), self._config.keys):
            return self._config.max_body_bytes
        return min(_STRANGERS_BYTES, self._config.max_body_bytes)


class _Body:
    """The body of one request as it comes in."""

    def __init__(self, receive: Receive, config: ServerConfig, most: int) -> None:
        self._receive = receive
        self._most = most
        self._patience_s = config.body_timeout_s
        self._bytes = 0
        self._whole = False
        self._since = time.monotonic()

    def refuse_announced(self, length: str | None) -> None:
        if length is not None and length.isdecimal() and int(length) > self._most:
            raise _too_large(self._most)

    async def receive(self) -> Message:
        if self._whole:
            return await self._receive()
        until = self._since + self._patience_s + self._bytes / SLOWEST_BYTES_A_SECOND
        try:
            async with asyncio.timeout(until - time.monotonic()):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, "the body came too slowly", _CLOSE) from None
        self._bytes += len(message.get("body", b""))
        if self._bytes > self._most:
            raise _too_large(self._most)
        self._whole = not message.get("more_body", False)
        return message


_STRANGERS_BYTES = 64 << 10
_CLOSE = {"Connection": "close"}
"""What is left of the body is not waited for."""


def _too_large(most: int) -> HTTPException:
    return HTTPException(413, f"the body is larger than {most:,} bytes", _CLOSE)
