"""Where a line may end within a word: between ideographs, syllables and parts of compounds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from palimpsest.pages.script import FLAG_LETTER, extends

_LONGEST_UNIT = 256
"""Longer runs of letters are shaped in parts; the seam costs one kerning pair."""
_IDEOGRAPHIC = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3040-\u30ff\u3100-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\ua000-\ua4cf\uac00-\ud7a3\uf900-\ufaff\uff66-\uff9d"
    "\U00020000-\U0003ffff"
)
_CLOSING = "、。，．・：；？！）」』】〉》〕］｝’”ー々ぁぃぅぇぉっゃゅょァィゥェォッャュョ.,:;?!)]}"
_OPENING = "（「『【〈《〔［｛‘“([{"
_BREAK = re.compile(
    rf"(?<=[{_IDEOGRAPHIC}{re.escape(_CLOSING)}])(?=[{_IDEOGRAPHIC}{re.escape(_OPENING)}])"
    rf"|(?<![{re.escape(_OPENING)}])(?=[{_IDEOGRAPHIC}])(?<!^)"
    rf"|(?<=[{_IDEOGRAPHIC}])(?![{re.escape(_CLOSING)}{_IDEOGRAPHIC}]|$)"
    r"|(?<=\w\w[-/‐–—])(?=\w)"
)
_CLOSED = re.compile(rf"[{re.escape(_CLOSING)}]")
_HELD = re.compile("[\u00a0\u202f\u2007\u2060\ufeff]")
"""No line ends before or after these."""

# Scripts without spaces: syllables (vowel before, consonants, vowels and marks, consonant at the
# end) as far as they can be told without a dictionary.
_THAI_SIGN = "[\u0e30-\u0e3a\u0e45-\u0e4e]"
_THAI = (
    "[\u0e40-\u0e44]?"
    f"(?:(?:[กขคตทปผพสซศ][รลว]|ห[งญณนมยรลว])(?={_THAI_SIGN})|[\u0e01-\u0e2f\u0e3f\u0e4f-\u0e7f])"
    f"(?:{_THAI_SIGN}+|อ(?!{_THAI_SIGN}))?"
    f"(?:[\u0e01-\u0e2e](?!{_THAI_SIGN}|[รลว]{_THAI_SIGN}))?(?:[\u0e01-\u0e2e][\u0e34\u0e38]?\u0e4c)?"
)
_LAO_SIGN = "[\u0eaf-\u0ebd\u0ec6-\u0ece]"
_LAO = (
    "[\u0ec0-\u0ec4]?"
    f"(?:ຫ[ງຍນມຣລວ](?={_LAO_SIGN})|[\u0e81-\u0eae\u0ed0-\u0edf])"
    f"(?:{_LAO_SIGN}+|[ອວ](?!{_LAO_SIGN}))?(?:[\u0e81-\u0eae](?!{_LAO_SIGN}))?"
)
_KHMER = (
    "[\u1780-\u17b3](?:\u17d2[\u1780-\u17b3]|[\u17b4-\u17d1\u17d3\u17dd])*"
    "(?:[\u1780-\u17a2](?![\u17b4-\u17d3\u17dd])|[\u1780-\u17a2]\u17cb)?[\u17d4-\u17d6]?"
)
_MYANMAR = (
    "[\u1000-\u102a\u103f-\u1049\u1050-\u1055]"
    "(?:\u1039[\u1000-\u102a]|[\u102b-\u1038\u103a-\u103e\u1056-\u1059]|[\u1000-\u1021]\u103a)*"
)
_SYLLABLE = re.compile(f"{_THAI}|{_LAO}|{_KHMER}|{_MYANMAR}")
_UNSPACED = re.compile("[\u0e01-\u0edf\u1000-\u109f\u1780-\u17dd]")


def cuts_of(text: str) -> list[int]:
    """The places within a word where a line may end."""
    if text.isalpha() and text.isascii() and len(text) <= _LONGEST_UNIT:
        return []
    cuts = {match.start() for match in _BREAK.finditer(text)} - {0, len(text)}
    cuts = {cut for cut in cuts if not _CLOSED.match(text[cut])}
    if not text.isascii():
        cuts.update(_syllable_cuts(text))
    cuts = {cut for cut in cuts if not _held_together(text, cut)}
    if len(text) > _LONGEST_UNIT:
        cuts.update(_forced(text))
    return sorted(cuts)


def _forced(text: str) -> Iterator[int]:
    """Cuts that keep every unit short, between clusters unless a cluster is endless."""
    for limit in range(_LONGEST_UNIT, len(text), _LONGEST_UNIT):
        places = range(limit, limit - _LONGEST_UNIT // 2, -1)
        yield next((place for place in places if not _held_together(text, place)), limit)


def _held_together(text: str, index: int) -> bool:
    """Whether no line may end before the character at `index`, whatever the script."""
    before, character = text[index - 1], text[index]
    if extends(before, character) or _HELD.match(before) or _HELD.match(character):
        return True
    return bool(FLAG_LETTER.match(character) and FLAG_LETTER.match(before))


def _syllable_cuts(text: str) -> list[int]:
    """Places between syllables in scripts that put no spaces between words."""
    if not _UNSPACED.search(text):
        return []
    spans = [match.span() for match in _SYLLABLE.finditer(text)]
    return [
        start
        for (_, before), (start, _) in pairwise(spans)
        if before == start and not _held_together(text, start)
    ]
