"""A reading as the page wants it: everything but the long texts, which are asked for one by one."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from palimpsest.errors import InputError, PalimpsestError
from palimpsest.memory.ledger import diff
from palimpsest.memory.reading import Reading, Turn
from palimpsest.memory.receipt import receipt_of
from palimpsest.memory.saved import MemoryFolder
from palimpsest.models.prices import Price, listed_price
from palimpsest.server.viewer.library import Entry
from palimpsest.server.viewer.steps import scans_of, steps_of


def overview(entry: Entry, reading: Reading) -> dict[str, Any]:
    """The reading with its timeline; the memory that stands is the only long text in it."""
    header = reading.header
    return {
        "id": entry.id,
        "name": entry.name,
        "kind": entry.kind,
        "header": header.model_dump(mode="json", exclude={"kind", "chunks"}),
        "chunks": header.chunks,
        "tokens": header.tokens,
        "status": reading.status,
        "end": reading.end.model_dump(exclude={"kind"}) if reading.end else None,
        "scans": scans_of(reading),
        "steps": steps_of(reading),
        "memories": [
            {
                "chunk": one.chunk,
                "tokens": one.tokens,
                "parents": one.parents,
                "reread": one.reread,
            }
            for one in reading.memories
        ],
        "memory_version": reading.memory_version,
        "turns": [_turn(turn) for turn in reading.turns],
        "pages": [page.model_dump(exclude={"kind"}) for page in reading.pages],
        "answers": [*_answers(reading), *_asked(entry, reading)],
        "receipt": receipt_of(reading, _price(reading)).model_dump(mode="json"),
    }


def memory_diff(reading: Reading, version: int, against: int | None) -> list[dict[str, str]]:
    """The lines of a version, and those of the one it is compared with that are gone.

    Raises `InputError` for a version that is not there.
    """
    texts = [_text(reading, one) for one in (against, version)]
    return [change._asdict() for change in diff(*texts)]


def check_version(reading: Reading, version: int) -> None:
    """Raises `InputError` unless the reading has that version."""
    if not 0 <= version < len(reading.memories):
        raise InputError(
            f"there is no version {version} of the memory",
            hint=f"the reading has {len(reading.memories)}, counted from 0",
        )


def turn_of(reading: Reading, number: int) -> Turn:
    """One of the turns. Raises `InputError` where there is none."""
    turns = reading.turns
    if not 0 <= number < len(turns):
        raise InputError(f"there is no turn {number}", hint=f"the reading has {len(turns)}")
    return turns[number]


def _text(reading: Reading, version: int | None) -> str:
    if version is None:
        return ""
    check_version(reading, version)
    return reading.memories[version].text


def _turn(turn: Turn) -> dict[str, Any]:
    completion = turn.completion
    return {
        "role": turn.role,
        "template": turn.prompt,
        "chunk": turn.chunk,
        "memory": turn.memory,
        "page": turn.page,
        "question": turn.question,
        "reread": turn.reread,
        "finish": completion.finish_reason,
        "prompt": completion.usage.prompt,
        "cached": completion.usage.cached,
        "completion": completion.usage.completion,
        "reasoning": completion.usage.reasoning,
        "seconds": round(completion.seconds, 3),
    }


def _answers(reading: Reading) -> list[dict[str, Any]]:
    questions = reading.header.questions
    return [
        {**one.model_dump(exclude={"kind"}), "asked": questions[one.question]}
        for one in reading.answers
    ]


def _asked(entry: Entry, reading: Reading) -> list[dict[str, Any]]:
    """What a saved memory was asked since, oldest first."""
    if entry.kind != "memory":
        return []
    asked = MemoryFolder(entry.path).asked()
    return [
        answer | {"question": None}
        for one in asked
        for answer in _answers(Reading(one.reading(reading).opening, one.records))
    ]


def _price(reading: Reading) -> Price | None:
    header = reading.header
    try:
        return listed_price(header.model, None, datetime.fromisoformat(header.created))
    except (PalimpsestError, ValueError):
        return None
