"""What one row of a benchmark's file holds, and where it stands."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from palimpsest.datasets.item import Item, Passage
from palimpsest.errors import InputError

Row = dict[str, Any]


class Record(NamedTuple):
    """A row as the benchmark counts them: a question, a passage, a book with its questions."""

    items: tuple[Item, ...] = ()
    passages: tuple[Passage, ...] = ()
    resource: object = None
    """Of a file that helps to make items: a word, an essay, a list of indexes."""


@dataclass(frozen=True)
class Place:
    """Where a row stands."""

    file: str
    """The path of a file, or a dataset of the hub."""
    number: int

    def __str__(self) -> str:
        return f"{self.file}, row {self.number}"


@contextmanager
def parsing(task: str, row: Row, place: Place) -> Iterator[None]:
    """Turns what parsing raises for a row of another shape into an `InputError` that names it."""
    hint = f"its fields: {', '.join(map(str, row)) or 'none'}; docs/tasks.md has the shapes"
    try:
        yield
    except KeyError as error:
        raise InputError(f"{place} is no row of {task}: no field {error}", hint=hint) from error
    except (TypeError, ValueError, LookupError, AttributeError, SyntaxError) as error:
        raise InputError(f"{place} is no row of {task}: {error}", hint=hint) from error


def distinct(answers: Iterable[object]) -> tuple[str, ...]:
    """As text, in order, each once and none that is blank."""
    texts = (str(answer).strip() for answer in answers if answer is not None)
    return tuple(dict.fromkeys(text for text in texts if text))


def content_id(*parts: str) -> str:
    """An id for a question that its benchmark gives none: the start of a SHA-256."""
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def is_passage(row: Row) -> bool:
    """Whether a row is a passage alone: `title` and `text`."""
    return "text" in row and "title" in row and "question" not in row


def passage(row: Row) -> Passage:
    return Passage(title=str(row["title"]), text=str(row["text"]))
