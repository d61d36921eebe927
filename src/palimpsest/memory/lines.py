"""A memory as its lines, and which line of one version is which of another.

Models keep a fact and change its words, so a line counts as the same line, changed, when it shares
enough of its words with one before: `SAME_LINE` states how much. Blank lines, table rules and
other lines that say nothing are no facts.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from palimpsest.memory.words import Words, plain, words_of

SAME_LINE = 0.6
"""Two lines are one, reworded, from this likeness on: the words they share over those they have,
or nine tenths of the part of the shorter that is in the longer, whichever is more; a number counts
twice, a name one and a half times."""
_SHORTEST_CONTAINED = 3
"""A line of fewer words is too common to be found again inside a longer one."""
_CONTAINED = 0.9

_RULE = re.compile(r"\s*(?:[-*_=~`|:+\s]+|`{3,}\w*|~{3,}\w*)\s*")
_HEADING = re.compile(r"\s*(#{1,6})\s+\S")
_BOLD_ALONE = re.compile(r"\s*(?:\*\*[^*]+\*\*|__[^_]+__):?\s*")
_ITEM = re.compile(r"(\s*)(?:[-*+•]|\d{1,3}[.)])\s+\S")
_TABLE_HEADER = 9
_LABEL_WORDS = 3
"""A heading with fewer words of its own beside names is a label; with more, it says something."""


class Line(NamedTuple):
    """One line of a memory that says something."""

    number: int
    """Its place among all lines, from 0."""
    text: str
    """As it stands in the memory."""
    plain: str
    """Without markup."""
    context: str
    """Plain text of the headings, table header and items that it stands under."""
    label: bool
    """Whether it only names what the lines below it are about."""


class Likeness(NamedTuple):
    """How alike a line is to one of several others."""

    other: int
    score: float


def memory_lines(memory: str) -> list[Line]:
    """The lines of a memory that say something, with what they stand under."""
    raw = memory.split("\n")
    numbers = [number for number, text in enumerate(raw) if says_something(text)]
    levels = [_level(raw, number) for number in numbers]
    lines: list[Line] = []
    above: list[tuple[int, str]] = []
    for number, level, below in zip(numbers, levels, [*levels[1:], 0][: len(levels)], strict=True):
        while above and above[-1][0] >= level:
            above.pop()
        bare = plain(raw[number])
        context = " ".join(words for _, words in above)
        label = below > level and _opens(raw[number], bare, level)
        lines.append(Line(number, raw[number], bare, context, label))
        above.append((level, bare))
    return lines


def says_something(text: str) -> bool:
    """False for a blank line, a rule, a fence, and one of markup alone."""
    return not _RULE.fullmatch(text) and any(map(str.isalnum, plain(text)))


def _level(raw: Sequence[str], number: int) -> int:
    """How deep a line stands; what is less deep above it is its context."""
    text = raw[number]
    if heading := _HEADING.match(text):
        return len(heading[1])
    if _BOLD_ALONE.fullmatch(text):
        return 7
    if text.lstrip().startswith("|"):
        return _TABLE_HEADER if _is_table_header(raw, number) else _TABLE_HEADER + 1
    if item := _ITEM.match(text):
        return _TABLE_HEADER + 2 + len(item[1].expandtabs(4))
    return 8 if text.rstrip().endswith(":") else _TABLE_HEADER


def _is_table_header(raw: Sequence[str], number: int) -> bool:
    below = raw[number + 1] if number + 1 < len(raw) else ""
    return "-" in below and "|" in below and bool(_RULE.fullmatch(below))


def _opens(text: str, bare: str, level: int) -> bool:
    """Whether a line with others under it is a heading, table header or opening of a list."""
    if text.lstrip().startswith("|"):
        return True
    if level >= _TABLE_HEADER and not text.rstrip(" *_").endswith(":"):
        return False
    found = words_of(bare)
    return len(set(found.all) - found.names) < _LABEL_WORDS


def likeness(one: Words, other: Words) -> float:
    """Between 0 and 1; see `SAME_LINE`."""
    shared = sum(one.weight(word) for word in set(one.all).intersection(other.all))
    if not shared:
        return 0.0
    sizes = sorted((_size(one), _size(other)))
    dice = 2 * shared / sum(sizes)
    if min(len(one.all), len(other.all)) < _SHORTEST_CONTAINED:
        return min(1.0, dice)
    return min(1.0, max(dice, _CONTAINED * shared / sizes[0]))


def _size(words: Words) -> float:
    return sum(map(words.weight, words.all))


class LineIndex:
    """Lines among which the one most like another is looked for."""

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self._words: list[Words] = []
        self._holding: dict[str, list[int]] = defaultdict(list)
        for line in lines:
            self.add(line)

    def add(self, line: str) -> None:
        words = words_of(plain(line))
        for word in words.all:
            self._holding[word].append(len(self._words))
        self._words.append(words)

    def alike(self, line: str, at_least: float = SAME_LINE) -> list[Likeness]:
        """The lines at least so alike, the most alike first."""
        words = words_of(plain(line))
        shared = Counter(index for word in words.all for index in self._holding.get(word, ()))
        found = [Likeness(index, likeness(words, self._words[index])) for index in shared]
        return sorted(
            (one for one in found if one.score >= at_least), key=lambda one: (-one.score, one.other)
        )


def pair_lines(old: Sequence[str], new: Sequence[str]) -> dict[int, int]:
    """For lines of `new`, by index, the line of `old` that each is: at most one, and no line of
    `old` twice. Equal lines come first, then the most alike."""
    pairs = _equal_lines(old, new)
    taken = set(pairs.values())
    left = [index for index, line in enumerate(old) if index not in taken and says_something(line)]
    index = LineIndex(old[number] for number in left)
    found = [
        (-alike.score, abs(left[alike.other] - number), number, left[alike.other])
        for number, line in enumerate(new)
        if number not in pairs and says_something(line)
        for alike in index.alike(line)
    ]
    for _, _, number, before in sorted(found):
        if number not in pairs and before not in taken:
            pairs[number] = before
            taken.add(before)
    return pairs


def _equal_lines(old: Sequence[str], new: Sequence[str]) -> dict[int, int]:
    places: dict[str, list[int]] = defaultdict(list)
    for index in range(len(old) - 1, -1, -1):
        places[old[index]].append(index)
    return {
        number: places[line].pop() for number, line in enumerate(new) if places.get(line)
    }  # fmt: skip
