"""Tasks over passages, whose contexts can be made as long as one wants.

A length is reached with the passages of the task itself: those of its passage files and all
documents of its questions (`palimpsest.datasets.building`).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from itertools import chain
from pathlib import Path
from typing import ClassVar

from palimpsest.datasets.building import build_context
from palimpsest.datasets.item import Item, Passage
from palimpsest.datasets.pool import Pool
from palimpsest.errors import InputError
from palimpsest.evals.tasks.finding import Data
from palimpsest.evals.tasks.record import Record
from palimpsest.evals.tasks.task import Task, choose, make_each
from palimpsest.sources import Tokenizer

_log = logging.getLogger(__name__)


class ContextTask(Task):
    """A benchmark whose gold documents can stand in a context of any length."""

    passage_files: ClassVar[tuple[str, ...]] = ("*passages*", "*corpus*")

    def __init__(self, part: str = "") -> None:
        super().__init__(part)
        self._pool: tuple[str, Pool] | None = None

    def passages(self, data: Path | str | None) -> Iterator[Passage]:
        """All there is to build contexts of: the documents of the questions, then the passage
        files of the same folder. A passage may come more than once."""
        found = self._find(data)
        for record in chain(self._question_records(found), self._passage_records(found)):
            yield from record.passages
            for item in record.items:
                yield from item.documents

    def questions(self, data: Path | str | None) -> Iterator[Item]:
        """As `Task.questions`. A question that names its gold passages by title has those for a
        context, out of the passage files; where they lack one, it is left out and counted."""
        found = self._find(data)
        titles: dict[str, Passage] = {}
        missing = 0
        for item in super().questions(data):
            wanted = item.details.get("gold_titles")
            if wanted is None:
                yield item
                continue
            titles = titles or self._titles(found)
            if all(title in titles for title in wanted):
                documents = tuple(titles[title] for title in wanted)
                gold = tuple(range(len(wanted)))
                yield item.model_copy(update={"documents": documents, "gold": gold})
            else:
                missing += 1
        _count(self.name, missing, "a gold passage of theirs is not among the passages")

    async def items(
        self,
        data: Path | str | None,
        tokenizer: Tokenizer,
        *,
        tokens: int | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Item]:
        """As `Task.items`; with `tokens`, in contexts of that length.

        Questions without a document that is known to answer them are left out before the limit
        is taken, and those whose gold documents alone are longer than that after it; a warning
        is logged with the number of either. Raises `InputError` where no item is left.
        """
        if tokens is None:
            for item in choose(self.questions(data), limit):
                yield item
            return
        pool = self._pool_of(data)
        buildable = choose(self.buildable(data), limit)
        making = (build_context(item, pool, tokenizer, tokens=tokens) for item in buildable)
        async for item in make_each(self.name, making):
            yield item

    def _pool_of(self, data: Path | str | None) -> Pool:
        """Kept for further lengths: it is slow to make, and knows the tokens of its passages."""
        if self._pool is None or self._pool[0] != str(data):
            self._pool = (str(data), Pool(self.passages(data)))
        return self._pool[1]

    def buildable(self, data: Path | str | None) -> Iterator[Item]:
        """The questions of which it is known what answers them; how many are left out is logged.

        Raises `InputError` where there is none.
        """
        kept = left_out = 0
        for item in self.questions(data):
            known = bool(item.documents) and (bool(item.gold) or not item.answerable)
            if known and not item.details.get("missing"):
                kept += 1
                yield item
            else:
                left_out += 1
        if not kept:
            raise InputError(
                f"{self.name} has no question with a document that is known to answer it",
                hint="leave out --lengths, or name a set or file with passages",
            )
        _count(self.name, left_out, "no document is known to answer them")

    def _passage_records(self, data: Data) -> Iterator[Record]:
        read = [data.file] if data.file else []
        if not data.file and not data.hub:
            read = self._question_files(data)
        for path in data.files(self.passage_files):
            if path not in read:
                yield from self.rows(path)

    def _titles(self, data: Data) -> dict[str, Passage]:
        titles: dict[str, Passage] = {}
        for record in self._passage_records(data):
            for passage in record.passages:
                titles.setdefault(passage.title, passage)
        if not titles:
            raise InputError(
                f"{data.given} names gold passages by title and has no passages",
                hint=f"put a file named {self.passage_files[0]} beside it",
            )
        return titles


def _count(task: str, number: int, reason: str) -> None:
    """Logs how many questions were left out, if any."""
    if number:
        _log.warning("%s: %d questions left out: %s", task, number, reason)
