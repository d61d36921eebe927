"""How a page looks: every length is in em of the body type unless its name ends in `_px`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from palimpsest.errors import InputError
from palimpsest.pages.families import FAMILIES

Colour = tuple[int, int, int]
"""Red, green, blue; 0 to 255 each."""


@dataclass(frozen=True, slots=True)
class Style:
    """Looks and limits of a page. The defaults are those that read best by measurement."""

    heading_scales: tuple[float, float, float] = (1.5, 1.3, 1.15)
    """Type size of headings of level 1, 2, and 3 to 6, relative to the body."""
    emphasis: bool = True
    """Whether headings, bold, italic, marked and coloured text look other than plain text."""
    line_height: float = 1.12
    block_gap: float = 0.12
    list_indent: float = 1.1
    """At least this; a list with wider markers ("100.") is indented as they need."""
    columns: int = 2
    """The most columns of text; the fit takes fewer where that allows larger type."""
    column_gap: float = 1.2
    margin_px: float = 1.0
    ink: Colour = (0, 0, 0)
    paper: Colour = (255, 255, 255)
    rule: Colour = (150, 150, 150)
    shade: Colour = (236, 236, 236)
    """Behind code."""
    highlight: Colour = (255, 238, 110)
    """Behind marked text."""
    policy: Literal["shrink", "drop"] = "shrink"
    """Under `floor_px`: make everything smaller, or leave out what matters least."""
    compact: bool = True
    """Whether lists and tables are set as running text, and lines closer, where the type would
    fall under `floor_px`."""
    floor_px: float = 4.8
    """The smallest body type that is still read."""
    cap_px: float = 28.0
    """The largest body type; a memory that needs less room than the budget gets fewer cells."""
    minimum: int = 4
    """Fewest cells of a page (or the budget, if less): servers enlarge smaller images."""
    families: tuple[str, ...] = FAMILIES
    """Font families by preference, each an installed font package, never a system font."""

    def __post_init__(self) -> None:
        if not 0 < self.floor_px <= self.cap_px:
            raise InputError(
                f"floor_px {self.floor_px} and cap_px {self.cap_px} are no range of type sizes",
                hint="give 0 < floor_px <= cap_px",
            )
        if not 1 <= self.columns <= MAX_COLUMNS:
            raise InputError(
                f"a page of {self.columns} columns cannot be set",
                hint=f"give 1 to {MAX_COLUMNS} columns",
            )
        if not self.families:
            raise InputError(
                "a style needs a font family", hint="leave `families` as it is by default"
            )


MAX_COLUMNS = 8

PRESETS: Mapping[str, Style] = MappingProxyType(
    {
        "default": Style(),
        "drop": Style(policy="drop"),
        "plain": Style(columns=1, compact=False),
        "uniform": Style(heading_scales=(1.0, 1.0, 1.0), emphasis=False),
    }
)
"""Styles by name. `plain` keeps one column and every list and table, however small; `uniform` is
the paper's ablation "without layout" (MemOCR, section 4): all type of one size and weight."""
