"""Requests that fit, handed to the upstream as they came, and its answers handed back.

    answer = await state.upstream.forward(request, "/chat/completions", model=asked_for)

Bodies are not touched, streams not re-cut, errors not reworded; only what concerns one connection
(hop-by-hop headers) and the key are this server's own. When the client leaves, the upstream's
connection is closed, so that it stops writing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import httpx2
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from palimpsest.models.endpoint import CONNECT_TIMEOUT_S, CONNECTIONS_KEPT, endpoint
from palimpsest.server.errors import CLIENT_GONE, ERROR_RESPONSES, ApiError
from palimpsest.server.metrics import Metrics
from palimpsest.server.security import Caller, caller, disconnected, known_caller
from palimpsest.server.tracing import outgoing_headers, passed_span, tell_passed
from palimpsest.settings import ModelSettings

if TYPE_CHECKING:
    from palimpsest.server.state import ServerState

_TIMEOUT_S = 300.0
_PROBE_TIMEOUT_S = 5.0
_PROBE_KEPT_S = 2.0
_HOP_BY_HOP = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
    "te", "trailer", "trailers", "transfer-encoding", "upgrade",
})  # fmt: skip
_OWN = frozenset({"host", "content-length", "expect"})
"""Headers of a request that are made anew for the upstream."""
_KEYS = frozenset({"authorization", "api-key"})


class Upstream:
    """The endpoint behind the server."""

    def __init__(self, settings: ModelSettings, metrics: Metrics, *, own_keys: bool) -> None:
        """`own_keys`: the clients' keys are this server's, and never shown to the upstream.
        Otherwise a client's key is passed on where the settings have none."""
        self._endpoint = endpoint(settings.base_url, settings.api_version)
        self._base_url = self._endpoint.base_url
        if self._endpoint.api_version and settings.name and "/deployments/" not in self._base_url:
            self._base_url += f"/deployments/{settings.name}"
        self._key = settings.api_key
        self._own_keys = own_keys
        self._timeout_s = settings.timeout_s or _TIMEOUT_S
        self._metrics = metrics
        self._client: httpx2.AsyncClient | None = None
        self._probed: tuple[float, str] | None = None

    async def forward(
        self, request: Request, path: str, *, body: bytes | None = None, model: str = ""
    ) -> Response:
        """The upstream's answer to a request, at `path` below its base URL.

        The body is the client's own unless one is given; `model` is for the trace alone. Raises
        `ApiError` when the upstream gives no answer at all, or the client left before it did.
        """
        content = await request.body() if body is None else body
        with passed_span(model, self._base_url) as span:
            outgoing = self._request(request, path, content)
            try:
                answer = await _unless_gone(request, self._ask(outgoing))
            except ApiError as refusal:
                self._metrics.passed.labels(refusal.code or "client_gone").inc()
                raise
            tell_passed(span, answer.status_code)
        return _Relayed(answer, self._metrics)

    async def models(self) -> list[dict[str, Any]]:
        """The models that the upstream lists, as it describes them; raises `ApiError`."""
        response = await self._get("/models")
        try:
            listed = response.json()["data"]
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
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _probe(self) -> str:
        try:
            status = (await self._get("/models")).status_code
        except ApiError as error:
            return error.message
        if status in (401, 403) and self._key:
            return "the upstream refuses the key"
        return f"the upstream answers {status}" if status >= 500 else ""

    async def _get(self, path: str) -> httpx2.Response:
        outgoing = httpx2.Request(
            "GET",
            self._url(path, ""),
            headers={"Accept": "application/json", **self._key_header()},
            extensions={"timeout": httpx2.Timeout(_PROBE_TIMEOUT_S).as_dict()},
        )
        answer = await self._ask(outgoing)
        try:
            await answer.aread()
        except httpx2.HTTPError as error:
            raise _unanswered(error) from None
        finally:
            await answer.aclose()
        return answer

    def _request(self, request: Request, path: str, content: bytes) -> httpx2.Request:
        timeout = httpx2.Timeout(self._timeout_s, connect=CONNECT_TIMEOUT_S, pool=None)
        # Not by the client's own `build_request`, which adds headers that nobody sent.
        return httpx2.Request(
            request.method,
            self._url(path, request.url.query),
            headers=self._headers(request),
            content=content or None,
            extensions={"timeout": timeout.as_dict()},
        )

    def _url(self, path: str, query: str) -> httpx2.URL:
        fixed = dict(self._endpoint.query)
        if self._endpoint.api_version:
            fixed["api-version"] = self._endpoint.api_version
        parts = [str(httpx2.QueryParams(fixed)), query]
        joined = "&".join(part for part in parts if part)
        try:
            return httpx2.URL(self._base_url + path + (f"?{joined}" if joined else ""))
        except httpx2.InvalidURL:
            raise ApiError(400, "the path or the query cannot be passed on") from None

    def _headers(self, request: Request) -> list[tuple[bytes, bytes]]:
        own = {**self._key_header(), **outgoing_headers()}
        left_out = _HOP_BY_HOP | _OWN | _named(request.headers) | {name.lower() for name in own}
        if self._key or self._own_keys:
            left_out |= _KEYS
        # As bytes: a value may be in any encoding.
        kept = [
            (name, value)
            for name, value in request.headers.raw
            if name.decode("latin-1") not in left_out
        ]
        return [*kept, *((name.encode(), value.encode()) for name, value in own.items())]

    def _key_header(self) -> dict[str, str]:
        if not self._key:
            return {}
        if self._endpoint.api_version:
            return {"api-key": self._key}
        return {"Authorization": f"Bearer {self._key}"}

    async def _ask(self, outgoing: httpx2.Request) -> httpx2.Response:
        try:
            return await self._opened().send(outgoing, stream=True, follow_redirects=False)
        except httpx2.HTTPError as error:
            raise _unanswered(error) from None

    def _opened(self) -> httpx2.AsyncClient:
        if self._client is None:
            # As for the calls of readings: no proxy and no kept connections on this machine.
            local = self._endpoint.is_loopback
            kept = 0 if local else CONNECTIONS_KEPT
            limits = httpx2.Limits(max_connections=None, max_keepalive_connections=kept)
            self._client = httpx2.AsyncClient(trust_env=not local, limits=limits)
        return self._client


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
        if state.upstream is None:
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

    def __init__(self, answer: httpx2.Response, metrics: Metrics) -> None:
        super().__init__(status_code=answer.status_code)
        self._answer = answer
        self._metrics = metrics
        self.raw_headers = _end_to_end(answer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        outcome = "cut_off"
        try:
            outcome = await self._relay_unless_gone(receive, send)
        finally:
            self._metrics.passed.labels(outcome).inc()
            # Closing must happen even where this request is being cancelled.
            await asyncio.shield(self._answer.aclose())

    async def _relay_unless_gone(self, receive: Receive, send: Send) -> str:
        """How it ended."""
        relaying = asyncio.create_task(self._relay(send))
        leaving = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({relaying, leaving}, return_when=asyncio.FIRST_COMPLETED)
            return relaying.result() if relaying.done() else "client_gone"
        finally:
            await _cancel(relaying, leaving)

    async def _relay(self, send: Send) -> str:
        head = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **head})
        try:
            async for piece in self._answer.aiter_raw():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except httpx2.HTTPError:
            # The answer is left unfinished, and the connection closed, as the upstream did.
            return "upstream_cut"
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return str(self.status_code)


