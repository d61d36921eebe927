r"""The answer in a completion: what stands in the last `\boxed{}`."""

from __future__ import annotations

import re
from typing import NamedTuple

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_LABEL = re.compile(r"^(?:\*\*)?(?:final )?(?:answer|reply)(?:\*\*)?\s*:\s*", re.IGNORECASE)


class Parsed(NamedTuple):
    text: str
    boxed: bool


def parse_answer(text: str) -> Parsed:
    r"""The content of the last complete `\boxed{}`, nested braces kept; `\text{}` is unwrapped.

    Without one, the last line that is not empty stands in and `boxed` is False. Unlike the
    papers' verifier, which looks at the last 300 characters only, the whole text is searched.
    """
    for match in reversed(list(_BOX.finditer(text))):
        content = _to_closing_brace(text, match.end())
        if content is not None:
            return Parsed(_TEXT.sub(r"\1", content).strip(), True)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    return Parsed(_LABEL.sub("", last).strip("* "), False)


def _to_closing_brace(text: str, start: int) -> str | None:
    depth = 1
    for position in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[start:position]
    return None
