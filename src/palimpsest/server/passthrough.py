"""Requests that fit, handed to the upstream as they came, and its answers handed back.

    answer = await state.upstream.forward(request, "/chat/completions", model=asked_for)

Bodies are not touched, streams not re-cut, errors not reworded; only what concerns one connection
(hop-by-hop headers) and the key are this server's own. When the client leaves, the upstream's
connection is closed, so that it stops writing.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote, urlencode

import anyio
import httpcore2
import httpx2
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from palimpsest.models.endpoint import endpoint
from palimpsest.server.errors import CLIENT_GONE, ERROR_RESPONSES, ApiError
from palimpsest.server.metrics import Metrics
from palimpsest.server.security import Caller, caller, known_caller
from palimpsest.server.tracing import outgoing_headers, passed_span, tell_passed
from palimpsest.server.wire import Headers, Wire, failures_told
from palimpsest.settings import ModelSettings

if TYPE_CHECKING:
    from palimpsest.server.state import ServerState

_TIMEOUT_S = 300.0
_PROBE_TIMEOUT_S = 5.0
_PROBE_KEPT_S = 2.0
_HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization",
    b"proxy-connection", b"te", b"trailer", b"trailers", b"transfer-encoding", b"upgrade",
})  # fmt: skip
_OWN = frozenset({b"host", b"content-length", b"expect"})
"""Headers of a request that are made anew for the upstream."""
_KEYS = frozenset({b"authorization", b"api-key"})
_LEADING_OUT = frozenset({"", ".", ".."})
"""Parts of a path that lead to another than it names."""


class Upstream:
    """The endpoint behind the server."""

    def __init__(self, settings: ModelSettings, metrics: Metrics, *, own_keys: bool) -> None:
        """`own_keys`: the clients' keys are this server's, and never shown to the upstream.
        Otherwise a client's key is passed on where the settings have none."""
        where = endpoint(settings.base_url, settings.api_version)
        self._url = where.base_url
        if where.api_version and settings.name and "/deployments/" not in self._url:
            self._url += f"/deployments/{settings.name}"
        url = httpx2.URL(self._url)
        self._path = url.raw_path.rstrip(b"/")
        version = {"api-version": where.api_version} if where.api_version else {}
        self._query = urlencode(where.query | version).encode()
        self._key = _key_header(settings.api_key, where.api_version, url)
        self._left_out = _HOP_BY_HOP | _OWN | (_KEYS if self._key or own_keys else frozenset())
        self._timeout_s = settings.timeout_s or _TIMEOUT_S
        self._metrics = metrics
        self._wire = Wire(where)
        self._probed: tuple[float, str] | None = None

    async def forward(
        self, request: Request, path: str, *, body: bytes | None = None, model: str = ""
    ) -> Response:
        """The upstream's answer to a request, at `path` below its base URL.

        The body is the client's own unless one is given; `model` is for the trace alone. Raises
        `ApiError` when the upstream gives no answer at all, or the client left before it did.
        """
        content = await request.body() if body is None else body
        target = self._target(path, request.scope["query_string"])
        with passed_span(model, self._url) as span:
            headers = self._headers(request)
            try:
                async with _unless_gone(request.receive):
                    answer = await self._wire.ask(
                        request.method, target, headers, content, timeout_s=self._timeout_s
                    )
            except ApiError as refusal:
                self._metrics.passed.labels(refusal.code or "client_gone").inc()
                raise
            tell_passed(span, answer.status)
        return _Relayed(answer, self._metrics)

    async def models(self) -> list[dict[str, Any]]:
        """The models that the upstream lists, as it describes them; raises `ApiError`."""
        told = await self._get("/models")
        try:
            listed = json.loads(told.content)["data"]
            return [entry for entry in listed if isinstance(entry, dict)]
        except (ValueError, LookupError, TypeError):
            raise ApiError(
                502, "the upstream does not list its models", code="upstream_error"
            ) from None

    async def problem(self) -> str:
        """Why the upstream cannot be used now; empty when it answers. Asked at most every
        two seconds, however often this is."""
        now = time.monotonic()
        if self._probed is None or now - self._probed[0] > _PROBE_KEPT_S:
            self._probed = (now, await self._probe())
        return self._probed[1]

    async def aclose(self) -> None:
        """Closes its connections; a later request opens new ones."""
        await self._wire.aclose()

    async def _probe(self) -> str:
        try:
            status = (await self._get("/models")).status
        except ApiError as error:
            return error.message
        if status in (401, 403) and self._key:
            return "the upstream refuses the key"
        return f"the upstream answers {status}" if status >= 500 else ""

    async def _get(self, path: str) -> httpcore2.Response:
        """A short answer, read to its end."""
        headers = [(b"accept", b"application/json"), *self._key]
        target = self._target(path, b"")
        answer = await self._wire.ask("GET", target, headers, b"", timeout_s=_PROBE_TIMEOUT_S)
        try:
            with failures_told():
                await answer.aread()
        finally:
            await answer.aclose()
        return answer

    def _target(self, path: str, query: bytes) -> bytes:
        joined = b"&".join(part for part in (self._query, query) if part)
        return self._path + path.encode() + (b"?" + joined if joined else b"")

    def _headers(self, request: Request) -> Headers:
        own = [
            *self._key,
            *((name.encode(), value.encode()) for name, value in outgoing_headers().items()),
        ]
        left_out = self._left_out | _named(request.headers.raw) | {name.lower() for name, _ in own}
        return [*(pair for pair in request.headers.raw if pair[0] not in left_out), *own]


