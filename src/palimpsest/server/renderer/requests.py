"""What a client may ask for, checked: the papers' fields, and budget, cell, style, kind, boxes."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field

from palimpsest.errors import InputError
from palimpsest.pages.markdown import MAX_CHARACTERS
from palimpsest.pages.page import MAX_BUDGET
from palimpsest.pages.style import MAX_COLUMNS, PRESETS, Style
from palimpsest.server.errors import ApiError
from palimpsest.server.renderer.limits import RendererLimits
from palimpsest.server.renderer.order import Format, Kind, Order

DEFAULT_BUDGET = 512
"""That of the papers' evaluation, whose requests have none."""
_FORMATS = ("png", "jpeg")

Flag = Annotated[bool, Field(strict=True)]
Whole = Annotated[int, Field(strict=True)]
Channel = Annotated[Whole, Field(ge=0, le=255)]
Colour = tuple[Channel, Channel, Channel]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Scale = Annotated[Number, Field(ge=0.1, le=8)]
Length = Annotated[Number, Field(ge=0, le=16)]
Pixels = Annotated[Number, Field(ge=0.5, le=128)]
Preset = Annotated[str, Field(json_schema_extra={"enum": list(PRESETS)})]


class _Asked(BaseModel):
    # A name that is misspelt is told, not passed over.
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class StyleFields(_Asked):
    """A style by its fields, over a preset's; lengths are in em of the body type unless they end
    in `_px`. Fonts are the server's."""

    preset: Preset = "default"
    heading_scales: tuple[Scale, Scale, Scale] | None = None
    emphasis: Flag | None = None
    line_height: Scale | None = None
    block_gap: Length | None = None
    list_indent: Length | None = None
    columns: Whole | None = Field(None, ge=1, le=MAX_COLUMNS)
    column_gap: Length | None = None
    margin_px: Number | None = Field(None, ge=0, le=64)
    ink: Colour | None = None
    paper: Colour | None = None
    rule: Colour | None = None
    shade: Colour | None = None
    highlight: Colour | None = None
    policy: Literal["shrink", "drop"] | None = None
    compact: Flag | None = None
    floor_px: Pixels | None = None
    cap_px: Pixels | None = None
    minimum: Whole | None = Field(None, ge=1, le=64)

    def style(self) -> Style:
        """The style. Raises `InputError` where the fields do not go together."""
        given: dict[str, Any] = self.model_dump(exclude={"preset"}, exclude_none=True)
        return replace(_preset(self.preset), **given)


def _preset(name: str) -> Style:
    if name not in PRESETS:
        raise InputError(f"there is no style {name!r}", hint=f"give one of {', '.join(PRESETS)}")
    return PRESETS[name]


class RenderRequest(_Asked):
    """A page to draw."""

    content: str = Field(json_schema_extra={"pattern": r"\S", "maxLength": MAX_CHARACTERS})
    """The memory: Markdown or HTML."""
    format: str = Field("png", json_schema_extra={"enum": list(_FORMATS)})
    budget: Whole = Field(DEFAULT_BUDGET, ge=1, le=MAX_BUDGET)
    """Most visual tokens: cells of `cell` x `cell` pixels."""
    cell: Literal[28, 32] = 28
    """28 for Qwen2-VL and Qwen2.5-VL, 32 for Qwen3-VL."""
    style: Preset | StyleFields | None = Field(None, examples=["default", {"columns": 1}])
    """A preset's name, or fields; of Markdown only."""
    kind: Kind | None = None
    """What the content is. By default Markdown; HTML where `width` is given, as the papers' HTML
    renderer has that field and their Markdown renderer has not."""
    width: Whole | None = Field(None, ge=1, le=100_000)
    """Accepted from clients of the papers' HTML renderer. The width of the layout is chosen with
    the grid, so it has no effect."""
    boxes: Flag = False
    """Answer with JSON: the image in base64, and where every line of type stands."""

    def order(self, limits: RendererLimits) -> Order:
        """The page that is asked for. Raises `InputError` and, over a limit, a 413."""
        if not self.content.strip():
            raise InputError("the content is blank", hint="give a memory in `content`")
        if len(self.content) > limits.characters:
            raise ApiError(
                413,
                f"content of {len(self.content):,} characters, {limits.characters:,} are the most",
                param="content",
            )
        if self.format not in _FORMATS:
            raise InputError(f"there is no format {self.format!r}", hint="give png or jpeg")
        if self.budget > limits.budget:
            raise InputError(
                f"a budget of {self.budget:,} visual tokens, {limits.budget:,} are the most here",
                hint="ask for fewer",
            )
        kind = self.kind or ("html" if self.width else "markdown")
        if kind == "html" and self.style is not None:
            raise InputError("style is for Markdown, not for HTML", hint="leave it out")
        return Order(
            content=self.content,
            kind=kind,
            budget=self.budget,
            cell=self.cell,
            style=self._style(),
            format=cast(Format, self.format),
            boxes=self.boxes,
        )

    def _style(self) -> Style:
        if isinstance(self.style, StyleFields):
            return self.style.style()
        return _preset(self.style or "default")


class BatchRequest(_Asked):
    """Pages to draw, each with all its own fields."""

    pages: list[RenderRequest] = Field(min_length=1)

    def check(self, limits: RendererLimits) -> None:
        """Raises a 413 for more than a batch may hold."""
        if len(self.pages) > limits.batch_pages:
            raise ApiError(
                413, f"{len(self.pages)} pages, {limits.batch_pages} are the most", param="pages"
            )
        tokens = sum(page.budget for page in self.pages)
        if tokens > limits.batch_tokens:
            raise ApiError(
                413,
                f"budgets of {tokens:,} visual tokens together, {limits.batch_tokens:,} are the "
                "most of a batch",
                param="pages",
            )
