"""A memory as a picture that costs at most so many visual tokens.

    page = render(memory, budget=256)
    page.image.size        # (grid_width * 28, grid_height * 28)
    page.tokens            # grid_width * grid_height, at most 256
    page.data_url()        # for an image part of a chat message

Every pixel is a function of the arguments and the font packages: nothing else is read, no text can
name a file or an address to be fetched. A blank memory becomes a blank page of the fewest cells.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from PIL import Image

from palimpsest.errors import InputError
from palimpsest.pages.block import Block, Role, Text, text_of
from palimpsest.pages.compact import compact, compact_style
from palimpsest.pages.fit import Fit, Fitter, Grid, most_kept
from palimpsest.pages.font import Shaped
from palimpsest.pages.layout import Flow, Measured, measure
from palimpsest.pages.markdown import read_markdown
from palimpsest.pages.picture import Picture
from palimpsest.pages.raster import draw
from palimpsest.pages.selection import by_importance
from palimpsest.pages.style import Style

MAX_BUDGET = 16_384
_CELLS = range(8, 129)


class TextBox(NamedTuple):
    """Where a line of type stands, in pixels of the image."""

    block: int
    """Index among the drawn blocks."""
    style: Role
    x0: float
    y0: float
    x1: float
    y1: float
    px: float
    """Size of the type."""
    line: int
    """The source line, counted from 0, that the first word comes from."""
    text: str


@dataclass(frozen=True, eq=False)
class Page(Picture):
    """A rendered memory. Pages are equal if their pixels, grids and fonts are."""

    image: Image.Image = field(repr=False)
    grid_width: int
    grid_height: int
    cell: int
    """Side of a cell in pixels: what one visual token covers."""
    budget: int
    body_px: float
    """Size of the body type as delivered."""
    sizes: dict[Role, float]
    """Type size in pixels of every style on the page."""
    boxes: tuple[TextBox, ...] = field(repr=False)
    dropped: int
    """Blocks left out by the policy `drop`."""
    shortened: int
    """Blocks of which that policy shows only the emphasised words, or the beginning."""
    missing: str
    """Characters that no installed font has: a box stands for each (`families.missing_hint`)."""
    text: str = field(repr=False)
    """The words that were drawn, in reading order, a block a line."""
    fonts: tuple[str, ...]
    """Hashes of the fonts on the page."""

    @cached_property
    def sha256(self) -> str:
        """Of the grid, the pixels and the fonts."""
        parts = f"{self.grid_width} {self.grid_height} {self.cell} {self.fonts}"
        digest = hashlib.sha256(parts.encode())
        digest.update(self.image.tobytes())
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Page) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __reduce__(self) -> tuple[Any, ...]:
        # Pages go between processes by the hundred a second: pixels and plain tuples go fastest.
        facts = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "image"}
        facts["boxes"] = [tuple(box) for box in self.boxes]
        return _restored, (self.image.size, self.image.tobytes(), facts)


def _restored(size: tuple[int, int], pixels: bytes, facts: dict[str, Any]) -> Page:
    facts["boxes"] = tuple(map(TextBox._make, facts["boxes"]))
    return Page(image=Image.frombytes("RGB", size, pixels), **facts)


def render(markdown: str, budget: int, *, cell: int = 28, style: Style = Style()) -> Page:  # noqa: B008
    """Lays out a memory so that it fills at most `budget` cells of `cell` x `cell` pixels.

    Raises `InputError` if the memory is too large to lay out or the numbers make no page.
    """
    check_size(budget, cell)
    blocks, measured = _measured(markdown, style)
    if not blocks:
        return _blank(budget, cell, style)
    fitter = Fitter(measured, cell, style)
    if fitter.fits(budget, style.floor_px):
        return _page(fitter.fit(budget), budget, cell, style)
    if style.compact:
        style = compact_style(style)
        fitter = Fitter(compact(measured, style), cell, style)
    if style.policy == "drop" and not fitter.fits(budget, style.floor_px):
        return _selected(blocks, measured, budget, cell, style)
    return _page(fitter.fit(budget), budget, cell, style)


def _selected(
    blocks: Sequence[Block], measured: Sequence[Measured], budget: int, cell: int, style: Style
) -> Page:
    """A page of what matters most, as far as it fits at the smallest legible size."""
    steps = by_importance(blocks)
    forms = [measured[s.place] if s.whole else measure(s.block, style) for s in steps]

    def fitter(count: int) -> Fitter:
        shown = {steps[number].place: forms[number] for number in range(count)}
        kept = [shown[index] for index in sorted(shown)]
        return Fitter(compact(kept, style) if style.compact else kept, cell, style)

    count = most_kept(len(steps), lambda count: fitter(count).fits(budget, style.floor_px))
    whole = {step.place: step.whole for step in steps[:count]}
    return _page(
        fitter(count).fit(budget),
        budget,
        cell,
        style,
        dropped=len(blocks) - len(whole),
        shortened=list(whole.values()).count(False),
    )


def render_pages(
    markdown: str,
    budget: int,
    *,
    cell: int = 28,
    style: Style = Style(),  # noqa: B008
) -> tuple[Page, ...]:
    """Lays out a memory on as few pages as hold it at the legible size `style.floor_px`, each of
    at most `budget` cells. The policy of the style does not matter: nothing needs to be left out.

    Raises `InputError` as `render` does.
    """
    check_size(budget, cell)
    blocks, measured = _measured(markdown, style)
    if not blocks:
        return (_blank(budget, cell, style),)
    fitter = Fitter(measured, cell, style)
    return tuple(_page(fit, budget, cell, style) for fit in fitter.fit_pages(budget))


@lru_cache(maxsize=4)
def _measured(markdown: str, style: Style) -> tuple[tuple[Block, ...], tuple[Measured, ...]]:
    """The blocks of a memory, read and shaped once for all budgets."""
    blocks = tuple(block for block in read_markdown(markdown) if not _is_blank(block))
    return blocks, tuple(measure(block, style) for block in blocks)


def check_size(budget: int, cell: int, cells: range = _CELLS) -> None:
    """Raises `InputError` for numbers that make no page."""
    if not 1 <= budget <= MAX_BUDGET:
        raise InputError(
            f"a budget of {budget} visual tokens makes no page",
            hint=f"give a budget from 1 to {MAX_BUDGET:,}",
        )
    if cell not in cells:
        raise InputError(
            f"a cell of {cell} pixels makes no page",
            hint="give 28 for Qwen2.5-VL, 32 for Qwen3-VL",
        )


def _is_blank(block: Block) -> bool:
    return isinstance(block, Text) and not text_of(block)


def _blank(budget: int, cell: int, style: Style) -> Page:
    side = 2 if style.minimum > 1 and budget >= 4 else 1
    fit = Fit(Grid(side, side), style.cap_px, Flow(0.0), style.margin_px)
    return _page(fit, budget, cell, style)


def _page(
    fit: Fit, budget: int, cell: int, style: Style, *, dropped: int = 0, shortened: int = 0
) -> Page:
    image = draw(fit, cell, style)
    texts = [line.segment.text(line.first, line.last) for line in fit.flow.lines]
    shapes = _shapes(fit.flow)
    faces = frozenset().union(*{shape.faces for shape in shapes})
    sizes: dict[Role, float] = {"body": fit.px}
    for line in fit.flow.lines:
        sizes[line.role] = max(sizes.get(line.role, 0.0), fit.px * line.scale)
    return Page(
        image=image,
        grid_width=fit.grid.columns,
        grid_height=fit.grid.rows,
        cell=cell,
        budget=budget,
        body_px=fit.px,
        sizes=sizes,
        boxes=_boxes(fit, texts, style),
        dropped=dropped,
        shortened=shortened,
        missing="".join(sorted({sign for shape in shapes for sign in shape.missing})),
        text=_text(fit.flow, texts),
        fonts=tuple(sorted({face.sha256 for face in faces})),
    )


def _shapes(flow: Flow) -> list[Shaped]:
    """The shaped words of a page, those of a segment once."""
    segments = {id(line.segment): line.segment for line in flow.lines}.values()
    return [f.shaped for segment in segments for piece in segment.pieces for f in piece.fragments]


def _boxes(fit: Fit, texts: Sequence[str], style: Style) -> tuple[TextBox, ...]:
    boxes: list[TextBox] = []
    for line, text in zip(fit.flow.lines, texts, strict=True):
        if not text.strip():
            continue
        x0 = fit.margin_px + line.x * fit.px
        y0 = fit.margin_px + line.y * fit.px
        x1 = x0 + line.width * fit.px
        px = line.scale * fit.px
        y1 = y0 + style.line_height * px
        source = line.segment.lines[line.first]
        boxes.append(TextBox(line.block, line.role, x0, y0, x1, y1, px, source, text))
    return tuple(boxes)


def _text(flow: Flow, texts: Sequence[str]) -> str:
    """Words in reading order: a new line for each block, a space for each end of a line but one
    that breaks a word."""
    parts: list[str] = []
    block, joint = -1, ""
    for line, text in zip(flow.lines, texts, strict=True):
        if parts:
            parts.append("\n" if line.block != block else joint)
        block = line.block
        parts.append(text)
        ended = line.last == len(line.segment.pieces) or line.segment.spaces[line.last - 1] > 0
        joint = " " if ended else ""
    return "".join(parts)
