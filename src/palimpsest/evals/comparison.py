"""Readers compared on a user's own questions: a row for each reader and question.

Every reading is kept, so that a comparison that was stopped goes on where it was: what is
answered is taken from the store, what is not is gone on with. A reading that fails is a row with
its reason.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from palimpsest.asking import kept_reading
from palimpsest.errors import InputError, PalimpsestError
from palimpsest.evals.scoring import exact_match, f1, substring_match
from palimpsest.evals.statistics import Interval, mean_interval
from palimpsest.memory.reading import Reading
from palimpsest.memory.receipt import receipt_of
from palimpsest.memory.store import ReadingStore
from palimpsest.models.caps import Caps
from palimpsest.models.model import Model
from palimpsest.models.prices import Price
from palimpsest.readers.reader import Reader
from palimpsest.sources import Source

_SCORES: Mapping[str, Callable[[str, Sequence[str]], float]] = {
    "exact_match": exact_match,
    "f1": f1,
    "substring": substring_match,
}


class Question(BaseModel):
    """A question, and the answers that are accepted where they are known."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    question: str
    answers: tuple[str, ...] = ()


class Row(BaseModel):
    """How one reader did with one question."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reader: str
    """As it was named."""
    id: str
    question: str
    answers: tuple[str, ...]
    answer: str = ""
    """Empty for a reading that failed."""
    status: str
    reason: str = ""
    """Why it failed, or is of a part of the source."""
    scores: dict[str, float] | None = None
    """0 all over for a reading that failed; None where no answer is known."""
    calls: int = 0
    prompt: int = 0
    """Tokens in."""
    completion: int = 0
    """Tokens out."""
    seconds: float = 0.0
    """Of the model."""
    cost: float | None = None
    """US dollars; None where no price is known."""


class Standing(BaseModel):
    """How one reader did over all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reader: str
    questions: int
    failed: int
    scores: dict[str, Interval]
    """Means with their 95% intervals over the questions whose answers are known."""
    calls: int
    prompt: int
    completion: int
    seconds: float
    cost: float | None


def load_questions(path: Path) -> list[Question]:
    """The questions of a JSON Lines file: objects with a `question`, and `answers` (a list, or
    `answer`, one text) where they are known. Raises `InputError` naming the line of a bad one."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}", hint="give a JSON Lines file of questions") from error
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        raise InputError(f"{path} holds no question", hint='one {"question": "..."} a line')
    return [_question(line, number, f"{path}:{number}") for number, line in numbered]


async def compare(
    source: Source,
    questions: Sequence[Question],
    readers: Mapping[str, Reader],
    model: Model,
    store: ReadingStore,
    *,
    price: Price | None = None,
    caps: Caps | None = None,
    on_row: Callable[[Row], None] | None = None,
) -> list[Row]:
    """Reads the source with each reader for each question. `caps` are for each reading alone."""
    rows = []
    for name, reader in readers.items():
        for question in questions:
            row = await _row(source, question, name, reader, model, store, price, caps)
            rows.append(row)
            if on_row:
                on_row(row)
    return rows


def standings(rows: Sequence[Row]) -> list[Standing]:
    """The rows of each reader taken together, readers in the order in which they come."""
    names = dict.fromkeys(row.reader for row in rows)
    return [_standing(name, [row for row in rows if row.reader == name]) for name in names]


def _question(line: str, number: int, place: str) -> Question:
    try:
        row = json.loads(line)
        given = row.get("answers", row.get("answer", ()))
        answers = (given,) if isinstance(given, str | int | float) else tuple(given)
        text = row["question"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{place}: no question: {error!r}", hint='one {"question": "..."} a line'
        ) from error
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{place}: the question is empty", hint="ask something, or remove it")
    return Question(
        id=str(row.get("id", number)), question=text, answers=tuple(str(one) for one in answers)
    )


async def _row(
    source: Source, question: Question, name: str, reader: Reader, model: Model,
    store: ReadingStore, price: Price | None, caps: Caps | None,
) -> Row:  # fmt: skip
    about = {
        "reader": name,
        "id": question.id,
        "question": question.question,
        "answers": question.answers,
    }
    try:
        found = store.answered(reader.key(source, question.question, model))
        reading = (
            found[0]
            if found
            else await kept_reading(store, reader, source, question.question, model, caps=caps)
        )
    except PalimpsestError as error:
        return Row(**about, status="failed", reason=str(error), scores=_scores("", question))
    except Exception as error:  # a fault in one reading must not lose the others
        reason = f"a fault of the program: {type(error).__name__}: {error}"
        return Row(**about, status="failed", reason=reason, scores=_scores("", question))
    return Row(**about, **_told(reading, question, price))


def _told(reading: Reading, question: Question, price: Price | None) -> dict[str, Any]:
    receipt = receipt_of(reading, price)
    answer = "" if reading.status == "failed" else reading.answer
    return {
        "answer": answer,
        "status": reading.status,
        "reason": reading.end.reason if reading.end else "",
        "scores": _scores(answer, question),
        "calls": receipt.totals.calls,
        "prompt": receipt.totals.usage.prompt,
        "completion": receipt.totals.usage.completion,
        "seconds": receipt.totals.seconds,
        "cost": receipt.cost,
    }


def _scores(answer: str, question: Question) -> dict[str, float] | None:
    if not question.answers:
        return None
    return {name: score(answer, question.answers) for name, score in _SCORES.items()}


def _standing(name: str, rows: Sequence[Row]) -> Standing:
    scored = [row.scores for row in rows if row.scores is not None]
    costs = [row.cost for row in rows if row.cost is not None]
    return Standing(
        reader=name,
        questions=len(rows),
        failed=sum(row.status == "failed" for row in rows),
        scores={
            score: mean_interval([scores[score] for scores in scored])
            for score in _SCORES
            if scored
        },
        calls=sum(row.calls for row in rows),
        prompt=sum(row.prompt for row in rows),
        completion=sum(row.completion for row in rows),
        seconds=sum(row.seconds for row in rows),
        cost=sum(costs) if costs else None,
    )
