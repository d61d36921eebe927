"""Logs: one JSON object a line on stderr, and the middleware that writes one for every request.

    {"time": "...", "level": "info", "event": "request", "request": "5f...", "key": "alice",
     "method": "POST", "route": "/v1/chat/completions", "status": 200, "ms": 812.4, "calls": 7,
     "tokens_in": 31402, "tokens_out": 1204, ...}

Nothing that users or models wrote is in them, unless the configuration says so: not even the text
of an exception, which may quote it. A route adds facts of its own with `note`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import sys
import time
import traceback
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from datetime import UTC, datetime
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from palimpsest.server.errors import CLIENT_GONE, ApiError
from palimpsest.server.metrics import spent
from palimpsest.server.tracing import request_span, tell_response

if TYPE_CHECKING:
    from palimpsest.server.config import ServerConfig
    from palimpsest.server.state import ServerState

_LOG = logging.getLogger("palimpsest.server")
_request_id: ContextVar[str] = ContextVar("request_id", default="")
_GIVEN_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_FACTS = "palimpsest.facts"
_FRAMES = 12

SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}
"""Of every answer that does not set them itself."""


def note(request: Request, **facts: str | float | bool) -> None:
    """Adds facts to a request's line in the log: counts, names and times, never what was asked."""
    request.scope.setdefault(_FACTS, {}).update(facts)


def request_id() -> str:
    """The id of the request that is being answered; empty outside one."""
    return _request_id.get()


class JsonLines(logging.Formatter):
    """A record as one line of JSON."""

    def __init__(self, *, content: bool = False) -> None:
        super().__init__()
        self._content = content

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage().strip(),
        }
        if _request_id.get():
            line["request"] = _request_id.get()
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1]:
            line |= _told(record.exc_info[1], content=self._content)
        return json.dumps(line, ensure_ascii=False, default=str)


def set_up(config: ServerConfig) -> None:
    """Sends what this process logs to stderr, one JSON object a line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(content=config.log_content))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("palimpsest", "uvicorn"):
        logging.getLogger(name).setLevel(config.log_level.upper())


class Requests:
    """Middleware, the outermost: every request gets an id, a span, a line in the log, its time.

    Whatever goes wrong below ends here: with an error body where nothing was sent yet, else with a
    connection that is closed in the middle, so that no client takes a part for the whole.
    """

    def __init__(self, app: ASGIApp, state: ServerState) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = (_request_id.set(_id_of(headers)), spent.set({}))
        sending = _Sending(send, self._state.config.send_timeout_s)
        started = time.monotonic()
        try:
            with self._state.request(), request_span(_method(scope), headers) as span:
                await self._answer(scope, receive, sending)
                tell_response(span, _method(scope), _route(scope, sending.status), sending.status)
        finally:
            self._tell(scope, sending, time.monotonic() - started)
            _request_id.reset(given[0])
            spent.reset(given[1])

    async def _answer(self, scope: Scope, receive: Receive, sending: _Sending) -> None:
        try:
            async with asyncio.timeout(self._state.config.timeout_s) as limit:
                await self._app(scope, receive, sending.send)
        except asyncio.CancelledError:
            if not self._state.stopping.is_set():
                raise
            self._state.cut_off += 1
            refusal = ApiError(
                503, "the server was stopped; what was read is kept, so try again",
                code="server_stopping", headers={"Retry-After": "5"},
            )  # fmt: skip
            await self._end(scope, receive, sending, refusal, "stopped")
        except TimeoutError:
            if not limit.expired():
                raise
            refusal = ApiError(504, "this took too long", code="timeout")
            await self._end(scope, receive, sending, refusal, "timeout")
        except _SlowReader:
            await self._end(scope, receive, sending, None, "slow_reader")
        except Exception:
            _LOG.exception("fault")
            refusal = ApiError(500, f"a fault of the server, in its log under {request_id()}")
            await self._end(scope, receive, sending, refusal, "fault")

    async def _end(
        self, scope: Scope, receive: Receive, sending: _Sending, refusal: ApiError | None, why: str
    ) -> None:
        self._state.metrics.cut_off.labels(why).inc()
        if refusal is not None and not sending.started:
            await refusal.response()(scope, receive, sending.send)

    def _tell(self, scope: Scope, sending: _Sending, seconds: float) -> None:
        method, status = _method(scope), sending.status
        route = _route(scope, status)
        self._state.metrics.requests.labels(route, method, str(status)).inc()
        self._state.metrics.request_seconds.labels(route).observe(seconds)
        facts: MutableMapping[str, Any] = {
            "key": scope.get("state", {}).get("caller_id", ""),
            "method": method,
            "route": route,
            "status": status,
            "ms": round(seconds * 1000, 1),
            "bytes": sending.bytes,
            **(spent.get() or {}),
            **scope.get(_FACTS, {}),
        }
        if sending.started and not sending.complete:
            facts["cut_off"] = True
        level = logging.DEBUG if route in _QUIET and status < 400 else logging.INFO
        _LOG.log(level, "request", extra={"fields": facts})


_QUIET = {"/healthz", "/readyz", "/metrics"}
"""Asked for every few seconds by machines."""


class _SlowReader(Exception):
    """The client leaves what it asked for unread."""


class _Sending:
    """What is sent to the client, as far as it is."""

    def __init__(self, send: Send, timeout_s: float) -> None:
        self._send = send
        self._timeout_s = timeout_s
        self._status = 0
        self.started = False
        self.complete = False
        self.bytes = 0

    @property
    def status(self) -> int:
        """As sent; of a client that left before anything was, the status for that."""
        return self._status or CLIENT_GONE

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            _complete_headers(message)
            self._status = message["status"]
            self.started = True
        self.bytes += len(message.get("body", b""))
        try:
            async with asyncio.timeout(self._timeout_s) as limit:
                await self._send(message)
        except TimeoutError:
            if limit.expired():
                raise _SlowReader from None
            raise
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.complete = True


_ADDED = tuple((name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items())


def _complete_headers(message: Message) -> None:
    """Adds the security headers, the date and the request's id, where the answer has none."""
    headers = list(message.get("headers", []))
    there = {name for name, _ in headers}
    own = ((b"date", formatdate(usegmt=True).encode()), (b"x-request-id", request_id().encode()))
    headers += [header for header in (*_ADDED, *own) if header[0] not in there]
    message["headers"] = headers


def _id_of(headers: Mapping[str, str]) -> str:
    given = headers.get("x-request-id", "")
    return given if _GIVEN_ID.fullmatch(given) else secrets.token_hex(12)


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in _METHODS else "other"


def _route(scope: Scope, status: int) -> str:
    """The pattern of the path, which is one of few; a path would make a series of its own."""
    other = "unmatched" if status >= 400 else "other"
    return getattr(scope.get("route"), "path", other)


def _told(error: BaseException, *, content: bool) -> dict[str, Any]:
    """An exception: its kind and where it is from; what it says only if content may be logged."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    told: dict[str, Any] = {
        "error": type(error).__name__,
        "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }
    return told | ({"message": str(error)} if content else {})
