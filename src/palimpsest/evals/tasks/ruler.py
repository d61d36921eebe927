"""RULER (Hsieh et al., 2024): thirteen synthetic tasks, generated at any length.

ruler                    all thirteen in turn
ruler:niah_single_1      one of them
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from palimpsest.datasets.files import TEXT_SUFFIXES, data_suffix, read_text
from palimpsest.datasets.item import Item
from palimpsest.datasets.ruler import GENERATORS, Resources, generate
from palimpsest.evals.tasks.generated import Generate, GeneratedTask
from palimpsest.evals.tasks.record import Place, Record, Row
from palimpsest.evals.tasks.ruler_rows import BASE, ready_item
from palimpsest.sources import Tokenizer


class Ruler(GeneratedTask):
    """Words come from the package wonderwords where the folder has none; essays and questions
    must be in it for the generators that need them."""

    base = BASE
    about = "needles, variables, words and questions in generated text"
    metrics = ("ruler_all", "ruler_any", "substring")
    resource_folders = ("haystack",)
    categories = tuple(GENERATORS)
    whole = tuple(GENERATORS)

    def parse(self, row: Row, place: Place) -> Iterator[Record]:
        if row and all(isinstance(value, dict) for value in row.values()):
            for name, parameters in row.items():
                yield Record(resource=(name, parameters))
        elif "text" in row:
            yield Record(resource=row["text"])
        else:
            yield Record((ready_item(row, place),))

    def rows(self, path: Path) -> Iterator[Record]:
        """A word list has a record for each word, any other text one."""
        if data_suffix(path) not in TEXT_SUFFIXES:
            yield from super().rows(path)
        elif "list.txt" in path.name:
            for word in read_text(path).splitlines():
                yield Record(resource=word)
        else:
            yield Record(resource=read_text(path))

    def generator(self, folder: Path | None) -> Generate:
        if folder is not None:
            return _generate(Resources.from_folder(folder))
        with tempfile.TemporaryDirectory() as empty:
            return _generate(Resources.from_folder(Path(empty)))


def _generate(resources: Resources) -> Generate:
    async def one(name: str, number: int, tokens: int, tokenizer: Tokenizer) -> Item:
        return await generate(name, number, tokens, tokenizer, resources)

    return one
