"""The baseline of `pages.py`: a memory by a browser's screenshot, shrunk to the budget.

Written from a description of MemOCR's published renderer: markdown by Python-Markdown, a page with
wide margins that keeps white space as it stands, a picture of its content box, which the browser
cuts at the viewport; the client shrinks it to the budget's area, and the server rounds its sides to
cells. `full_height` is the same without the cut.
"""

from __future__ import annotations

import io
import math
import os
import shutil
import time
from collections.abc import Sequence
from importlib.util import find_spec
from multiprocessing import get_context
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from PIL import Image

Height = Literal["as_served", "full_height"]

CELL = 28
LEAST_TOKENS, MOST_TOKENS = 4, 16_384
BODY_PX = 16.0
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
)
PAGE = """<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
<style>
body {{ background: white; margin: 2em; padding: 2em; }}
.content {{ display: inline-block; white-space: pre-wrap; }}
h1, h2, h3, h4, h5, h6, p, ul, ol, blockquote {{ margin: 0.5em 0; padding: 0; }}
ul, ol {{ margin-left: 20px; }}
code, pre {{ background: #f4f4f4; font-family: "Courier New", monospace; }}
</style>
</head>
<body>
<div class="content">

{content}

</div>
</body>
</html>
"""


class Delivered(NamedTuple):
    """What the vision model gets."""

    image: Image.Image
    tokens: int
    """May exceed the budget: the server rounds sides to the nearest cell."""
    body_px: float


def find_chromium(named: str | None) -> str | None:
    """The browser's path: as named, else from the environment, else by its usual name. None where
    it or what the baseline is made with is missing."""
    if not all(map(find_spec, ("playwright", "markdown"))):
        return None
    return shutil.which(named or os.environ.get("PALIMPSEST_CHROMIUM") or "chromium")


class Screenshots:
    """A browser that draws memories, each on a page of its own as the reference does."""

    def __init__(self, chromium: str) -> None:
        self._chromium = chromium

    def __enter__(self) -> Self:
        # Only here: the bench runs without the browser's package too.
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(
            executable_path=self._chromium, args=list(FLAGS)
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._browser.close()
        self._playwright.stop()

    def draw(self, markdown: str, height: Height) -> Image.Image:
        page = self._browser.new_page(offline=True)
        try:
            page.set_content(as_html(markdown))
            box: Any = page.locator(".content").bounding_box()
            full = height == "full_height"
            png = page.screenshot(clip=box, full_page=full, omit_background=True)
        finally:
            page.close()
        return Image.open(io.BytesIO(png)).convert("RGB")


def as_html(markdown: str) -> str:
    import markdown as python_markdown

    stripped = markdown.strip().strip("`")
    return PAGE.format(content=python_markdown.markdown(stripped, extensions=["extra"]))


def delivered(screenshot: Image.Image, budget: int) -> Delivered:
    """The screenshot after the client's and the server's resizing."""
    shrunk = shrink(screenshot, budget)
    width, height = server_size(shrunk.width, shrunk.height)
    image = shrunk
    if (width, height) != shrunk.size:
        image = shrunk.resize((width, height), Image.Resampling.BICUBIC)
    scale = math.sqrt(image.width * image.height / (screenshot.width * screenshot.height))
    return Delivered(image, width * height // CELL**2, BODY_PX * scale)


def shrink(image: Image.Image, budget: int) -> Image.Image:
    """To at most the area of the budget's cells; a smaller image stays as it is."""
    area = budget * CELL**2
    if image.width * image.height <= area:
        return image
    ratio = image.width / image.height
    height = max(1, math.floor(math.sqrt(area / ratio)))
    width = max(1, math.floor(height * ratio))
    return image.resize((width, height), Image.Resampling.LANCZOS)


def server_size(width: int, height: int) -> tuple[int, int]:
    """The sides to which the server of a Qwen2.5-VL resizes an image."""
    wide, high = (max(CELL, round(side / CELL) * CELL) for side in (width, height))
    if wide * high > MOST_TOKENS * CELL**2:
        factor = math.sqrt(width * height / (MOST_TOKENS * CELL**2))
        wide, high = (math.floor(side / factor / CELL) * CELL for side in (width, height))
    elif wide * high < LEAST_TOKENS * CELL**2:
        factor = math.sqrt(LEAST_TOKENS * CELL**2 / (width * height))
        wide, high = (math.ceil(side * factor / CELL) * CELL for side in (width, height))
    return wide, high


def pages_per_second(chromium: str, jobs: Sequence[tuple[str, int]], workers: int) -> float:
    """Delivered pages a second of `workers` browsers, warm; jobs are memories and budgets."""
    shares = [jobs[worker::workers] for worker in range(workers)]
    context = get_context("spawn")
    barrier = context.Barrier(workers + 1)
    processes = [context.Process(target=_work, args=(chromium, share, barrier)) for share in shares]
    for process in processes:
        process.start()
    barrier.wait(120)
    started = time.perf_counter()
    for process in processes:
        process.join()
    return len(jobs) / (time.perf_counter() - started)


def _work(chromium: str, jobs: Sequence[tuple[str, int]], barrier: Any) -> None:  # noqa: ANN401
    with Screenshots(chromium) as browser:
        browser.draw(jobs[0][0], "as_served")
        barrier.wait(120)
        for markdown, budget in jobs:
            delivered(browser.draw(markdown, "as_served"), budget)
