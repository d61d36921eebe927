"""A server of ours on this machine, in a thread, as `palimpsest serve` would run it.

app = create_app(config, state=state)
with Live(app, state) as server:
    httpx2.get(f"{server.url}/healthz")
"""

from __future__ import annotations

import signal
import socket
import threading
from typing import Self

from fastapi import FastAPI

from palimpsest.server.serving import Server, listen, url_of
from palimpsest.server.state import ServerState

STARTUP_S = 60.0


class Live:
    """Serves from `__enter__` to `__exit__`, on a free port."""

    def __init__(self, app: FastAPI, state: ServerState) -> None:
        self.state = state
        self._server = Server(app, state)
        self._listening = listen(state.config.model_copy(update={"port": 0}))
        self._thread = threading.Thread(target=self._server.run, args=([self._listening],))

    @property
    def url(self) -> str:
        return url_of(self._listening)

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._listening.getsockname()[:2]
        return host, port

    def connect(self) -> socket.socket:
        """A bare connection, for clients that misbehave."""
        return socket.create_connection(self.address, timeout=STARTUP_S)

    def signal(self) -> None:
        """Tells the server to stop, as SIGTERM does."""
        self._server.handle_exit(signal.SIGTERM, None)

    def join(self) -> None:
        """Waits until the server has stopped."""
        self._thread.join(STARTUP_S)
        assert not self._thread.is_alive(), "the server did not stop"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self.signal()
        self.join()
        self._listening.close()
