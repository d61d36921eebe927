"""HTTP/1.1 to one upstream: `httpcore2`, the transport below the client library.

    wire = Wire(endpoint("http://127.0.0.1:8000/v1"))
    answer = await wire.ask("POST", b"/v1/chat/completions", headers, body, timeout_s=300)
    try:
        async for piece in answer.aiter_stream():
            ...
    finally:
        await answer.aclose()

The client library above it would add headers, write URLs anew and take twice the processor time.
No request is sent twice, and what is not read of an answer waits in the upstream.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpcore2
import httpx2

from palimpsest.models.endpoint import CONNECT_TIMEOUT_S, CONNECTIONS_KEPT, Endpoint
from palimpsest.server.errors import ApiError

Headers = Sequence[tuple[bytes, bytes]]

_IDLE_S = 4.0
"""How long an unused connection is trusted. Servers of models close theirs after five seconds, and
a request sent at that moment would be lost."""


class Wire:
    """The connections to an endpoint. Belongs to the event loop that first uses it."""

    def __init__(self, where: Endpoint) -> None:
        self._url = httpx2.URL(where.base_url)
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=httpcore2.default_ssl_context() if self._url.scheme == "https" else None,
            proxy=None if where.is_loopback else _proxy(self._url),
            max_connections=None,
            # llama.cpp closes a connection after an answer that it streamed, and may do so just as
            # the next request is sent on it. On this machine a new connection costs little.
            max_keepalive_connections=0 if where.is_loopback else CONNECTIONS_KEPT,
            keepalive_expiry=_IDLE_S,
        )

    async def ask(
        self, method: str, target: bytes, headers: Headers, body: bytes, *, timeout_s: float
    ) -> httpcore2.Response:
        """The answer, as soon as its head is there; it has to be closed. `target` is the path with
        the query, `timeout_s` the longest silence. Raises `ApiError`; being cancelled ends the
        connection."""
        url = httpcore2.URL(
            scheme=self._url.raw_scheme, host=self._url.raw_host, port=self._url.port, target=target
        )
        length = [(b"content-length", b"%d" % len(body))] if body or method != "GET" else []
        timeout = {"connect": CONNECT_TIMEOUT_S, "read": timeout_s, "write": timeout_s}
        request = httpcore2.Request(
            method, url, headers=[(b"host", self._url.netloc), *headers, *length],
            content=body, extensions={"timeout": timeout},
        )  # fmt: skip
        with failures_told():
            return await self._pool.handle_async_request(request)

    async def aclose(self) -> None:
        """Closes the connections; a later request opens new ones."""
        await self._pool.aclose()


@contextmanager
def failures_told() -> Iterator[None]:
    """Raises what goes wrong on the wire as `ApiError`, without the upstream's address."""
    try:
        yield
    except httpcore2.LocalProtocolError:
        raise ApiError(
            400, "the path, the query or a header cannot be passed on", code="unsendable"
        ) from None
    except (httpcore2.ConnectError, httpcore2.ConnectTimeout, httpcore2.ProxyError):
        raise ApiError(502, "the upstream cannot be reached", code="upstream_unreachable") from None
    except httpcore2.TimeoutException:
        raise ApiError(
            504, "the upstream did not answer in time", code="upstream_timeout"
        ) from None
    except (httpcore2.NetworkError, httpcore2.ProtocolError):
        raise ApiError(502, "the upstream broke the connection", code="upstream_error") from None


def _proxy(url: httpx2.URL) -> httpcore2.Proxy | None:
    """The proxy that the environment names for an upstream."""
    proxies = urllib.request.getproxies()
    named = proxies.get(url.scheme) or proxies.get("all")
    if not named or urllib.request.proxy_bypass(url.netloc.decode()):
        return None
    proxy = httpx2.Proxy(named if "://" in named else f"http://{named}")
    return httpcore2.Proxy(str(proxy.url), auth=proxy.raw_auth)
