"""Natural Questions: what people typed into a search engine, answered from Wikipedia.

NQ-open (Lee et al., 2019) has questions and short answers alone; Lost in the Middle (Liu et al.,
2023) gives passages with the annotated one marked; L-Eval gives whole pages.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from palimpsest.datasets.item import Item, Passage
from palimpsest.evals.tasks.contexts import ContextTask
from palimpsest.evals.tasks.numbered import evaluation_item, is_evaluation_row
from palimpsest.evals.tasks.record import (
    Place,
    Record,
    Row,
    content_id,
    distinct,
    is_passage,
    passage,
)
from palimpsest.evals.tasks.retrieved import open_item


class NaturalQuestions(ContextTask):
    """Open questions, with a gold passage, with retrieved ones, or without any."""

    base = "nq"
    about = "search engine questions answered by one Wikipedia passage"
    metrics = ("f1", "exact_match", "substring", "two_way_substring")
    aliases = ("naturalquestions", "nq_open")
    sets: ClassVar[dict[str, tuple[str, ...]]] = {
        "gold": ("*gold_passages*", "nq-open-oracle*"),
        "positions": ("nq-open-*_total_documents*",),
        "retrieved": ("*retrieved*",),
        "open": ("nq_open*", "nq-open*", "*validation*", "dev*", "test*"),
        "eval": ("eval_*",),
        "pages": ("*leval*", "natural_question*"),
    }

    def parse(self, row: Row, place: Place) -> Iterator[Record]:
        if is_passage(row):
            yield Record(passages=(passage(row),))
        elif "instructions" in row:
            yield Record(_page_items(row))
        elif is_evaluation_row(row):
            yield Record((evaluation_item(row, task=self.base),))
        elif "ctxs" in row:
            yield Record((_marked_item(row),))
        else:
            answers = row["golden_answers"] if "golden_answers" in row else row["answer"]
            yield Record((open_item(row, task=self.base, answers=distinct(answers)),))


def _marked_item(row: Row) -> Item:
    """Of Lost in the Middle: `ctxs` with the annotated passage marked `isgold`."""
    documents: list[dict[str, Any]] = row["ctxs"]
    return Item(
        task=NaturalQuestions.base,
        id=content_id(row["question"]),
        question=row["question"],
        answers=distinct(row["answers"]),
        documents=tuple(passage(document) for document in documents),
        gold=tuple(n for n, document in enumerate(documents) if document.get("isgold")),
    )


def _page_items(row: Row) -> tuple[Item, ...]:
    """Of L-Eval: a whole page, and a few questions on it."""
    title = row["input"].partition(" - wikipedia")[0]
    page_id = content_id(row["input"])
    page = Passage(title=title if len(title) < 200 else "page", text=row["input"])
    return tuple(
        Item(
            task=NaturalQuestions.base,
            id=f"{page_id}-{number}",
            question=question,
            answers=distinct([answer]),
            documents=(page,),
            gold=(0,),
            category="pages",
        )
        for number, (question, answer) in enumerate(
            zip(row["instructions"], row["outputs"], strict=True)
        )
    )
