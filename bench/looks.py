"""What OCR reads in pictures, kept in a folder, so that no picture is looked at twice."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from PIL import Image

from palimpsest.pages.legibility import Legibility, compared

LARGE_TYPE_PX = 12.0


class Engine(Protocol):
    def read_at(self, image: Image.Image, factor: int) -> str: ...


class Picture(NamedTuple):
    """A memory as some method delivers it at some budget."""

    text: str
    """The memory's id."""
    method: str
    budget: int
    image: Image.Image
    tokens: int
    body_px: float
    dropped: int
    factors: tuple[int, ...]
    """The enlargements at which it is looked at."""


class Scores(NamedTuple):
    """The best over the enlargements, each for itself: which one suits is the reader's to know."""

    words: float
    headings: float
    bold: float
    emphasis: float


def enlargements(body_px: float, *, few: bool) -> tuple[int, ...]:
    """Those that suit type of this size; `few` leaves out the dearest."""
    if body_px >= LARGE_TYPE_PX:
        return (1, 2)
    return (2, 3) if few else (2, 3, 4)


class Looks:
    """Looks at pictures with several engines. Each engine has a thread, as one runs elsewhere."""

    def __init__(self, folder: Path, engines: Mapping[str, Engine]) -> None:
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._engines = engines

    def look(self, pictures: Sequence[Picture]) -> None:
        """Reads all pictures, so that `scores` finds every look in the folder."""
        failures: list[BaseException] = []

        def work(name: str) -> None:
            try:
                self._look(name, pictures)
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(name,)) for name in self._engines]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    def scores(self, picture: Picture, markdown: str, engine: str) -> Scores:
        looks = [
            compared(markdown, self._read(picture.image, engine, factor))
            for factor in picture.factors
        ]
        return _best(looks)

    def _look(self, name: str, pictures: Sequence[Picture]) -> None:
        for number, picture in enumerate(pictures, start=1):
            for factor in picture.factors:
                self._read(picture.image, name, factor)
            if number % 25 == 0 or number == len(pictures):
                print(f"{name}: {number}/{len(pictures)} pictures", file=sys.stderr, flush=True)

    def _read(self, image: Image.Image, name: str, factor: int) -> str:
        path = self._folder / f"{_digest(image)}-{name}-{factor}.txt"
        if not path.exists():
            text = self._engines[name].read_at(image, factor)
            unfinished = path.with_suffix(".part")
            unfinished.write_text(text, encoding="utf-8")
            unfinished.replace(path)
        return path.read_text(encoding="utf-8")


def _digest(image: Image.Image) -> str:
    content = repr((image.size, image.mode)).encode() + image.tobytes()
    return hashlib.sha256(content).hexdigest()[:32]


def _best(looks: Iterable[Legibility]) -> Scores:
    measured = [(look.words, look.headings, look.bold, look.emphasis) for look in looks]
    return Scores(*map(max, zip(*measured, strict=True)))
