"""What is asked of a worker process, and what comes back: plain records, sent as JSON and bytes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import metadata
from typing import Any, Literal

from palimpsest.pages.cache import page_key
from palimpsest.pages.families import fonts_sha256
from palimpsest.pages.style import Style

Kind = Literal["markdown", "html"]
Format = Literal["png", "jpeg"]

_DRAWING_HTML = ("blitz-py", "nh3", "palimpsest-memory", "pillow", "tinycss2")
"""Distributions that have a say in the pixels of HTML."""


@dataclass(frozen=True)
class Order:
    """One page to draw."""

    content: str
    kind: Kind = "markdown"
    budget: int = 512
    cell: int = 28
    style: Style = field(default_factory=Style)
    """Of Markdown; HTML has looks of its own."""
    format: Format = "png"
    boxes: bool = False
    """Whether the places of the lines are wanted too."""

    @property
    def key(self) -> str:
        """SHA-256 of all that decides the answer: the same for the same bytes."""
        page = self._html_key() if self.kind == "html" else self._markdown_key()
        return hashlib.sha256(f"{self.kind} {page} {self.format} {self.boxes}".encode()).hexdigest()

    def _markdown_key(self) -> str:
        return page_key(self.content, self.budget, cell=self.cell, style=self.style)

    def _html_key(self) -> str:
        digest = hashlib.sha256(f"{self.budget} {self.cell} {_html_engine()} ".encode())
        digest.update(self.content.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def to_line(self) -> bytes:
        """One line of JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Order:
        given: dict[str, Any] = json.loads(line)
        looks: dict[str, Any] = given.pop("style")
        # JSON has no tuples.
        tuples = {name: tuple(value) for name, value in looks.items() if isinstance(value, list)}
        return cls(style=Style(**{**looks, **tuples}), **given)


@cache
def _html_engine() -> str:
    """What HTML is drawn with; missing parts are said to be."""
    return " ".join([fonts_sha256(), *(f"{name} {_version(name)}" for name in _DRAWING_HTML)])


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "missing"


@dataclass(frozen=True)
class Drawn:
    """A page as it is sent."""

    image: bytes
    """The file, in the format that was asked for."""
    facts: dict[str, Any]
    """Grid, type size, what was left out; with `boxes`, where every line stands."""
    size: int
    """Bytes that it takes to keep."""
    seconds: float
    """That the worker took."""

    @property
    def grid(self) -> tuple[int, int]:
        """Columns and rows of cells."""
        columns, rows = self.facts["grid"]
        return columns, rows

    @property
    def tokens(self) -> int:
        columns, rows = self.grid
        return columns * rows
