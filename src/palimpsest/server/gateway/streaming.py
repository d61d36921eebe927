"""Streams: server-sent events written, and what an upstream streams gathered and added to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from palimpsest.server.gateway.chat import Chat
from palimpsest.server.gateway.conversation import Json
from palimpsest.server.gateway.responses_api import Responses, annotation_events
from palimpsest.server.gateway.upstream import Dialect

Annotate = Callable[[str], Awaitable[list[Json]]]
"""The annotations of a text of the answer."""
Finish = Callable[[Json], Awaitable[Json]]
"""The whole answer with its bill and what was read, given the answer as the upstream has it."""

DONE = b"data: [DONE]\n\n"
_OF_A_PART = ("response.content_part.", "response.output_text.", "response.refusal.")


def encode(dialect: Dialect, event: Json) -> bytes:
    """An event on the wire."""
    data = json.dumps(event, ensure_ascii=True, separators=(",", ":"))
    if dialect.name == "responses":
        return f"event: {event.get('type')}\ndata: {data}\n\n".encode()
    return f"data: {data}\n\n".encode()


def comment(text: str) -> bytes:
    """A line that clients pass over."""
    return f": {' '.join(text.split())}\n\n".encode()


def failure(dialect: Dialect, body: Json, number: int) -> Json:
    """An error in the middle of a stream."""
    if dialect.name == "chat":
        return body
    error = body.get("error")
    told = error if isinstance(error, dict) else {"message": "the upstream failed"}
    return {
        "type": "error",
        "code": told.get("code"),
        "message": told.get("message"),
        "param": told.get("param"),
        "sequence_number": number,
    }


class ChatStream:
    """The chunks of a chat completion, gathered into one answer.

    What ends a choice is held back until the end of the stream, so that the annotations stand in
    the last chunk of their choice.
    """

    def __init__(self, *, told_usage: bool) -> None:
        """`told_usage`: whether the client asked for a chunk with the usage."""
        self._told_usage = told_usage
        self._head: Json = {}
        self._choices: dict[int, Json] = {}
        self._held: dict[int, Json] = {}
        self._usage: Any = None

    async def events(
        self, upstream: AsyncIterator[Json], annotate: Annotate, finish: Finish
    ) -> AsyncIterator[Json]:
        """What the client is sent; `finish` hears of the whole answer before the last chunks."""
        async for chunk in upstream:
            self._head = {**self._head, **_head(chunk)}
            self._usage = chunk.get("usage") or self._usage
            for choice in chunk.get("choices") or []:
                self._gather(choice)
            passing = [one for one in chunk.get("choices") or [] if not _ends(one)]
            if passing:
                rest = {name: value for name, value in chunk.items() if name != "usage"}
                yield {**rest, "choices": passing}
        for choice in self._choices.values():
            text = choice["message"].get("content") or ""
            choice["annotations"] = await annotate(text) if text else []
        whole = await finish(self.body())
        for event in self._ending(whole):
            yield event

    def body(self) -> Json:
        """The answer as it would have been without a stream."""
        choices = [
            {name: value for name, value in choice.items() if name != "annotations"}
            for _, choice in sorted(self._choices.items())
        ]
        return {
            **self._head,
            "object": "chat.completion",
            "choices": choices,
            "usage": self._usage,
        }

    def _ending(self, whole: Json) -> Iterator[Json]:
        extra = {"palimpsest": whole["palimpsest"]} if "palimpsest" in whole else {}
        head = {**self._head, "object": "chat.completion.chunk"}
        for index, choice in sorted(self._choices.items()):
            held = self._held.get(index) or {
                "index": index, "delta": {}, "finish_reason": choice["finish_reason"] or "stop",
            }  # fmt: skip
            noted = [{"type": "url_citation", "url_citation": one} for one in choice["annotations"]]
            delta = {**(held.get("delta") or {}), **({"annotations": noted} if noted else {})}
            yield {**head, "choices": [{**held, "delta": delta}], **extra}
        if self._told_usage:
            yield {**head, "choices": [], "usage": whole.get("usage"), **extra}

    def _gather(self, choice: Json) -> None:
        index = choice.get("index", 0)
        whole = self._choices.setdefault(
            index,
            {
                "index": index, "message": {"role": "assistant", "content": None},
                "logprobs": None, "finish_reason": None,
            },
        )  # fmt: skip
        if _ends(choice):
            self._held[index] = choice
        whole["finish_reason"] = choice.get("finish_reason") or whole["finish_reason"]
        _add_logprobs(whole, choice.get("logprobs"))
        _add_delta(whole["message"], choice.get("delta") or {})


class ResponseStream:
    """The events of a response, numbered anew, with annotations and the whole bill put in.

    What an upstream leaves out and clients count on is put in, too: where in the answer an event
    belongs, and an answer's empty list at its beginning.
    """

    def __init__(self) -> None:
        self.number = 0
        """Events so far."""
        self._parts: dict[str, int] = {}
        """By the ids of the answer's items, in their order, the parts of each that have begun."""
        self._annotated: dict[tuple[int, int], list[Json]] = {}

    async def events(
        self, upstream: AsyncIterator[Json], annotate: Annotate, finish: Finish
    ) -> AsyncIterator[Json]:
        async for event in upstream:
            async for one in self._with_ours(self._placed(event), annotate, finish):
                yield {**one, "sequence_number": self.number}
                self.number += 1

    def _placed(self, event: Json) -> Json:
        """An event with its place. llama.cpp's server names the item alone."""
        kind, response = str(event.get("type")), event.get("response")
        if isinstance(response, dict):
            return {**event, "response": {"output": [], **response}}
        item = event.get("item")
        id = item.get("id") if isinstance(item, dict) else event.get("item_id")
        if not isinstance(id, str):
            return event
        self._parts.setdefault(id, 0)
        self._parts[id] += kind == "response.content_part.added"
        place = {"output_index": list(self._parts).index(id)}
        if kind.startswith(_OF_A_PART):
            place["content_index"] = max(0, self._parts[id] - 1)
        return {**place, **event}

    async def _with_ours(
        self, event: Json, annotate: Annotate, finish: Finish
    ) -> AsyncIterator[Json]:
        kind = event.get("type")
        if kind == "response.output_text.done":
            place = (event.get("output_index", 0), event.get("content_index", 0))
            found = await annotate(event.get("text") or "")
            self._annotated[place] = [{"type": "url_citation", **one} for one in found]
            where = {
                name: event.get(name) for name in ("item_id", "output_index", "content_index")
            }  # fmt: skip
            for one in annotation_events({"annotations": self._annotated[place]}, where):
                yield one
        elif kind == "response.content_part.done":
            self._put(
                event.get("part"), event.get("output_index", 0), event.get("content_index", 0)
            )
        elif kind == "response.output_item.done":
            self._put_all(event.get("item"), event.get("output_index", 0))
        elif kind in ("response.completed", "response.incomplete"):
            response = event.get("response") or {}
            for index, item in enumerate(response.get("output") or []):
                self._put_all(item, index)
            event = {**event, "response": await finish(response)}
        yield event

    def _put_all(self, item: object, index: int) -> None:
        parts = item.get("content") if isinstance(item, dict) else None
        for number, part in enumerate(parts or []):
            self._put(part, index, number)

    def _put(self, part: object, index: int, number: int) -> None:
        noted = self._annotated.get((index, number))
        if noted and isinstance(part, dict):
            part["annotations"] = [*(part.get("annotations") or []), *noted]


