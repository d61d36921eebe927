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
_SENTENCE_END = re.compile(r"[.!?][\"')\]*]*(?=\s)")


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


def with_new_lines(memory: str, draft: str) -> str:
    """The memory followed by the lines of a cut-off draft that it does not have, each once.

    A draft that was cut off may not have come to facts that it meant to keep, so it only adds.
    Its unfinished end is dropped.
    """
    lines = memory.splitlines()
    known = {line.strip() for line in lines}
    for line in _finished_lines(draft):
        if line.strip() not in known:
            known.add(line.strip())
            lines.append(line)
    return "\n".join(lines)


def _finished_lines(draft: str) -> list[str]:
    *finished, last = draft.strip().split("\n")
    ends = [match.end() for match in _SENTENCE_END.finditer(last)]
    return [*finished, last[: ends[-1]]] if ends else finished
