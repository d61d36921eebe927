"""The JSON of an answer, whether it came at once or as a stream of events."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2


def parse(text: str) -> object:
    """The JSON value in `text`, None where there is none."""
    try:
        value: object = json.loads(text)
    except ValueError:
        return None
    return value


def body_of(response: httpx2.Response) -> object:
    """The answer's JSON; the events of a stream are put together into what one answer would be.

    None where there is no JSON, or where a stream broke off before its end.
    """
    if "event-stream" not in response.headers.get("content-type", ""):
        return parse(response.text)
    return _joined(response.text)


def _joined(text: str) -> object:
    whole: dict[str, Any] = {}
    message: dict[str, str] = {}
    choice: dict[str, Any] = {"message": message, "finish_reason": None}
    for event in _events(text):
        if "error" in event:
            return event
        whole |= {key: value for key, value in event.items() if value and key != "choices"}
        for delta in event.get("choices") or ():
            choice["finish_reason"] = delta.get("finish_reason") or choice["finish_reason"]
            _append(message, delta.get("delta") or {})
    if choice["finish_reason"] is None:
        return None
    return whole | {"choices": [choice]}


def _append(message: dict[str, str], delta: Mapping[str, Any]) -> None:
    for field in ("content", "reasoning_content", "reasoning", "refusal"):
        if delta.get(field):
            message[field] = message.get(field, "") + delta[field]


def _events(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        event = parse(line.removeprefix("data:")) if line.startswith("data:") else None
        if isinstance(event, dict):
            yield event
