"""HTML drafts as pages: what a model writes when it is asked for HTML instead of markdown.

    from palimpsest.pages.html import render_html

    page = render_html(draft, budget=256)
    page.image.size        # (grid_width * 28, grid_height * 28)

the package.
"""

from __future__ import annotations

from palimpsest.pages.html.blitz import BlitzEngine
from palimpsest.pages.html.chromium import ChromiumEngine
from palimpsest.pages.html.engine import Canvas, HtmlEngine, Size
from palimpsest.pages.html.page import HtmlPage, render_html

__all__ = [
    "BlitzEngine",
    "Canvas",
    "ChromiumEngine",
    "HtmlEngine",
    "HtmlPage",
    "Size",
    "render_html",
]
