"""The questions of a run: which there are, which are held out, and in which order they come.

The order is a function of the seed and the epoch, so that a run goes on after any of them.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from palimpsest.datasets.files import ROW_SUFFIXES, data_suffix, read_rows
from palimpsest.datasets.item import Item
from palimpsest.errors import ConfigurationError, InputError
from palimpsest.evals.tasks import choose, find_task
from palimpsest.evals.tasks.numbered import numbered_documents
from palimpsest.evals.tasks.record import distinct
from palimpsest.sources.tokens import Tokenizer
from palimpsest.training.recipe import DataPart, Recipe
from palimpsest.training.worlds import World, find_world


class Questions(NamedTuple):
    """What is trained on, and what is held out of it."""

    training: Stream
    held_out: tuple[Item, ...]


class Stream(Protocol):
    """Items by their position in a run, without end."""

    @property
    def distinct(self) -> int | None:
        """How many there are; None for no end."""
        ...

    def at(self, position: int) -> Item: ...


@dataclass(frozen=True)
class Shuffled:
    """A list, in another order in each epoch."""

    items: Sequence[Item]
    seed: int

    @property
    def distinct(self) -> int:
        return len(self.items)

    def at(self, position: int) -> Item:
        epoch, place = divmod(position, len(self.items))
        return self.items[_order(self.seed, epoch, len(self.items))[place]]


@dataclass(frozen=True)
class Endless:
    """A world's items, each once."""

    world: World
    seed: int

    @property
    def distinct(self) -> None:
        return None

    def at(self, position: int) -> Item:
        return self.world.item("train", self.seed * _SEED_STRIDE + position)


_SEED_STRIDE = 10_000_019
"""Runs of other seeds see other items of a world."""


class Taken(NamedTuple):
    items: tuple[Item, ...]
    position: int
    """Of the item after them."""


def taken(stream: Stream, position: int, count: int, but: Collection[str] = ()) -> Taken:
    """`count` items from a position on, none twice and none whose id is in `but`; fewer where
    there are no more such."""
    seen, items = set(but), list[Item]()
    last = position + (2 * stream.distinct if stream.distinct else count + len(seen))
    while len(items) < count and position < last:
        item = stream.at(position)
        position += 1
        if item.id not in seen:
            seen.add(item.id)
            items.append(item)
    return Taken(tuple(items), position)


async def questions_of(recipe: Recipe, tokenizer: Tokenizer) -> Questions:
    """The questions of a recipe. Raises `ConfigurationError` where a step finds too few."""
    wanted = recipe.evaluation.items if recipe.evaluation.every else 0
    training: Stream
    world = find_world(recipe.data.task)
    if world is not None:
        training, held_out = _of_world(world, recipe, wanted)
    else:
        items = await _items(recipe.data, tokenizer)
        held_out = () if recipe.evaluation.data else tuple(choose(items, wanted))
        kept = {item.id for item in held_out}
        training = Shuffled([item for item in items if item.id not in kept], recipe.seed)
    if wanted and recipe.evaluation.data:
        held_out = tuple((await _items(recipe.evaluation.data, tokenizer, wanted))[:wanted])
    if recipe.steps:
        _check(recipe, training)
    return Questions(training, held_out)


def _of_world(world: World, recipe: Recipe, wanted: int) -> tuple[Stream, tuple[Item, ...]]:
    held_out = tuple(world.item("held_out", number) for number in range(wanted))
    if recipe.data.limit is None:
        return Endless(world, recipe.seed), held_out
    items = [world.item("train", number) for number in range(recipe.data.limit)]
    return Shuffled(items, recipe.seed), held_out


async def _items(data: DataPart, tokenizer: Tokenizer, wanted: int = 0) -> list[Item]:
    """All of them; of a world as many as are wanted of those held out."""
    world = find_world(data.task)
    if world is not None:
        return [world.item("held_out", number) for number in range(wanted)]
    if not data.task:
        assert data.path
        items = list(choose(_file_items(data.path), data.limit))
    else:
        task = find_task(data.task)
        found = task.items(data.path, tokenizer, tokens=data.tokens, limit=data.limit)
        items = [item async for item in found]
    _check_ids(items)
    return items


def _file_items(path: Path) -> Iterator[Item]:
    if data_suffix(path) not in ROW_SUFFIXES:
        raise InputError(f"{path} is no file of rows", hint=f"give {', '.join(ROW_SUFFIXES)}")
    for number, row in enumerate(read_rows(path), start=1):
        try:
            yield _memagent_item(row) if "reward_model" in row else Item.model_validate(row)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise InputError(
                f"{path}, row {number}, is no item: {error}",
                hint="a row has the fields of an Item, or prompt, context, reward_model and "
                "extra_info as in MemAgent's training data",
            ) from error


def _memagent_item(row: dict[str, Any]) -> Item:
    """A row of the papers' training data: prompt, context, reward_model, extra_info."""
    extra = row.get("extra_info") or {}
    question = extra.get("question") or row["prompt"][0]["content"]
    truth = row["reward_model"]["ground_truth"]
    source = str(row.get("data_source") or "rows")
    answers = [truth] if isinstance(truth, str) else list(truth)
    return Item(
        task=source,
        id=str(extra["index"]) if extra.get("index") is not None else question,
        question=question,
        answers=distinct(answers),
        documents=numbered_documents(row["context"]),
    )


def _check_ids(items: Sequence[Item]) -> None:
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            raise InputError(
                f"two questions have the id {item.id!r}",
                hint="rollouts are compared by the id of their question: give each its own",
            )
        seen.add(item.id)


def _check(recipe: Recipe, training: Stream) -> None:
    if training.distinct is not None and training.distinct < recipe.batch.prompts:
        raise ConfigurationError(
            f"{training.distinct} questions to train on are too few for a step of "
            f"{recipe.batch.prompts}",
            hint="lower batch.prompts or evaluation.items, or give more data",
        )


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> tuple[int, ...]:
    places = list(range(count))
    random.Random(f"{seed}/{epoch}").shuffle(places)
    return tuple(places)
