"""Counting words: the most common of a numbered list, the most frequent of a coded text.

RULER (COLM 2024), section 3.3. Common words: ten words stand 30 times each among others that stand
three times each (six and one below 4,096 tokens). Frequent words: coded words whose frequencies
fall with the square of their rank, the first of which is dots and is to be passed over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from string import ascii_lowercase

import numpy as np

from palimpsest.datasets.item import Passage
from palimpsest.datasets.ruler.needles import adjective_nouns
from palimpsest.datasets.ruler.resources import Resources
from palimpsest.datasets.ruler.sizing import Draft, Wanted, fit

COMMON_WORDS = 10
FREQUENT_WORDS = 3
DOTS = "..."
_LONG_FROM = 4096
_REPEATS, _SHORT_REPEATS = (30, 3), (6, 1)
"""Of a common and of any other word."""
_WORDS_PER_TOKEN = 1 / 25

_CODE_LETTERS = 6
_TOKENS_PER_CODE = 50
"""The vocabulary has one word for so many tokens of the context."""
_ZETA_2 = math.pi**2 / 6
"""The sum of all 1/rank², which makes shares of them."""
_FEWEST_CODES = 100
_CODES_PER_TOKEN = 1 / 3

_WORDS_PER_LINE = 20


async def make_common(wanted: Wanted, resources: Resources) -> Draft:
    return await fit(
        wanted,
        lambda words: _build_common(wanted, resources, words),
        units_per_token=_WORDS_PER_TOKEN,
        fewest=COMMON_WORDS + 1,
    )


def _build_common(wanted: Wanted, resources: Resources, number: int) -> Draft:
    random = wanted.random()
    words = _different_words(random, resources, number)
    repeats = _REPEATS if wanted.tokens >= _LONG_FROM else _SHORT_REPEATS
    common, others = words[:COMMON_WORDS], words[COMMON_WORDS:]
    listed = common * repeats[0] + others * repeats[1]
    order = random.permutation(len(listed)).tolist()
    numbered = [f"{place}. {listed[index]}" for place, index in enumerate(order, start=1)]
    return Draft(
        question=(
            f"Some words of the numbered list stand in it more often than others. "
            f"Which {COMMON_WORDS} words are the most common? Name all of them."
        ),
        answers=tuple(common),
        documents=(Passage(title="text", text=_in_lines(numbered)),),
        details={"words": number, "repeats": list(repeats)},
    )


def _different_words(random: np.random.Generator, resources: Resources, number: int) -> list[str]:
    """Words of the lists in any order; when there are no more, pairs of them join in."""
    words = resources.words
    drawn = [words[place] for place in random.permutation(len(words))[:number]]
    pairs = adjective_nouns(random, resources, number - len(drawn)) if number > len(drawn) else []
    both = drawn + pairs
    return [both[place] for place in random.permutation(number)] if pairs else drawn


async def make_frequent(wanted: Wanted, resources: Resources) -> Draft:
    return await fit(
        wanted,
        lambda words: _build_frequent(wanted, words),
        units_per_token=_CODES_PER_TOKEN,
        fewest=_FEWEST_CODES,
    )


def _build_frequent(wanted: Wanted, number: int) -> Draft:
    random = wanted.random()
    size = max(FREQUENT_WORDS + 2, wanted.tokens // _TOKENS_PER_CODE)
    codes = [DOTS, *coded_words(random, size - 1, letters=ascii_lowercase, length=_CODE_LETTERS)]
    times = (number / _ZETA_2 / np.arange(1, size + 1, dtype=float) ** 2).astype(int)
    order = random.permutation(np.repeat(np.arange(size), times)).tolist()
    return Draft(
        question=(
            f"Which {FREQUENT_WORDS} words of the coded text stand in it most often, the dots "
            f"{DOTS} aside? Name them without any explanation."
        ),
        answers=tuple(codes[1 : 1 + FREQUENT_WORDS]),
        documents=(Passage(title="text", text=_in_lines([codes[code] for code in order])),),
        details={"alpha": 2.0, "vocabulary": size, "times": times[: FREQUENT_WORDS + 2].tolist()},
    )


def coded_words(
    random: np.random.Generator, number: int, *, letters: str, length: int
) -> list[str]:
    """So many different words of letters drawn one by one."""
    codes = random.choice(len(letters) ** length, size=number, replace=False).tolist()
    powers = [len(letters) ** place for place in range(length)]
    return ["".join(letters[code // power % len(letters)] for power in powers) for code in codes]


def _in_lines(words: Sequence[str]) -> str:
    """The words by spaces, with a line break now and then: no tokenizer likes a line of 16 MB."""
    starts = range(0, len(words), _WORDS_PER_LINE)
    return "\n".join(" ".join(words[start : start + _WORDS_PER_LINE]) for start in starts)
