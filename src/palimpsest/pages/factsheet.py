"""The identifiers of a memory as a short text to stand beside its page.

A misread word is guessed from its neighbours; a misread number, date or name is not. What a small
page may spoil is given here letter by letter:

    sheet = factsheet(memory, tokens=64)
    sheet.text      # "Henrietta Osei-Lund; 4 June 1883\n41,500 crowns"

Found by patterns, in time linear in the memory; names only in scripts that have capitals.
"""

from __future__ import annotations

import itertools
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from palimpsest.errors import InputError
from palimpsest.pages.block import Block, Span, Table, Text
from palimpsest.pages.markdown import read_markdown
from palimpsest.sources.tokens import estimate_tokens

_SEPARATOR = "; "
_LONGEST = 120
"""Characters of a fact: whatever is longer is a passage, or nothing that a reader could copy."""
_MOST_NAMED = 8
"""Words of a name."""
_ALL = np.iinfo(np.int64).max

# Every repetition is bounded or cannot begin again within itself, so that no text takes long.
_WORD_CHARACTER = r"[^\W\u2e80-\U0010ffff]"
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b\.?"
)
_DAY = r"\d{1,2}(?:st|nd|rd|th|\.)?"
_ADDRESS = re.compile(
    r"\b(?:https?|ftp|file)://[^\s<>\"'`|]+|\bwww\.[^\s<>\"'`|]+"
    r"|(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}\w{2,24}\b"
)
_QUOTE = re.compile(
    '"[^"\n]{1,80}"|“[^“”\n]{1,80}”|„[^„“”\n]{1,80}[“”]'
    "|«[^«»\n]{1,80}»|「[^「」\n]{1,80}」|『[^『』\n]{1,80}』"
)
_DATE = re.compile(
    rf"(?<!\w){_DAY} (?:of )?{_MONTH}(?:,? \d{{4}}\b)?"
    rf"|\b{_MONTH} (?:{_DAY}\b(?:,? \d{{4}}\b)?|\d{{4}}\b)"
    # Other languages: "12. November 1881", "4 de junio de 1883".
    r"|(?<!\w)\d{1,2}\.? (?:de )?[^\W\d_]{3,12}\.? (?:de )?\d{4}\b"
    r"|\d{2,4}年(?:\d{1,2}月(?:\d{1,2}日)?)?",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    rf"(?<!{_WORD_CHARACTER})(?<!\d[.,])[-+−±]?(?:[$€£¥#№§] ?)?\d(?:[\d.,:/×–'’\u00a0\u202f-]*\d)?"
    r"(?: ?(?:[%‰€£¥$]|°[CF]?)|(?: [^\W\d_]{1,14}\b))?"
)
_CODE = re.compile(rf"{_WORD_CHARACTER}+(?:[-./:#+@\\]{_WORD_CHARACTER}+)*")
_WORD = re.compile(r"\d(?:[\d.,:/–-]*\d)?(?!\w)|[^\W_]+(?:['’.-][^\W_]+)*")
_YEAR = re.compile(r"1\d{3}|20\d\d")

_FUNCTION_WORDS = (
    "a after an and are as at because before but by during for from has he her here his how in is "
    "it its not of on one or our per she since some than that the their then there these they this "
    "those to two under until was we were what when where whether which while who why with you"
)
_STARTERS = "again all also both did do does each every finally first however if later most"
_NO_UNITS = frozenset(_FUNCTION_WORDS.split())
"""Words behind a number that do not say what it counts."""
_NO_NAMES = frozenset(_FUNCTION_WORDS.split() + _STARTERS.split())
"""Words that begin a sentence with a capital and no name."""
_PARTICLE_WORDS = (
    "af al av bin da de del della den der di do dos du e el ibn la las le los of the van von y zu"
)
_PARTICLES = frozenset(_PARTICLE_WORDS.split())
"""Small words inside a name."""
_ABBREVIATIONS = frozenset({"Dr", "Jr", "Mr", "Mrs", "Ms", "No", "Nr", "Prof", "Sr", "St"})


