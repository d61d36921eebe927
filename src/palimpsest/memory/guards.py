"""What keeps a draft from harming the memory.

A draft replaces the whole memory, so a bad one would lose all that was read before. These are
the judgements; the reader acts on them and records each one.
"""

from __future__ import annotations

import re
from bisect import bisect_right

from palimpsest.memory.reading import GuardName
from palimpsest.models.model import Completion

_BLOCK_END = re.compile(r"\n[ \t]*\n|\n")


def unusable(completion: Completion) -> GuardName | None:
    """Why a draft must not replace the memory, or None when it may."""
    if completion.finish_reason == "refused":
        return "refused"
    if not completion.text.strip():
        return "empty"
    if completion.finish_reason == "length":
        return "cut-off"
    return None


def cut_to_limit(text: str, offsets: list[int], limit: int) -> str:
    """The start of `text` that fits `limit` tokens, cut where a block or a line ends.

    `offsets` are the starts of the text's tokens. A first line that alone is over the limit is
    cut at a token.
    """
    if len(offsets) <= limit:
        return text
    room = offsets[limit]
    ends = [match.start() for match in _BLOCK_END.finditer(text)]
    fitting = bisect_right(ends, room)
    cut = text[: ends[fitting - 1]].rstrip() if fitting else ""
    return cut or text[:room]
