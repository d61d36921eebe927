"""Rows of HotpotQA and 2WikiMultihopQA: paragraphs of sentences, and facts that support an answer.

The official files hold pairs (`context: [[title, [sentence]]]`, `supporting_facts: [[title,
sentence number]]`), the hub columns (`context: {title: [], sentences: [[]]}`, `supporting_facts:
{title: [], sent_id: []}`); in some copies either is JSON in a string.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from palimpsest.datasets.item import Evidence, Item, Passage
from palimpsest.evals.tasks.record import Row, distinct

_Table = str | dict[str, list[Any]] | list[list[Any]]


class Paragraph(NamedTuple):
    title: str
    sentences: list[str]


class Fact(NamedTuple):
    title: str
    sentence: int


def paragraph_item(row: Row, *, task: str, between: str, answers: tuple[str, ...]) -> Item:
    """An item of a row with a context; `between` stands between the sentences of a paragraph.

    Sentence numbers past the end of their paragraph, as both benchmarks have some, give no
    evidence. Titles of facts that are not in the context stand in `details["missing"]`.
    """
    paragraphs, facts = _paragraphs(row["context"]), _facts(row.get("supporting_facts") or [])
    places: dict[str, int] = {}
    for place, paragraph in enumerate(paragraphs):
        places.setdefault(paragraph.title, place)
    wanted = dict.fromkeys(fact.title for fact in facts)
    missing = [title for title in wanted if title not in places]
    details = {"level": row["level"]} if row.get("level") else {}
    return Item(
        task=task,
        id=row_id(row),
        question=row["question"],
        answers=answers,
        documents=tuple(Passage(title=p.title, text=between.join(p.sentences)) for p in paragraphs),
        gold=tuple(sorted(places[title] for title in wanted if title in places)),
        evidence=_evidence(facts, paragraphs, places),
        category=str(row.get("type") or ""),
        details=details | ({"missing": missing} if missing else {}),
    )


def titled_item(row: Row, titles: list[str], *, task: str, answers: tuple[str, ...]) -> Item:
    """An item of a question that names its gold passages by title, without a context; the titles
    stand in `details["gold_titles"]`."""
    return Item(
        task=task,
        id=row_id(row),
        question=row["question"],
        answers=answers,
        category=str(row.get("type") or ""),
        details={"gold_titles": list(dict.fromkeys(titles))},
    )


def row_id(row: Row) -> str:
    """Of a row that must have one, as `_id` or `id`."""
    return str(row["_id"] if "_id" in row else row["id"])


def row_answers(row: Row) -> tuple[str, ...]:
    return distinct([row["answer"], *(row.get("answer_aliases") or ())])


def _paragraphs(context: _Table) -> list[Paragraph]:
    return [Paragraph(title, list(sentences)) for title, sentences in _pairs(context, "sentences")]


def _facts(supporting: _Table) -> list[Fact]:
    return [Fact(title, int(sentence)) for title, sentence in _pairs(supporting, "sent_id")]


def _pairs(table: _Table, second: str) -> list[tuple[str, Any]]:
    """Title and one more, of pairs, of columns, or of either as JSON."""
    plain = json.loads(table) if isinstance(table, str) else table
    if isinstance(plain, dict):
        return list(zip(plain["title"], plain[second], strict=True))
    return [(title, value) for title, value in plain]


def _evidence(
    facts: list[Fact], paragraphs: list[Paragraph], places: dict[str, int]
) -> tuple[Evidence, ...]:
    found = []
    for title, sentence in facts:
        place = places.get(title)
        if place is not None and 0 <= sentence < len(paragraphs[place].sentences):
            quote = paragraphs[place].sentences[sentence].strip()
            found.append(Evidence(document=place, quote=quote))
    return tuple(found)
