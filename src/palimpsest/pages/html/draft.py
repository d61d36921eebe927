"""What a model wrote, down to the HTML in it, and the limits it must keep."""

from __future__ import annotations

import re

from palimpsest.errors import InputError

MAX_CHARACTERS = 65_536
MAX_TAGS = 5_000

_FENCE = re.compile(r"```[ \t]*html\b[^\n]*\n?", re.IGNORECASE)
_BARE_FENCE = re.compile(r"\s*```[ \t]*\n")
_FENCE_END = re.compile(r"^[ \t]*```[ \t]*$|```\s*\Z", re.MULTILINE)
_TAG = re.compile(r"<[a-zA-Z]")
_MARKUP = re.compile(r"<[a-zA-Z/!]")
# A surrogate or a control character makes no sense in a page; engines disagree on what to do.
_UNPRINTABLE = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)


def html_of(draft: str) -> str:
    """The HTML of a draft: what stands in its ```html fence, which may be unclosed, else all of it.

    Text without any markup keeps its line breaks. Raises `InputError` if it is too large.
    """
    if len(draft) > MAX_CHARACTERS:
        raise InputError(
            f"an HTML draft of {len(draft):,} characters is too long",
            hint=f"shorten it to {MAX_CHARACTERS:,}",
        )
    html = _UNPRINTABLE.sub("\ufffd", _unfenced(draft).replace("\r\n", "\n"))
    tags = sum(1 for _ in _TAG.finditer(html))
    if tags > MAX_TAGS:
        raise InputError(
            f"an HTML draft with {tags:,} tags is too large", hint=f"use at most {MAX_TAGS:,}"
        )
    if _MARKUP.search(html):
        return html
    return f'<div style="white-space: pre-wrap">{html.strip()}</div>'


def _unfenced(draft: str) -> str:
    start = _FENCE.search(draft) or _BARE_FENCE.match(draft)
    if not start:
        return draft
    end = _FENCE_END.search(draft, start.end())
    return draft[start.end() : end.start() if end else len(draft)]
