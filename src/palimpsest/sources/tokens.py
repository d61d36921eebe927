"""Where tokens begin: the one thing that windows, limits and budgets need of a tokenizer.

`FileTokenizer` is exact, for whoever has the model's `tokenizer.json`. `EstimateTokenizer` needs
nothing and errs on the side of too many tokens, so that what fits by its count fits the model.
"""

from __future__ import annotations

import asyncio
import re
from functools import cache
from itertools import accumulate, islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from palimpsest.errors import ConfigurationError

if TYPE_CHECKING:
    from tokenizers import Encoding
    from tokenizers import Tokenizer as EncoderOfFile


class Tokenizer(Protocol):
    """Tells where the tokens of a text begin."""

    @property
    def name(self) -> str:
        """What counted, for the record: a model, a file, or the estimate's rule."""
        ...

    @property
    def exact(self) -> bool:
        """False for an estimate."""
        ...

    async def offsets(self, text: str) -> list[int]:
        """Character offset at which each token of `text` starts, ascending; its length is the
        number of tokens. Tokens that share a character share its offset."""
        ...


async def count(tokenizer: Tokenizer, text: str) -> int:
    """The number of tokens of `text`."""
    return len(await tokenizer.offsets(text))


async def clip(tokenizer: Tokenizer, text: str, limit: int) -> str:
    """The longest start of `text` with at most `limit` tokens and no character cut in two."""
    if limit <= 0:
        return ""
    offsets = await tokenizer.offsets(text)
    return text if len(offsets) <= limit else text[: offsets[limit]]


# Kinds of character, as indices into _TOKENS. Letters count by their place in the word, and a
# space by its neighbours.
_SPACE, _LOWER, _UPPER, _PAIRED, _DIGIT, _ONE, _TWO, _THREE = range(8)
_TOKENS = np.array([0, 0, 0, 0, 1, 1, 2, 3], dtype=np.uint8)

_LETTERS_PER_TOKEN = 5
_OPAQUE_CHARACTERS = 30
_OPAQUE_CHARACTERS_WITH_DIGITS = 12

_PAIRED_SCRIPTS = ((0x400, 0x530), (0x590, 0x600), (0x600, 0x700))  # Cyrillic, Hebrew, Arabic
_CHEAP_THREE_BYTE_SCRIPTS = ((0xE00, 0xE80), (0x1E00, 0x2E80))  # Thai, Vietnamese, signs


class EstimateTokenizer:
    """A count without a tokenizer that stays above a Qwen tokenizer's on ordinary text.

    The rule: a Latin word is one token for every five letters begun, and again at an inner
    capital; capitals count in twos, as do Cyrillic, Hebrew and Arabic letters; a digit, a mark,
    a newline, an accented letter and a Chinese, Japanese or Korean character are one each; other
    scripts are two a character, rare ideographs and emoji three; a single space is free unless a
    digit follows, a run of spaces is one. A string too long to be a word (a hash, base64) is one
    token a character. English prose comes out about a fifth above the true count, code by half;
    a passage of nothing but rare foreign names can come out an eighth below.
    """

    @property
    def name(self) -> str:
        return "estimate"

    @property
    def exact(self) -> bool:
        return False

    async def offsets(self, text: str) -> list[int]:
        tokens = estimate_tokens(text)
        offsets: list[int] = np.repeat(np.arange(len(tokens)), tokens).tolist()
        return offsets


