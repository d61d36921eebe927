"""MuSiQue (Trivedi et al., 2022): questions composed of two to four single steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from palimpsest.datasets.item import Item, Passage
from palimpsest.evals.tasks.contexts import ContextTask
from palimpsest.evals.tasks.numbered import evaluation_item, is_evaluation_row
from palimpsest.evals.tasks.record import Place, Record, Row, distinct, is_passage, passage


class MuSiQue(ContextTask):
    """Twenty paragraphs a question; in the full set, half of the questions have no answer."""

    base = "musique"
    about = "questions of two to four steps over Wikipedia paragraphs"
    metrics = ("f1", "exact_match", "substring", "two_way_substring", "abstain")
    sets: ClassVar[dict[str, tuple[str, ...]]] = {
        "answerable": ("*ans*dev*", "dev*", "*validation*"),
        "full": ("*full*dev*",),
        "eval": ("eval_*",),
        "train": ("*train*",),
    }
    categories = ("2hop", "3hop", "4hop")

    def parse(self, row: Row, place: Place) -> Iterator[Record]:
        if is_passage(row):
            yield Record(passages=(passage(row),))
        elif is_evaluation_row(row):
            yield Record((evaluation_item(row, task=self.base),))
        else:
            yield Record((self._item(row),))

    def _item(self, row: Row) -> Item:
        paragraphs = row["paragraphs"]
        answerable = row.get("answerable", True)
        answers = distinct([row["answer"], *(row.get("answer_aliases") or ())])
        return Item(
            task=self.base,
            id=row["id"],
            question=row["question"],
            answers=answers if answerable else (),
            metric="f1" if answerable else "abstain",
            documents=tuple(
                Passage(title=p["title"], text=p["paragraph_text"]) for p in paragraphs
            ),
            gold=tuple(n for n, p in enumerate(paragraphs) if p["is_supporting"]),
            category=row["id"][: len("2hop")],
            details={"decomposition": row.get("question_decomposition") or []},
        )
