"""How a page looks: every length is in em of the body type unless its name ends in `_px`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from palimpsest.errors import InputError

Colour = tuple[int, int, int]
"""Red, green, blue; 0 to 255 each."""


@dataclass(frozen=True, slots=True)
class Style:
    """Looks and limits of a page. The defaults are those that read best by measurement."""

    heading_scales: tuple[float, float, float] = (1.5, 1.3, 1.15)
    """Type size of headings of level 1, 2, and 3 to 6, relative to the body."""
    line_height: float = 1.12
    block_gap: float = 0.12
    list_indent: float = 1.1
    """At least this; a list with wider markers ("100.") is indented as they need."""
    margin_px: float = 1.0
    ink: Colour = (0, 0, 0)
    paper: Colour = (255, 255, 255)
    rule: Colour = (150, 150, 150)
    shade: Colour = (236, 236, 236)
    """Behind code."""
    highlight: Colour = (255, 238, 110)
    """Behind marked text."""
    policy: Literal["shrink", "drop"] = "shrink"
    """Under `floor_px`: make everything smaller, or leave out the least important blocks."""
    floor_px: float = 4.6
    """The smallest body type that is still read."""
    cap_px: float = 28.0
    """The largest body type; a memory that needs less room than the budget gets fewer cells."""
    minimum: int = 4
    """Fewest cells of a page (or the budget, if less): servers enlarge smaller images."""
    families: tuple[str, ...] = ("Noto Sans", "Source Sans 3")
    """Font families by preference, each an installed font package, never a system font. The second
    has arrows, ticks and mathematical signs, which the first lacks."""

    def __post_init__(self) -> None:
        if not 0 < self.floor_px <= self.cap_px:
            raise InputError(
                f"floor_px {self.floor_px} and cap_px {self.cap_px} are no range of type sizes",
                hint="give 0 < floor_px <= cap_px",
            )
        if not self.families:
            raise InputError(
                "a style needs a font family", hint="leave `families` as it is by default"
            )
