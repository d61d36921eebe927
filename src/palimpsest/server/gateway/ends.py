"""Where in one long message the question stands: in its first or its last short paragraph.

A paragraph is a question or an instruction when it ends in a question mark, begins with a word
such as `Question:`, or begins with a verb that orders something. Both ends may be; each is looked
at by itself, so that text which comes to the middle changes nothing.
"""

from __future__ import annotations

import re
from typing import NamedTuple

SHORT_CHARACTERS = 1000
"""The longest paragraph, or line, that is looked at."""
_LABEL_CHARACTERS = 40

_PARAGRAPH_END = re.compile(r"\n[^\S\n]*\n\s*")
_ASKS = re.compile(r"[?？؟⁇](?:[\s\"'”’»)\]*_`]|</\w+>)*$")
_LABELLED = re.compile(
    r"[\W_]*(?:the\s+)?(?:user\s+)?"
    r"(?:question|query|task|instructions?|request|prompt|problem|answer|q)\s*\d*[\W_]*[:.)\]>]",
    re.IGNORECASE,
)
_ORDERS = re.compile(
    r"[\W_]*(?:please\s+|now\s+|then\s+|finally,?\s+|kindly\s+|can you\s+|could you\s+)*"
    r"(?:answer|summari[sz]e|list|explain|describe|translate|find|extract|write|give|tell|compare|"
    r"name|identify|classify|count|determine|decide|choose|select|return|output|report|respond|"
    r"reply|rewrite|analy[sz]e|review|outline|show|state|calculate|compute|check|verify|quote|cite|"
    r"based on|using|according to|from the|given the|in the (?:text|document|following)|"
    r"what|who|whom|whose|which|when|where|why|how)\b",
    re.IGNORECASE,
)


class Ends(NamedTuple):
    """A long text taken apart: `head + body + tail` is the text, but for the space between."""

    head: str
    """The question at its beginning; empty for none."""
    body: str
    tail: str
    """The question at its end; empty for none."""
    shown: tuple[str, ...] = ()
    """Where no question was found, its short first and last paragraphs, which are in the body."""

    @property
    def question(self) -> str:
        return "\n\n".join(one for one in (self.head, self.tail) if one)


def take_ends(text: str) -> Ends:
    """The question at the ends of a long text, and the rest of it."""
    first, last = _first(text), _last(text)
    head = text[: first.end].strip() if first and asks(first.text) else ""
    tail = text[last.start :].strip() if last and asks(last.text) else ""
    start = first.end if first and head else 0
    end = last.start if last and tail else len(text)
    body = text[start:end].strip("\n")
    if not body.strip():
        return Ends("", text, "")
    if head or tail:
        return Ends(head, body, tail)
    return Ends("", text, "", tuple(one.text for one in (first, last) if one))


def asks(paragraph: str) -> bool:
    """Whether a short paragraph is a question or an instruction."""
    text = paragraph.strip()
    return bool(_ASKS.search(text) or _LABELLED.match(text) or _ORDERS.match(text))


class _Stretch(NamedTuple):
    start: int
    end: int
    text: str


def _first(text: str) -> _Stretch | None:
    """The first paragraph, or where that is long the first line; None where that is long too."""
    start = len(text) - len(text.lstrip())
    for pattern in (_PARAGRAPH_END, re.compile(r"\n")):
        match = pattern.search(text, start)
        if match and match.start() - start <= SHORT_CHARACTERS:
            return _Stretch(start, match.end(), text[start : match.start()].strip())
    return None


def _last(text: str) -> _Stretch | None:
    """The last paragraph or line, with the one before it where it is no more than a label."""
    end = len(text.rstrip())
    # What is longer is not looked at, so neither is the text before it.
    window = max(0, end - 3 * SHORT_CHARACTERS)
    ends = [match.end() for match in _PARAGRAPH_END.finditer(text, window, end)]
    starts = ends or [match.end() for match in re.finditer(r"\n", text[window:end])]
    offset = 0 if ends else window
    for start in (offset + one for one in reversed(starts)):
        if end - start > SHORT_CHARACTERS:
            return None if ends == [] else _last_line(text, end)
        found = _Stretch(start, end, text[start:end].strip())
        if not _is_label(found.text):
            return found
    return None


def _last_line(text: str, end: int) -> _Stretch | None:
    start = text.rfind("\n", 0, end) + 1
    return (
        _Stretch(start, end, text[start:end].strip()) if end - start <= SHORT_CHARACTERS else None
    )


def _is_label(text: str) -> bool:
    """Whether a paragraph only says what is to follow it, as `Answer:` does."""
    return len(text) <= _LABEL_CHARACTERS and text.endswith(":") and "\n" not in text
