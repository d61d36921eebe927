"""Text as the words that carry its meaning, so that a reworded line is known again.

Case, markup, articles, endings, and the ways to write a number or a date are left out of account.
Scripts that are written without spaces come as pairs of characters.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_MARKUP = re.compile(
    r"""
    </?[A-Za-z][^<>\n]*>                # tags, <confirmed> among them
    | ^[ \t]*(?:>[ \t]*)*               # quotes
      (?:\#{1,6}[ \t]+|[-*+•][ \t]+(?:\[[ xX]\][ \t]+)?|\d{1,3}[.)][ \t]+)?
    | (?<!\w)_{1,2}(?=\S) | (?<=\S)_{1,2}(?!\w) | \*{1,3} | ~~ | `+
    | !?\[(?=[^\]\n]*\]\() | \]\([^)\s]*\)   # links keep their text
    """,
    re.VERBOSE,
)
_MAY_BE_MARKED = re.compile(r"[<>#*+•_~`\[-]|\d[.)]|\A[ \t|]")
_SPACE = re.compile(r"\s+")
_UNSPACED = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_WORD = re.compile(
    rf"[{_UNSPACED}]+|\d+(?:[.,]\d+)*|(?:(?![{_UNSPACED}])[^\W\d_])+(?:['’][^\W\d_]+)?"
)
_UNSPACED_RUN = re.compile(rf"[{_UNSPACED}]")
_ISO_DATE = re.compile(r"\b(\d{4})-(0[1-9]|1[0-2])-([0-3]\d)\b")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_KEY = re.compile(r"\W*(?:\w+\W+){0,3}?\w+\W?:(?=\s)")
_STEM_LENGTH = 6
"""Letters of a word that count: what follows is mostly its ending."""

_MONTHS = _WORD.findall(
    "january february march april may june july august september october november december"
)
_SHORT_MONTHS = {month[:3]: month for month in _MONTHS} | {"sept": "september"}
_COUNTS = _WORD.findall("two three four five six seven eight nine ten eleven twelve")
_DIGITS = {word: str(number) for number, word in enumerate(_COUNTS, start=2)}
_EMPTY_WORDS = frozenset(
    _WORD.findall(
        "a also an and are as at be been being both but by did do does for from had has have he"
        " her hers him his i if in into is it its nd not of on or our rd s she so some st such t"
        " than that the their them then there these they this those th to was we were what when"
        " where which while who whom whose will with would you your"
    )
)


class Words(NamedTuple):
    """The words of a text, each once, in the form in which they are compared."""

    all: tuple[str, ...]
    names: frozenset[str]
    """Those written with a capital."""
    numbers: frozenset[str]
    """Those written in digits."""
    leading: frozenset[str] = frozenset()
    """The first word, and those of a key as in `Place of birth: Bergen`: their capitals may mean
    nothing."""

    def weight(self, word: str) -> float:
        """Names and numbers are what a fact stands or falls with."""
        return 2.0 if word in self.numbers else 1.5 if word in self.names else 1.0


@lru_cache(maxsize=1 << 16)
def plain(line: str) -> str:
    """A line of Markdown without its markup and outer space; cells of a table by commas."""
    text = _MARKUP.sub("", line) if _MAY_BE_MARKED.search(line) else line
    if text.lstrip().startswith("|"):
        cells = map(str.strip, text.strip().strip("|").split("|"))
        text = ", ".join(cell for cell in cells if cell)
    return _SPACE.sub(" ", text).strip()


@lru_cache(maxsize=1 << 16)
def words_of(text: str) -> Words:
    """The words of a text whose markup is gone; all of them when none carries a meaning."""
    found: dict[str, None] = {}
    names: set[str] = set()
    numbers: set[str] = set()
    for word in _WORD.findall(_with_months(text)):
        stems = stems_of(word)
        found.update(dict.fromkeys(stems))
        if word[0].isdigit():
            numbers.update(stems)
        elif word[0].isupper():
            names.update(stems)
    meaning = tuple(stem for stem in found if stem not in _EMPTY_WORDS)
    return Words(meaning or tuple(found), frozenset(names) - _EMPTY_WORDS, frozenset(numbers))


def statement_words(text: str) -> Words:
    """The words of a statement, with those that lead it told apart."""
    key = _KEY.match(text)
    leading = _WORD.findall(key[0]) if key else _WORD.findall(text)[:1]
    stems = frozenset(stem for word in leading for stem in stems_of(word))
    return words_of(text)._replace(leading=stems)


def stands_in(text: str, wanted: str) -> bool:
    """Whether the words of `wanted` stand in `text` one after the other, whatever their case."""
    text, wanted = (_SPACE.sub(" ", plain(one)).casefold() for one in (text, wanted))
    opening = r"(?<!\w)" if _starts_word(wanted[:1]) else ""
    closing = r"(?!\w)" if _starts_word(wanted[-1:]) else ""
    return bool(wanted) and bool(re.search(f"{opening}{re.escape(wanted)}{closing}", text))


def _starts_word(character: str) -> bool:
    return character.isalnum() and not _UNSPACED_RUN.match(character)


@lru_cache(maxsize=1 << 18)
def stems_of(word: str) -> tuple[str, ...]:
    if word[0].isdigit():
        return (_number(word),)
    if _UNSPACED_RUN.match(word):
        return tuple(word[at : at + 2] for at in range(max(1, len(word) - 1)))
    return (_stem(word.casefold()),)


def _stem(word: str) -> str:
    for ending in ("'s", "’s"):
        word = word.removesuffix(ending)
    word = _SHORT_MONTHS.get(word, _DIGITS.get(word, word))
    if len(word) > 4 and word.endswith("ies"):
        word = word[:-3] + "y"
    elif len(word) > 3 and word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    return word[:_STEM_LENGTH]


def _number(word: str) -> str:
    if _THOUSANDS.fullmatch(word):
        word = word.replace(",", "")
    return word.lstrip("0") or "0"


def _with_months(text: str) -> str:
    return _ISO_DATE.sub(
        lambda date: f"{date[1]} {_MONTHS[int(date[2]) - 1]} {int(date[3])}", text
    ) if "-" in text else text  # fmt: skip
