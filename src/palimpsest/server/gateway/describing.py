"""The bodies of requests as the OpenAPI document describes them.

Only what the gateway itself looks at is described. The rest is the upstream's to know, so further
fields are allowed everywhere but in the gateway's own.
"""

from __future__ import annotations

from typing import Any

from palimpsest.server.gateway.conversation import DialectName
from palimpsest.server.gateway.extension import FIELD, Extension

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 1}
_OBJECTS: Schema = {"type": "array", "items": {"type": "object"}}


def _object(required: tuple[str, ...], **properties: Schema) -> Schema:
    return {"type": "object", "required": list(required), "properties": properties}


def _part(kind: str, **properties: Schema) -> Schema:
    return _object(("type", *properties), type={"const": kind}, **properties)


def _message(roles: tuple[str, ...], parts: list[Schema], **properties: Schema) -> Schema:
    content = {"anyOf": [_TEXT, {"type": "array", "items": {"anyOf": parts}}]}
    return _object(
        ("role", "content"), role={"enum": list(roles)}, content=content, **properties
    )  # fmt: skip


_FILE: Schema = _object(("file_data",), file_data=_TEXT, filename=_TEXT)
_CHAT_PARTS = [
    _part("text", text=_TEXT),
    _part("image_url", image_url=_object(("url",), url=_TEXT)),
    _part("file", file=_FILE),
]
_CHAT_ROLES = ("system", "developer", "user", "assistant", "tool")
_CHAT_MESSAGE = _message(_CHAT_ROLES, _CHAT_PARTS, tool_calls=_OBJECTS, tool_call_id=_TEXT)
_CALLING_MESSAGE = _object(("role", "tool_calls"), role={"const": "assistant"}, tool_calls=_OBJECTS)
_RESPONSE_PARTS = [
    _part("input_text", text=_TEXT),
    _part("output_text", text=_TEXT),
    _part("input_image", image_url=_TEXT),
    {**_FILE, "properties": {"type": {"const": "input_file"}, **_FILE["properties"]}},
]
_RESPONSE_ITEMS = [
    _message(("system", "developer", "user", "assistant"), _RESPONSE_PARTS),
    _object(
        ("type", "call_id", "name", "arguments"),
        type={"const": "function_call"}, call_id=_TEXT, name=_TEXT, arguments=_TEXT,
    ),
    _object(
        ("type", "call_id", "output"),
        type={"const": "function_call_output"}, call_id=_TEXT, output=_TEXT,
    ),
]  # fmt: skip

_FIELDS: dict[DialectName, dict[str, Schema]] = {
    "chat": {
        "messages": {
            "type": "array",
            "minItems": 1,
            "items": {"anyOf": [_CHAT_MESSAGE, _CALLING_MESSAGE]},
        },
        "max_tokens": _COUNT,
        "max_completion_tokens": _COUNT,
        "n": {**_COUNT, "maximum": 128},
        "stop": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]},
        "stream_options": _object((), include_usage={"type": "boolean"}),
        "response_format": {"type": "object"},
    },
    "responses": {
        "input": {
            "anyOf": [_TEXT, {"type": "array", "minItems": 1, "items": {"anyOf": _RESPONSE_ITEMS}}]
        },
        "instructions": _TEXT,
        "max_output_tokens": _COUNT,
    },
}
_REQUIRED: dict[DialectName, str] = {"chat": "messages", "responses": "input"}
_ASKED = "Who lit the lamp?"
_EXAMPLES: dict[DialectName, Schema] = {
    "chat": {"messages": [{"role": "user", "content": _ASKED}]},
    "responses": {"input": _ASKED},
}
_EXTENSION = {"source": [{"name": "log.txt", "text": "Ada Venn lit it in 1871."}]}


def described(dialect: DialectName) -> dict[str, Any]:
    """What OpenAPI is told of a route beyond its answers. The body is read as it is."""
    extension = Extension.model_json_schema()
    fields = {
        "model": _TEXT,
        **_FIELDS[dialect],
        "stream": {"type": "boolean"},
        "temperature": {"type": "number", "minimum": 0, "maximum": 2},
        "tools": _OBJECTS,
        FIELD: _resolved(extension, extension.pop("$defs", {})),
    }
    example = {"model": "palimpsest", **_EXAMPLES[dialect], FIELD: _EXTENSION}
    schema = _object((_REQUIRED[dialect],), **fields)
    content = {"application/json": {"schema": schema, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


STREAMED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer; with `stream`, its events.",
        "content": {"application/json": {}, "text/event-stream": {}},
    }
}
"""For `responses=` of a route."""


def _resolved(schema: Any, definitions: dict[str, Any]) -> Any:  # noqa: ANN401 -- JSON
    """A schema with what it refers to put in its place."""
    if isinstance(schema, list):
        return [_resolved(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _resolved(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {name: _resolved(value, definitions) for name, value in schema.items()}
