"""JSON Lines of documents: one document a row."""

from __future__ import annotations

import json
from typing import Any

from palimpsest.errors import SourceError

TEXT_FIELDS = ("text", "content", "context", "passage", "paragraph_text")
NAME_FIELDS = ("title", "name", "file", "id")
_HINT = "a row is a string or an object with one of " + ", ".join(TEXT_FIELDS)


def read_rows(text: str, name: str) -> list[tuple[str, str]]:
    """(name, text) of every row that is not blank.

    A row is a string, or an object with its text in the first of `TEXT_FIELDS` that it has. It is
    named by the first of `NAME_FIELDS` that it fills, else by file and line: `facts.jsonl:12`.
    Raises `SourceError` naming the line of a bad row.
    """
    lines = enumerate(text.split("\n"), start=1)
    return [_document(line, f"{name}:{number}") for number, line in lines if line.strip()]


def _document(line: str, place: str) -> tuple[str, str]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SourceError(place, f"not JSON: {error}", hint="one JSON value a line") from error
    if isinstance(row, str):
        return place, _lines(row)
    if not isinstance(row, dict):
        raise SourceError(place, f"a row is a JSON {_kind(row)}", hint=_HINT)
    return _name(row) or place, _lines(_text(row, place))


def _text(row: dict[str, Any], place: str) -> str:
    for field in TEXT_FIELDS:
        if field in row:
            value = row[field]
            if not isinstance(value, str):
                raise SourceError(place, f"`{field}` is a JSON {_kind(value)}", hint=_HINT)
            return value
    raise SourceError(place, f"no text among the fields {', '.join(row) or '(none)'}", hint=_HINT)


def _name(row: dict[str, Any]) -> str:
    for field in NAME_FIELDS:
        value = row.get(field)
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
            return str(value)
    return ""


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _kind(value: object) -> str:
    kinds = {dict: "object", list: "list", str: "string", bool: "boolean", type(None): "null"}
    return kinds.get(type(value), "number")
