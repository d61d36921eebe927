"""The shapes of `/v1/chat/completions`: requests, answers, and the chunks of a stream."""

from __future__ import annotations

import json
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
    "tool": "tool",
    "function": "tool",
}
_LIMITS = ("max_completion_tokens", "max_tokens")


class Chat:
    """Chat completions."""

    path: ClassVar[str] = "/chat/completions"
    name: ClassVar[DialectName] = "chat"

    def conversation(self, body: Mapping[str, Any]) -> Conversation:
        messages = body.get("messages")
        if not isinstance(messages, list):
            return Conversation((), strange=True)
        entries = [_entry(message) for message in messages]
        known = [entry for entry in entries if entry is not None]
        return Conversation(tuple(known), strange=len(known) < len(entries))

    def request(self, body: Mapping[str, Any], entries: Sequence[Entry]) -> Json:
        """The body with these messages in the place of its own."""
        return {**body, "messages": [written(entry, _made) for entry in entries]}

    def limit(self, body: Mapping[str, Any]) -> int | None:
        """The most tokens that the answer may have."""
        return next((body[name] for name in _LIMITS if _is_count(body.get(name))), None)

    def answers(self, body: Mapping[str, Any]) -> list[Json]:
        """The objects of an answer that hold a text, one for each choice."""
        choices = body.get("choices")
        found = [one.get("message") for one in choices or [] if isinstance(one, dict)]
        return [message for message in found if isinstance(message, dict)]

    def text_of(self, answer: Mapping[str, Any]) -> str:
        text = answer.get("content")
        return text if isinstance(text, str) else ""

    def annotate(self, answer: Json, annotations: Sequence[Json]) -> None:
        answer["annotations"] = [
            *(answer.get("annotations") or []),
            *({"type": "url_citation", "url_citation": one} for one in annotations),
        ]

    def usage_of(self, body: Mapping[str, Any]) -> Usage:
        usage = _mapping(body.get("usage"))
        return Usage(
            prompt=_count(usage, "prompt_tokens"),
            cached=_count(_mapping(usage.get("prompt_tokens_details")), "cached_tokens"),
            completion=_count(usage, "completion_tokens"),
            reasoning=_count(_mapping(usage.get("completion_tokens_details")), "reasoning_tokens"),
        )

    def usage(self, usage: Usage) -> Json:
        return {
            "prompt_tokens": usage.prompt,
            "completion_tokens": usage.completion,
            "total_tokens": usage.prompt + usage.completion,
            "prompt_tokens_details": {"cached_tokens": usage.cached},
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
        }

    def answer(self, texts: Sequence[str], *, model: str, usage: Usage, cut: bool) -> Json:
        """An answer made here, for a model that is no endpoint."""
        reason = "length" if cut else "stop"
        return {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": model,
            "choices": [
                {
                    "index": index,
                    "message": {"role": "assistant", "content": text, "refusal": None},
                    "logprobs": None,
                    "finish_reason": reason,
                }
                for index, text in enumerate(texts)
            ],
            "usage": self.usage(usage),
        }

    def streamed(self, body: Json) -> Iterator[Json]:
        """A whole answer as the chunks of a stream."""
        for choice in body.get("choices") or []:
            message = dict(choice.get("message") or {})
            calls = message.get("tool_calls")
            if calls:
                message["tool_calls"] = [{"index": n, **call} for n, call in enumerate(calls)]
            delta = {name: value for name, value in message.items() if value is not None}
            yield self._chunk(body, choice, delta, None)
            yield self._chunk(body, choice, {}, choice.get("finish_reason") or "stop")
        yield {**_head(body), "choices": [], "usage": body.get("usage")}

    def _chunk(self, body: Json, choice: Json, delta: Json, reason: str | None) -> Json:
        made = {
            "index": choice.get("index", 0),
            "delta": delta,
            "logprobs": None if reason else choice.get("logprobs"),
            "finish_reason": reason,
        }
        return {**_head(body), "choices": [made]}


def _head(body: Mapping[str, Any]) -> Json:
    kept = ("id", "created", "model", "system_fingerprint", "service_tier", "palimpsest")
    head = {name: body[name] for name in kept if name in body}
    return {**head, "object": "chat.completion.chunk"}


def _entry(message: object) -> Entry | None:
    role = message.get("role") if isinstance(message, dict) else None
    if not isinstance(message, dict) or not isinstance(role, str) or role not in _ROLES:
        return None
    parts = parts_of(message.get("content"), _part)
    if parts is None:
        return None
    calls = message.get("tool_calls") or message.get("function_call")
    called = json.dumps(calls, ensure_ascii=False) if calls else ""
    return Entry(_ROLES[role], parts, message, called)


def _part(raw: Mapping[str, Any]) -> Part:
    match raw:
        case {"type": "text"}:
            return text_part(raw)
        case {"type": "file", "file": {"file_data": str(data), **rest}}:
            name = rest.get("filename")
            return Part("file", raw, data=data, name=name if isinstance(name, str) else "")
        case {"type": "image_url", "image_url": {"url": str(url)}}:
            return Part("image", raw, data=url)
    return Part("other", raw)


def _made(part: Part, _: Role) -> Json:
    if part.kind == "image":
        return {"type": "image_url", "image_url": {"url": part.data}}
    return {"type": "text", "text": part.text}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _count(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) and value > 0 else 0
