"""A proof: what the pages of a memory at one budget show, leave out and make too small.

Pages of Markdown know where every word is; a page of HTML knows its size of type only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palimpsest.pages import Page, Style, TextBox
from palimpsest.pages.block import Block, spans_of, text_of
from palimpsest.pages.legibility import words

if TYPE_CHECKING:
    from palimpsest.pages.html import HtmlPage

_CSS_BODY_PX = 16
_MOST_RANGES = 8
"""Source lines are named by ranges, so many at most."""


@dataclass(frozen=True)
class Proof:
    """Pages that hold a memory together, and the files they are in."""

    blocks: tuple[Block, ...]
    budget: int
    style: Style
    pages: tuple[Page, ...]
    base: Path
    """What the names of the pages' files begin with."""

    @property
    def files(self) -> tuple[Path, ...]:
        numbers = ["", *(f"-{number}" for number in range(2, len(self.pages) + 1))]
        return tuple(named(self.base, f"-{self.budget}{number}.png") for number in numbers)

    @property
    def floor_px(self) -> float:
        """The type size below which readers fail."""
        return self.style.floor_px

    @property
    def words(self) -> int:
        """Words of the memory."""
        return self._words.total()

    @cached_property
    def words_shown(self) -> int:
        return (self._words & words("\n".join(page.text for page in self.pages))).total()

    @cached_property
    def _words(self) -> Counter[str]:
        return words("\n".join(map(text_of, self.blocks)))

    @property
    def dropped(self) -> list[Block]:
        """Blocks of which nothing is on the pages."""
        shown = {box.line for page in self.pages for box in page.boxes}
        if not any(page.dropped for page in self.pages):
            return []
        return [block for block in self.blocks if text_of(block) and not _lines_of(block) & shown]

    @cached_property
    def too_small(self) -> list[TextBox]:
        """Lines of type under the size at which readers fail."""
        boxes = chain.from_iterable(page.boxes for page in self.pages)
        return [box for box in boxes if box.px < self.floor_px - 1e-6 and box.style != "marker"]

    @property
    def missing(self) -> str:
        """Characters that no installed font has."""
        return "".join(sorted(set().union(*(page.missing for page in self.pages))))

    def warning(self) -> str:
        """What a reader of these pages will fail at; empty if nothing."""
        small = self.too_small
        if not small:
            return ""
        total = sum(box.style != "marker" for page in self.pages for box in page.boxes)
        styles = ", ".join(dict.fromkeys(box.style for box in small))
        least = min(box.px for box in small)
        return (
            f"budget {self.budget}: {len(small)} of {total} lines of type ({styles}) are under "
            f"{self.floor_px} px, the size at which readers fail; the smallest is {least:.1f} px. "
            f"They come from source lines {ranges([box.line + 1 for box in small])}"
        )

    @property
    def fewest_tokens(self) -> int:
        return min(page.tokens for page in self.pages)

    def caption(self, index: int) -> tuple[str, ...]:
        """Lines to stand below the picture of a page."""
        page, count = self.pages[index], len(self.pages)
        place = f", page {index + 1} of {count}" if count > 1 else ""
        dropped = [f"{page.dropped} blocks dropped"] if page.dropped else []
        return (*_caption(page, place, page.body_px), *dropped)

    def rows(self) -> Iterator[tuple[str, ...]]:
        """A page a row: budget, grid, tokens, sizes of type, words shown, blocks dropped."""
        shown = f"{self.words_shown:,} of {self.words:,}"
        for page in self.pages:
            others = {name: px for name, px in page.sizes.items() if abs(px - page.body_px) > 0.05}
            others.pop("marker", None)
            yield (
                *_row(page, page.body_px),
                ", ".join(f"{name} {px:.1f}" for name, px in sorted(others.items())),
                shown,
                str(page.dropped),
            )
            shown = ""

    def memory_facts(self) -> dict[str, Any]:
        """What is the same at every budget."""
        return {"words": self.words, "policy": self.style.policy, "floor_px": self.floor_px}

    def facts(self) -> dict[str, Any]:
        """All of it for JSON; lines of the source count from 0, as in `TextBox`."""
        return {
            "budget": self.budget,
            "words_shown": self.words_shown,
            "missing": self.missing,
            "shortened": sum(page.shortened for page in self.pages),
            "dropped": [{"line": block.line, "text": text_of(block)} for block in self.dropped],
            "lines_too_small": sorted({box.line for box in self.too_small}),
            "pages": [
                {
                    **_page_facts(page, file, page.body_px),
                    "sizes": page.sizes,
                    "boxes": [box._asdict() for box in page.boxes],
                }
                for page, file in zip(self.pages, self.files, strict=True)
            ],
        }