def _end_to_end(answer: httpx2.Response) -> list[tuple[bytes, bytes]]:
    """The headers as they came, but those that concern the upstream's connection alone."""
    left_out = _HOP_BY_HOP | _named(answer.headers)
    lowered = [(name.lower(), value) for name, value in answer.headers.raw]
    return [(name, value) for name, value in lowered if name.decode("latin-1") not in left_out]


def _named(headers: Mapping[str, str]) -> set[str]:
    """The headers that `Connection` says are its own."""
    return {name.strip().lower() for name in headers.get("connection", "").split(",")}


async def _unless_gone(
    request: Request, asking: Coroutine[Any, Any, httpx2.Response]
) -> httpx2.Response:
    """The upstream's answer; gives the question up when the client leaves."""
    asked = asyncio.create_task(asking)
    leaving = asyncio.create_task(disconnected(request))
    try:
        await asyncio.wait({asked, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if asked.done():
            return asked.result()
        raise ApiError(CLIENT_GONE, "the client left")
    finally:
        await _cancel(asked, leaving)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _unanswered(error: httpx2.HTTPError) -> ApiError:
    """Why the upstream gave no answer, without its address."""
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return ApiError(502, "the upstream cannot be reached", code="upstream_unreachable")
    if isinstance(error, httpx2.TimeoutException):
        return ApiError(504, "the upstream did not answer in time", code="upstream_timeout")
    return ApiError(502, "the upstream broke the connection", code="upstream_error")
