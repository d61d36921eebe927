"""A real HTTP server on this machine, told what to answer: for testing clients without a network.

with Loopback() as server:
    server.replies = [chat("Paris"), Reply(500, {"error": {"message": "overloaded"}})]
    model = OpenAIModel("m", base_url=server.url)
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True)
class Request:
    """A request as it came in."""

    method: str
    path: str
    """With its query."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """What to answer."""

    status: int = 200
    body: object = ""
    """Text or bytes as they are, anything else as JSON."""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    cut_at: int | None = None
    """Bytes of the body after which the connection is dropped, the promised length unkept."""


Respond = Callable[[Request], Reply]


class Loopback:
    """Answers with `replies` in order, the last one for ever; or with what `respond` gives.

    `routes` come before either: the reply for a path, whatever the method and query.
    """

    def __init__(self, respond: Respond | None = None) -> None:
        self.requests: list[Request] = []
        self.replies: Sequence[Reply] = [chat("ok")]
        self.routes: dict[str, Reply] = {}
        self.at_once = 0
        """Requests being answered now."""
        self.most_at_once = 0
        self.lost = 0
        """Requests whose client was gone when the answer was due."""
        self._respond = respond or self._next
        self._answered = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.loopback = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """The base URL of the API."""
        return f"{self.root}/v1"

    def asked(self, path: str) -> list[Request]:
        """The requests for a path, whatever their query."""
        return [request for request in self.requests if request.path.split("?")[0] == path]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, request: Request) -> Reply:
        """The reply, after its delay."""
        with self._lock:
            self.requests.append(request)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            route = self.routes.get(request.path.split("?")[0])
            reply = route or self._respond(request)
            self._stop.wait(reply.delay_s)
            return reply
        finally:
            with self._lock:
                self.at_once -= 1

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 5.0) -> bool:
        """Whether the condition came true in time."""
        until = time.monotonic() + timeout_s
        while not condition() and time.monotonic() < until:
            time.sleep(0.005)
        return condition()

    def _next(self, _: Request) -> Reply:
        with self._lock:
            reply = self.replies[min(self._answered, len(self.replies) - 1)]
            self._answered += 1
            return reply


def chat(
    text: str | None,
    *,
    finish_reason: str = "stop",
    usage: Mapping[str, Any] | None = None,
    model: str = "served",
    delay_s: float = 0.0,
    **message: object,
) -> Reply:
    """A chat completion; further arguments are fields of its message."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, **message},
        "finish_reason": finish_reason,
    }
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [choice],
        "usage": usage or {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }
    return Reply(body=body, delay_s=delay_s)


def failure(status: int, message: str, **fields: object) -> Reply:
    """An error in OpenAI's shape."""
    return Reply(status, {"error": {"message": message, **fields}})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    loopback: Loopback

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no error of the server's."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""

    def _answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, self.rfile.read(length))
        try:
            self._send(self.server.loopback.answer(request))
        except OSError:
            self.server.loopback.lost += 1
            self.close_connection = True

    def _send(self, reply: Reply) -> None:
        body = _encoded(reply.body)
        kind = "application/json" if isinstance(reply.body, dict | list) else "text/html"
        self.send_response(reply.status)
        for name, value in {"Content-Type": kind, **reply.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if reply.cut_at is None else body[: reply.cut_at])
        self.wfile.flush()
        self.close_connection |= reply.cut_at is not None


def _encoded(body: object) -> bytes:
    if isinstance(body, bytes):
        return body
    return (body if isinstance(body, str) else json.dumps(body)).encode()
