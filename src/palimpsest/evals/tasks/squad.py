"""SQuAD 1.1 and 2.0 (Rajpurkar et al., 2016 and 2018): questions on one Wikipedia paragraph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from palimpsest.datasets.item import Item, Passage
from palimpsest.evals.tasks.contexts import ContextTask
from palimpsest.evals.tasks.record import Place, Record, Row, distinct, is_passage, passage


class SQuAD(ContextTask):
    """A paragraph a question; in 2.0 the paragraph answers only half of them.

    The paragraph of a question without an answer is its gold document too: it is what makes the
    question hard, and so belongs into every context built for it.
    """

    base = "squad"
    about = "questions on one Wikipedia paragraph, half of them without an answer in 2.0"
    metrics = ("f1", "exact_match", "substring", "abstain")
    aliases = ("squad_v2", "squad2")
    sets: ClassVar[dict[str, tuple[str, ...]]] = {
        "dev": ("dev*", "*validation*"),
        "train": ("*train*",),
    }
    categories = ("answerable", "unanswerable")

    def parse(self, row: Row, place: Place) -> Iterator[Record]:
        """Of an article of the official file, or of one question, as on the hub."""
        if is_passage(row):
            yield Record(passages=(passage(row),))
        elif "paragraphs" in row:
            for paragraph in row["paragraphs"]:
                for question in paragraph["qas"]:
                    answers = [answer["text"] for answer in question["answers"]]
                    yield _record(question, answers, row["title"], paragraph["context"])
        else:
            yield _record(row, row["answers"]["text"], row["title"], row["context"])


def _record(question: dict[str, Any], answers: list[str], title: str, context: str) -> Record:
    answerable = bool(answers) and not question.get("is_impossible", False)
    item = Item(
        task=SQuAD.base,
        id=question["id"],
        question=question["question"],
        answers=distinct(answers) if answerable else (),
        metric="f1" if answerable else "abstain",
        documents=(Passage(title=title.replace("_", " "), text=context),),
        gold=(0,),
        category="answerable" if answerable else "unanswerable",
    )
    return Record((item,))
