"""Lengths of contexts as people write them: `8k` is 8,192 tokens, as in RULER and the papers."""

from __future__ import annotations

import re

from palimpsest.errors import InputError

_UNITS = {"": 1, "k": 1024, "m": 1024 * 1024}
_WRITTEN = re.compile(r"(\d+(?:\.\d+)?)([km]?)", re.IGNORECASE)
AS_GIVEN = "given"
"""Stands for contexts as the benchmark gives them."""


def parse_length(text: str) -> int:
    """Tokens: a whole number as it is, `k` and `m` as 1,024 and 1,048,576 of them.

    Raises `InputError` for anything else, and for what is no whole number of tokens.
    """
    match = _WRITTEN.fullmatch(text.strip().replace(",", "").replace("_", ""))
    tokens = float(match[1]) * _UNITS[match[2].lower()] if match else 0
    if tokens < 1 or tokens != int(tokens):
        raise InputError(f"{text!r} is no length", hint="write it as 8k, 128k, 1m or 5000")
    return int(tokens)


def parse_lengths(text: str) -> tuple[int, ...]:
    """Lengths with commas between, each once, in their order."""
    return tuple(dict.fromkeys(parse_length(part) for part in text.split(",") if part.strip()))


def length_label(tokens: int | None) -> str:
    """A length as `parse_length` reads it back, the shortest way; `given` for None."""
    if tokens is None:
        return AS_GIVEN
    for unit in ("m", "k"):
        if tokens and tokens % _UNITS[unit] == 0:
            return f"{tokens // _UNITS[unit]}{unit}"
    return str(tokens)
