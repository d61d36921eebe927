"""Runs the application: listens, times slow heads out, stops gracefully."""

from __future__ import annotations

import asyncio
import gc
import socket
from asyncio import AbstractEventLoop, TimerHandle, Transport
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from palimpsest.errors import ConfigurationError
from palimpsest.models import Model
from palimpsest.server import logs
from palimpsest.server.app import create_app
from palimpsest.server.config import ServerConfig
from palimpsest.server.state import ServerState

CUT_OFF_EXIT = 5
"""Something was not finished within the grace. It is kept, and the next start goes on with it."""

_BACKLOG = 2048
_HEAD_BYTES = 64 << 10
_LARGE_HEAD = "The head of the request is too large."
_KEEP_ALIVE_S = 65
"""Longer than the minute that most proxies keep a connection for, so that they close it first."""


def serve(
    config: ServerConfig,
    *,
    model: Model | None = None,
    on_listening: Callable[[str], None] | None = None,
) -> int:
    """Serves until SIGINT or SIGTERM; a second one cuts the grace short.

    `on_listening` hears the URL as soon as connections are taken. Gives the exit code: 0, or
    `CUT_OFF_EXIT`. Raises `ConfigurationError` when it cannot be started.
    """
    config.check()
    logs.set_up(config)
    state = ServerState(config, model=model)
    server = Server(create_app(config, state=state), state)
    _leave_streams_open()
    # What is there by now stays: looking through it for garbage would hold requests up.
    gc.collect()
    gc.freeze()
    with listen(config) as listening:
        if on_listening:
            on_listening(url_of(listening))
        server.run(sockets=[listening])
    return CUT_OFF_EXIT if state.cut_off or server.force_exit else 0


class Server(uvicorn.Server):
    """Tells the state when to stop, and leaves the exit code to us."""

    def __init__(self, app: FastAPI, state: ServerState) -> None:
        super().__init__(_uvicorn_config(app, state.config))
        self._state = state
        self._loop: AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Uvicorn's own would raise the signal again at the end, which would be the exit code.
        again = self.should_exit
        self.should_exit, self.force_exit = True, again
        if self._loop:
            self._loop.call_soon_threadsafe(self._state.begin_stopping, 0.0 if again else None)


def _uvicorn_config(app: FastAPI, config: ServerConfig) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_protocol(config.header_timeout_s),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=config.grace_s,  # type: ignore[arg-type]
    )


def _protocol(header_timeout_s: float) -> type[HttpToolsProtocol]:
    """HTTP with limits on the time and the size of each request's head: uvicorn limits the size
    where it parses with h11, which takes longer, and the time nowhere."""

    class Limited(HttpToolsProtocol):
        _head_timer: TimerHandle | None = None
        _in_head = False
        _head_bytes = 0

        def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._expect_head()

        def data_received(self, data: bytes) -> None:
            if self._in_head and self._head_bytes + len(data) > _HEAD_BYTES:
                self.send_400_response(_LARGE_HEAD)
                return
            super().data_received(data)
            if self._in_head:
                self._head_bytes += len(data)
            if self._head_timer is None and not self.transport.is_closing() and self._awaits_head():
                self._expect_head()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._in_head = True
            self._head_bytes = 0

        def on_headers_complete(self) -> None:
            self._in_head = False
            self._forget_head()
            super().on_headers_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget_head()
            super().connection_lost(exc)

        def _awaits_head(self) -> bool:
            return self._in_head or self.cycle is None or self.cycle.response_complete

        def _expect_head(self) -> None:
            self._head_timer = self.loop.call_later(header_timeout_s, self._head_is_late)

        def _forget_head(self) -> None:
            if self._head_timer:
                self._head_timer.cancel()
            self._head_timer = None

        def _head_is_late(self) -> None:
            if self._in_head:
                self.transport.write(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n")
            self.transport.close()

    return Limited


def _leave_streams_open() -> None:
    """Streams of events may finish within the grace; sse-starlette would end them at once."""
    from sse_starlette.sse import AppStatus

    AppStatus.disable_automatic_graceful_drain()  # type: ignore[no-untyped-call]


def listen(config: ServerConfig) -> socket.socket:
    """A socket that takes connections. Raises `ConfigurationError`."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        return socket.create_server(
            (config.host.strip("[]"), config.port), family=family, backlog=_BACKLOG
        )
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {config.host}:{config.port}: {error.strerror or error}",
            hint="give another --host or --port; 0 takes a port that is free",
        ) from error


def url_of(listening: socket.socket) -> str:
    """Where a server on the socket is called."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
