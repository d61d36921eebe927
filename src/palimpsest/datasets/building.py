"""Long contexts around an item: its gold documents among distractors, to the length asked for.

    longer = await build_context(item, pool, tokenizer, tokens=131_072)

MemAgent's and MemOCR's evaluations are made so: the documents of a question, and others that do
not answer it, shuffled. Here each item has an order of its own, drawn from its task, its id and
the length alone, so that it comes out the same in any process, alone or among others, and gold
documents stand anywhere (theirs are shuffled alike, which puts gold in the same few slots). A
passage that holds an accepted answer is never a distractor, and tokens are counted, not guessed.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np

from palimpsest.datasets.concordance import holds, searched_answers, spaced
from palimpsest.datasets.filling import Fit, Sized, fill, source_text
from palimpsest.datasets.item import Evidence, Item, Passage
from palimpsest.datasets.pool import Numbers, Pool, count_passages
from palimpsest.datasets.streams import each
from palimpsest.errors import InputError
from palimpsest.sources import Tokenizer, count

_T = TypeVar("_T")

OnSkip = Callable[[Item, InputError], None]


async def build_contexts(
    items: Iterable[Item] | AsyncIterable[Item],
    pool: Pool,
    tokenizer: Tokenizer,
    *,
    tokens: Sequence[int] = (),
    documents: Sequence[int] = (),
    on_skip: OnSkip | None = None,
) -> AsyncIterator[Item]:
    """Each item at each length, one after another; only the one at hand is in memory.

    `on_skip` hears of each that cannot be built; without it the error is raised.
    """
    sizes = [*((one, None) for one in tokens), *((None, one) for one in documents)]
    async for item in each(items):
        for in_tokens, in_documents in sizes:
            try:
                yield await build_context(
                    item, pool, tokenizer, tokens=in_tokens, documents=in_documents
                )
            except InputError as error:
                if on_skip is None:
                    raise
                on_skip(item, error)


async def build_context(
    item: Item,
    pool: Pool,
    tokenizer: Tokenizer,
    *,
    tokens: int | None = None,
    documents: int | None = None,
) -> Item:
    """The item with a context of so many documents, or of so many tokens of its source's text.

    All gold documents and those with evidence are in it, or all documents where the benchmark
    does not say which are gold; then the item's other documents, as far as they may and fit; the
    rest comes from the pool. The last passage is cut where a word ends, so that the count is the
    one asked for, or, where the tokenizer allows none such, up to a thousandth below.

    `details` get `tokens`, `documents`, `target_length` (tokens asked for, or None), `tokenizer`,
    `gold_order` (places of the gold documents in the order in which they stood before) and
    `min_distance` (the fewest places between two of them; None where there are not two).
    Raises `InputError` for an item whose gold alone is longer than asked, for one with neither
    gold nor documents that has an answer, and for a pool that is too small.
    """
    if (tokens is None) == (documents is None):
        raise InputError("a context has either tokens or documents", hint="give one of the two")
    plan = _Plan.of(item, pool, f"tokens={tokens}" if tokens else f"documents={documents}")
    if documents is not None:
        fillers = plan.fillers(documents)
        built = plan.arrange([*plan.gold_passages, *fillers])
        found = await count(tokenizer, source_text(built)) if built else 0
    else:
        assert tokens is not None
        built, found = await plan.fitted(tokens, tokenizer)
    return plan.item_with(built, found, tokens, tokenizer)


class _Plan(NamedTuple):
    """Which documents an item's context may have, and in which order they are taken."""

    item: Item
    pool: Pool
    seed: str
    needed: list[int]
    """Places of the item's documents that must be there."""
    spare: list[int]
    """Places of its others that may be."""
    strangers: Numbers
    """Numbers of the pool's passages that may be."""

    @classmethod
    def of(cls, item: Item, pool: Pool, length: str) -> _Plan:
        seed = f"{item.task}\n{item.id}\n{length}"
        needed = _needed(item)
        others = [place for place in range(len(item.documents)) if place not in set(needed)]
        spare = [others[turn] for turn in _shuffled(f"{seed}\nown", len(others))]
        order = _shuffled(f"{seed}\npool", len(pool))
        refused = np.fromiter(pool.refused(item), dtype=np.int64)
        strangers = order[~np.isin(order, refused)]
        return cls(item, pool, seed, needed, _allowed(item, spare), strangers)

    @property
    def gold_passages(self) -> list[Passage]:
        return [self.item.documents[place] for place in self.needed]

    def fillers(self, documents: int) -> list[Passage]:
        """As many distractors as make so many documents."""
        missing = documents - len(self.needed)
        if missing < 0:
            raise self._too_long(f"{len(self.needed)} documents", f"{documents}")
        own = self.spare[:missing]
        strangers = self.strangers[: missing - len(own)]
        if len(own) + len(strangers) < missing:
            there = len(self.needed) + len(self.spare) + len(self.strangers)
            raise self._too_few(f"{there:,} documents", f"{documents:,}")
        return [
            *(self.item.documents[place] for place in own),
            *(self.pool.passages[number] for number in strangers),
        ]

    async def fitted(self, tokens: int, tokenizer: Tokenizer) -> tuple[list[Passage], int]:
        """The documents in their order, with exactly so many tokens; and their tokens."""
        own = [self.item.documents[place] for place in (*self.needed, *self.spare)]
        sizes = await count_passages(own, tokenizer) if own else []
        sized = [Sized(passage, size.whole) for passage, size in zip(own, sizes, strict=True)]
        gold, spare = sized[: len(self.needed)], sized[len(self.needed) :]
        of_gold = sum(one.tokens for one in gold)
        if of_gold > tokens:
            raise self._too_long(f"{of_gold:,} tokens", f"{tokens:,}")
        filling = await fill(tokens - of_gold, spare, self.pool, self.strangers, tokenizer)
        if not filling.cuts:
            return await self._unfilled(tokens, [*gold, *filling.whole], tokenizer)
        cut = Sized(filling.cuts[0], filling.room)
        chosen = [*gold, *filling.whole, cut]
        place = int(self._places(len(chosen))[-1])
        return await Fit(self.arrange(chosen), place, filling.cuts, tokenizer).to(tokens)

    async def _unfilled(
        self, tokens: int, sized: list[Sized], tokenizer: Tokenizer
    ) -> tuple[list[Passage], int]:
        """Without a distractor to cut, where the gold documents all but fill the context."""
        passages = self.arrange([one.passage for one in sized])
        found = await count(tokenizer, source_text(passages)) if passages else 0
        if not 0 <= tokens - found <= tokens // 1000:
            raise self._too_few(f"{found:,} tokens in {len(sized):,} documents", f"{tokens:,}")
        return passages, found

    def arrange(self, chosen: list[_T]) -> list[_T]:
        """The needed documents and the fillers in the order in which they are read."""
        arranged = list(chosen)
        for place, one in zip(self._places(len(chosen)).tolist(), chosen, strict=True):
            arranged[place] = one
        return arranged

    def item_with(
        self, documents: list[Passage], found: int, tokens: int | None, tokenizer: Tokenizer
    ) -> Item:
        places = self._places(len(documents)).tolist()
        moved = dict(zip(self.needed, places, strict=False))
        gold = [moved[place] for place in self.item.gold]
        evidence = (
            Evidence(document=moved[one.document], quote=one.quote) for one in self.item.evidence
        )
        details = {
            "tokens": found,
            "documents": len(documents),
            "target_length": tokens,
            "tokenizer": tokenizer.name,
            "gold_order": gold,
            "min_distance": min((b - a for a, b in pairwise(sorted(gold))), default=None),
        }
        return self.item.model_copy(
            update={
                "documents": tuple(documents),
                "gold": tuple(sorted(gold)),
                "evidence": tuple(evidence),
                "details": {**self.item.details, **details},
            }
        )

    def _places(self, count: int) -> Numbers:
        return _shuffled(f"{self.seed}\nplaces", count)

    def _too_long(self, there: str, asked: str) -> InputError:
        return InputError(
            f"{self.item.task} {self.item.id}: its gold documents alone are {there}, "
            f"more than the {asked} asked for",
            hint="leave the item out, or ask for a longer context",
        )

    def _too_few(self, there: str, asked: str) -> InputError:
        return InputError(
            f"{self.item.task} {self.item.id}: there are only {there} for it, and {asked} were "
            f"asked for (the pool has {len(self.pool):,} passages, {len(self.strangers):,} of "
            "which do not give the answer away)",
            hint="add passages with --distractors FILE, or ask for a shorter context",
        )


