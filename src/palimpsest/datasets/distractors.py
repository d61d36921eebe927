"""Passages out of files, to fill contexts up with: rows with a title and a text, or whole books."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from palimpsest.datasets.files import TEXT_SUFFIXES, data_suffix, read_rows, read_text
from palimpsest.datasets.item import Passage
from palimpsest.errors import InputError
from palimpsest.sources.rows import NAME_FIELDS, TEXT_FIELDS

BOOK_PASSAGE_CHARACTERS = 800
"""Of a passage that is cut from a text file: about those of a Wikipedia paragraph."""

_BLANK_LINE = re.compile(r"\n[^\S\n]*\n\s*")


def read_passages(paths: Iterable[Path]) -> Iterator[Passage]:
    """The passages of files: of each row that has a text, and of each text in pieces.

    A row's title is the first of `NAME_FIELDS` that it fills, its text the first of `TEXT_FIELDS`
    that it has. A text file is cut at blank lines; its pieces are named by the file and numbered.
    Raises `InputError` naming file and row where a row has no text.
    """
    for path in paths:
        if data_suffix(path) in TEXT_SUFFIXES:
            yield from _of_text(read_text(path), path.name.split(".")[0])
        else:
            for number, row in enumerate(read_rows(path), start=1):
                yield _of_row(row, f"{path}, row {number}")


def _of_row(row: dict[str, Any], place: str) -> Passage:
    text = next((row[name] for name in TEXT_FIELDS if isinstance(row.get(name), str)), None)
    if text is None:
        raise InputError(
            f"{place} is no passage", hint=f"it needs a title and one of {', '.join(TEXT_FIELDS)}"
        )
    return Passage(
        title=str(next((row[name] for name in NAME_FIELDS if row.get(name)), "")), text=text
    )


def _of_text(text: str, name: str) -> Iterator[Passage]:
    number = 0
    parts: list[str] = []
    for paragraph in (*_BLANK_LINE.split(text), None):
        length = sum(map(len, parts))
        if parts and (paragraph is None or length + len(paragraph) > BOOK_PASSAGE_CHARACTERS):
            number += 1
            yield Passage(title=f"{name} {number}", text="\n\n".join(parts))
            parts = []
        if paragraph and (bare := paragraph.strip()):
            parts.append(bare)