def estimate_tokens(text: str) -> npt.NDArray[np.uint8]:
    """Tokens that begin at each character."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    kinds = _kinds()[points]
    tokens = _TOKENS[kinds]
    _count_words(kinds, tokens)
    _count_spaces(kinds, tokens)
    _count_opaque(kinds, tokens)
    return tokens


@cache
def _kinds() -> npt.NDArray[np.uint8]:
    """The kind of every code point."""
    kinds = np.full(0x110000, _ONE, dtype=np.uint8)
    kinds[ord(" ")] = _SPACE
    kinds[ord("0") : ord("9") + 1] = _DIGIT
    kinds[ord("a") : ord("z") + 1] = _LOWER
    kinds[ord("A") : ord("Z") + 1] = _UPPER
    kinds[0x800:0x2E80] = _TWO
    kinds[0x3400:0x4E00] = _THREE
    kinds[0x10000:] = _THREE
    for first, end in _CHEAP_THREE_BYTE_SCRIPTS:
        kinds[first:end] = _ONE
    for first, end in _PAIRED_SCRIPTS:
        kinds[first:end] = _PAIRED
    return kinds


def _count_words(kinds: npt.NDArray[np.uint8], tokens: npt.NDArray[np.uint8]) -> None:
    lower, upper, paired = kinds == _LOWER, kinds == _UPPER, kinds == _PAIRED
    letters = lower | upper | paired
    begins = letters.copy()
    begins[1:] &= ~letters[:-1] | (upper[1:] & lower[:-1])
    places = np.arange(len(kinds), dtype=np.int32)
    places -= np.maximum.accumulate(np.where(begins, places, 0))
    tokens[letters & (places % _LETTERS_PER_TOKEN == 0)] = 1
    follows_upper = np.zeros_like(upper)
    follows_upper[1:] = upper[:-1]
    tokens[(paired | (upper & follows_upper)) & (places % 2 == 0)] = 1


def _count_spaces(kinds: npt.NDArray[np.uint8], tokens: npt.NDArray[np.uint8]) -> None:
    spaces = kinds == _SPACE
    before, after = np.zeros_like(spaces), np.zeros_like(spaces)
    before[1:], after[:-1] = spaces[:-1], spaces[1:]
    precedes_digit = np.zeros_like(spaces)
    precedes_digit[:-1] = kinds[1:] == _DIGIT
    tokens[spaces & (precedes_digit | (after & ~before))] = 1


def _count_opaque(kinds: npt.NDArray[np.uint8], tokens: npt.NDArray[np.uint8]) -> None:
    """One token a character in runs of ASCII letters and digits that cannot be words."""
    digits = kinds == _DIGIT
    inside = np.zeros(len(kinds) + 2, dtype=np.int8)
    inside[1:-1] = (kinds == _LOWER) | (kinds == _UPPER) | digits
    edges = np.diff(inside)
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    lengths = ends - starts
    long = lengths > _OPAQUE_CHARACTERS_WITH_DIGITS
    for start, end in zip(starts[long].tolist(), ends[long].tolist(), strict=True):
        if end - start > _OPAQUE_CHARACTERS or digits[start:end].any():
            tokens[start:end] = 1


_PIECE_CHARACTERS = 100_000
_CONTEXT_CHARACTERS = 64
_ATTEMPTS = 16
_LINE_START = re.compile(r"(?<=\S\n)(?=[^\W\d_])")
_SURROGATES = re.compile("[\ud800-\udfff]")


class FileTokenizer:
    """Exact offsets from a Hugging Face `tokenizer.json`; special tokens are not added.

    A long text is encoded in pieces, at line starts where the tokenizer itself shows that the
    parts give the same tokens as the whole.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._encoder = _load(self._path)
        self._encoder.no_truncation()
        self._encoder.no_padding()

    @property
    def name(self) -> str:
        return str(self._path)

    @property
    def exact(self) -> bool:
        return True

    async def offsets(self, text: str) -> list[int]:
        return await asyncio.to_thread(self._offsets, text)

    def _offsets(self, text: str) -> list[int]:
        text = _SURROGATES.sub("\ufffd", text)
        starts: list[int] = []
        begin = 0
        while begin < len(text):
            end = self._piece_end(text, begin)
            pieces = self._encode(text[begin:end]).offsets
            starts.extend(begin + start for start, _ in pieces)
            begin = end
        # Trimmed whitespace can put a start behind its predecessor's.
        return list(accumulate(starts, max))

    def _piece_end(self, text: str, begin: int) -> int:
        """The first line start, at least a piece away, where encoding apart changes nothing."""
        line_starts = _LINE_START.finditer(text, begin + _PIECE_CHARACTERS)
        for match in islice(line_starts, _ATTEMPTS):
            if self._parts_at(text, match.start()):
                return match.start()
        return len(text)

    def _parts_at(self, text: str, place: int) -> bool:
        before = text[max(0, place - _CONTEXT_CHARACTERS) : place]
        after = text[place : place + _CONTEXT_CHARACTERS]
        whole = self._encode(before + after)
        parts = self._encode(before).ids + self._encode(after).ids
        return whole.ids == parts and any(start == len(before) for start, _ in whole.offsets)

    def _encode(self, text: str) -> Encoding:
        return self._encoder.encode(text, add_special_tokens=False)


def _load(path: Path) -> EncoderOfFile:
    # Half of the start-up time of a command would go into an import that few of them need.
    from tokenizers import Tokenizer as EncoderOfFile

    if not path.is_file():
        raise ConfigurationError(
            f"{path}: no such tokenizer file",
            hint="give the path of the model's tokenizer.json",
        )
    try:
        return EncoderOfFile.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise ConfigurationError(
            f"{path}: not a tokenizer.json: {error}",
            hint="give the tokenizer.json that is published with the model",
        ) from error
