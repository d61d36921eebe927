"""The shapes of `/v1/responses`: requests, answers, and the events of a stream."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from palimpsest.models.model import Usage
from palimpsest.server.gateway.conversation import (
    Conversation,
    DialectName,
    Entry,
    Json,
    Part,
    Role,
    parts_of,
    text_part,
    written,
)

_ROLES: dict[str, Role] = {
    "system": "instructions",
    "developer": "instructions",
    "user": "user",
    "assistant": "assistant",
}
_CALLS = frozenset({"function_call", "custom_tool_call"})
_RESULTS = frozenset({"function_call_output", "custom_tool_call_output"})


class Responses:
    """Responses."""

    path: ClassVar[str] = "/responses"
    name: ClassVar[DialectName] = "responses"

    def conversation(self, body: Mapping[str, Any]) -> Conversation:
        given = body.get("input")
        items = [{"role": "user", "content": given}] if isinstance(given, str) else given
        if not isinstance(items, list):
            return Conversation((), strange=True)
        entries = [_entry(item) for item in items]
        known = [entry for entry in entries if entry is not None]
        return Conversation(tuple(known), strange=len(known) < len(entries))

    def request(self, body: Mapping[str, Any], entries: Sequence[Entry]) -> Json:
        """The body with these items as its input."""
        return {**body, "input": [written(entry, _made) for entry in entries]}

    def limit(self, body: Mapping[str, Any]) -> int | None:
        """The most tokens that the answer may have."""
        value = body.get("max_output_tokens")
        counts = isinstance(value, int) and not isinstance(value, bool) and value > 0
        return value if counts else None

    def answers(self, body: Mapping[str, Any]) -> list[Json]:
        """The objects of an answer that hold a text."""
        items = body.get("output")
        messages = [
            item for item in items or [] if isinstance(item, dict) and item.get("type") == "message"
        ]
        return [
            part
            for message in messages
            for part in message.get("content") or []
            if isinstance(part, dict) and part.get("type") == "output_text"
        ]

    def text_of(self, answer: Mapping[str, Any]) -> str:
        text = answer.get("text")
        return text if isinstance(text, str) else ""

    def annotate(self, answer: Json, annotations: Sequence[Json]) -> None:
        answer["annotations"] = [
            *(answer.get("annotations") or []),
            *({"type": "url_citation", **one} for one in annotations),
        ]

    def usage_of(self, body: Mapping[str, Any]) -> Usage:
        usage = _mapping(body.get("usage"))
        return Usage(
            prompt=_count(usage, "input_tokens"),
            cached=_count(_mapping(usage.get("input_tokens_details")), "cached_tokens"),
            completion=_count(usage, "output_tokens"),
            reasoning=_count(_mapping(usage.get("output_tokens_details")), "reasoning_tokens"),
        )

    def usage(self, usage: Usage) -> Json:
        return {
            "input_tokens": usage.prompt,
            "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
            "output_tokens": usage.completion,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": usage.prompt + usage.completion,
        }

    def answer(self, texts: Sequence[str], *, model: str, usage: Usage, cut: bool) -> Json:
        """An answer made here, for a model that is no endpoint for responses."""
        status = "incomplete" if cut else "completed"
        part = {"type": "output_text", "text": texts[0], "annotations": [], "logprobs": []}
        message = {
            "id": f"msg_{secrets.token_hex(12)}",
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": [part],
        }
        return {
            **begun(f"resp_{secrets.token_hex(12)}", model),
            "status": status,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": [message],
            "usage": self.usage(usage),
        }

    def streamed(self, body: Json) -> Iterator[Json]:
        """A whole answer as the events of a stream, without their numbers."""
        opening = {**body, "status": "in_progress", "output": [], "usage": None}
        yield {"type": "response.created", "response": opening}
        yield {"type": "response.in_progress", "response": opening}
        for index, item in enumerate(body.get("output") or []):
            yield from _item_events(item, index)
        status = body.get("status")
        ending = status if status in ("incomplete", "failed") else "completed"
        yield {"type": f"response.{ending}", "response": body}


def begun(id: str, model: str) -> Json:
    """What every response has, before anything is in it."""
    return {
        "id": id,
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": model,
        "output": [],
        "parallel_tool_calls": True,
        "temperature": None,
        "top_p": None,
        "tool_choice": "auto",
        "tools": [],
        "usage": None,
    }


def annotation_events(part: Json, place: Json) -> Iterator[Json]:
    """An event for each annotation of a part; `place` tells which part it is."""
    for number, annotation in enumerate(part.get("annotations") or []):
        yield {
            "type": "response.output_text.annotation.added",
            **place,
            "annotation_index": number,
            "annotation": annotation,
        }


def _item_events(item: Json, index: int) -> Iterator[Json]:
    empty = {**item, "status": "in_progress"}
    if item.get("type") == "message":
        empty["content"] = []
    yield {"type": "response.output_item.added", "output_index": index, "item": empty}
    for number, part in enumerate(item.get("content") or []):
        if part.get("type") != "output_text":
            continue
        place = {"item_id": item.get("id", ""), "output_index": index, "content_index": number}
        opened = {**part, "text": "", "annotations": []}
        said = {"logprobs": part.get("logprobs") or []}
        yield {"type": "response.content_part.added", **place, "part": opened}
        yield {"type": "response.output_text.delta", **place, **said, "delta": part["text"]}
        yield from annotation_events(part, place)
        yield {"type": "response.output_text.done", **place, **said, "text": part["text"]}
        yield {"type": "response.content_part.done", **place, "part": part}
    if item.get("type") == "function_call":
        place = {"item_id": item.get("id", ""), "output_index": index}
        arguments = item.get("arguments", "")
        kind = "response.function_call_arguments"
        yield {"type": f"{kind}.delta", **place, "delta": arguments}
        yield {"type": f"{kind}.done", **place, "name": item.get("name"), "arguments": arguments}
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _entry(item: object) -> Entry | None:
    if not isinstance(item, dict):
        return None
    kind, role = item.get("type", "message"), item.get("role")
    if not isinstance(kind, str):
        return None
    if kind in _CALLS:
        return Entry("assistant", (), item, f"{item.get('name')} {item.get('arguments')}")
    if kind in _RESULTS:
        parts = parts_of(item.get("output"), _part)
        return None if parts is None else Entry("tool", parts, item, field="output")
    if kind != "message":
        # Reasoning, searches and the like belong to the answer that they precede.
        return Entry("assistant", (Part("other", item),), item)
    parts = parts_of(item.get("content"), _part)
    if parts is None or not isinstance(role, str) or role not in _ROLES:
        return None
    return Entry(_ROLES[role], parts, item)


def _part(raw: Mapping[str, Any]) -> Part:
    match raw:
        case {"type": "input_text" | "output_text" | "text"}:
            return text_part(raw)
        case {"type": "input_file", "file_data": str(data), **rest}:
            name = rest.get("filename")
            return Part("file", raw, data=data, name=name if isinstance(name, str) else "")
        case {"type": "input_image", "image_url": str(url)}:
            return Part("image", raw, data=url)
    return Part("other", raw)


def _made(part: Part, role: Role) -> Json:
    if part.kind == "image":
        return {"type": "input_image", "image_url": part.data, "detail": "auto"}
    if role == "assistant":
        return {"type": "output_text", "text": part.text, "annotations": []}
    return {"type": "input_text", "text": part.text}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _count(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) and value > 0 else 0
