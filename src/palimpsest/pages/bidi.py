"""The order of characters on a line that mixes directions: the implicit part of UAX #9.

Rules P2-P3, W1-W7, N0-N2, I1-I2 and L2. Embedding and isolate controls are ignored; the marks
U+200E, U+200F and U+061C work. (The Python package for this is under the LGPL.)
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

_RIGHT_TO_LEFT = re.compile(
    "[\u0590-\u08ff\u200f\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]"
)
_IGNORED = frozenset({"BN", "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
_NEUTRAL = frozenset({"B", "S", "WS", "ON"})
_BRACKETS = "()[]{}⁅⁆⁽⁾⁽⁾〈〉《》「」『』【】〔〕〖〗（）［］｛｝｢｣❨❩❪❫❬❭❮❯❰❱❲❳❴❵⟦⟧⟨⟩⟪⟫⦅⦆⸨⸩"
_CLOSERS = dict(zip(_BRACKETS[::2], _BRACKETS[1::2], strict=True))
_DEEPEST = 63


class Directions(NamedTuple):
    """The level of the paragraph and of each character: right to left where it is odd."""

    base: int
    levels: list[int]


def has_right_to_left(text: str) -> bool:
    """Whether a text needs any reordering."""
    return not text.isascii() and bool(_RIGHT_TO_LEFT.search(text))


def directions(text: str) -> Directions:
    """The levels of a paragraph, before lines are broken."""
    kinds = [unicodedata.bidirectional(character) or "L" for character in text]
    base = next((int(kind != "L") for kind in kinds if kind in ("L", "R", "AL")), 0)
    places = [index for index, kind in enumerate(kinds) if kind not in _IGNORED]
    seen = [kinds[index] for index in places]
    edge = "R" if base else "L"
    _resolve_weak(seen, edge)
    _resolve_brackets([text[index] for index in places], seen, edge)
    _resolve_neutral(seen, edge)
    levels = [base] * len(text)
    for index, kind in zip(places, seen, strict=True):
        levels[index] = _level(kind, base) if kinds[index] not in ("B", "S") else base
    if len(places) < len(kinds):
        _fill_ignored(levels, kinds)
    return Directions(base, levels)


def visual_order(levels: Sequence[int]) -> list[int]:
    """Indexes from left to right of the parts of one line with these levels (rule L2)."""
    order = list(range(len(levels)))
    if not order:
        return order
    for level in range(max(levels), 0, -1):
        start = 0
        for high, group in groupby(order, key=lambda index: levels[index] >= level):
            end = start + sum(1 for _ in group)
            if high:
                order[start:end] = order[start:end][::-1]
            start = end
    return order


def _resolve_weak(kinds: list[str], edge: str) -> None:
    """W1 to W7: marks follow their base, signs the numbers they stand with."""
    before = edge
    strong = edge
    for index, kind in enumerate(kinds):
        if kind == "NSM":
            kinds[index] = kind = before
        if kind in ("L", "R", "AL"):
            strong = kind
        elif kind == "EN" and strong == "AL":
            kinds[index] = kind = "AN"
        before = kind
    kinds[:] = ["R" if kind == "AL" else kind for kind in kinds]
    _resolve_separators(kinds)
    _resolve_terminators(kinds)
    strong = edge
    for index, kind in enumerate(kinds):
        if kind in ("L", "R"):
            strong = kind
        elif kind == "EN" and strong == "L":
            kinds[index] = "L"


def _resolve_separators(kinds: list[str]) -> None:
    for index in range(1, len(kinds) - 1):
        before, kind, after = kinds[index - 1 : index + 2]
        if before == after and (
            (kind == "ES" and before == "EN") or (kind == "CS" and before in ("EN", "AN"))
        ):
            kinds[index] = before


def _resolve_terminators(kinds: list[str]) -> None:
    for kind, start, end in list(_stretches(kinds, frozenset({"ET"}))):
        beside = kinds[start - 1 : start] + kinds[end : end + 1]
        kinds[start:end] = ["EN" if "EN" in beside else kind] * (end - start)
    kinds[:] = ["ON" if kind in ("ES", "ET", "CS") else kind for kind in kinds]


def _resolve_brackets(characters: Sequence[str], kinds: list[str], edge: str) -> None:
    """N0: both brackets of a pair take one direction, from what they enclose."""
    context, passed = edge, 0
    for opener, closer in sorted(_pairs(characters, kinds)):
        context = next(filter(None, map(_direction, reversed(kinds[passed:opener]))), context)
        passed = opener
        inside = {_direction(kind) for kind in kinds[opener + 1 : closer]} - {""}
        if edge in inside:
            found = edge
        elif inside:
            found = context if context in inside else edge
        else:
            continue
        kinds[opener] = kinds[closer] = found


def _pairs(characters: Sequence[str], kinds: Sequence[str]) -> Iterator[tuple[int, int]]:
    waiting: list[tuple[str, int]] = []
    for index, character in enumerate(characters):
        if kinds[index] != "ON":
            continue
        if closer := _CLOSERS.get(character):
            if len(waiting) == _DEEPEST:
                return
            waiting.append((closer, index))
            continue
        for depth in range(len(waiting) - 1, -1, -1):
            if waiting[depth][0] == character:
                yield waiting[depth][1], index
                del waiting[depth:]
                break


def _resolve_neutral(kinds: list[str], edge: str) -> None:
    """N1 and N2: spaces and signs follow what is on both sides, or else the paragraph."""
    for _, start, end in list(_stretches(kinds, _NEUTRAL)):
        before = _direction(kinds[start - 1]) if start else edge
        after = _direction(kinds[end]) if end < len(kinds) else edge
        kinds[start:end] = [before if before == after else edge] * (end - start)


def _stretches(kinds: Sequence[str], wanted: frozenset[str]) -> Iterator[tuple[str, int, int]]:
    start = 0
    for inside, group in groupby(kinds, key=wanted.__contains__):
        members = list(group)
        if inside:
            yield members[0], start, start + len(members)
        start += len(members)


def _direction(kind: str) -> str:
    """The direction as rules N0 and N1 see it: numbers count as right to left."""
    return kind if kind in ("L", "R") else "R" if kind in ("EN", "AN") else ""


def _level(kind: str, base: int) -> int:
    """I1 and I2."""
    if base:
        return 1 if kind == "R" else 2
    return {"L": 0, "R": 1}.get(kind, 2)


def _fill_ignored(levels: list[int], kinds: Sequence[str]) -> None:
    """Gives controls the level of what they follow, so that they split no run."""
    for index, kind in enumerate(kinds):
        if kind in _IGNORED and index:
            levels[index] = levels[index - 1]
