"""From the JSON of a chat completion to a `Completion`.

Servers differ in where they put thinking: a field of its own, under one of two names, or the text
itself, between tags of which the first or the last may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from palimpsest.models.model import Completion, FinishReason, Usage

_OPEN = "<think>"
_CLOSE = "</think>"


class Thinking(NamedTuple):
    reasoning: str
    text: str


def split_thinking(content: str) -> Thinking:
    """Parts leaked thinking from the answer.

    A leading block that never closes is all thinking. A closing tag alone means that the server's
    template wrote the opening one into the prompt. A tag further into an answer is text.
    """
    head = content.lstrip()
    if head.startswith(_OPEN):
        reasoning, _, text = head.removeprefix(_OPEN).partition(_CLOSE)
        return Thinking(reasoning.strip(), text.lstrip())
    before, close, after = content.partition(_CLOSE)
    if close and _OPEN not in before:
        return Thinking(before.strip(), after.lstrip())
    return Thinking("", content)


def completion(body: object, seconds: float) -> Completion:
    """The completion that a parsed response body holds.

    Raises `LookupError`, `TypeError`, `ValueError` or `AttributeError` where the body is no chat
    completion.
    """
    if not isinstance(body, Mapping):
        raise TypeError("not an object")
    choice = body["choices"][0]
    message = choice["message"]
    refusal = message.get("refusal") or ""
    apart = message.get("reasoning_content") or message.get("reasoning") or ""
    leaked = split_thinking(_content(message))
    return Completion(
        text=leaked.text or refusal,
        reasoning="\n".join(part for part in (apart, leaked.reasoning) if part),
        finish_reason="refused" if refusal else _finish_reason(choice.get("finish_reason")),
        usage=_usage(body.get("usage") or {}),
        model=body.get("model") or "",
        seconds=seconds,
        token_ids=choice.get("token_ids"),
        logprobs=_logprobs(choice),
    )


def cut_by_thinking(answer: Completion) -> bool:
    """True where the limit was reached by a model that thinks, so that its text is cut or absent.

    An empty text at the limit counts too: some endpoints keep thinking to themselves.
    """
    thought = bool(answer.reasoning) or answer.usage.reasoning > 0 or not answer.text
    return answer.finish_reason == "length" and thought


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content)


def _finish_reason(reason: str | None) -> FinishReason:
    if reason == "length":
        return "length"
    return "refused" if reason == "content_filter" else "stop"


def _usage(usage: Mapping[str, Any]) -> Usage:
    prompt = usage.get("prompt_tokens") or 0
    total = usage.get("total_tokens") or 0
    details = usage.get("completion_tokens_details") or {}
    cached = usage.get("prompt_tokens_details") or {}
    return Usage(
        prompt=prompt,
        cached=cached.get("cached_tokens") or usage.get("prompt_cache_hit_tokens") or 0,
        # Some endpoints count thinking in the total only.
        completion=max(usage.get("completion_tokens") or 0, total - prompt),
        reasoning=details.get("reasoning_tokens") or 0,
    )


def _logprobs(choice: Mapping[str, Any]) -> tuple[float, ...] | None:
    tokens = (choice.get("logprobs") or {}).get("content")
    return None if tokens is None else tuple(token["logprob"] for token in tokens)
