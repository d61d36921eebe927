"""Filling a context to an exact number of tokens: whole passages, and at the end a cut one."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from palimpsest.datasets.item import Passage
from palimpsest.datasets.pool import Numbers, Pool, Size, count_passages
from palimpsest.errors import InputError
from palimpsest.sources import Source, Tokenizer, count

LEAST_TOKENS = 24
"""What is left for the passage that is cut, its heading included."""

_LEAST_OF_TEXT = 4
_CUT_CANDIDATES = 16
_LOOKED_THROUGH = 1000
"""Passages among which one to cut is sought, once the whole ones are in."""
_COMMON_TOKENS = 96
"""What is left for the cut passage where many are longer than that, so that one can be cut to fit
exactly; where all are books, it may be more."""
_CHARACTERS_PER_TOKEN = 4
_ROUNDS = 4
_UNSPACED = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD_END = re.compile(rf"(?<=\S)(?=\s|$)|(?<=[{_UNSPACED}])(?=\S)")


class Sized(NamedTuple):
    """A passage with the tokens that it takes within a context."""

    passage: Passage
    tokens: int


@dataclass
class Filling:
    """What stands beside the documents that are needed."""

    room: int
    """Tokens that are free; what the cut passage gets at the end."""
    whole: list[Sized] = field(default_factory=list)
    cuts: list[Passage] = field(default_factory=list)
    """Each longer than the room and with a heading that fits in: one of them will be cut."""

    def take(self, passage: Passage, tokens: int) -> bool:
        """Takes a passage whole, where that leaves room for the one that is cut."""
        fits = tokens + LEAST_TOKENS <= self.room
        if fits:
            self.whole.append(Sized(passage, tokens))
            self.room -= tokens
        return fits

    def offer(self, passage: Passage, size: Size, *, most: float) -> bool:
        """Takes a passage as one to be cut, where at most so many tokens are left, or else whole;
        False where it is neither."""
        if size.heading + _LEAST_OF_TEXT <= self.room < size.whole and self.room <= most:
            self.cuts.append(passage)
            return True
        return not self.cuts and self.take(passage, size.whole)


async def fill(
    room: int, own: Sequence[Sized], pool: Pool, order: Numbers, tokenizer: Tokenizer
) -> Filling:
    """Takes passages until `room` tokens are used up: an item's own first, then the pool's.

    `order` are numbers of the pool's passages. Raises `InputError` where they are too few.
    """
    filling = Filling(room)
    for one in own:
        filling.take(one.passage, one.tokens)
    taken = await _fill_bulk(filling, pool, order, tokenizer)
    await _fill_end(filling, pool, order[taken:], tokenizer)
    return filling


async def _fill_bulk(filling: Filling, pool: Pool, order: Numbers, tokenizer: Tokenizer) -> int:
    """Takes passages while the next one fits; how many were taken."""
    taken = 0
    while taken < len(order):
        characters = np.cumsum(pool.characters[order[taken:]])
        likely = int(np.searchsorted(characters, filling.room * _CHARACTERS_PER_TOKEN)) + 1
        numbers = order[taken : taken + likely]
        sizes = await pool.sizes(tokenizer, numbers)
        free = filling.room - LEAST_TOKENS
        fitting = int(np.searchsorted(np.cumsum(sizes), free, side="right"))
        for number, tokens in zip(numbers[:fitting], sizes[:fitting], strict=True):
            filling.take(pool.passages[number], int(tokens))
        taken += fitting
        if fitting < len(numbers):
            break
    return taken


async def _fill_end(filling: Filling, pool: Pool, order: Numbers, tokenizer: Tokenizer) -> None:
    """Finds passages to cut, and takes more whole ones where they fit meanwhile."""
    left = order[:_LOOKED_THROUGH].tolist()
    for most in (_COMMON_TOKENS, math.inf):
        left = await _offer(filling, pool, left, tokenizer, most)
        if filling.cuts:
            return
    # Passages all of one length can leave a gap of just that length: half of one makes it less.
    for number in left:
        size = await pool.size(tokenizer, number)
        half = _halved(pool.passages[number])
        if half and filling.take(half, (size.whole + size.heading) // 2):
            others = [one for one in left if one != number]
            await _offer(filling, pool, others, tokenizer, math.inf)
            return


async def _offer(
    filling: Filling, pool: Pool, numbers: list[int], tokenizer: Tokenizer, most: float
) -> list[int]:
    """Offers passages until there are enough to cut; those that were not taken."""
    left = []
    for number in numbers:
        if len(filling.cuts) == _CUT_CANDIDATES:
            break
        size = await pool.size(tokenizer, number)
        if not filling.offer(pool.passages[number], size, most=most):
            left.append(number)
    return left


def _halved(passage: Passage) -> Passage | None:
    ends = _word_ends(passage.text)
    return _shortened(passage, ends[len(ends) // 2 - 1]) if len(ends) > 1 else None


class _Cut(NamedTuple):
    passage: Passage
    tokens: int


class Fit:
    """Documents in their order, of which the one at `place` is still to be cut."""

    def __init__(
        self, documents: Sequence[Sized], place: int, cuts: Sequence[Passage], tokenizer: Tokenizer
    ) -> None:
        """`documents` has anything at `place`."""
        self._documents = list(documents)
        self._place = place
        self._cuts = cuts
        self._tokenizer = tokenizer

    async def to(self, tokens: int) -> tuple[list[Passage], int]:
        """The documents with as much of the cut one as makes `tokens` of all, and how many tokens
        that is: fewer by a thousandth at most where no cut at the end of a word gives as many.

        Raises `InputError` where it comes to less.
        """
        others = sum(one.tokens for one in self._documents)
        room = tokens - (others - self._documents[self._place].tokens) - await self._opening()
        for _ in range(_ROUNDS):
            cut = await self._best_cut(room)
            self._documents[self._place] = Sized(cut.passage, cut.tokens)
            passages = [one.passage for one in self._documents]
            found = await count(self._tokenizer, source_text(passages))
            # What the parts do not tell of the whole: where tokens reach over from one to the next.
            drift = found - (tokens - room + cut.tokens)
            if not drift or found == tokens:
                break
            room -= drift
        if not 0 <= tokens - found <= -(-tokens // 1000):
            raise InputError(
                f"{tokens:,} tokens cannot be had exactly: the nearest is {found:,}",
                hint="ask for more, or add other passages with --distractors FILE",
            )
        return passages, found

    async def _opening(self) -> int:
        """Tokens that the first document takes beyond those within a context: no blank line
        comes before its heading."""
        first = self._documents[0].passage
        source = Source.from_documents([(first.title, first.text)], growing=True)
        (within,) = await count_passages([first], self._tokenizer)
        return await count(self._tokenizer, source.text) - within.whole

    async def _best_cut(self, room: int) -> _Cut:
        """The cut that comes nearest to `room` tokens: at the end of a word, and only where none
        of the passages has one that fits exactly, within a word."""
        best: _Cut | None = None
        for ends_of in (_word_ends, _characters):
            for passage in self._cuts:
                cut = await self._cut(passage, ends_of(passage.text), room)
                if best is None or best.tokens < cut.tokens <= room or best.tokens > room:
                    best = cut
                if best.tokens == room:
                    return best
        assert best
        return best

    async def _cut(self, passage: Passage, ends: Sequence[int], room: int) -> _Cut:
        """The longest start of a passage that takes at most `room` tokens, or the shortest."""
        offsets = await self._tokenizer.offsets(passage.text)
        heading = await self._tokens_of(_shortened(passage, 0))
        before = np.searchsorted(offsets, ends) + heading
        choice = max(0, int(np.searchsorted(before, room, side="right")) - 1)
        cut = await self._measured(passage, ends[choice])
        while cut.tokens > room and choice > 0:
            choice -= 1
            cut = await self._measured(passage, ends[choice])
        while cut.tokens < room and choice + 1 < len(ends):
            choice += 1
            longer = await self._measured(passage, ends[choice])
            if longer.tokens > room:
                break
            cut = longer
        return cut

    async def _measured(self, passage: Passage, end: int) -> _Cut:
        shortened = _shortened(passage, end)
        return _Cut(shortened, await self._tokens_of(shortened))

    async def _tokens_of(self, passage: Passage) -> int:
        """Tokens of a passage in its place, with what it changes of its neighbours."""
        place = self._place
        before, after = self._documents[max(0, place - 1) : place], self._documents[place + 1 :][:1]
        around = [one.passage for one in (*before, Sized(passage, 0), *after)]
        sizes = await count_passages(around, self._tokenizer)
        return sum(size.whole for size in sizes) - sum(one.tokens for one in (*before, *after))


def source_text(passages: Sequence[Passage]) -> str:
    """What is read of documents: the text of their source."""
    return Source.from_documents((one.title, one.text) for one in passages).text


def _word_ends(text: str) -> list[int]:
    return [match.start() for match in _WORD_END.finditer(text)]


def _characters(text: str) -> range:
    return range(1, len(text) + 1)


def _shortened(passage: Passage, end: int) -> Passage:
    return Passage(title=passage.title, text=passage.text[:end])
