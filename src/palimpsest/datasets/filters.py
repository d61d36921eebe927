"""Which items a set is better without: doubles, those that nothing answers, those known by heart.

    async for verdict in sift(items, [Duplicates(), Unanswerable(), KnownByHeart(model, score)]):
        ...  # verdict.reason is empty for an item that stays

The closed-book filter follows MemAgent (section 4.2): a question that a model answers without the
context, in any of a few tries at a temperature above zero, trains and measures nothing. Unlike
theirs, a failed call drops nothing and is counted, and tries that a `RecordedModel` has are not
made again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from palimpsest.datasets.concordance import VERDICTS, holds, searched_answers, spaced
from palimpsest.datasets.item import Item
from palimpsest.datasets.streams import each
from palimpsest.models import Model
from palimpsest.readers.closed import ClosedBook
from palimpsest.sources import Source

Score = Callable[[str, Sequence[str]], float]
"""Of a prediction against the accepted answers, from 0 to 1."""


class Verdict(NamedTuple):
    """What became of an item."""

    item: Item
    reason: str = ""
    """Why it is dropped; empty where it is kept."""


class Filter(Protocol):
    """Says which items go."""

    async def reason(self, item: Item) -> str:
        """Why the item is dropped; empty where it is kept."""
        ...


class Sifted(NamedTuple):
    """A set that was filtered."""

    kept: list[Item]
    dropped: list[Verdict]


async def sift(
    items: Iterable[Item] | AsyncIterable[Item], filters: Sequence[Filter], *, concurrency: int = 1
) -> AsyncIterator[Verdict]:
    """Each item with what the first filter that drops it says, in the order of the items.

    At most `concurrency` items are looked at at once. A filter that compares items (`Duplicates`)
    sees them in order if those before it ask no model.
    """
    running: deque[tuple[Item, asyncio.Task[str]]] = deque()
    try:
        async for item in each(items):
            running.append((item, asyncio.create_task(_reason(item, filters))))
            if len(running) >= concurrency:
                yield await _first(running)
        while running:
            yield await _first(running)
    finally:
        for _, task in running:
            task.cancel()
        await asyncio.gather(*(task for _, task in running), return_exceptions=True)


async def sifted(
    items: Iterable[Item] | AsyncIterable[Item], filters: Sequence[Filter], *, concurrency: int = 1
) -> Sifted:
    """All of `sift` at once, for a set that fits into memory."""
    verdicts = [verdict async for verdict in sift(items, filters, concurrency=concurrency)]
    kept = [verdict.item for verdict in verdicts if not verdict.reason]
    return Sifted(kept, [verdict for verdict in verdicts if verdict.reason])


class Duplicates:
    """Drops a question that came before, whatever its case and punctuation."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}

    async def reason(self, item: Item) -> str:
        question = spaced(item.question)
        if question in self._first:
            return f"the same question as {self._first[question]}"
        self._first[question] = item.id
        return ""


class Unanswerable:
    """Drops what its documents do not answer: items without an answer, and those of which no
    accepted answer stands in a gold document, or in any where none is known as gold.

    Yes, no and such verdicts stand nowhere and are let through, as are multiple choices.
    """

    async def reason(self, item: Item) -> str:
        if not item.answerable:
            return "it has no answer"
        exempt = item.metric == "choice" or any(spaced(one) in VERDICTS for one in item.answers)
        answers = searched_answers(item)
        if exempt or not answers or not item.documents:
            return ""
        places = item.gold or range(len(item.documents))
        texts = (item.documents[place] for place in places)
        if any(holds(f"{one.title}\n{one.text}", answers) for one in texts):
            return ""
        return f"no accepted answer stands in its {'gold ' if item.gold else ''}documents"


class KnownByHeart:
    """Drops what a model answers without the context."""

    def __init__(
        self,
        model: Model,
        score: Score,
        *,
        tries: int = 4,
        temperature: float = 1.0,
        top_p: float = 0.7,
        answer_tokens: int = 512,
        seed: int = 0,
    ) -> None:
        """A try is right when `score` gives 1. Each has a sampling seed of its own, from `seed`
        on. The defaults are MemAgent's, but for one model in place of two."""
        self._model = model
        self._score = score
        self._seeds = range(seed, seed + tries)
        self._reader = ClosedBook(temperature=temperature, top_p=top_p, answer_tokens=answer_tokens)
        self.failed = 0
        """Calls that gave no answer."""

    async def reason(self, item: Item) -> str:
        for number, seed in enumerate(self._seeds, start=1):
            answer = await self._answer(item, seed)
            if answer is None:
                self.failed += 1
            elif self._score(answer, item.answers) >= 1:
                return f"answered without the context in try {number}: {answer[:200]}"
        return ""

    async def _answer(self, item: Item, seed: int) -> str | None:
        reader = self._reader.model_copy(update={"seed": seed})
        reading = await reader.read(_NOTHING, item.question, self._model)
        return reading.answer if reading.status == "answered" else None


_NOTHING = Source.from_text("-")
"""A reading is of a source; the closed-book reader does not look at it."""


async def _reason(item: Item, filters: Sequence[Filter]) -> str:
    for one in filters:
        if reason := await one.reason(item):
            return reason
    return ""


async def _first(running: deque[tuple[Item, asyncio.Task[str]]]) -> Verdict:
    item, task = running[0]
    reason = await task
    running.popleft()
    return Verdict(item, reason)
