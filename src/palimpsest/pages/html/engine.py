"""What draws HTML, behind one seam: measure a document at a width, then draw it once."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Size(NamedTuple):
    """What a document covers, in CSS px; wider than it was laid out for if it overflows."""

    width: float
    height: float


class Canvas(Protocol):
    """A document that an engine holds open."""

    def measure(self, width: int, scale: float) -> Size:
        """Lays the document out `width` CSS px wide, as it will be drawn: engines round lines to
        whole pixels, of which there are `scale` for a CSS px."""
        ...

    def draw(self, width: int, height: int, scale: float) -> NDArray[np.uint8]:
        """Red, green and blue of the document laid out `width` CSS px wide, from its top to
        `height` CSS px, on white. Both sides have `scale` pixels for a CSS px, rounded either way.
        """
        ...


class HtmlEngine(Protocol):
    """Lays out and draws HTML. Safe to call from several threads."""

    def open(self, html: str) -> AbstractContextManager[Canvas]:
        """Opens a document as `palimpsest.pages.html.clean` leaves it.

        What is done with it raises `InputError` when it takes too long or too much memory.
        """
        ...
