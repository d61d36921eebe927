"""Items one after another, whether they are at hand or still to come."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable

from palimpsest.datasets.item import Item


async def each(items: Iterable[Item] | AsyncIterable[Item]) -> AsyncIterator[Item]:
    """The items of either kind of iterable."""
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
