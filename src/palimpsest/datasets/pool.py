"""What contexts are filled up with: passages, each once, and what each costs in tokens.

    pool = Pool(passages)
    pool.refused(item)                  # numbers of passages that would give an answer away
    await pool.sizes(tokenizer, [3, 7]) # tokens of each, its heading included

A pool may serve any number of items and tokenizers. It counts a passage when one first asks for
it, many of them in one call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from palimpsest.datasets.concordance import Concordance, searched_answers, spaced
from palimpsest.datasets.item import Item, Passage
from palimpsest.sources import Source, Tokenizer

Numbers = npt.NDArray[np.int64]

BATCH_CHARACTERS = 100_000
"""Of passages that are counted in one call."""

# Stands before the first of a batch, so that its heading costs what it does within a context.
_FIRST = Passage(title="First", text="It begins.")


class Size(NamedTuple):
    """Tokens of a passage within a context."""

    heading: int
    """Of the blank line and the heading before it."""
    whole: int


class Pool:
    """Distractor passages without doubles: two with the same words are one, and one without a
    word is none."""

    def __init__(self, passages: Iterable[Passage]) -> None:
        self._numbers: dict[bytes, int] = {}
        self._by_title: dict[str, list[int]] = {}
        self._concordance = Concordance()
        kept: list[Passage] = []
        for passage in passages:
            title, words = spaced(passage.title), spaced(passage.text)
            number = len(kept)
            if words and self._numbers.setdefault(_digest(words), number) == number:
                kept.append(passage)
                self._by_title.setdefault(title, []).append(number)
                self._concordance.add(passage, title, words)
        self.passages = tuple(kept)
        self.characters: Numbers = np.array([len(one.text) for one in kept], dtype=np.int64)
        self._counts: dict[str, _Counts] = {}

    def __len__(self) -> int:
        return len(self.passages)

    def refused(self, item: Item) -> set[int]:
        """Passages that must not stand among an item's documents: those that hold an accepted
        answer, have the title of a gold document, or are one of its own documents."""
        titles = {spaced(item.documents[place].title) for place in item.gold} - {""}
        by_title = {number for title in titles for number in self._by_title.get(title, ())}
        digests = (_digest(spaced(document.text)) for document in item.documents)
        own = {self._numbers[digest] for digest in digests if digest in self._numbers}
        return by_title | own | self._concordance.holding(searched_answers(item))

    async def sizes(self, tokenizer: Tokenizer, numbers: Sequence[int] | Numbers) -> Numbers:
        """Tokens of passages, headings included, in their order."""
        counts = await self._counted(tokenizer, numbers)
        return counts.wholes[np.asarray(numbers, dtype=np.int64)]

    async def size(self, tokenizer: Tokenizer, number: int) -> Size:
        """Tokens of one passage."""
        counts = await self._counted(tokenizer, [number])
        return Size(int(counts.headings[number]), int(counts.wholes[number]))

    async def _counted(self, tokenizer: Tokenizer, numbers: Sequence[int] | Numbers) -> _Counts:
        counts = self._counts.setdefault(tokenizer.name, _Counts(len(self)))
        async with counts.lock:
            wanted = np.asarray(numbers, dtype=np.int64)
            missing = np.unique(wanted[counts.wholes[wanted] < 0])
            for batch in self._batches(missing, counts):
                sizes = await count_passages([self.passages[n] for n in batch], tokenizer)
                counts.headings[batch] = [size.heading for size in sizes]
                counts.wholes[batch] = [size.whole for size in sizes]
        return counts

    def _batches(self, missing: Numbers, counts: _Counts) -> Iterator[list[int]]:
        """The missing passages, and in the last batch as many others as it has room for."""
        if not missing.size:
            return
        others = np.setdiff1d(np.flatnonzero(counts.wholes < 0), missing)
        batch: list[int] = []
        characters = 0
        for position, number in enumerate([*missing.tolist(), *others.tolist()]):
            length = int(self.characters[number])
            if batch and characters + length > BATCH_CHARACTERS:
                yield batch
                if position >= missing.size:
                    return
                batch, characters = [], 0
            batch.append(number)
            characters += length
        yield batch


async def count_passages(passages: Sequence[Passage], tokenizer: Tokenizer) -> list[Size]:
    """Tokens of passages as they stand within a context, in one call of the tokenizer."""
    titled = ((passage.title, passage.text) for passage in (_FIRST, *passages))
    source = Source.from_documents(titled)
    offsets = np.asarray(await tokenizer.offsets(source.text), dtype=np.int64)
    ends = np.searchsorted(offsets, [document.end for document in source.documents])
    starts = np.searchsorted(offsets, [document.start for document in source.documents[1:]])
    return [
        Size(int(start - before), int(end - before))
        for before, start, end in zip(ends[:-1], starts, ends[1:], strict=True)
    ]


class _Counts:
    """What one tokenizer says of the passages; below 0 for what it was not asked yet."""

    def __init__(self, passages: int) -> None:
        self.wholes: Numbers = np.full(passages, -1, dtype=np.int64)
        self.headings: Numbers = np.full(passages, -1, dtype=np.int64)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = asyncio.Lock()

    @property
    def lock(self) -> asyncio.Lock:
        """Keeps two from counting the same at once, in whichever event loop they are."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._lock = loop, asyncio.Lock()
        return self._lock


def _digest(words: str) -> bytes:
    return blake2b(words.encode("utf-8", "surrogatepass"), digest_size=16).digest()
