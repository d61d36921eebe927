"""Windows of a text by tokens: spans that cover it without gap or overlap.

Both cuttings are pure functions of the text and of its token offsets, and cut only where a token
begins, so that the count of a chunk is the count of the tokens that begin in it. `token` is the
papers' (MemAgent: exactly 5,000 tokens a window, wherever that falls). `sentence` fills windows
less tightly and ends them where a reader would pause.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from palimpsest.errors import InputError

Cutting = Literal["sentence", "token"]


@dataclass(frozen=True)
class Chunk:
    """A span of the source: `text == source.text[start:end]`."""

    index: int
    start: int
    end: int
    text: str
    tokens: int
    """Tokens that begin in the chunk; over the size only when a single character is."""


def cut(text: str, offsets: Sequence[int], size: int, how: Cutting) -> list[Chunk]:
    """Chunks of at most `size` tokens; `offsets` is where each token of `text` begins."""
    return {"sentence": sentence_windows, "token": token_windows}[how](text, offsets, size)


def token_windows(text: str, offsets: Sequence[int], size: int) -> list[Chunk]:
    """Windows of exactly `size` tokens, the last one shorter.

    A window is shorter where a character of several tokens would otherwise be cut in two.
    """

    def ending(first: int) -> int:
        return _character_start(offsets, first, first + size)

    return _windows(text, offsets, size, ending)


def sentence_windows(text: str, offsets: Sequence[int], size: int) -> list[Chunk]:
    """Windows of at most `size` tokens that end at the best boundary of their second half.

    A blank line is best, then a sentence end, a line end, a space, and any token. Before the end
    of the text a window is shortened, rather than leave less than a quarter of `size` as the last.
    """

    def ending(first: int) -> int:
        limit = min(size, len(offsets) - first - size // 4)
        last = _character_start(offsets, first, first + limit)
        earliest = first + max(1, size // 2)
        return _pause(text, offsets, earliest, last) or last

    return _windows(text, offsets, size, ending)


def _windows(
    text: str, offsets: Sequence[int], size: int, ending: Callable[[int], int]
) -> list[Chunk]:
    """Chunks from one token index to the next; `ending` tells the end of a window's start."""
    if size < 1:
        raise InputError(f"a chunk of {size} tokens", hint="a chunk needs at least one token")
    chunks: list[Chunk] = []
    first, start = 0, 0
    while start < len(text):
        last = ending(first) if len(offsets) - first > size else len(offsets)
        end = offsets[last] if last < len(offsets) else len(text)
        chunks.append(Chunk(len(chunks), start, end, text[start:end], last - first))
        first, start = last, end
    return chunks


def _character_start(offsets: Sequence[int], first: int, token: int) -> int:
    """The last token at or before `token` that begins a character, or the next after `first`."""
    begins = bisect_left(offsets, offsets[token])
    return begins if begins > first else bisect_right(offsets, offsets[token])


_BLANK_LINE = re.compile(r"\n[^\S\n]*\n\s*")
SENTENCE_END = re.compile(
    r"""
    (?<! \b[A-Z] ) (?<! \bDr ) (?<! \bMr ) (?<! \bMs ) (?<! \bMrs ) (?<! \bSt )
    [.!?…] ["'”’»)\]*_]* \s++ (?! [a-z] )
    | [。！？｡] [」』”’）》]* \s*
    """,
    re.VERBOSE,
)
_LINE_END = re.compile(r"\n\s*")
_SPACE = re.compile(r"\s+")


def _pause(text: str, offsets: Sequence[int], earliest: int, last: int) -> int | None:
    """The token at which the next window best begins, in [earliest, last]."""
    if earliest >= last:
        return None
    end = offsets[last] if last < len(offsets) else len(text)
    for places in (_paragraphs, _matches(SENTENCE_END), _matches(_LINE_END), _matches(_SPACE)):
        for place in reversed(list(places(text, offsets[earliest], end))):
            token = _token_at(text, offsets, min(place, end))
            if token is not None and token >= earliest:
                return token
    return None


def _matches(pattern: re.Pattern[str]) -> Callable[[str, int, int], Iterator[int]]:
    """Where matches end, from `start` to one character past `end`: the whitespace after a mark
    that ends a window belongs to the next."""

    def places(text: str, start: int, end: int) -> Iterator[int]:
        return (match.end() for match in pattern.finditer(text, start, end + 1))

    return places


def _paragraphs(text: str, start: int, end: int) -> Iterator[int]:
    """Ends of blank lines, but not of those under a heading."""
    line = start
    for match in _BLANK_LINE.finditer(text, start, end + 1):
        line = max(line, text.rfind("\n", line, match.start()) + 1)
        if not text.startswith("#", line):
            yield match.end()
        line = match.end()


def _token_at(text: str, offsets: Sequence[int], place: int) -> int | None:
    """The token that begins at `place`, or in the whitespace right before it."""
    after = bisect_right(offsets, place)
    if after == 0:
        return None
    begins = offsets[after - 1]
    if begins < place and not text[begins:place].isspace():
        return None
    return bisect_left(offsets, begins)