def stream_of(dialect: Dialect, *, told_usage: bool) -> ChatStream | ResponseStream:
    """What adds to the stream of a dialect."""
    return ChatStream(told_usage=told_usage) if isinstance(dialect, Chat) else ResponseStream()


def numbered(dialect: Dialect, events: Iterator[Json]) -> Iterator[Json]:
    """Events made here, with the numbers that those of responses have."""
    for number, event in enumerate(events):
        is_response = isinstance(dialect, Responses)
        yield {**event, "sequence_number": number} if is_response else event


def thinking(id: str, model: str, text: str) -> Json:
    """How far a reading is, as a chunk of thinking."""
    choice = {"index": 0, "delta": {"reasoning_content": f"{text}\n"}, "finish_reason": None}
    head = {"id": id, "object": "chat.completion.chunk", "created": 0, "model": model}
    return {**head, "choices": [choice]}


def _head(chunk: Json) -> Json:
    kept = ("id", "created", "model", "system_fingerprint", "service_tier")
    return {name: chunk[name] for name in kept if chunk.get(name) is not None}


def _ends(choice: object) -> bool:
    return isinstance(choice, dict) and bool(choice.get("finish_reason"))


def _add_logprobs(whole: Json, logprobs: object) -> None:
    if not isinstance(logprobs, dict):
        return
    known = whole["logprobs"] or {}
    whole["logprobs"] = {
        name: [*(known.get(name) or []), *value] if isinstance(value, list) else known.get(name)
        for name, value in logprobs.items()
    }


def _add_delta(message: Json, delta: Json) -> None:
    for name, value in delta.items():
        if name == "tool_calls" and isinstance(value, list):
            calls = message.setdefault("tool_calls", [])
            for call in value:
                _add_call(calls, call)
        elif isinstance(value, str) and name != "role":
            message[name] = (message.get(name) or "") + value
        elif value is not None:
            message[name] = value


def _add_call(calls: list[Json], call: Json) -> None:
    index = call.get("index", len(calls))
    while len(calls) <= index:
        calls.append({"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
    known = calls[index]
    known["id"] = call.get("id") or known["id"]
    known["type"] = call.get("type") or known["type"]
    said = call.get("function") or {}
    for name in ("name", "arguments"):
        known["function"][name] += said.get(name) or ""
