"""Several memories set one after the other, within a limit, where no model can merge them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from palimpsest.memory.guards import cut_to_limit
from palimpsest.sources.tokens import Tokenizer


class Joined(NamedTuple):
    text: str
    tokens: int
    lost: int
    """Tokens that were over the limit and are cut."""


async def join_within(texts: Sequence[str], tokenizer: Tokenizer, limit: int) -> Joined:
    """The texts in their order, equal ones once, in at most `limit` tokens.

    What is over the limit is cut from the ends of the longest, at a block, so that short ones
    stay whole.
    """
    texts = list(dict.fromkeys(text.strip() for text in texts))
    whole = "\n".join(texts)
    size = len(await tokenizer.offsets(whole))
    if size <= limit:
        return Joined(whole, size, 0)
    starts = [await tokenizer.offsets(text) for text in texts]
    room = max(0, limit - len(texts))  # a line end each
    shares = fair_shares([len(offsets) for offsets in starts], room)
    parts = map(cut_to_limit, texts, starts, shares)
    cut = "\n".join(part for part in parts if part)
    cut = cut_to_limit(cut, await tokenizer.offsets(cut), limit)
    tokens = len(await tokenizer.offsets(cut))
    return Joined(cut, tokens, size - tokens)


def fair_shares(sizes: Sequence[int], total: int) -> list[int]:
    """How much of `total` each may have: its size where that is less than an even share, and of
    what those leave an even share for the others."""
    shares = [0] * len(sizes)
    by_size = sorted(range(len(sizes)), key=sizes.__getitem__)
    for place, index in enumerate(by_size):
        shares[index] = min(sizes[index], total // (len(sizes) - place))
        total -= shares[index]
    return shares