@dataclass(frozen=True)
class HtmlProof:
    """The page of an HTML draft."""

    page: HtmlPage
    floor_px: float
    base: Path

    @property
    def budget(self) -> int:
        return self.page.budget

    @property
    def pages(self) -> tuple[HtmlPage, ...]:
        return (self.page,)

    @property
    def files(self) -> tuple[Path, ...]:
        return (named(self.base, f"-{self.budget}.png"),)

    @property
    def fewest_tokens(self) -> int:
        return self.page.tokens

    @property
    def missing(self) -> str:
        """Of HTML it is not known."""
        return ""

    @property
    def body_px(self) -> float:
        """Size of the type that no style sheet changes."""
        return _CSS_BODY_PX * self.page.scale

    def caption(self, _: int) -> tuple[str, ...]:
        return _caption(self.page, "", self.body_px)

    def rows(self) -> Iterator[tuple[str, ...]]:
        yield (*_row(self.page, self.body_px), "", "", "")

    def warning(self) -> str:
        """What a reader of this page will fail at; empty if nothing."""
        if self.body_px >= self.floor_px:
            return ""
        return (
            f"budget {self.budget}: type of the default size is {self.body_px:.1f} px, under "
            f"{self.floor_px} px, the size at which readers fail"
        )

    def memory_facts(self) -> dict[str, Any]:
        return {"floor_px": self.floor_px}

    def facts(self) -> dict[str, Any]:
        page = _page_facts(self.page, self.files[0], self.body_px)
        return {"budget": self.budget, "pages": [{**page, "scale": self.page.scale}]}


def named(base: Path, ending: str) -> Path:
    """The file whose name begins with `base`."""
    return base.with_name(base.name + ending)


def _row(page: Page | HtmlPage, body_px: float) -> tuple[str, ...]:
    grid = f"{page.grid_width} x {page.grid_height}"
    return (f"{page.budget:,}", grid, f"{page.tokens:,}", f"{body_px:.1f}")


def _caption(page: Page | HtmlPage, place: str, body_px: float) -> tuple[str, ...]:
    return (
        f"budget {page.budget:,}{place}",
        f"{page.grid_width} x {page.grid_height} = {page.tokens:,} tokens of {page.cell} px",
        f"{page.image.width} x {page.image.height} px, body type {body_px:.1f} px",
    )


def _page_facts(page: Page | HtmlPage, file: Path, body_px: float) -> dict[str, Any]:
    return {
        "file": str(file),
        "sha256": page.sha256,
        "grid": [page.grid_width, page.grid_height],
        "tokens": page.tokens,
        "size": list(page.image.size),
        "body_px": body_px,
    }


def ranges(numbers: Sequence[int]) -> str:
    """Numbers as text: "1-4, 7"."""
    runs: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    named = [f"{first}-{last}" if last > first else str(first) for first, last in runs]
    more = f" and {len(named) - _MOST_RANGES} more" if len(named) > _MOST_RANGES else ""
    return ", ".join(named[:_MOST_RANGES]) + more


def _lines_of(block: Block) -> set[int]:
    return {block.line, *(span.line for span in spans_of(block))}
