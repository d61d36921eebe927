r"""Gaps to fill from a page: the objective that keeps the whole memory legible (MemOCR, section 3).

    cloze = make_cloze(page.text, random)
    cloze.text              # "... was born in [gap 1] and moved to [gap 2] in [gap 3]."
    cloze.score(r"\boxed{Bergen; Oslo; 1912}")

It is made from the words that were drawn, so nothing is asked that the page does not show. The
reference masks words that stand elsewhere in the text too, never one that touches punctuation, and
pays an empty box where a memory has no words to mask. Here a masked word stands on the page once,
in no other form either, and what cannot be asked about is worth nothing: the score is always over
the number of gaps that were wanted, so that a memory of one word is not read for full marks.
"""

from __future__ import annotations

import random
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from palimpsest.evals.scoring import normalize
from palimpsest.readers.answers import parse_answer

GAPS = 3
_WINDOW = 300
"""Characters of the page that are shown with gaps in them."""
_LONGEST = 24
"""Letters of a word; longer ones are addresses and scripts without spaces."""
_STEM = 5
"""Letters by which another form of a word is known: Bergen, Bergen's, Bergensers."""
_WORD = re.compile(r"(?>\d+(?:[.,:]\d+)*)(?![^\W_])|[^\W_]+(?:['’-][^\W_]+)*")
"""A number, or letters and digits, with what hyphens join to them."""
_LETTERS = re.compile(r"[^\W_]+")
_NUMBERING = re.compile(r"^\s*(?:\[?gap\s*)?\d{1,2}\s*[\]):.=]+\s+")
_FUNCTION_WORDS = frozenset(
    _WORD.findall(
        "about above across after again against all almost also although always among and another"
        " any are around because been before behind being below between both but can could did does"
        " done down during each either else even ever every few for from further had has have her"
        " here hers him his how into its itself just least less made many may might more most much"
        " must near neither never nor not now off often once one only onto other our out over own"
        " per perhaps quite rather same several shall she should since some such than that the"
        " their them then there these they this those though through thus together too toward"
        " towards two under until upon very was were what when where whether which while who whom"
        " whose why will with within without would yet you your"
    )
)


@dataclass(frozen=True)
class Cloze:
    """A stretch of a page with gaps in it."""

    text: str
    words: tuple[str, ...]
    """What stands in the gaps, in their order; at least one."""
    gaps: int = GAPS
    """How many were wanted: the score is over them."""

    def score(self, completion: str) -> float:
        """The part of the gaps that the completion's box fills rightly, each in its place. Case,
        punctuation and articles do not matter; a box with more entries than gaps is worth 0."""
        parsed = parse_answer(completion)
        entries = _entries(parsed.text, len(self.words)) if parsed.boxed else []
        if len(entries) > len(self.words):
            return 0.0
        right = sum(_same(entry, word) for entry, word in zip(entries, self.words, strict=False))
        return right / max(self.gaps, len(self.words))


def make_cloze(shown: str, chance: random.Random, *, gaps: int = GAPS) -> Cloze | None:
    """A cloze from the words of a page; None for a page without a word that can be asked about.

    A page with fewer such words than gaps has one gap for each. The same chance gives the same.
    """
    text = " ".join(shown.split())
    candidates = _candidates(text)
    if not candidates:
        return None
    start, end = chance.choice(_windows(text, candidates, gaps))
    inside = [match for match in candidates if start <= match.start() and match.end() <= end]
    chosen = sorted(chance.sample(inside, min(gaps, len(inside))), key=re.Match.start)
    return Cloze(_with_gaps(text, chosen, start, end), tuple(one[0] for one in chosen), gaps)


def _candidates(text: str) -> list[re.Match[str]]:
    """The words that can be masked: they carry a meaning, and nothing else on the page is like
    them."""
    page = _Forms(map(_stem, _LETTERS.findall(text)))
    return [
        match
        for match in _WORD.finditer(text)
        if _carries_meaning(match[0]) and _is_single(match[0], page)
    ]


def _carries_meaning(word: str) -> bool:
    if word[0].isdigit():
        return True
    return 3 <= len(word) <= _LONGEST and word.casefold() not in _FUNCTION_WORDS


def _is_single(word: str, page: _Forms) -> bool:
    """Whether every part of a word (of a hyphen, of a number) stands on the page this once."""
    parts = [_stem(part) for part in _LETTERS.findall(word)]
    own = _Forms(parts)
    return all(page.like(part) == own.like(part) for part in parts)


def _stem(word: str) -> str:
    return word if word[0].isdigit() else word.casefold()[:_STEM]


class _Forms:
    """How many words of a text are like one: the same, its beginning, or begun by it."""

    def __init__(self, stems: Iterable[str]) -> None:
        self._stems = Counter(stems)
        self._begun_by: Counter[str] = Counter()
        for stem, count in self._stems.items():
            self._begun_by.update(dict.fromkeys(_beginnings(stem), count))

    def like(self, stem: str) -> int:
        same = self._stems[stem]
        shorter = sum(self._stems[beginning] for beginning in _beginnings(stem))
        return same + shorter + self._begun_by[stem]


def _beginnings(stem: str) -> list[str]:
    """Of at least three letters, without the whole."""
    return [] if stem[0].isdigit() else [stem[:length] for length in range(3, len(stem))]


def _windows(text: str, candidates: Sequence[re.Match[str]], gaps: int) -> list[tuple[int, int]]:
    """The stretches between spaces in which there is most to mask, up to the number of gaps."""
    starts = [match.start() for match in candidates]
    ends = [match.end() for match in candidates]
    windows = [(start, _window_end(text, start)) for start in _word_starts(text)]
    counts = [bisect_right(ends, end) - bisect_left(starts, start) for start, end in windows]
    wanted = min(gaps, max(counts))
    return [window for window, count in zip(windows, counts, strict=True) if count >= wanted]


def _word_starts(text: str) -> Iterator[int]:
    yield 0
    last = max(0, len(text) - _WINDOW)
    yield from (match.end() for match in re.finditer(" ", text[:last]))


def _window_end(text: str, start: int) -> int:
    if len(text) - start <= _WINDOW:
        return len(text)
    cut = text.rfind(" ", start, start + _WINDOW + 1)
    return cut if cut > start else start + _WINDOW


def _with_gaps(text: str, chosen: Sequence[re.Match[str]], start: int, end: int) -> str:
    pieces = []
    for number, match in enumerate(chosen, start=1):
        pieces += [text[start : match.start()], f"[gap {number}]"]
        start = match.end()
    return "".join([*pieces, text[start:end]])


def _entries(box: str, count: int) -> list[str]:
    """What a box lists, by semicolons, or by commas where there is no semicolon."""
    parts = re.split(r"[;\n]", box)
    if len(parts) == 1 and count > 1:
        parts = re.split(r",\s", box)
    return [_NUMBERING.sub("", part) for part in parts]


def _same(entry: str, word: str) -> bool:
    return bool(normalize(word)) and normalize(entry) == normalize(word)