def _needed(item: Item) -> list[int]:
    """Places of the documents without which the item cannot be answered."""
    if item.answerable and not item.documents:
        raise InputError(
            f"{item.task} {item.id} has no document that answers it",
            hint="name a file with passages in which the answers stand, or another task",
        )
    gold = {*item.gold, *(one.document for one in item.evidence)}
    return sorted(gold or range(len(item.documents)))


def _allowed(item: Item, places: Sequence[int]) -> list[int]:
    """Those of an item's own documents that may be distractors."""
    answers = searched_answers(item)
    titles = {spaced(item.documents[place].title) for place in item.gold} - {""}

    def may(document: Passage) -> bool:
        return bool(document.text.strip()) and not (
            spaced(document.title) in titles or holds(f"{document.title}\n{document.text}", answers)
        )

    return [place for place in places if may(item.documents[place])]


def _shuffled(seed: str, count: int) -> Numbers:
    """The numbers below `count` in an order that depends on the seed alone, on any machine.

    Sorted by raw output of the generator: numpy keeps that stream from version to version, but
    not how `shuffle` uses it.
    """
    digest = hashlib.sha256(seed.encode("utf-8", "surrogatepass")).digest()
    generator = np.random.PCG64(int.from_bytes(digest))
    return np.argsort(generator.random_raw(count), kind="stable")
