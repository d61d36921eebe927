"""How a job comes out: it is read, its answers are scored at every budget, what it took is told.

Whatever goes wrong in a reading becomes a result with its reason and scores of 0, so that it
stays in the denominator.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from palimpsest.asking import kept_reading
from palimpsest.errors import PalimpsestError
from palimpsest.evals.job import Job
from palimpsest.evals.run import ItemResult, Scored
from palimpsest.evals.scoring import VERIFIERS, score
from palimpsest.memory.reading import Answer, End, Reading, Turn, utc_now
from palimpsest.memory.receipt import receipt_of
from palimpsest.memory.store import ReadingStore
from palimpsest.models.caps import Caps
from palimpsest.models.model import Model
from palimpsest.readers.closed import ClosedBook
from palimpsest.readers.drafting import MemoryReader
from palimpsest.sources import Source

_SURROGATES = re.compile("[\ud800-\udfff]")
_ANSWERING = ("final", "read")
"""Roles of the turns that answer."""


class Kept(NamedTuple):
    """A reading in a store."""

    reading: Reading
    folder: str
    """Its name there."""


class _Answered(NamedTuple):
    prediction: str
    completion: str
    """The whole text from which the prediction was parsed."""


async def read_job(
    job: Job,
    model: Model,
    store: ReadingStore,
    *,
    caps: Caps | None = None,
    on_start: Callable[[Reading], None] | None = None,
) -> ItemResult:
    """The result of a job. A reading that was begun before is gone on with, and one that was
    answered is taken as it is. Nothing that goes wrong is raised."""
    begun: list[Kept] = []

    def start(reading: Reading, folder: Path) -> None:
        begun.append(Kept(reading, folder.name))
        if on_start:
            on_start(reading)

    try:
        source, question = source_of(job), _writable(job.item.question)
        if found := store.answered(job.reader.key(source, question, model)):
            begun.append(Kept(found[0], found[1].name))
        else:
            await kept_reading(
                store, job.reader, source, question, model, caps=caps, on_start=start
            )
    except PalimpsestError as error:
        return failed_result(job, str(error), error, *begun)
    except Exception as error:  # a fault in one reading must not lose the others
        reason = f"a fault of the program: {type(error).__name__}: {error}"
        return failed_result(job, reason, error, *begun)
    kept = begun[-1]
    assert kept.reading.end
    return _result(job, kept.reading.end, kept)


def failed_result(job: Job, reason: str, error: Exception, *begun: Kept) -> ItemResult:
    """The result of a job that came to no end, with what the reading begun last took."""
    end = End(status="failed", reason=reason, error=type(error).__name__)
    return _result(job, end, begun[-1] if begun else None)


def source_of(job: Job) -> Source:
    """What is read; the closed book needs no context. Raises `InputError` where there is none."""
    if isinstance(job.reader, ClosedBook) and not job.item.documents:
        return Source.from_text(_writable(job.item.question))
    return job.item.source()


def _result(job: Job, end: End, kept: Kept | None) -> ItemResult:
    item = job.item
    reading = kept.reading if kept else None
    failed = end.status == "failed"
    return ItemResult(
        key=job.key,
        task=item.task,
        id=item.id,
        category=item.category,
        length=job.length,
        seed=job.seed,
        question=_writable(item.question),
        accepted=tuple(map(_writable, item.answers)),
        metric=item.metric,
        status=end.status,
        reason=_writable(end.reason),
        error=end.error,
        answers=_scored(job, None if failed else reading),
        reading=kept.folder if kept else "",
        finished=utc_now(),
        **(_taken(job, reading) if reading else {}),
    )


def _taken(job: Job, reading: Reading) -> dict[str, Any]:
    """What a reading was of and what it took."""
    receipt = receipt_of(reading, job.price)
    usage = receipt.totals.usage
    return {
        "source_tokens": reading.header.tokens,
        "memory_tokens": _memory_tokens(job, reading),
        "chunks": len(reading.header.chunks),
        "calls": receipt.totals.calls,
        "prompt": usage.prompt,
        "cached": usage.cached,
        "completion": usage.completion,
        "seconds": receipt.totals.seconds,
        "cost": receipt.cost,
    }


def _memory_tokens(job: Job, reading: Reading) -> int | None:
    if not isinstance(job.reader, MemoryReader):
        return None
    version = reading.memory_version
    return 0 if version is None else reading.memories[version].tokens


def _scored(job: Job, reading: Reading | None) -> tuple[Scored, ...]:
    """The answer at each budget; nothing but zeros without a reading."""
    metrics = dict.fromkeys((*job.metrics, job.item.metric))
    if reading is None:
        nothing = dict.fromkeys(metrics, 0.0)
        return tuple(Scored(budget=one, prediction="", scores=nothing) for one in job.budgets)
    answers = _answers(reading)
    return tuple(
        _scored_at(job, budget, answers.get(budget, _Answered("", "")), tuple(metrics))
        for budget in job.budgets
    )


def _scored_at(
    job: Job, budget: int | None, answered: _Answered, metrics: tuple[str, ...]
) -> Scored:
    scores = {
        name: score(
            name,
            answered.completion if name in VERIFIERS else answered.prediction,
            job.item.answers,
        )
        for name in metrics
    }
    return Scored(budget=budget, prediction=_writable(answered.prediction), scores=scores)


def _answers(reading: Reading) -> dict[int | None, _Answered]:
    """The last answer at each budget."""
    completion = ""
    answers: dict[int | None, _Answered] = {}
    for record in reading.records:
        if isinstance(record, Turn) and record.role in _ANSWERING:
            completion = record.completion.text
        elif isinstance(record, Answer):
            answers[record.budget] = _Answered(record.text, completion)
    return answers


def _writable(text: str) -> str:
    """Without the lone surrogates that no file can hold."""
    return _SURROGATES.sub("\ufffd", text)
