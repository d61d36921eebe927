"""A gateway on this machine for tests, and an upstream that is told what to say.

with Loopback(Scripted()) as upstream, Gateway(config(upstream, tmp_path)) as gateway:
    client = openai.OpenAI(base_url=gateway.url, api_key="any")
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import uvicorn

from loopback import Loopback, Reply, Request, failure
from palimpsest.server.app import create_app
from palimpsest.server.config import ReaderChoice, ServerConfig
from palimpsest.settings import ModelSettings

NOTES = "<notes>"
FACT = "The lamp of Gull Rock was lit by Ada Venn in 1871."
QUESTION = "Who lit the lamp of Gull Rock?"
SMALL = {"chunk_tokens": 400, "memory_tokens": 150, "answer_tokens": 100}
"""Reader settings for a window of 2,048 tokens."""


class Gateway:
    """A server in a thread."""

    def __init__(self, config: ServerConfig, **options: Any) -> None:
        self._app = create_app(config, **options)
        settings = uvicorn.Config(
            self._app, port=0, log_level="error", ws="none", lifespan="on",
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = uvicorn.Server(settings)
        self._thread = threading.Thread(target=self._server.run)

    @property
    def root(self) -> str:
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    @property
    def url(self) -> str:
        return f"{self.root}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.01)
        assert self._server.started
        return self

    def __exit__(self, *_: object) -> None:
        # As `palimpsest serve` does at a signal, before uvicorn cuts connections off.
        self._app.state.server.begin_stopping()
        self._server.should_exit = True
        self._thread.join()


def config(upstream: Loopback | None, folder: Path, **settings: Any) -> ServerConfig:
    """A small window, and a reader that goes with it."""
    address = ModelSettings(
        name="scripted", base_url=upstream.url if upstream else None, api_key="k", retries=0
    )
    given: dict[str, Any] = {
        "upstream": address,
        "upstream_window": 2048,
        "reader": ReaderChoice(settings=SMALL),
        "parts": frozenset({"gateway"}),
        "state_folder": folder,
        "pages_on_disk": False,
        "grace_s": 0.2,
        "header_timeout_s": 60.0,
        "body_timeout_s": 60.0,
    }
    return ServerConfig(**{**given, **settings})


class Scripted:
    """Notes the sentences that hold one of its words, and answers with what its notes hold."""

    def __init__(
        self,
        words: Sequence[str] = ("Gull Rock",),
        answer: Callable[[dict[str, Any], str], dict[str, Any]] | None = None,
        *,
        delay_s: float = 0.0,
    ) -> None:
        self.words = words
        self.drafts: list[Request] = []
        self.finals: list[Request] = []
        self.delay_s = delay_s
        self._answer = answer or (lambda _, text: {"content": text})

    def __call__(self, request: Request) -> Reply:
        if not request.path.endswith(("/chat/completions", "/responses")):
            return failure(404, "no such path")
        body = request.json
        text = texts_of(body)
        found = [
            sentence.strip().removeprefix("- ")
            for sentence in dict.fromkeys(re.split(r"(?<=\.)\s+|\n", text))
            if any(word in sentence for word in self.words) and sentence.strip().endswith(".")
        ]
        if "seed" not in body and is_final(body):
            self.finals.append(request)
            return answer_to(
                request, self._answer(body, " ".join(dict.fromkeys(found)) or "I do not know.")
            )
        self.drafts.append(request)
        notes = "\n".join(f"- {one}" for one in dict.fromkeys(found)) or "- nothing of it"
        reply = answer_to(request, {"content": notes})
        return Reply(reply.status, reply.body, reply.headers, delay_s=self.delay_s)


def is_final(body: dict[str, Any]) -> bool:
    """Whether a request is a client's own, rather than a reader's."""
    messages = body.get("messages")
    return not (messages and len(messages) == 1 and "temperature" in body and "user" not in body)


def texts_of(body: dict[str, Any]) -> str:
    """Every text of a request's messages."""
    items = body.get("messages") or body.get("input") or []
    if isinstance(items, str):
        return items
    found = []
    for item in items:
        content = item.get("content") or item.get("output") or ""
        parts = [{"text": content}] if isinstance(content, str) else content
        found += [part.get("text") or "" for part in parts]
    return "\n".join(found)


USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}


def answer_to(request: Request, message: dict[str, Any]) -> Reply:
    """An answer in the shape, and streamed if, the request asks for."""
    body = request.json
    if request.path.endswith("/responses"):
        return _response(body, message["content"])
    reason = "tool_calls" if message.get("tool_calls") else "stop"
    head = {"id": "chatcmpl-7", "created": 7, "model": body["model"]}
    number = body.get("n") or 1
    if not body.get("stream"):
        whole = {"role": "assistant", **message}
        choices = [
            {"index": at, "message": whole, "logprobs": None, "finish_reason": reason}
            for at in range(number)
        ]
        return Reply(body={**head, "object": "chat.completion", "choices": choices, "usage": USAGE})
    chunks = [
        {**head, "object": "chat.completion.chunk",
         "choices": [{"index": at, "delta": delta, "finish_reason": ended}]}
        for at in range(number)
        for delta, ended in [*((one, None) for one in _deltas(message)), ({}, reason)]
    ]  # fmt: skip
    if (body.get("stream_options") or {}).get("include_usage"):
        chunks.append({**head, "object": "chat.completion.chunk", "choices": [], "usage": USAGE})
    return _stream([f"data: {json.dumps(chunk)}\n\n" for chunk in chunks] + ["data: [DONE]\n\n"])


def _deltas(message: dict[str, Any]) -> list[dict[str, Any]]:
    text = message.get("content") or ""
    pieces = [{"content": text[at : at + 12]} for at in range(0, len(text), 12)]
    calls = [
        {"tool_calls": [{"index": at, **call}]}
        for at, call in enumerate(message.get("tool_calls") or [])
    ]
    return [{"role": "assistant"}, *pieces, *calls]


def _response(body: dict[str, Any], text: str) -> Reply:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    item = {
        "id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
        "content": [part],
    }  # fmt: skip
    usage = {
        "input_tokens": 100, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 10,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 110,
    }  # fmt: skip
    whole = {
        "id": "resp_1", "object": "response", "created_at": 7, "status": "completed",
        "model": body["model"], "output": [item], "usage": usage, "parallel_tool_calls": True,
        "tool_choice": "auto", "tools": [], "error": None, "metadata": {},
    }  # fmt: skip
    if not body.get("stream"):
        return Reply(body=whole)
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    empty = {**part, "text": ""}
    opening = {**whole, "status": "in_progress", "output": [], "usage": None}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": opening},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.content_part.added", **at, "part": empty},
        {"type": "response.output_text.delta", **at, "delta": text[:12], "logprobs": []},
        {"type": "response.output_text.delta", **at, "delta": text[12:], "logprobs": []},
        {"type": "response.output_text.done", **at, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **at, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": whole},
    ]
    return _stream(
        [
            f"event: {event['type']}\ndata: {json.dumps({**event, 'sequence_number': number})}\n\n"
            for number, event in enumerate(events)
        ]
    )


def _stream(pieces: list[str]) -> Reply:
    return Reply(body="".join(pieces), headers={"Content-Type": "text/event-stream"})


def filler(paragraphs: int, seed: int = 0) -> str:
    """Some text with nothing in it: about 60 estimated tokens a paragraph."""
    sentences = (
        "The harbour of Thornby lies under a low cliff, and the boats come home with the tide. ",
        "In the spring the nets are mended on the quay, and the children carry the corks. ",
        "A cart goes up to the market on the hill when the weather allows it. ",
    )
    return "\n\n".join(
        f"Day {seed * 10_000 + number}. " + "".join(sentences) for number in range(paragraphs)
    )


def story(paragraphs: int, fact: str = FACT, at: float = 0.5) -> str:
    """Such text with one fact in it."""
    before = int(paragraphs * at)
    return f"{filler(before)}\n\n{fact}\n\n{filler(paragraphs - before, seed=1)}"
