"""2WikiMultihopQA (Ho et al., 2020): questions over two to four Wikipedia paragraphs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from palimpsest.datasets.files import read_rows
from palimpsest.datasets.item import Item
from palimpsest.evals.tasks.contexts import ContextTask
from palimpsest.evals.tasks.numbered import evaluation_item, is_evaluation_row
from palimpsest.evals.tasks.paragraphs import paragraph_item, row_answers, titled_item
from palimpsest.evals.tasks.record import Place, Record, Row, distinct, is_passage, passage

ALIAS_FILES = ("id_aliases.json*",)
"""The official further names of answers, by their Wikidata ids, as published beside the rows."""


class TwoWiki(ContextTask):
    """Ten paragraphs a question, with the supporting sentences."""

    base = "2wikimultihopqa"
    about = "questions that need two to four Wikipedia paragraphs"
    metrics = ("f1", "exact_match", "substring", "two_way_substring")
    aliases = ("2wiki", "twowiki", "2wikimqa")
    sets: ClassVar[dict[str, tuple[str, ...]]] = {
        "dev": ("dev*", "*validation*"),
        "eval": ("eval_*", "memreread_eval*"),
        "pool": ("*pool*questions*",),
        "train": ("*train*",),
    }
    categories = ("compositional", "comparison", "bridge_comparison", "inference")

    def parse(self, row: Row, place: Place) -> Iterator[Record]:
        if is_passage(row):
            yield Record(passages=(passage(row),))
        elif "Q_id" in row:
            yield Record(resource=row)
        else:
            yield Record((self._item(row),))

    def questions(self, data: Path | str | None) -> Iterator[Item]:
        """As `ContextTask.questions`, with the official aliases where their file is there."""
        aliases = {
            row["Q_id"]: (*row.get("aliases", ()), *row.get("demonyms", ()))
            for path in self._find(data).files(ALIAS_FILES)
            for row in read_rows(path)
        }
        for item in super().questions(data):
            more = aliases.get(item.details.get("answer_id"), ())
            yield item.model_copy(update={"answers": distinct([*item.answers, *more])})

    def _item(self, row: Row) -> Item:
        if is_evaluation_row(row):
            return evaluation_item(row, task=self.base)
        answers = row_answers(row)
        if "context" not in row:
            return titled_item(row, row["supporting_facts"], task=self.base, answers=answers)
        item = paragraph_item(row, task=self.base, between=" ", answers=answers)
        kept = {name: row[name] for name in ("answer_id", "evidences") if row.get(name)}
        return item.model_copy(update={"details": item.details | kept})
