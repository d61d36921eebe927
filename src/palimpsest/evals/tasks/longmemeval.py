"""LongMemEval (Wu et al., 2024): questions to an assistant on its earlier chats with a user."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any, ClassVar, NamedTuple

from palimpsest.datasets.item import Evidence, Item, Passage
from palimpsest.evals.tasks.record import Place, Record, Row, distinct
from palimpsest.evals.tasks.task import Task

Turn = dict[str, Any]


class LongMemEval(Task):
    """Each session is a document, titled with its date; the date of the question stands in it.

    The paper has a model judge the answers; here they are scored as words, which says little of
    the category `single-session-preference`, whose answers describe what a good reply would heed.
    A question that someone added to a haystack of the benchmark's has the category `added`.
    """

    base = "longmemeval"
    about = "questions on a user's earlier sessions with an assistant"
    metrics = ("f1", "substring", "exact_match", "abstain")
    sets: ClassVar[dict[str, tuple[str, ...]]] = {
        "s": ("longmemeval_s*", "s_haystack*"),
        "m": ("longmemeval_m*", "m_*"),
        "oracle": ("longmemeval_oracle*", "oracle*"),
        "abstain": ("abstain*",),
    }
    categories = (
        "single-session-user",
        "single-session-assistant",
        "single-session-preference",
        "multi-session",
        "temporal-reasoning",
        "knowledge-update",
    )

    def parse(self, row: Row, place: Place) -> Iterator[Record]:
        if "conversation" in row:
            yield Record(_flat_items(row))
        else:
            yield Record((_item(row),))


def _item(row: Row) -> Item:
    """Of the official layout, or of one with further `questions` on the same sessions."""
    asked = _asked(row)
    sessions: list[list[Turn]] = row["haystack_sessions"]
    dates, ids = row["haystack_dates"], row["haystack_session_ids"]
    parts = zip(dates, sessions, strict=True)
    abstain = row["question_id"].endswith("_abs")
    return Item(
        task=LongMemEval.base,
        id=row["question_id"],
        question=_dated(asked.question, row.get("question_date")),
        answers=() if abstain else distinct([asked.answer]),
        metric="abstain" if abstain else "f1",
        documents=tuple(_document(n, date, turns) for n, (date, turns) in enumerate(parts, 1)),
        gold=tuple(place for place, id in enumerate(ids) if id in asked.sessions),
        evidence=tuple(_evidence(sessions)),
        category="added" if asked.added else row["question_type"],
        details={"reference": str(asked.answer)} if abstain else {},
    )


class Asked(NamedTuple):
    question: str
    answer: Any
    sessions: list[str]
    """Those of the answer."""
    added: bool = False


def _asked(row: Row) -> Asked:
    """What a row asks: of several questions the benchmark's own, or else the first.

    The benchmark's are answered by sessions that were written for them, which have names of
    their own.
    """
    if "questions" not in row:
        return Asked(row["question"], row["answer"], row["answer_session_ids"])
    several = list(zip(row["questions"], row["answers"], row["answer_session_ids"], strict=True))
    own = (one for one in several if all(id.startswith("answer_") for id in one[2]))
    found = next(own, None)
    return Asked(*found) if found else Asked(*several[0], added=True)


def _dated(question: str, date: str | None) -> str:
    return f"Today is {date}. {question}" if date else question


def _document(number: int, date: str, turns: list[Turn]) -> Passage:
    text = "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)
    return Passage(title=f"Session {number}, {date}", text=text)


def _evidence(sessions: list[list[Turn]]) -> Iterator[Evidence]:
    for place, turns in enumerate(sessions):
        for turn in turns:
            if turn.get("has_answer"):
                yield Evidence(document=place, quote=turn["content"])


def _flat_items(row: Row) -> tuple[Item, ...]:
    """Of a conversation in one list of dated turns; those of one date are a session."""
    dated = groupby(row["conversation"], key=lambda turn: turn["date"])
    documents = tuple(_document(n, date, list(turns)) for n, (date, turns) in enumerate(dated, 1))
    return tuple(_flat_item(row, question, documents) for question in row["questions"])


def _flat_item(row: Row, question: dict[str, Any], documents: tuple[Passage, ...]) -> Item:
    abstain = bool(question.get("is_abstention")) or row["id"].endswith("_abs")
    return Item(
        task=LongMemEval.base,
        id=f"{row['id']}-{question['id']}",
        question=question["question"],
        answers=() if abstain else distinct([question["answer"]]),
        metric="abstain" if abstain else "f1",
        documents=documents,
        category=row["question_type"],
        details={"reference": str(question["answer"])} if abstain else {},
    )
