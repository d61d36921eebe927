"""A memory drawn as a page, at any budget, with the boxes of its lines."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from palimpsest.memory.reading import Reading
from palimpsest.pages import Style
from palimpsest.pages.cache import PageCache

_STYLE = TypeAdapter(Style)
_CACHE_BYTES = 1 << 26
_AT_ONCE = 2
"""Pages that are drawn side by side."""

Policy = Literal["shrink", "drop"]


class Drawing:
    """Draws the memories of readings in the readings' own style."""

    def __init__(self, cache: PageCache | None = None) -> None:
        self._cache = cache or PageCache(capacity_bytes=_CACHE_BYTES)
        self._turns = threading.Semaphore(_AT_ONCE)

    def page(
        self, reading: Reading, text: str, budget: int, cell: int | None, policy: Policy | None
    ) -> dict[str, Any]:
        """The picture as a data URL, its facts, and its boxes in pixels with the lines of the
        memory that they show. Raises `InputError` for numbers that make no page."""
        own = core_settings(reading.header.settings)
        style = _style(own)
        style = replace(style, policy=policy) if policy else style
        side = _cell(own) if cell is None else cell
        with self._turns:
            page = self._cache.render(text, budget, cell=side, style=style)
        return {
            "image": page.data_url(),
            "width": page.image.width,
            "height": page.image.height,
            "grid": [page.grid_width, page.grid_height],
            "tokens": page.grid_width * page.grid_height,
            "budget": page.budget,
            "cell": page.cell,
            "body_px": round(page.body_px, 2),
            "dropped": page.dropped,
            "shortened": page.shortened,
            "policy": style.policy,
            "legible_px": style.floor_px,
            "boxes": [
                [*(round(side, 1) for side in (box.x0, box.y0, box.x1, box.y1)), box.line, box.text]
                for box in page.boxes
            ],
        }


def core_settings(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of the reader at the core, whatever is wrapped around it."""
    while isinstance(settings.get("base"), Mapping):
        settings = settings["base"]
    return settings


def _style(settings: Mapping[str, Any]) -> Style:
    try:
        return _STYLE.validate_python(settings.get("style") or {})
    except ValidationError:
        return Style()


def _cell(settings: Mapping[str, Any]) -> int:
    return 32 if settings.get("cell") == 32 else 28
