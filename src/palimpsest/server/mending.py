"""Characters that are none put right: JSON can hold half of a surrogate pair, UTF-8 cannot.

A client that cuts a text in the middle of an emoji sends one. It becomes U+FFFD, as in a source.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar, cast

Json = TypeVar("Json")
_HALF = re.compile("[\ud800-\udfff]")
_WRITTEN = re.compile(rb"\\u[dD][89a-fA-F]")


def may_be_broken(raw: bytes) -> bool:
    """Whether JSON may hold such a half."""
    return _WRITTEN.search(raw) is not None


def mended(value: Json) -> Json:
    """The value with U+FFFD for every half of a pair."""
    return cast(Json, _mended(value))


def _mended(value: Any) -> Any:  # noqa: ANN401 -- JSON
    if isinstance(value, str):
        return _HALF.sub("\ufffd", value)
    if isinstance(value, list):
        return [_mended(one) for one in value]
    if isinstance(value, dict):
        return {_mended(name): _mended(one) for name, one in value.items()}
    return value
