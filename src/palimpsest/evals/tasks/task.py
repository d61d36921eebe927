"""A benchmark as questions with something to read: the one interface of every task.

    task = find_task("hotpotqa")
    async for item in task.items("data/", tokenizer, tokens=32_768, limit=20): ...

A task reads its benchmark's own files. Which of them is settled by name: a folder may hold
several sets of questions (development, training, oracle), of which the first in the task's order
that is there counts, unless a part (`hotpotqa:train`) or a file is named.
"""

from __future__ import annotations

import hashlib
import heapq
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Self

from palimpsest.datasets.files import read_rows
from palimpsest.datasets.hub import hub_rows
from palimpsest.datasets.item import Item
from palimpsest.errors import ConfigurationError, InputError
from palimpsest.evals.tasks.finding import Data, belongs, find_data
from palimpsest.evals.tasks.record import Place, Record, Row, parsing
from palimpsest.sources import Tokenizer

_log = logging.getLogger(__name__)


class Task(ABC):
    """A benchmark whose contexts are fixed."""

    base: ClassVar[str]
    """The benchmark's name."""
    about: ClassVar[str]
    """What it asks, in a line."""
    metrics: ClassVar[tuple[str, ...]]
    """The headline first; an item's own `metric` may be another of them."""
    aliases: ClassVar[tuple[str, ...]] = ()
    """Further names, of the task and of its folder."""
    sets: ClassVar[Mapping[str, tuple[str, ...]]]
    """Sets of questions, each with the patterns of its files, the preferred first."""
    resource_folders: ClassVar[tuple[str, ...]] = ()
    """Folders beside its own with files that help to make items."""
    categories: ClassVar[tuple[str, ...]] = ()
    """Those of its items' categories that can be asked for alone."""

    def __init__(self, part: str = "") -> None:
        if part and part not in self.parts():
            parts = ", ".join(self.parts()) or "none"
            raise ConfigurationError(f"{self.base} has no part {part}", hint=f"its parts: {parts}")
        self.part = part

    @property
    def name(self) -> str:
        """As it is asked for: `longbench`, `longbench:qasper`."""
        return f"{self.base}:{self.part}" if self.part else self.base

    @classmethod
    def folders(cls) -> tuple[str, ...]:
        """Names its own folder may have."""
        return (cls.base, *cls.aliases)

    @classmethod
    def owns(cls, path: Path) -> bool:
        """Whether a file is the task's, by the folders it lies in."""
        return belongs(path, (*cls.folders(), *cls.resource_folders))

    @classmethod
    def parts(cls) -> tuple[str, ...]:
        """What can be asked for alone: `longmemeval:oracle`, `locomo:temporal`."""
        return (*cls.sets, *(one for one in cls.categories if one not in cls.sets))

    def only(self, part: str) -> Self:
        """The task with one of its parts alone, or whole for an empty one; a new one each time."""
        return type(self)(part)

    @abstractmethod
    def parse(self, row: Row, place: Place) -> Iterator[Record]:
        """What a row of its files holds; a row with many questions gives many records where
        the benchmark counts questions."""

    def rows(self, path: Path) -> Iterator[Record]:
        """All that one of the task's files holds, a record for each row."""
        yield from self._records(str(path), read_rows(path))

    def questions(self, data: Path | str | None) -> Iterator[Item]:
        """Its items with their contexts as the benchmark gives them, in the files' order."""
        for record in self._question_records(self._find(data)):
            yield from (item for item in record.items if self._wanted(item))

    async def items(
        self,
        data: Path | str | None,
        tokenizer: Tokenizer,
        *,
        tokens: int | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Item]:
        """The questions with their contexts.

        A `limit` takes those whose SHA-256 of task and id comes first, in that order: a fair
        sample, the same on any machine and at any length, and one of 20 is part of one of 50.
        Without a limit all come in the files' order. Raises `ConfigurationError` for a length
        in `tokens` where the benchmark's contexts are fixed.
        """
        if tokens is not None:
            raise ConfigurationError(
                f"the contexts of {self.base} are fixed", hint="leave out --lengths"
            )
        for item in choose(self.questions(data), limit):
            yield item

    def _find(self, data: Path | str | None) -> Data:
        return find_data(data, self.name, self.folders())

    def _question_records(self, data: Data) -> Iterator[Record]:
        if data.hub:
            return self._records(str(data.hub), hub_rows(data.hub))
        paths = [data.file] if data.file else self._question_files(data)
        return (record for path in paths for record in self.rows(path))

    def _question_files(self, data: Data) -> list[Path]:
        sets = [self.part] if self.part in self.sets else list(self.sets)
        for name in sets:
            if found := data.files(self.sets[name]):
                _log.info("%s: set %s of %s", self.name, name, data.folder)
                return found
        patterns = ", ".join(pattern for name in sets for pattern in self.sets[name])
        raise InputError(
            f"{data.given} holds no questions of {self.name}",
            hint=f"give a file, or a folder with files named {patterns}",
        )

    def _records(self, origin: str, rows: Iterable[Row]) -> Iterator[Record]:
        for number, row in enumerate(rows, start=1):
            place = Place(origin, number)
            with parsing(self.base, row, place):
                records = list(self.parse(row, place))
            yield from records

    def _wanted(self, item: Item) -> bool:
        return self.part not in self.categories or item.category == self.part


def choose(items: Iterable[Item], limit: int | None) -> Iterator[Item]:
    """All of the items, or the first `limit` by the hash of task and id."""
    if limit is None:
        yield from items
    else:
        yield from heapq.nsmallest(limit, items, key=rank)


def rank(item: Item) -> str:
    """The place of an item in the order in which limits take them."""
    return hashlib.sha256(f"{item.task}\x1f{item.id}".encode("utf-8", "surrogatepass")).hexdigest()


async def make_each(task: str, making: Iterable[Awaitable[Item]]) -> AsyncIterator[Item]:
    """The items that can be made, one after another. Logs how many could not, with the reason of
    the first; raises it where none could."""
    made, errors = 0, list[InputError]()
    for one in making:
        try:
            item = await one
        except InputError as error:
            errors.append(error)
            continue
        made += 1
        yield item
    if errors and not made:
        raise errors[0]
    if errors:
        _log.warning("%s: %d items left out: %s", task, len(errors), errors[0])
