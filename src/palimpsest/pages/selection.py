"""What a page leaves out when it cannot hold all of a memory at a legible size.

Headings come first, then the emphasised words of every block, then whole blocks, each time from
higher sections to deeper ones and from the top down. A block of which only the emphasised words
are drawn, or one without any of which only the beginning is, is *shortened*: an ellipsis stands
where something was left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from palimpsest.pages.block import PLAIN, Block, Span, Table, Text, spans_of, text_of

_GAP = " … "
_CUT = " …"
_BEGINNING = 200
"""Characters of the shortest beginning of a block that is shown for itself."""
_WORTHWHILE = 0.7
"""A block of which a short form would be more than this is kept whole or not at all."""


class Step(NamedTuple):
    """The next thing worth showing: a block, or its short form until the whole has its turn."""

    place: int
    block: Block
    whole: bool


def by_importance(blocks: Sequence[Block]) -> list[Step]:
    """Steps, the most important first; drawing the first n, a later form of a block replaces the
    earlier one. A table counts as its section does, and emphasis for one heading level."""
    ranked: list[tuple[tuple[int, int, int], Step]] = []
    depth = 0
    for index, block in enumerate(blocks):
        level = block.level if isinstance(block, Text) else 0
        depth = level or depth
        stressed = _stressed(spans_of(block))
        if level:
            ranked.append(((0, depth, index), Step(index, block, whole=True)))
            continue
        rank = 2, depth + (not stressed), index
        if short := shortened(block):
            ranked.append(((1, depth, index), Step(index, short, whole=False)))
        elif isinstance(block, Text):
            ranked += [(rank, Step(index, part, whole=False)) for part in beginnings(block)]
        ranked.append((rank, Step(index, block, whole=True)))
    return [step for _, step in sorted(ranked, key=lambda pair: pair[0])]


def shortened(block: Block) -> Block | None:
    """The block with its emphasised words only; None if that would spare little."""
    if isinstance(block, Table):
        rows = [row for row in block.rows[1:] if any(map(_stressed, row))]
        spares = len(rows) < _WORTHWHILE * len(block.rows[1:])
        return replace(block, rows=(block.rows[0], *rows)) if rows and spares else None
    if not isinstance(block, Text) or not _stressed(block.spans):
        return None
    short = replace(block, spans=tuple(_kept(block.spans)))
    spares = len(text_of(short)) < _WORTHWHILE * len(text_of(block))
    return short if spares else None


def beginnings(block: Text) -> Iterator[Text]:
    """Ever longer beginnings of a long block, each about twice the one before."""
    length = sum(len(span.text) for span in block.spans)
    size = _BEGINNING
    while size < _WORTHWHILE * length:
        yield replace(block, spans=tuple(_until(block.spans, size)))
        size *= 2


def _until(spans: Sequence[Span], size: int) -> Iterator[Span]:
    """Spans of about so many characters, up to the end of a word."""
    for span in spans:
        if len(span.text) >= size:
            kept = span.text[:size].rpartition(" ")[0] or span.text[:size]
            yield span._replace(text=kept + _CUT)
            return
        yield span
        size -= len(span.text)


def _stressed(spans: Sequence[Span]) -> bool:
    return any(span.look.emphasised for span in spans)


def _kept(spans: Sequence[Span]) -> Iterator[Span]:
    """Emphasised spans with an ellipsis between those that other words stood between."""
    gap = False
    first = True
    for span in spans:
        if span.look.emphasised:
            if gap and not first:
                yield Span(_GAP, PLAIN, span.line)
            yield span
            gap = first = False
        elif any(map(str.isalnum, span.text)):
            gap = True
        elif not gap and not first:
            yield span
