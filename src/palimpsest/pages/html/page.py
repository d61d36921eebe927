"""An HTML draft as a picture that costs at most so many visual tokens."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from palimpsest.pages.html.blitz import BlitzEngine
from palimpsest.pages.html.draft import html_of
from palimpsest.pages.html.engine import Canvas, HtmlEngine
from palimpsest.pages.html.fit import LARGEST_SCALE, Fit, Fitter
from palimpsest.pages.page import check_size
from palimpsest.pages.picture import Picture

_CELLS = range(8, 65)


@dataclass(frozen=True)
class HtmlPage(Picture):
    """A drawn HTML draft. Pages are equal if their pixels and grids are."""

    image: Image.Image = field(compare=False, repr=False)
    grid_width: int
    grid_height: int
    cell: int
    """Side of a cell in pixels: what one visual token covers."""
    budget: int = field(compare=False)
    scale: float = field(compare=False)
    """Delivered pixels for a CSS px; type of the default size is 16 times as large."""
    sha256: str


def render_html(
    html: str, budget: int, *, cell: int = 28, engine: HtmlEngine | None = None
) -> HtmlPage:
    """Lays out what a model wrote so that it fills at most `budget` cells of `cell` x `cell` px.

    Takes a whole document or a part of one, in a ```html fence or not. Scripts, frames, images,
    addresses and all CSS but looks of text are taken out first, whatever the engine. The default
    engine is one `BlitzEngine`, whose worker process lives as long as this one.

    Raises `InputError` if the draft is too large, too deep or takes too long, or if the numbers
    make no page, and `ConfigurationError` if the `html` extra is not installed.
    """
    check_size(budget, cell, _CELLS)
    document = _clean(html_of(html))
    if not document:
        side = 2 if budget >= 4 else 1
        paper = Image.new("RGB", (side * cell, side * cell), "white")
        return _page(paper, Fit(side, side, side, LARGEST_SCALE, 1), budget, cell)
    with (engine or _default_engine()).open(document) as canvas:
        fit = Fitter(canvas, budget, cell).fit()
        return _page(_drawn(canvas, fit, cell), fit, budget, cell)


@cache
def _default_engine() -> BlitzEngine:
    return BlitzEngine()


def _clean(html: str) -> str:
    """The document that is safe to draw, or nothing. Parsed where its bombs do no harm."""
    with _default_engine().sandbox.session() as session:
        return session.ask("clean", html.encode())[1].decode()


def _drawn(canvas: Canvas, fit: Fit, cell: int) -> Image.Image:
    """Draws the page larger than it is delivered and reduces it once."""
    width, height = fit.columns * cell, fit.rows * cell
    large = fit.enlarged * width, fit.enlarged * height
    scale = large[0] / fit.width
    pixels = canvas.draw(fit.width, int(large[1] / scale), scale)
    paper = Image.fromarray(_on_paper(pixels, *large))
    return paper.resize((width, height), Image.Resampling.BICUBIC) if fit.enlarged > 1 else paper


def _on_paper(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """The drawing on white paper of the exact size; engines round the sides either way."""
    paper = np.full((height, width, 3), 255, np.uint8)
    rows, columns = min(height, pixels.shape[0]), min(width, pixels.shape[1])
    paper[:rows, :columns] = pixels[:rows, :columns]
    return paper


def _page(image: Image.Image, fit: Fit, budget: int, cell: int) -> HtmlPage:
    digest = hashlib.sha256(f"{fit.columns} {fit.rows} {cell} ".encode())
    digest.update(image.tobytes())
    return HtmlPage(
        image=image,
        grid_width=fit.columns,
        grid_height=fit.rows,
        cell=cell,
        budget=budget,
        scale=fit.scale,
        sha256=digest.hexdigest(),
    )
