"""TriviaQA (Joshi et al., 2017): quiz questions with many spellings of each answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from palimpsest.datasets.item import Item, Passage
from palimpsest.evals.tasks.contexts import ContextTask
from palimpsest.evals.tasks.numbered import evaluation_item, is_evaluation_row
from palimpsest.evals.tasks.record import Place, Record, Row, distinct, is_passage, passage
from palimpsest.evals.tasks.retrieved import holding, open_item

_ANSWERS = ("golden_answers", "answers", "ground_truth")


class TriviaQA(ContextTask):
    """Quiz questions with retrieved pages, where the file holds them.

    The official JSON names its pages by file and holds no text of them; its questions are read as
    open ones.
    """

    base = "triviaqa"
    about = "quiz questions with all spellings of their answers"
    metrics = ("f1", "exact_match", "substring", "two_way_substring")
    aliases = ("trivia_qa",)
    sets: ClassVar[dict[str, tuple[str, ...]]] = {
        "retrieved": ("retrieved*",),
        "pages": ("*validation*", "*wikipedia-dev*", "*web-dev*", "verified-*", "dev*"),
        "open": ("*unfiltered*dev*", "test*"),
        "retrievalqa": ("retrievalqa*",),
        "eval": ("eval_*",),
        "train": ("*train*",),
    }

    def parse(self, row: Row, place: Place) -> Iterator[Record]:
        if is_passage(row):
            yield Record(passages=(passage(row),))
        elif is_evaluation_row(row):
            yield Record((evaluation_item(row, task=self.base),))
        elif "Answer" in row:
            yield Record((_official_item(row),))
        elif isinstance(row.get("answer"), dict):
            yield Record((_hub_item(row),))
        else:
            field = next((name for name in _ANSWERS if name in row), _ANSWERS[0])
            answers = distinct(row[field])
            yield Record((open_item(row, task=self.base, answers=answers),))


def _official_item(row: Row) -> Item:
    answer = row["Answer"]
    aliases = [*(answer.get("Aliases") or ()), *(answer.get("HumanAnswers") or ())]
    return Item(
        task=TriviaQA.base,
        id=row["QuestionId"],
        question=row["Question"],
        answers=distinct([answer["Value"], *aliases]),
        category=str(row.get("QuestionSource") or ""),
    )


def _hub_item(row: Row) -> Item:
    """Of the hub: pages as columns under `entity_pages` and `search_results`."""
    pages, results = row.get("entity_pages") or {}, row.get("search_results") or {}
    documents = _columns(pages, "wiki_context") + _columns(results, "search_context")
    answers = distinct([row["answer"]["value"], *(row["answer"].get("aliases") or ())])
    return Item(
        task=TriviaQA.base,
        id=row["question_id"],
        question=row["question"],
        answers=answers,
        documents=documents,
        gold=holding(documents, answers),
    )


def _columns(table: dict[str, Any], text: str) -> tuple[Passage, ...]:
    pairs = zip(table.get("title") or (), table.get(text) or (), strict=True)
    return tuple(Passage(title=title, text=body) for title, body in pairs)
