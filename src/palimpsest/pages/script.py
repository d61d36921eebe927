"""Scripts and grapheme clusters: what must be drawn with one font.

A cluster is a base with its marks, a keycap, a flag, or emoji that are joined to one picture.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import uharfbuzz as untyped_harfbuzz

from palimpsest.pages.families import EMOJI

harfbuzz: Any = untyped_harfbuzz

COMMON = "Zyyy"
_SHARED = ("Latn", "Grek", "Cyrl")
"""Scripts that share a font with digits and signs; elsewhere those keep to the Latin one."""
_JOINER = "\u200d"
_KEYCAP = "\u20e3"
_TEXT_STYLE, _EMOJI_STYLE = "\ufe0e", "\ufe0f"

_EAST_ASIAN_SIGN = re.compile("[\u3000-\u303f\uff00-\uffef]")
# Characters of the basic plane that are drawn as emoji unless text style is asked for.
_EMOJI_BASES = re.compile(
    "[\u231a\u231b\u23e9-\u23ec\u23f0\u23f3\u25fd\u25fe\u2614\u2615\u2648-\u2653\u267f\u2693\u26a1"
    "\u26aa\u26ab\u26bd\u26be\u26c4\u26c5\u26ce\u26d4\u26ea\u26f2\u26f3\u26f5\u26fa\u26fd\u2705"
    "\u270a\u270b\u2728\u274c\u274e\u2753-\u2755\u2757\u2795-\u2797\u27b0\u27bf\u2b1b\u2b1c\u2b50"
    "\u2b55\U0001f004\U0001f0cf\U0001f18e\U0001f191-\U0001f19a\U0001f1e6-\U0001f1ff"
    "\U0001f201-\U0001f265\U0001f300-\U0001faff]"
)
_EXTENDERS = re.compile("[\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f\u200c\u200d\uff9e\uff9f]")
FLAG_LETTER = re.compile("[\U0001f1e6-\U0001f1ff]")


class Cluster(NamedTuple):
    """Characters `start` up to `end` of a text, and the script that decides on their font."""

    start: int
    end: int
    script: str


def clusters(text: str) -> list[Cluster]:
    """Cuts a text into clusters. One of no script of its own takes that of its neighbours."""
    found: list[Cluster] = []
    start = 0
    for end in [*_boundaries(text), len(text)]:
        if end > start:
            found.append(Cluster(start, end, _cluster_script(text[start:end])))
            start = end
    script = next((c.script for c in found if c.script not in (COMMON, EMOJI)), COMMON)
    for index, cluster in enumerate(found):
        if cluster.script == COMMON:
            if script in _SHARED or not text[cluster.start].isascii():
                found[index] = cluster._replace(script=script)
        elif cluster.script != EMOJI:
            script = cluster.script
    return found


def _boundaries(text: str) -> Iterator[int]:
    letters = 0
    for index, character in enumerate(text):
        letters = letters + 1 if FLAG_LETTER.match(character) else 0
        if index and not extends(text[index - 1], character) and (letters < 2 or letters % 2):
            yield index


def extends(before: str, character: str) -> bool:
    """Whether a character is part of the cluster of the one before it."""
    if character.isascii():
        return False
    if before == _JOINER and not character.isalnum():
        return True
    return unicodedata.category(character)[0] == "M" or bool(_EXTENDERS.match(character))


@lru_cache(maxsize=8192)
def _cluster_script(cluster: str) -> str:
    if _KEYCAP in cluster or (_EMOJI_STYLE in cluster and not cluster[0].isalnum()):
        return EMOJI
    if _EMOJI_BASES.match(cluster) and _TEXT_STYLE not in cluster:
        return EMOJI
    return script_of(cluster[0])


@lru_cache(maxsize=8192)
def script_of(character: str) -> str:
    """The script of a character; `COMMON` for punctuation, digits and signs."""
    buffer = harfbuzz.Buffer()
    buffer.add_str(character)
    buffer.guess_segment_properties()
    if buffer.script:
        script: str = buffer.script
        return script
    return "Hani" if _EAST_ASIAN_SIGN.match(character) else COMMON
