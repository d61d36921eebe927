"""An OpenAI-compatible endpoint that answers by a rule, after a fixed time: for load on a gateway.

    python bench/scripted_upstream.py --delay 0.2

Prints its URL and serves until it is killed. The text of an answer is the SHA-256 of the request's
body, so whoever asked knows what has to come back, and that the body came as it was sent. A request
with `"stream":true` gets it in `PIECES` events, spread over the same time. Prompts with lines of
`source_line` are drafts of a reading; how often each was asked for, `GET /asked` tells.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import re
import sys
import time
from typing import Any

PIECES = 8
WINDOW = 8192
_LINE = re.compile(rb"reading (\d+), line (\d+):")
_QUESTION = re.compile(rb"Question: what does reading (\d+) ")
_STREAMED = b'"stream":true'
_CHUNKED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_LENGTH = b"\r\ncontent-length:"


def source_line(reading: int, line: int) -> str:
    """A line of the source of one reading, which no other has."""
    return f"reading {reading}, line {line}: the keeper wrote down wind, light and oil, as ever."


def question(reading: int) -> str:
    """What is asked of it."""
    return f"Question: what does reading {reading} say of the oil?"


def expected(body: bytes) -> str:
    """The text that answers a request."""
    return hashlib.sha256(body).hexdigest()


class Asked:
    """One prompt of a reading: when it was asked for, and when answered."""

    def __init__(self, reading: int, line: int | None) -> None:
        self.reading = reading
        self.line = line
        """The first line of a draft's chunk; None of the final turn."""
        self.at: list[float] = []
        self.answered: list[float] = []


class Upstream:
    """What all connections share."""

    def __init__(self, delay_s: float, draft_s: float) -> None:
        self.delay_s = delay_s
        self.draft_s = draft_s
        self.asked: dict[tuple[int, int | None], Asked] = {}

    def note(self, body: bytes) -> Asked | None:
        """The prompt of a reading that a body is; None for one that was passed through."""
        line, asks = _LINE.search(body), _QUESTION.search(body)
        if not line and not asks:
            return None
        reading = int((line or asks)[1])  # type: ignore[index]
        key = (reading, int(line[2]) if line else None)
        asked = self.asked.setdefault(key, Asked(*key))
        asked.at.append(time.time())
        return asked


class Connection(asyncio.Protocol):
    """One client, which asks one thing after the other."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._received = bytearray()
        self._timers: list[asyncio.TimerHandle] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, _: Exception | None) -> None:
        for timer in self._timers:
            timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        at = self._received.find(b"\r\n\r\n")
        if at < 0:
            return
        head = bytes(self._received[: at + 2]).lower()
        _, _, announced = head.partition(_LENGTH)
        end = at + 4 + int(announced.split(b"\r\n", 1)[0] or 0)
        if len(self._received) < end:
            return
        body = bytes(self._received[at + 4 : end])
        del self._received[:end]
        self._take(head.split(b" ", 2)[1], body)

    def _take(self, path: bytes, body: bytes) -> None:
        if path == b"/v1/chat/completions":
            self._complete(body)
        elif path == b"/v1/models":
            model = {"id": "m", "object": "model", "max_model_len": WINDOW}
            self._send({"object": "list", "data": [model]})
        elif path == b"/asked":
            self._send([vars(asked) for asked in self._upstream.asked.values()])
        else:
            self._send({"error": {"message": "there is no such path"}}, b"404 Not Found")

    def _complete(self, body: bytes) -> None:
        asked = self._upstream.note(body)
        if asked is None and _STREAMED in body:
            self._stream(expected(body))
            return
        delay_s = self._upstream.draft_s if asked else self._upstream.delay_s
        timer = asyncio.get_running_loop().call_later(delay_s, self._answer, body, asked)
        self._timers = [timer]

    def _answer(self, body: bytes, asked: Asked | None) -> None:
        if asked:
            asked.answered.append(time.time())
        message = {"role": "assistant", "content": expected(body)}
        self._send({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": len(body) // 4, "completion_tokens": 32},
        })  # fmt: skip

    def _send(self, answer: Any, status: bytes = b"200 OK") -> None:  # noqa: ANN401 -- JSON
        body = json.dumps(answer).encode()
        head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self._transport.write(head % (status, len(body)) + body)

    def _stream(self, text: str) -> None:
        self._transport.write(_CHUNKED)
        size = len(text) // PIECES
        loop, pause_s = asyncio.get_running_loop(), self._upstream.delay_s / PIECES
        self._timers = [
            loop.call_later(
                pause_s * (number + 1), self._piece, text[number * size : (number + 1) * size]
            )
            for number in range(PIECES)
        ]
        self._timers.append(loop.call_later(pause_s * PIECES, self._end))

    def _piece(self, text: str) -> None:
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
        chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice]}
        self._chunk(b"data: " + json.dumps(chunk).encode() + b"\n\n")

    def _end(self) -> None:
        self._chunk(b"data: [DONE]\n\n")
        self._transport.write(b"0\r\n\r\n")

    def _chunk(self, data: bytes) -> None:
        self._transport.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


async def serve(delay_s: float, draft_s: float) -> None:
    """Serves for ever, at the URL that it prints."""
    upstream = Upstream(delay_s, draft_s)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(upstream), "127.0.0.1", 0, backlog=2048)
    host, port = server.sockets[0].getsockname()
    print(f"http://{host}:{port}/v1", flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--delay", type=float, default=0.2, help="seconds to an answer")
    parser.add_argument("--draft", type=float, default=0.5, help="seconds of a reading's calls")
    options = parser.parse_args()
    try:
        asyncio.run(serve(options.delay, options.draft))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
