"""LongBench v2 (Bai et al., 2024): multiple choice on documents of up to two million words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from palimpsest.datasets.item import Item, Passage
from palimpsest.evals.tasks.record import Place, Record, Row
from palimpsest.evals.tasks.task import Task

LETTERS = "ABCD"


class LongBenchV2(Task):
    """Four options, which are written into the question; the domain is the item's category."""

    base = "longbench_v2"
    about = "hard multiple choice on long documents"
    metrics = ("choice",)
    aliases = ("longbench2", "longbenchv2")
    sets: ClassVar[dict[str, tuple[str, ...]]] = {
        "all": ("data.json*", "*longbench*", "samples*", "*train*.parquet")
    }

    def parse(self, row: Row, place: Place) -> Iterator[Record]:
        options = {letter: str(row[f"choice_{letter}"]).strip() for letter in LETTERS}
        lines = (f"{letter}. {option}" for letter, option in options.items())
        item = Item(
            task=self.base,
            id=row["_id"],
            question="\n".join([row["question"].strip(), *lines]),
            answers=(row["answer"], options[row["answer"]]),
            metric="choice",
            documents=(Passage(title="context", text=row["context"]),),
            category=row["domain"],
            details={name: row[name] for name in ("sub_domain", "difficulty", "length")},
        )
        yield Record((item,))
