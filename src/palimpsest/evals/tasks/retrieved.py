"""Open questions, whose passages, if there are any, were retrieved rather than annotated."""

from __future__ import annotations

from typing import Any

from palimpsest.datasets.item import Item, Passage
from palimpsest.evals.scoring import normalize
from palimpsest.evals.tasks.record import Row, content_id


def open_item(row: Row, *, task: str, answers: tuple[str, ...]) -> Item:
    """An item with the row's retrieved passages, if it has any, under `passages` or `context`.

    Gold is each passage that holds an accepted answer as whole words: the best evidence at hand,
    and no more than that.
    """
    documents = tuple(_passage(found) for found in row.get("passages") or row.get("context") or ())
    return Item(
        task=task,
        id=str(row.get("id") or row.get("question_id") or content_id(row["question"])),
        question=row["question"],
        answers=answers,
        documents=documents,
        gold=holding(documents, answers),
    )


def holding(documents: tuple[Passage, ...], answers: tuple[str, ...]) -> tuple[int, ...]:
    """Places of the documents whose text holds one of the answers as whole words."""
    wanted = [f" {answer} " for answer in map(normalize, answers) if answer]
    texts = [f" {normalize(document.text)} " for document in documents]
    return tuple(n for n, text in enumerate(texts) if any(answer in text for answer in wanted))


def _passage(found: dict[str, Any]) -> Passage:
    return Passage(title=found["title"], text=found["text"])
