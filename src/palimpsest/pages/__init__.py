"""Pages: a memory laid out and drawn for a grid of visual tokens."""

from __future__ import annotations

from palimpsest.pages.page import Page, TextBox, render, render_pages
from palimpsest.pages.style import PRESETS, Style

__all__ = ["PRESETS", "Page", "Style", "TextBox", "render", "render_pages"]
