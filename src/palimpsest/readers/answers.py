r"""The answer in a completion: what stands in the last `\boxed{}`."""

from __future__ import annotations

import re
from typing import NamedTuple

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BRACE = re.compile(r"[{}]")
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
    content = _last_box(text)
    if content is not None:
        return Parsed(_TEXT.sub(r"\1", content).strip(), True)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    return Parsed(_LABEL.sub("", last).strip("* "), False)


def _last_box(text: str) -> str | None:
    """In one pass, since a model that loops may open thousands and close none."""
    boxes = {match.end() for match in _BOX.finditer(text)}
    open_, complete = list[int](), dict[int, int]()
    for brace in _BRACE.finditer(text) if boxes else ():
        if brace[0] == "{":
            open_.append(brace.end())
        elif open_ and (start := open_.pop()) in boxes:
            complete[start] = brace.start()
    return text[max(complete) : complete[max(complete)]] if complete else None
