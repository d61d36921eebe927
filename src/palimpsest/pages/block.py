"""What a memory consists of once its markdown is read: a flat list of blocks, no behaviour.

Containers (lists, quotes) are not blocks: every block carries the frames it stands in, from the
outside in. That keeps layout a single loop and lets a block be dropped without rebuilding a tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from palimpsest.pages.style import Colour

Role = Literal["h1", "h2", "h3", "h4", "h5", "h6", "body", "quote", "table", "code", "marker"]
"""The style of a line of type. A marker is a list item's bullet, number or check box."""

HARD_BREAK = "\n"
"""The text of a span that ends the line."""


class Look(NamedTuple):
    """How a span differs from the plain type of its block."""

    bold: bool = False
    italic: bool = False
    strike: bool = False
    underline: bool = False
    code: bool = False
    mark: bool = False
    colour: Colour | None = None

    @property
    def emphasised(self) -> bool:
        """Whether the writer asked for attention: bold, marked or coloured."""
        return self.bold or self.mark or self.colour is not None

    @property
    def is_decorated(self) -> bool:
        """Whether more than the shape of its letters sets it apart."""
        return self[_FIRST_DECORATION:] != _UNDECORATED


PLAIN = Look()
_FIRST_DECORATION = Look._fields.index("strike")
_UNDECORATED = PLAIN[_FIRST_DECORATION:]


class Span(NamedTuple):
    """Text of one look that starts on one line of the source (counted from 0)."""

    text: str
    look: Look
    line: int


class Frame(NamedTuple):
    """A container around a block. `marker` is the longest marker of a list, for its indent."""

    kind: Literal["list", "quote"]
    marker: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """A heading, paragraph, list item's paragraph or code block."""

    role: Role
    spans: tuple[Span, ...]
    line: int
    frames: tuple[Frame, ...] = ()
    marker: str = ""

    @property
    def level(self) -> int:
        """1 to 6 for a heading, 0 for anything else."""
        return int(self.role[1]) if self.role[0] == "h" else 0


Cell = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells, all rows of one length; the first row is the header."""

    rows: tuple[tuple[Cell, ...], ...]
    line: int
    frames: tuple[Frame, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """A horizontal line across the page."""

    line: int
    frames: tuple[Frame, ...] = ()


Block = Text | Table | Rule


def spans_of(block: Block) -> tuple[Span, ...]:
    """All text of a block in reading order."""
    if isinstance(block, Text):
        return block.spans
    if isinstance(block, Table):
        return tuple(span for row in block.rows for cell in row for span in cell)
    return ()


def text_of(block: Block) -> str:
    """The words of a block, on one line per row of a table."""
    if isinstance(block, Table):
        rows = ((_joined(cell) for cell in row) for row in block.rows)
        return "\n".join(" ".join(filter(None, row)) for row in rows)
    if isinstance(block, Text):
        return f"{block.marker} {_joined(block.spans)}".strip()
    return ""


def _joined(spans: tuple[Span, ...]) -> str:
    return "".join(span.text for span in spans).strip()
