"""LooGLE (Li et al., 2023): questions on articles and scripts written after 2022."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any, ClassVar

from palimpsest.datasets.item import Evidence, Item, Passage
from palimpsest.evals.tasks.record import Place, Record, Row, content_id, distinct
from palimpsest.evals.tasks.task import Task

_CLOZE = "Names are masked in this account of a part of the text. Give the name for each mask."


class LooGLE(Task):
    """A row is a document with many questions, which stand in it as a Python literal.

    Questions over several places have their kind for a category, those over one are
    `shortdep_qa`, and a cloze, all of whose masked names are wanted, is `shortdep_cloze`. The
    evidence is quoted as the annotators wrote it, which is not always word for word. Documents
    that are to be summarised have no questions and give no items.
    """

    base = "loogle"
    about = "questions and clozes on long articles and scripts"
    metrics = ("f1", "exact_match", "substring", "ruler_all")
    sets: ClassVar[dict[str, tuple[str, ...]]] = {
        "all": ("longdep_qa*", "shortdep_*", "*test*.parquet"),
        "longdep_qa": ("longdep_qa*",),
        "shortdep_qa": ("shortdep_qa*",),
        "shortdep_cloze": ("shortdep_cloze*",),
    }

    def parse(self, row: Row, place: Place) -> Iterator[Record]:
        pairs = row["qa_pairs"]
        if isinstance(pairs, str):
            pairs = [] if pairs.lower() == "none" else ast.literal_eval(pairs)
        document = Passage(title=row["title"], text=row["input"])
        yield Record(tuple(_item(pair, document) for pair in pairs))


def _item(pair: dict[str, Any], document: Passage) -> Item:
    cloze = isinstance(pair["A"], dict)
    answers = pair["A"].values() if cloze else [pair["A"]]
    return Item(
        task=LooGLE.base,
        id=content_id(document.title, pair["Q"]),
        question=f"{_CLOZE}\n\n{pair['Q']}" if cloze else pair["Q"],
        answers=distinct(answers),
        metric="ruler_all" if cloze else "f1",
        documents=(document,),
        gold=(0,),
        evidence=() if cloze else _evidence(pair.get("S") or []),
        category="shortdep_cloze" if cloze else pair.get("type") or "shortdep_qa",
    )


def _evidence(quotes: str | list[str]) -> tuple[Evidence, ...]:
    listed = [quotes] if isinstance(quotes, str) else quotes
    return tuple(Evidence(document=0, quote=quote) for quote in listed)
