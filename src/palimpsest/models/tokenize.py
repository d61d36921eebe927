"""The tokenizer that a server keeps: exact counts for a model whose files are elsewhere.

llama.cpp and vLLM have an endpoint for it beside the OpenAI API. Both give the pieces of a text;
where a piece begins follows from the lengths of those before it, once it is checked that together
they are the text.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from palimpsest.errors import ModelError
from palimpsest.sources.tokens import EstimateTokenizer, Tokenizer

WINDOW_CHARACTERS = 100_000
"""Of one request: at most about 200 kB of most scripts."""

PROBE = "Tokens of naïve “text”,\nline by line: 東京 🙂"

Post = Callable[[str, Mapping[str, Any]], Awaitable[object]]
"""Posts JSON to a URL and parses the answer; raises `ModelError` where there is none."""

Pieces = Callable[[str], Awaitable[list[bytes] | None]]
"""The pieces of a text as a server gives them, None where it gives none."""


class ServerTokenizer:
    """Asks a server for the tokens of a text.

    Long texts go in windows cut at line starts, where no tokenizer in use joins across. A window
    whose pieces do not join to its text (some tokenizers normalise it) is estimated instead.
    """

    exact = True

    def __init__(self, name: str, pieces: Pieces) -> None:
        self.name = name
        self._pieces = pieces
        self._estimate = EstimateTokenizer()

    async def offsets(self, text: str) -> list[int]:
        found: list[int] = []
        for start, end in windows(text):
            part = text[start:end]
            offsets = starts(part, await self._pieces(part) or [])
            if offsets is None:
                offsets = await self._estimate.offsets(part)
            found.extend(start + offset for offset in offsets)
        return found


async def probe(model: str, roots: Sequence[str], post: Post) -> Tokenizer | None:
    """The tokenizer of the server under the first of `roots` that has one, if any has."""
    for root in roots:
        for pieces in (llama_cpp(root, post), vllm(root, model, post)):
            try:
                found = await pieces(PROBE)
            except ModelError:
                continue
            if found and starts(PROBE, found):
                return ServerTokenizer(f"{model} (server)", pieces)
    return None


def llama_cpp(root: str, post: Post) -> Pieces:
    """Pieces from llama.cpp: text, or the bytes of what is not valid text by itself."""

    async def pieces(text: str) -> list[bytes] | None:
        answer = await post(f"{root}/tokenize", {"content": text, "with_pieces": True})
        try:
            return [_bytes_of(token["piece"]) for token in answer["tokens"]]  # type: ignore[index]
        except (LookupError, TypeError, ValueError):
            return None

    return pieces


def vllm(root: str, model: str, post: Post) -> Pieces:
    """Pieces from vLLM: entries of the vocabulary, in its own spelling."""

    async def pieces(text: str) -> list[bytes] | None:
        request = {
            "model": model,
            "prompt": text,
            "add_special_tokens": False,
            "return_token_strs": True,
        }
        answer = await post(f"{root}/tokenize", request)
        try:
            entries: list[str] = answer["token_strs"]  # type: ignore[index]
            return _spelled_out(entries, text)
        except (LookupError, TypeError, ValueError, AttributeError):
            return None

    return pieces


def windows(text: str, size: int = WINDOW_CHARACTERS) -> Iterator[tuple[int, int]]:
    """Spans that cover `text`, each at most `size` characters, cut where a line begins with
    something visible; else where a word begins; else anywhere."""
    start = 0
    while len(text) - start > size:
        end = _last_cut(text, start, start + size)
        yield start, end
        start = end
    if start < len(text):
        yield start, len(text)


def starts(text: str, pieces: Sequence[bytes]) -> list[int] | None:
    """Character offset at which each piece begins; None where the pieces do not join to `text`.

    A space that a tokenizer puts before the text is ignored.
    """
    data = text.encode()
    joined = b"".join(pieces)
    if joined == b" " + data and pieces:
        pieces = [pieces[0][1:], *pieces[1:]]
    elif joined != data:
        return None
    byte_starts = list(accumulate((len(piece) for piece in pieces[:-1]), initial=0))
    if not pieces:
        return []
    if len(data) == len(text):
        return byte_starts
    return _characters(data, byte_starts)


def _characters(data: bytes, byte_starts: Sequence[int]) -> list[int]:
    """Index of the character that each byte of UTF-8 belongs to."""
    found: list[int] = []
    character, position = -1, 0
    for start in byte_starts:
        end = start + 1
        character += sum(byte & 0xC0 != 0x80 for byte in data[position:end])
        position = max(position, end)
        found.append(max(character, 0))
    return found


_LINE = re.compile(r"\n(?=\S)")
_WORD = re.compile(r"(?=\s\S)")


def _last_cut(text: str, start: int, end: int) -> int:
    for pattern in (_LINE, _WORD):
        # A line or a word longer than the tail searched is cut anywhere.
        tail = max(start + 1, end - 10_000)
        cuts = [match.end() for match in pattern.finditer(text, tail, end)]
        if cuts:
            return cuts[-1]
    return end


def _bytes_of(piece: str | list[int]) -> bytes:
    return piece.encode() if isinstance(piece, str) else bytes(piece)


def _spelled_out(entries: Sequence[str], text: str) -> list[bytes] | None:
    """The bytes of vocabulary entries, in whichever of the two spellings joins to `text`."""
    for spelling in (_byte_level, _sentence_piece):
        try:
            pieces = [spelling(entry) for entry in entries]
        except (KeyError, UnicodeEncodeError):
            continue
        if starts(text, pieces) is not None:
            return pieces
    return None


def _visible_bytes() -> dict[str, int]:
    """Byte-level vocabularies write each byte as a visible character: printable Latin-1 stands
    for itself, the others are numbered from U+0100."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in printable]
    itself = {chr(byte): byte for byte in printable}
    return itself | {chr(256 + index): byte for index, byte in enumerate(others)}


_VISIBLE_BYTES = _visible_bytes()
_ONE_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


def _byte_level(entry: str) -> bytes:
    return bytes(_VISIBLE_BYTES[character] for character in entry)


def _sentence_piece(entry: str) -> bytes:
    single = _ONE_BYTE.fullmatch(entry)
    if single:
        return bytes([int(single[1], 16)])
    return entry.replace("\u2581", " ").encode()
