"""Eyes by the `tesseract` command: a second opinion where it is installed."""

from __future__ import annotations

import csv
import io
import os
import subprocess
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from PIL import Image

from palimpsest.errors import ConfigurationError
from palimpsest.models.sight import enlarged, enlargements

_ENVIRONMENT = {**os.environ, "OMP_THREAD_LIMIT": "1"}
"""Its threads cost more than they gain on images of a page's size."""


class _Word(NamedTuple):
    line: tuple[str, ...]
    """Numbers of the block, paragraph and line it stands in."""
    text: str
    confidence: float


@dataclass(frozen=True)
class TesseractEyes:
    """OCR by Tesseract, in a process of its own for every look."""

    command: str = "tesseract"
    languages: str = "eng"
    """As for `tesseract -l`: "eng+deu"."""
    segmentation: int = 11
    """As for `tesseract --psm`. 11 takes text as it finds it; whole-page analysis (3) finds little
    on pages of few and small lines, one block (6) reads across columns."""
    timeout_s: float = 60.0
    """For one look; an image that takes longer is taken for illegible."""

    def read(self, image: Image.Image) -> str:
        """The text of the most confident look among several enlargements."""
        looks = [self._words(image, factor) for factor in enlargements(image)]
        return _text(max(looks, key=_confidence))

    def read_at(self, image: Image.Image, factor: int) -> str:
        """The text that is read at one enlargement."""
        return _text(self._words(image, factor))

    def _words(self, image: Image.Image, factor: int) -> list[_Word]:
        file = io.BytesIO()
        enlarged(image, factor).save(file, "PNG", compress_level=1)
        rows = csv.DictReader(
            io.StringIO(self._run(file.getvalue())), delimiter="\t", quoting=csv.QUOTE_NONE
        )
        return [
            _Word(
                (row["block_num"], row["par_num"], row["line_num"]), row["text"], float(row["conf"])
            )
            for row in rows
            if row["level"] == "5" and row["text"].strip()
        ]

    def _run(self, png: bytes) -> str:
        settings = ["-l", self.languages, "--psm", str(self.segmentation)]
        command = [self.command, "stdin", "stdout", *settings, "tsv"]
        try:
            done = subprocess.run(
                command, input=png, env=_ENVIRONMENT, capture_output=True, timeout=self.timeout_s
            )
        except OSError as error:
            raise ConfigurationError(
                f"the command {self.command!r} cannot be run: {error.strerror}",
                hint="install Tesseract (Debian: tesseract-ocr), or read with RapidEyes",
            ) from error
        except subprocess.TimeoutExpired:
            return ""
        if done.returncode:
            raise ConfigurationError(
                f"tesseract failed: {done.stderr.decode(errors='replace').strip()[:500]}",
                hint=f"are its data for {self.languages!r} installed?",
            )
        return done.stdout.decode("utf-8", "replace")


def _text(words: list[_Word]) -> str:
    lines = groupby(words, key=lambda word: word.line)
    return "\n".join(" ".join(word.text for word in line) for _, line in lines)


def _confidence(words: list[_Word]) -> float:
    return sum(len(word.text) * word.confidence for word in words)
