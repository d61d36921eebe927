"""What a report says of runs, as plain data; nothing in it is rounded.

A *reading* here is one item at one seed. Several seeds of an item belong together, so every
interval is over items.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, PlainSerializer

from palimpsest.evals.statistics import Interval

MemoryKind = Literal["text", "visual", "none"]
"""What the answer is read from: a text memory, a page, or no memory at all."""


Scores = Annotated[
    dict[str, Interval],
    PlainSerializer(lambda scores: {name: score._asdict() for name, score in scores.items()}),
]
"""By metric."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Cell(_Record):
    """How the readings of one length came out at one budget. Those that failed count as wrong."""

    length: int | None
    """Tokens of the contexts; None for contexts as the benchmark gives them, and over all."""
    budget: int | None
    """None for a memory read whole."""
    category: str = ""
    """Empty for all categories."""
    items: int
    readings: int
    scores: Scores
    """Mean of each metric over items, of each item over its seeds, with its 95% bootstrap
    interval over items; between 0 and 1."""
    counted: dict[str, int]
    """Readings that have the metric: not every item has every one."""


class Spending(_Record):
    """What the readings of one length took, at all budgets together, and how they ended."""

    length: int | None
    items: int
    readings: int
    missing: int
    """Readings that the run has of the same items at other lengths or seeds, and not here."""
    failed: int
    reasons: dict[str, int]
    """Why, with how often, most frequent first."""
    capped: int
    """Readings that a cap ended, with the answer from what was read."""
    source_tokens: float
    """Mean of all that was to be read."""
    memory_tokens: float | None
    """Mean of the last memories; None where no reading has one."""
    prompt: int
    """Tokens in, of all readings; the same for what follows."""
    cached: int
    completion: int
    calls: int
    seconds: float
    """Of the model, as if one call came after the other."""
    cost: float | None
    """US dollars of the readings whose price is known; None where none is."""
    priced: int
    """Readings whose price is known."""


class RunSummary(_Record):
    """One run."""

    label: str
    """The shortest end of its folder's path that tells it from the others."""
    folder: str
    task: str
    reader: str
    model: str
    memory: MemoryKind
    settings: dict[str, Any]
    seeds: tuple[int, ...]
    headline: str
    """The metric that counts; `headline` where it differs from item to item."""
    metrics: tuple[str, ...]
    cells: tuple[Cell, ...]
    """For each length and budget."""
    overall: tuple[Cell, ...]
    """For each budget, over all lengths; empty for a run of one length."""
    categories: tuple[Cell, ...]
    """For each category, length and budget; empty where the items have one category."""
    spending: tuple[Spending, ...]
    """For each length, and last over all where there are several."""
    pending: tuple[int | None, ...]
    """Lengths of which nothing is read yet."""


class Difference(_Record):
    """How two runs differ at one length and budget, on the items that they share."""

    length: int | None
    budget: int | None
    baseline_budget: int | None
    """Another than `budget` only where one of the runs has no budgets."""
    items: int
    """Shared by both."""
    scores: Scores
    """Mean of score minus baseline with its interval; seeds of an item are averaged before."""
    p_values: dict[str, float]
    """Two-sided, by metric: how often chance alone would give a difference as large."""


class Unshared(_Record):
    """Items that no pair could be made of."""

    only_run: tuple[str, ...] = ()
    """By id, and length where there is one."""
    only_baseline: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    """Of the same id, but with another question or other accepted answers."""


class Comparison(_Record):
    """A run against another of the same task."""

    run: str
    """By its label."""
    baseline: str
    visual_against_text: bool
    """Whether a memory drawn as a page is compared with one read as text."""
    differences: tuple[Difference, ...]
    overall: tuple[Difference, ...]
    """For each budget, over all lengths; empty where there is one length."""
    unshared: Unshared


class Report(_Record):
    """Runs side by side."""

    runs: tuple[RunSummary, ...]
    comparisons: tuple[Comparison, ...]