class Fact(NamedTuple):
    """An identifier as the memory spells it."""

    text: str
    line: int
    """The source line it begins on, counted from 0."""
    prominent: bool
    """Whether it stands in a heading or in bold, marked or coloured text."""


@dataclass(frozen=True)
class Factsheet:
    """Facts in the order in which the memory first has them."""

    facts: tuple[Fact, ...]
    left_out: int
    """Facts for which there was no room."""

    @property
    def text(self) -> str:
        """One line for each line of the memory that has facts."""
        lines = itertools.groupby(self.facts, key=lambda fact: fact.line)
        return "\n".join(_SEPARATOR.join(fact.text for fact in group) for _, group in lines)


def factsheet(
    markdown: str, *, tokens: int | None = None, characters: int | None = None
) -> Factsheet:
    """Numbers with what they count, dates, codes, addresses, quotes and names of several words.

    Each is given once, at its first place, and not again as a part of a longer one. `tokens` (by
    an estimate that errs on the side of too many) and `characters` bound the text; prominent facts
    are the last to be left out, then early ones. Raises `InputError` as `render` does.
    """
    if any(limit is not None and limit < 0 for limit in (tokens, characters)):
        raise InputError("a factsheet cannot be shorter than nothing", hint="give 0 or more")
    facts = _distinct(fact for block in read_markdown(markdown) for fact in _facts(block))
    costs = np.array([_token_costs(facts), _character_costs(facts)])
    left = np.array([_ALL if limit is None else limit for limit in (tokens, characters)])
    kept: list[int] = []
    for index in sorted(range(len(facts)), key=lambda index: not facts[index].prominent):
        if (costs[:, index] <= left).all():
            left -= costs[:, index]
            kept.append(index)
    chosen = tuple(facts[index] for index in sorted(kept))
    return Factsheet(chosen, len(facts) - len(chosen))


def _character_costs(facts: Sequence[Fact]) -> list[int]:
    return [len(fact.text) + len(_SEPARATOR) for fact in facts]


def _token_costs(facts: Sequence[Fact]) -> list[int]:
    """Tokens of each fact with the separator before it."""
    sums = np.cumsum(estimate_tokens("".join(_SEPARATOR + fact.text for fact in facts)), dtype=int)
    ends = np.cumsum([*_character_costs(facts)], dtype=int)
    costs: list[int] = np.diff(sums[ends - 1], prepend=0).tolist() if facts else []
    return costs


def _distinct(facts: Iterable[Fact]) -> list[Fact]:
    """The first of each spelling, without those that are part of a longer fact."""
    first: dict[str, Fact] = {}
    for fact in facts:
        key = fact.text.casefold()
        known = first.setdefault(key, fact)
        if fact.prominent and not known.prominent:
            first[key] = known._replace(prominent=True)
    parts = {part for key in first for part in _parts(key)}
    return [fact for key, fact in first.items() if key not in parts]


def _parts(text: str) -> Iterator[str]:
    """The runs of words within a text, save all of it."""
    words = text.strip('"“”„«»「」『』').split()
    if len(words) > _MOST_NAMED:
        return
    whole = " ".join(words)
    for start, end in itertools.combinations(range(len(words) + 1), 2):
        part = " ".join(words[start:end]).strip(",.")
        if part != whole or whole != text:
            yield part


def _facts(block: Block) -> Iterator[Fact]:
    if isinstance(block, Table):
        for row in block.rows:
            for cell in row:
                yield from _Passage(cell, is_heading=False).facts()
    elif isinstance(block, Text):
        yield from _Passage(block.spans, is_heading=block.level > 0).facts()


