"""What pictures of known size cost a model, and whether it can read them.

Two square pages with a word each are shown: one so small that servers like to enlarge it, one
large enough to tell the grid from. What a picture costs is the difference to the same request
without it.
"""

from __future__ import annotations

import base64
import io
from typing import NamedTuple

from PIL import Image

from palimpsest.errors import ModelError
from palimpsest.models.model import Model, Sampling, user
from palimpsest.pages import Style, render

CELL_PX = 28
GRIDS_PX = (28, 32)
"""Sides of a visual token: Qwen2-VL and Qwen2.5-VL, Qwen3-VL."""
OVERHEAD_TOKENS = 8
"""The most that marks around a picture may cost."""
QUESTION = "Which single word is written in the picture? Reply with that word alone."
SIGHT_ADVICE = "MemAgent needs no pictures; for MemOCR give --sight (OCR) or serve a vision model"


class Chart(NamedTuple):
    """A page to show."""

    word: str
    side: int
    """Cells of 28 pixels."""
    type_px: float

    @property
    def cells(self) -> int:
        return self.side**2

    def tokens(self, grid_px: int) -> int:
        """Its visual tokens where one covers `grid_px`, rounded as Qwen's processors do."""
        return round(self.side * CELL_PX / grid_px) ** 2

    def data_url(self) -> str:
        size = self.side * CELL_PX
        word = render(self.word, self.cells, style=Style(cap_px=self.type_px)).image
        picture = Image.new("RGB", (size, size), "white")
        picture.paste(word, ((size - word.width) // 2, (size - word.height) // 2))
        file = io.BytesIO()
        picture.save(file, "PNG")
        return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


SMALL = Chart("LAMP", 4, 24.0)
LARGE = Chart("HARBOUR", 16, 60.0)


class Seen(NamedTuple):
    """What became of one chart."""

    cost: int
    """Prompt tokens; 0 where the server does not tell, or did not look."""
    read: bool


class EyeTest(NamedTuple):
    """What became of both, or why there is nothing to tell."""

    small: Seen = Seen(0, False)
    large: Seen = Seen(0, False)
    refusal: str = ""

    @property
    def is_fixed(self) -> bool:
        """Whether a picture costs the same whatever its size."""
        return self.large.cost > 0 and abs(self.large.cost - self.small.cost) <= OVERHEAD_TOKENS

    @property
    def grid_px(self) -> int | None:
        """The side of a visual token, where it is one of those known."""
        for grid in GRIDS_PX:
            if not self.is_fixed and 0 <= self._overhead(grid) <= OVERHEAD_TOKENS:
                return grid
        return None

    @property
    def is_enlarged(self) -> bool:
        """Whether the small picture costs more than its cells."""
        grid = self.grid_px
        return grid is not None and self.small.cost - self._overhead(grid) > SMALL.tokens(grid)

    def _overhead(self, grid: int) -> int:
        return self.large.cost - LARGE.tokens(grid)

    def figures(self) -> dict[str, int | float | str | bool | None]:
        return {
            f"tokens_of_{SMALL.cells}_cells": self.small.cost,
            f"tokens_of_{LARGE.cells}_cells": self.large.cost,
            "tokens_per_cell": round(self.large.cost / LARGE.cells, 3),
            "cell_px": self.grid_px,
            f"reads_{SMALL.cells}_cells": self.small.read,
            f"reads_{LARGE.cells}_cells": self.large.read,
        }


async def look(model: Model) -> EyeTest:
    """Shows both charts. A refusal of pictures is a result; other failures raise."""
    sampling = Sampling(max_tokens=32)
    bare = (await model.complete(user(QUESTION), sampling)).usage.prompt
    seen: list[Seen] = []
    for chart in (SMALL, LARGE):
        try:
            told = await model.complete(user(QUESTION, chart.data_url()), sampling)
        except ModelError as error:
            return EyeTest(refusal=str(error))
        seen.append(Seen(told.usage.prompt - bare, chart.word in told.text.upper()))
    return EyeTest(small=seen[0], large=seen[1])


class Judgement(NamedTuple):
    sound: bool
    finding: str
    advice: str = ""


def judge(test: EyeTest) -> Judgement:
    """What the test says of a model that is to see by itself."""
    if test.refusal:
        return Judgement(False, f"pictures are refused: {test.refusal}", SIGHT_ADVICE)
    if not test.large.read and test.large.cost <= OVERHEAD_TOKENS:
        return Judgement(False, "pictures are ignored", SIGHT_ADVICE)
    price = _judge_price(test)
    if not test.large.read:
        unread = f"{price.finding}; the word on {_grid(LARGE)} is not read"
        return Judgement(False, unread, SIGHT_ADVICE)
    read = "" if test.small.read else f" (not on {_grid(SMALL)})"
    return price._replace(finding=f"a word is read{read}; {price.finding}")


def judge_ocr(test: EyeTest) -> Judgement:
    """What the test says of pictures that are read out by OCR."""
    if test.large.read:
        return Judgement(True, "pictures are read by OCR and sent as text")
    what = test.refusal or "the model does not repeat the word that OCR read"
    return Judgement(False, f"pictures are read by OCR: {what}", "serve a vision model")


def _judge_price(test: EyeTest) -> Judgement:
    small, large = test.small.cost, test.large.cost
    costs = f"{_grid(SMALL)} cost {small} tokens, {_grid(LARGE)} {large}"
    if large <= OVERHEAD_TOKENS:
        return Judgement(False, "what they cost is not told", "budgets cannot be checked here")
    if test.is_fixed:
        advice = "a smaller budget makes a page less legible here, but no cheaper"
        return Judgement(False, f"every picture costs about {large} tokens", advice)
    if test.grid_px is None:
        advice = "the grid is neither of 28 nor of 32 pixels: budgets are not exact here"
        return Judgement(False, costs, advice)
    advice = "" if test.grid_px == CELL_PX else f"draw pages with --cell {test.grid_px}"
    found = f"a token covers {test.grid_px} x {test.grid_px} pixels: {costs}"
    if test.is_enlarged:
        enlarged = (
            f"pages of fewer than {small} tokens are enlarged to that: lower min_pixels there"
        )
        return Judgement(False, found, "; ".join(filter(None, (advice, enlarged))))
    return Judgement(not advice, found, advice)


def _grid(chart: Chart) -> str:
    return f"{chart.side} x {chart.side} cells"
