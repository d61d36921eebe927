"""A memory as a picture that costs at most so many visual tokens.

    page = render(memory, budget=256)
    page.image.size        # (grid_width * 28, grid_height * 28)
    page.tokens            # grid_width * grid_height, at most 256
    page.data_url()        # for an image part of a chat message

Every pixel is a function of the arguments and the font packages: nothing else is read, no text can
name a file or an address to be fetched. A blank memory becomes a blank page of the fewest cells.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from PIL import Image

from palimpsest.errors import InputError
from palimpsest.pages.block import Block, Role, Text, spans_of, text_of
from palimpsest.pages.fit import Fit, Fitter, Grid, most_kept
from palimpsest.pages.layout import Flow, Measured, measure
from palimpsest.pages.markdown import read_markdown
from palimpsest.pages.raster import draw
from palimpsest.pages.style import Style

MAX_BUDGET = 16_384
_CELLS = range(8, 129)


@dataclass(frozen=True, slots=True)
class TextBox:
    """Where a line of type stands, in pixels of the image."""

    block: int
    """Index among the drawn blocks."""
    style: Role
    x0: float
    y0: float
    x1: float
    y1: float
    line: int
    """The source line, counted from 0, that the first word comes from."""
    text: str


@dataclass(frozen=True)
class Page:
    """A rendered memory. Pages are equal if their pixels and grids are."""

    image: Image.Image = field(compare=False, repr=False)
    grid_width: int
    grid_height: int
    cell: int
    """Side of a cell in pixels: what one visual token covers."""
    budget: int = field(compare=False)
    body_px: float = field(compare=False)
    """Size of the body type as delivered."""
    sizes: dict[Role, float] = field(compare=False)
    """Type size in pixels of every style on the page."""
    boxes: tuple[TextBox, ...] = field(compare=False, repr=False)
    dropped: int = field(compare=False)
    """Blocks left out by the policy `drop`."""
    text: str = field(compare=False, repr=False)
    """The words that were drawn, a block a line."""
    sha256: str

    @property
    def tokens(self) -> int:
        return self.grid_width * self.grid_height

    def png(self) -> bytes:
        """The image as a PNG file; the same bytes every time."""
        return self._png

    def data_url(self) -> str:
        return "data:image/png;base64," + base64.b64encode(self._png).decode("ascii")

    @cached_property
    def _png(self) -> bytes:
        file = io.BytesIO()
        self.image.save(file, "PNG", compress_level=6)
        return file.getvalue()


def render(markdown: str, budget: int, *, cell: int = 28, style: Style = Style()) -> Page:  # noqa: B008
    """Lays out a memory so that it fills at most `budget` cells of `cell` x `cell` pixels.

    Raises `InputError` if the memory is too large to lay out or the numbers make no page.
    """
    _check(budget, cell)
    blocks = [block for block in read_markdown(markdown) if not _is_blank(block)]
    if not blocks:
        return _blank(budget, cell, style)
    measured = [measure(block, style) for block in blocks]
    kept = list(range(len(blocks)))
    if style.policy == "drop":
        kept = _kept(blocks, measured, budget, cell, style)
    fit = Fitter([measured[index] for index in kept], cell, style).fit(budget)
    drawn = [measured[index] for index in kept]
    return _page(fit, [blocks[index] for index in kept], drawn, len(blocks), budget, cell, style)


def _check(budget: int, cell: int) -> None:
    if not 1 <= budget <= MAX_BUDGET:
        raise InputError(
            f"a budget of {budget} visual tokens makes no page",
            hint=f"give a budget from 1 to {MAX_BUDGET:,}",
        )
    if cell not in _CELLS:
        raise InputError(
            f"a cell of {cell} pixels makes no page",
            hint="give 28 for Qwen2.5-VL, 32 for Qwen3-VL",
        )


def _is_blank(block: Block) -> bool:
    return isinstance(block, Text) and not text_of(block)


def _kept(
    blocks: Sequence[Block], measured: Sequence[Measured], budget: int, cell: int, style: Style
) -> list[int]:
    """Indexes of the most important blocks that fit at the smallest legible size."""
    order = by_importance(blocks)

    def fits(count: int) -> bool:
        chosen = [measured[index] for index in sorted(order[:count])]
        return Fitter(chosen, cell, style).fits(budget, style.floor_px)

    return sorted(order[: most_kept(len(blocks), fits)])


def by_importance(blocks: Sequence[Block]) -> list[int]:
    """Indexes of blocks, the most important first: headings, then higher sections before deeper
    and earlier blocks before later ones. Bold, marked or coloured text counts as one heading level
    higher, and a table as its section does."""
    ranks: list[tuple[bool, int, int]] = []
    depth = 0
    for index, block in enumerate(blocks):
        level = block.level if isinstance(block, Text) else 0
        depth = level or depth
        stressed = any(span.look.emphasised for span in spans_of(block))
        ranks.append((not level, depth + (not stressed and not level), index))
    return [rank[2] for rank in sorted(ranks)]


def _blank(budget: int, cell: int, style: Style) -> Page:
    side = 2 if style.minimum > 1 and budget >= 4 else 1
    fit = Fit(Grid(side, side), style.cap_px, Flow(0.0), style.margin_px)
    return _page(fit, (), (), 0, budget, cell, style)


def _page(
    fit: Fit,
    blocks: Sequence[Block],
    measured: Sequence[Measured],
    total: int,
    budget: int,
    cell: int,
    style: Style,
) -> Page:
    image = draw(fit, cell, style)
    digest = hashlib.sha256(f"{fit.grid.columns} {fit.grid.rows} {cell} ".encode())
    digest.update(image.tobytes())
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
        boxes=_boxes(fit, measured, style),
        dropped=total - len(blocks),
        text="\n".join(filter(None, map(text_of, blocks))),
        sha256=digest.hexdigest(),
    )


def _boxes(fit: Fit, measured: Sequence[Measured], style: Style) -> tuple[TextBox, ...]:
    boxes: list[TextBox] = []
    for line in fit.flow.lines:
        text = line.segment.text(line.first, line.last)
        if not text.strip():
            continue
        x0 = fit.margin_px + line.x * fit.px
        y0 = fit.margin_px + line.y * fit.px
        x1 = x0 + line.width * fit.px
        y1 = y0 + style.line_height * line.scale * fit.px
        source = line.segment.lines[line.first]
        boxes.append(TextBox(line.block, line.role, x0, y0, x1, y1, source, text))
    return tuple(boxes)