class _Passage:
    """Spans that are read as one text."""

    def __init__(self, spans: Sequence[Span], *, is_heading: bool) -> None:
        self._spans = spans
        self._is_heading = is_heading
        self._text = "".join(span.text for span in spans)
        self._starts = [0, *itertools.accumulate(len(span.text) for span in spans)]

    def facts(self) -> Iterator[Fact]:
        """What the patterns find. Where kinds overlap the first wins, within a kind the longest."""
        taken = bytearray(len(self._text))
        kept: list[tuple[int, int]] = []
        for kind in (self._spelled(), _names(self._text), self._counted()):
            for start, end in sorted(kind, key=lambda place: place[0] - place[1]):
                if end - start <= _LONGEST and not any(taken[start:end]):
                    taken[start:end] = b"\1" * (end - start)
                    kept.append((start, end))
        for start, end in sorted(kept):
            yield self._fact(start, end)

    def _fact(self, start: int, end: int) -> Fact:
        first = bisect_right(self._starts, start) - 1
        last = bisect_right(self._starts, end - 1)
        stressed = any(span.look.emphasised for span in self._spans[first:last])
        text = " ".join(self._text[start:end].split())
        return Fact(text, self._spans[first].line, self._is_heading or stressed)

    def _spelled(self) -> Iterator[tuple[int, int]]:
        """Quotes, dates, addresses, code and titles."""
        for pattern in (_QUOTE, _DATE):
            for match in pattern.finditer(self._text):
                yield match.span()
        for match in _ADDRESS.finditer(self._text):
            yield match.start(), match.start() + len(match[0].rstrip(".,;:!?)]}"))
        for span, start in zip(self._spans, self._starts, strict=False):
            if span.look.code or (span.look.italic and _is_title(span.text)):
                yield start, start + len(span.text)

    def _counted(self) -> Iterator[tuple[int, int]]:
        """Numbers, and codes of letters and digits."""
        for match in _NUMBER.finditer(self._text):
            yield match.start(), match.start() + len(_number(match[0]))
        for match in _CODE.finditer(self._text):
            if _is_code(match[0]):
                yield match.span()


def _number(text: str) -> str:
    """A number without a word behind it that is no unit."""
    number, _, unit = text.rpartition(" ")
    if unit.casefold() in _NO_UNITS or (_YEAR.fullmatch(number) and unit.isalpha()):
        return number
    return text


def _is_title(text: str) -> bool:
    return text[:1].isupper() and 1 < len(text.split()) <= _MOST_NAMED


def _is_code(word: str) -> bool:
    """Whether a word is spelled by rule rather than said: digits among letters, underscores,
    capitals within or throughout."""
    if not any(map(str.isalpha, word)):
        return False
    has_digit = any(map(str.isdigit, word))
    return has_digit or "_" in word.strip("_") or any(map(str.isupper, word[1:]))


def _names(text: str) -> Iterator[tuple[int, int]]:
    """Runs of capitalised words, with particles inside and numbers behind words."""
    run: list[re.Match[str]] = []
    for word in _WORD.finditer(text):
        if run and not _goes_on(text[run[-1].end() : word.start()], run[-1][0]):
            yield from _name(run)
            run = []
        if word[0][0].isupper() or (run and _stands_within(word[0], run[-1][0])):
            run.append(word)
        else:
            yield from _name(run)
            run = []
    yield from _name(run)


def _goes_on(between: str, before: str) -> bool:
    """Whether what stands between two words leaves them one name."""
    is_short = len(before) == 1 or before in _ABBREVIATIONS
    return between in (" ", " & ") or (between == ". " and is_short)


def _stands_within(word: str, before: str) -> bool:
    return word in _PARTICLES or (word[0].isdigit() and before not in _PARTICLES)


def _name(run: list[re.Match[str]]) -> Iterator[tuple[int, int]]:
    """The name that a run comes to when sentence words and particles at its ends are taken off."""
    while run and (run[0][0].casefold() in _NO_NAMES or not run[0][0][0].isupper()):
        run = run[1:]
    while run and run[-1][0] in _PARTICLES:
        run = run[:-1]
    if 1 < len(run) <= _MOST_NAMED:
        yield run[0].start(), run[-1].end()