def _key_header(key: str | None, api_version: str | None, url: httpx2.URL) -> Headers:
    """What tells the upstream who calls: the key, or the name and password of its URL."""
    if key and api_version:
        return [(b"api-key", key.encode())]
    if key:
        return [(b"authorization", f"Bearer {key}".encode())]
    if url.username:
        pair = f"{url.username}:{url.password}".encode()
        return [(b"authorization", b"Basic " + base64.b64encode(pair))]
    return []


def models_routes(state: ServerState) -> APIRouter:
    """`/v1/models`: what the upstream lists, and the gateway's own entries."""
    router = APIRouter(tags=["models"], responses=ERROR_RESPONSES)

    @router.get("/v1/models")
    async def list_models(
        request: Request, _: Annotated[Caller, Depends(known_caller)]
    ) -> JSONResponse:
        """The models that may be asked."""
        await request.body()
        served = await _served(state)
        names = {entry.get("id") for entry in served}
        own = [_entry(name) for name in state.config.own_models if name not in names]
        return JSONResponse({"object": "list", "data": [*served, *own]})

    @router.get("/v1/models/{model:path}")
    async def one_model(
        model: str, request: Request, _: Annotated[Caller, Depends(caller)]
    ) -> Response:
        """One of them."""
        embedded = [] if state.upstream else [state.model.name]
        if model in (*state.config.own_models, *embedded):
            return JSONResponse(_entry(model))
        if state.upstream is None or _LEADING_OUT & set(model.split("/")):
            raise ApiError(404, "there is no such model", code="model_not_found", param="model")
        return await state.upstream.forward(request, f"/models/{quote(model)}")

    return router


async def _served(state: ServerState) -> list[dict[str, Any]]:
    if state.upstream is None:
        return [_entry(state.model.name)]
    return await state.upstream.models()


def _entry(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "palimpsest"}


class _Relayed(Response):
    """An answer of the upstream on its way to the client, piece by piece as it comes."""

    def __init__(self, answer: httpcore2.Response, metrics: Metrics) -> None:
        super().__init__(status_code=answer.status)
        self._answer = answer
        self._metrics = metrics
        self.raw_headers = _end_to_end(answer.headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        outcome = "cut_off"
        try:
            async with _unless_gone(receive):
                outcome = await self._relay(send)
        except ApiError:
            outcome = "client_gone"
        finally:
            self._metrics.passed.labels(outcome).inc()
            await self._answer.aclose()

    async def _relay(self, send: Send) -> str:
        """How it ended."""
        head = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **head})
        try:
            with failures_told():
                async with aclosing(self._answer.aiter_stream()) as pieces:
                    async for piece in pieces:
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
        except ApiError:
            # The answer is left unfinished, and the connection closed, as the upstream did.
            return "upstream_cut"
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return str(self.status_code)


def _end_to_end(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers as they came, but those that concern the upstream's connection alone."""
    lowered = [(name.lower(), value) for name, value in headers]
    left_out = _HOP_BY_HOP | _named(lowered)
    return [(name, value) for name, value in lowered if name not in left_out]


def _named(headers: Headers) -> set[bytes]:
    """The headers that `Connection` says are its own; names are in lower case."""
    values = (value for name, value in headers if name == b"connection")
    return {name.strip().lower() for value in values for name in value.split(b",")}


@asynccontextmanager
async def _unless_gone(receive: Receive) -> AsyncIterator[None]:
    """What is done inside is given up when the client leaves; then it raises `ApiError`.

    The body has to be read before.
    """
    with anyio.CancelScope() as scope:
        watching = asyncio.create_task(_cancel_when_gone(receive, scope))
        try:
            yield
        finally:
            watching.cancel()
    if scope.cancelled_caught:
        raise ApiError(CLIENT_GONE, "the client left")


async def _cancel_when_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
