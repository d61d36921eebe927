"""Tasks whose items are generated, at any length, out of words, books and questions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import ClassVar

from palimpsest.datasets.item import Item
from palimpsest.evals.tasks.finding import is_named
from palimpsest.evals.tasks.task import Task, make_each
from palimpsest.sources import Tokenizer

DEFAULT_TOKENS = 8192
ITEMS = 100
"""Of each generator, where no limit is set."""

Generate = Callable[[str, int, int, Tokenizer], Awaitable[Item]]
"""An item by the generator's name, its number from 0 and its tokens."""


class GeneratedTask(Task):
    """Generated items, `limit` of them in all, the generators in turn.

    Item n of a generator is the same whatever the limit, and each is drawn by itself, so that the
    first ones are as good a sample as any. A ready-made file is read if it is named.
    """

    sets: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    whole: ClassVar[tuple[str, ...]]
    """The generators that run where none is named."""

    def __init__(self, part: str = "") -> None:
        super().__init__(part)
        self._generate: tuple[Path | None, Generate] | None = None

    @abstractmethod
    def generator(self, folder: Path | None) -> Generate:
        """With the resources of the folder that holds all tasks' data, if one was given."""

    async def items(
        self,
        data: Path | str | None,
        tokenizer: Tokenizer,
        *,
        tokens: int | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Item]:
        """Generated, at 8,192 tokens without a length; from a file or the hub as `Task.items`.

        Items that cannot be made at the length are left out with a warning. Raises `InputError`
        where none can be made, `ConfigurationError` for resources that are not there.
        """
        found = self._find(data) if data is not None else None
        if found and (found.file or found.hub):
            async for item in super().items(data, tokenizer, tokens=tokens, limit=limit):
                yield item
            return
        generate = self._generate_from(found.folder if found else None)
        making = (
            generate(name, number, tokens or DEFAULT_TOKENS, tokenizer)
            for name, number in self._numbered(limit)
        )
        async for item in make_each(self.name, making):
            yield item

    def _generate_from(self, folder: Path | None) -> Generate:
        """Kept for further lengths: resources are slow to read."""
        if self._generate is None or self._generate[0] != folder:
            self._generate = (folder, self.generator(self._root(folder) if folder else None))
        return self._generate[1]

    def _root(self, folder: Path) -> Path:
        """The folder above the task's own, in which those of other tasks lie."""
        whole = folder.resolve()
        return whole.parent if is_named(whole, (*self.folders(), *self.resource_folders)) else whole

    def _numbered(self, limit: int | None) -> list[tuple[str, int]]:
        names = (self.part,) if self.part else self.whole
        each = ITEMS if limit is None else -(-limit // len(names))
        numbered = [(name, number) for number in range(each) for name in names]
        return numbered[:limit]
