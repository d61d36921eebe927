"""What there is to do for one item of a run: who reads it, at which seed, and how it is scored.

A job is plain data and can be sent to another process. Its key tells whether it was done before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from palimpsest.datasets.item import Item
from palimpsest.errors import ConfigurationError
from palimpsest.evals.run import RunConfig
from palimpsest.models.prices import Price
from palimpsest.readers.reader import PromptedReader, Reader
from palimpsest.readers.wrapper import Wrapper

ALWAYS_SCORED = ("exact_match", "f1", "substring", "two_way_substring")
"""Whatever a task's own metrics are."""


@dataclass(frozen=True)
class Job:
    """One item, to be read at one length and seed."""

    key: str
    """SHA-256 of the item's content and length, the reader, the model and the seed."""
    item: Item
    length: int | None
    seed: int
    reader: Reader
    """With the seed set."""
    budgets: tuple[int | None, ...]
    metrics: tuple[str, ...]
    price: Price | None = None


def configure(
    *,
    task: str,
    data: str,
    name: str,
    reader: Reader,
    model: str,
    metrics: Sequence[str],
    lengths: Sequence[int | None] = (None,),
    seeds: Sequence[int] = (0,),
    limit: int | None = None,
) -> RunConfig:
    """The configuration of a run. `name` is that under which the reader was asked for.

    Raises `ConfigurationError` for several seeds of a reader that decodes greedily: all of its
    readings would be the same.
    """
    if len(seeds) > 1 and not _samples(reader):
        raise ConfigurationError(
            f"at temperature 0 the readings of {len(seeds)} seeds are all the same",
            hint="give --temperature, or one seed",
        )
    return RunConfig(
        task=task,
        data=data,
        reader=name,
        settings=with_seed(reader, None).settings(),
        prompts=reader.fingerprints(),
        model=model,
        lengths=tuple(lengths),
        budgets=budgets_of(reader),
        seeds=tuple(seeds),
        limit=limit,
        metrics=tuple(dict.fromkeys((*metrics, *ALWAYS_SCORED))),
    )


def make_job(
    item: Item, length: int | None, seed: int, reader: Reader, config: RunConfig,
    price: Price | None = None,
) -> Job:  # fmt: skip
    """The job of an item in a run."""
    parts: Mapping[str, Any] = {
        "item": item.key,
        "length": length,
        "reader": reader.name,
        "settings": config.settings,
        "prompts": config.prompts,
        "model": config.model,
        "seed": seed,
    }
    return Job(
        key=hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest(),
        item=item,
        length=length,
        seed=seed,
        reader=with_seed(reader, seed) if _samples(reader) else reader,
        budgets=config.budgets,
        metrics=config.metrics,
        price=price,
    )


def budgets_of(reader: Reader) -> tuple[int | None, ...]:
    """Where a reader reads its memory, the largest budget first; None alone for all of it."""
    budgets: tuple[int, ...] = getattr(_core(reader), "budgets", ())
    return tuple(sorted(set(budgets), reverse=True)) or (None,)


def with_seed(reader: Reader, seed: int | None) -> Reader:
    """The same reader, sampling with another seed."""
    if isinstance(reader, Wrapper):
        return reader.model_copy(update={"base": with_seed(reader.base, seed)})
    return reader.model_copy(update={"seed": seed})


def _samples(reader: Reader) -> bool:
    core = _core(reader)
    return isinstance(core, PromptedReader) and core.temperature > 0


def _core(reader: Reader) -> Reader:
    return reader.inner if isinstance(reader, Wrapper) else reader
