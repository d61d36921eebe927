"""Pages: a memory laid out and drawn for a grid of visual tokens."""

from __future__ import annotations

from palimpsest.pages.page import Page, TextBox, render
from palimpsest.pages.style import Style

__all__ = ["Page", "Style", "TextBox", "render"]
