"""How much of a page is read: the share of a memory's words that come back from its picture.

    from palimpsest.models import RapidEyes

    page = render(markdown, budget=64)
    legibility(page, markdown, RapidEyes()).words      # 0.79: four words in five came back

What reads is given as `eyes`, so that any OCR or vision model can be asked. One picture is a noisy
sample: a difference of less than 0.05 on one page means nothing, only means over pages do.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

from PIL import Image

from palimpsest.pages.block import PLAIN, Block, Span, Table, Text, spans_of, text_of
from palimpsest.pages.markdown import read_markdown
from palimpsest.pages.page import Page

_PART_OF_LETTER = (0, 7, 8, 9)
"""Combining classes of marks that make another letter (Indic vowels and dots, the voicing of kana,
viramas), as opposed to accents and points."""
_UNSPACED = (
    ("\u0e00", "\u0eff"),
    ("\u1000", "\u109f"),
    ("\u1780", "\u17ff"),
    ("\u2e80", "\u2fdf"),
    ("\u3005", "\u30ff"),
    ("\u31f0", "\u31ff"),
    ("\u3400", "\u4dbf"),
    ("\u4e00", "\u9fff"),
    ("\uf900", "\ufaff"),
    ("\U00020000", "\U0003ffff"),
)
"""Scripts written without spaces: Thai, Lao, Burmese, Khmer, Chinese characters and kana."""

_BETWEEN_CELLS = Span("", PLAIN, 0)


class Eyes(Protocol):
    """Whatever reads the text in an image, as `palimpsest.models.RapidEyes` does."""

    def read(self, image: Image.Image) -> str:
        """The text, a line a line; empty where nothing can be read."""
        ...


@dataclass(frozen=True, slots=True)
class Legibility:
    """Shares of a memory's words that were read, 0 to 1; 1 where there were none to read."""

    words: float
    """All words."""
    headings: float
    bold: float
    """Words in bold type outside headings and the heads of tables, which always are."""
    emphasis: float
    """Headings and bold words together: what the writer asked attention for."""
    read: str
    """What the eyes read."""


def legibility(page: Page | Image.Image, markdown: str, eyes: Eyes) -> Legibility:
    """Reads a page of a memory, or any picture of it, and compares the words.

    Words left out of the page count as unread. Raises `InputError` for a memory that makes no page.
    """
    image = page.image if isinstance(page, Page) else page
    return compared(markdown, eyes.read(image))


def compared(markdown: str, read: str) -> Legibility:
    """How much of a memory is in the text that was read from its page, or pages, together."""
    blocks = read_markdown(markdown)
    found = words(read)
    headings = "\n".join(text_of(block) for block in blocks if _is_heading(block))
    bold = "\n".join(chain.from_iterable(_bold(block) for block in blocks))
    return Legibility(
        words=_share(words("\n".join(map(text_of, blocks))), found),
        headings=_share(words(headings), found),
        bold=_share(words(bold), found),
        emphasis=_share(words(f"{headings}\n{bold}"), found),
        read=read,
    )


def word_recall(expected: str, read: str) -> float:
    """The share of the expected words that were read, each as often as it is expected.

    Order does not count, nor do words that were read and not expected. 1 where no word is expected.
    """
    return _share(words(expected), words(read))


def words(text: str) -> Counter[str]:
    """Words and how often each occurs: runs of letters, digits and their marks, without regard to
    case, accents and forms of width. In scripts that leave no spaces every letter is a word."""
    found = [""]
    for character in _folded(text):
        kind = unicodedata.category(character)[0]
        if kind not in "LMN":
            found.append("")
        elif kind == "M" or not (_is_unspaced(character) or _is_unspaced(found[-1][:1])):
            found[-1] += character
        else:
            found.append(character)
    return Counter(filter(None, found))


def _folded(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text.casefold())
    kept = (letter for letter in letters if unicodedata.combining(letter) in _PART_OF_LETTER)
    return unicodedata.normalize("NFC", "".join(kept))


def _is_unspaced(character: str) -> bool:
    return any(first <= character <= last for first, last in _UNSPACED)


def _share(expected: Counter[str], found: Counter[str]) -> float:
    total = expected.total()
    return (expected & found).total() / total if total else 1.0


def _is_heading(block: Block) -> bool:
    return isinstance(block, Text) and block.level > 0


def _bold(block: Block) -> Iterable[str]:
    """Runs of bold text; spans that touch are one run, as a word may be spread over several."""
    if _is_heading(block):
        return
    run: list[str] = []
    for span in (*_spans(block), None):
        if span and span.look.bold:
            run.append(span.text)
        elif run:
            yield "".join(run)
            run = []


def _spans(block: Block) -> tuple[Span, ...]:
    if isinstance(block, Table):
        cells = chain.from_iterable(block.rows[1:])
        return tuple(chain.from_iterable((*cell, _BETWEEN_CELLS) for cell in cells))
    return spans_of(block)
