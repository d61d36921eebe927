"""Contexts written as numbered documents, and the rows in which the papers' evaluations keep them.

MemAgent, MemOCR and MemReread write `Document 1:`, a line end, title and text, documents apart by
a blank line; LongBench and RULER have the same with `Passage` or `Paragraph`.
"""

from __future__ import annotations

import re

from palimpsest.datasets.item import Item, Passage
from palimpsest.evals.tasks.record import Row, content_id, distinct

_KEPT = ("level", "num_docs", "min_distance", "is_ordered", "is_reverse_ordered", "target_length")


def numbered_documents(context: str, word: str = "Document") -> tuple[Passage, ...]:
    """The documents of a numbered context.

    The line after a number is a title where more lines follow it; any other document is titled
    `Document 3`. Where no document 1 begins a line, the context is one document.
    """
    headings = _headings(context, word)
    if not headings:
        return (Passage(title="context", text=context),)
    ends = [heading.start() for heading in headings[1:]] + [len(context)]
    return tuple(
        _document(heading, context[heading.end() : end].strip())
        for heading, end in zip(headings, ends, strict=True)
    )


def _headings(context: str, word: str) -> list[re.Match[str]]:
    """In their order, as far as they are numbered 1, 2, 3 and so on: a text may speak of others."""
    headings: list[re.Match[str]] = []
    for match in re.finditer(rf"^({word} (\d+)):( |\n|$)", context, re.MULTILINE):
        if int(match[2]) == len(headings) + 1:
            headings.append(match)
    return headings


def _document(heading: re.Match[str], body: str) -> Passage:
    title, line_end, text = body.partition("\n")
    if heading[3] == "\n" and line_end:
        return Passage(title=title, text=text)
    return Passage(title=heading[1], text=body)


def is_evaluation_row(row: Row) -> bool:
    """Whether it has the fields of the papers' `eval_{n}.json`."""
    return {"input", "context", "answers"} <= row.keys() and isinstance(row["context"], str)


def evaluation_item(row: Row, *, task: str, metric: str = "f1") -> Item:
    """Of a row `{context, input, answers, ...}`, gold by its 0-based `evidence_idx`."""
    documents = numbered_documents(row["context"])
    places = row.get("evidence_idx") or ()
    return Item(
        task=task,
        id=_id(row),
        question=row["input"],
        answers=distinct(_listed(row["answers"])),
        metric=metric,
        documents=documents,
        gold=tuple(sorted({place for place in places if 0 <= place < len(documents)})),
        category=str(row.get("type") or ""),
        details={name: row[name] for name in _KEPT if row.get(name) is not None},
    )


def _id(row: Row) -> str:
    given = row.get("id") or row.get("_id")
    return str(given) if given else content_id(row["input"])


def _listed(answers: object) -> list[object]:
    """Some files have one answer in place of a list."""
    return answers if isinstance(answers, list) else [answers]
