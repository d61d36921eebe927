"""An evaluation run as it lies on disk: a folder with its configuration and one line per item.

    RUN/run.json         what was asked: `RunConfig`
    RUN/results.jsonl    a line for each item, length and seed as soon as it ends: `ItemResult`
    RUN/readings/        the reading of each, for `palimpsest show`
    RUN/sources/         what was read, by its hash, unless it was not to be kept

A later line with the same key stands for an earlier one, which was a failure tried again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from palimpsest.errors import InputError

RUN_VERSION: Literal[1] = 1
CONFIG_FILE = "run.json"
RESULTS_FILE = "results.jsonl"
READINGS_FOLDER = "readings"


class RunConfig(BaseModel):
    """What a run evaluates. Two runs with the same configuration are one run gone on with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = RUN_VERSION
    task: str
    data: str
    """Where its items came from, as it was given."""
    data_sha256: str = ""
    """Of the items at all lengths, in order."""
    reader: str
    """As it was named: memagent, memreread+memocr."""
    settings: dict[str, Any]
    """The reader's, as plain data."""
    prompts: dict[str, str]
    """Each prompt role with the id and hash of its wording."""
    model: str
    lengths: tuple[int | None, ...]
    """Tokens of the contexts; None for contexts as the benchmark gives them."""
    budgets: tuple[int | None, ...]
    """Tokens at which each memory is read, largest first; None for a memory read whole."""
    seeds: tuple[int, ...]
    limit: int | None
    """Most items at each length."""
    metrics: tuple[str, ...]
    """By their names in `palimpsest.evals.scoring.METRICS`; the first is the task's headline."""


class Scored(BaseModel):
    """The answer from one memory read at one budget."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    budget: int | None
    """Visual tokens of a page, text tokens of a text memory; None for a memory read whole."""
    prediction: str
    """Empty where the reading failed."""
    scores: dict[str, float]
    """By metric, unrounded; 0 all over where the reading failed."""


class ItemResult(BaseModel):
    """How one item came out at one length and seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    """Of the item's content, the reader, the model and the seed."""
    task: str
    id: str
    category: str
    length: int | None
    """Tokens asked for; None for a context as the benchmark gives it."""
    seed: int
    question: str
    accepted: tuple[str, ...]
    metric: str
    """The item's own headline metric."""
    status: Literal["answered", "partial", "failed"]
    reason: str = ""
    error: str = ""
    """The name of the error's class."""
    answers: tuple[Scored, ...]
    """One for each budget of the run, also where the reading failed."""
    source_tokens: int = 0
    """Of all that was to be read."""
    memory_tokens: int | None = None
    """Of the last memory; None for a reader without one."""
    chunks: int = 0
    calls: int = 0
    prompt: int = 0
    """Tokens in."""
    cached: int = 0
    """Of those, served from a prefix cache."""
    completion: int = 0
    """Tokens out."""
    seconds: float = 0.0
    """Of the model."""
    cost: float | None = None
    """US dollars; None where no price is known."""
    reading: str = ""
    """Its folder under `readings/`; empty where none was begun."""
    finished: str = ""
    """UTC, ISO 8601."""


class Run(NamedTuple):
    """A run read back."""

    folder: Path
    config: RunConfig
    results: list[ItemResult]
    """The last of each key, in the order in which the keys first came."""


def load_run(folder: Path) -> Run:
    """The run in a folder. A half-written last line is left out; raises `InputError` for a folder
    that is no run and for a damaged line, which it names."""
    file = folder / CONFIG_FILE
    try:
        config = RunConfig.model_validate_json(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{folder} is no run: {error.strerror}", hint="give its folder") from error
    except ValidationError as error:
        raise InputError(f"{file}: {error.errors()[0]['msg']}", hint="run it anew") from error
    results = {result.key: result for result in _results(folder / RESULTS_FILE)}
    return Run(folder, config, list(results.values()))


def _results(file: Path) -> list[ItemResult]:
    if not file.exists():
        return []
    # Not splitlines: a text may hold other line separators, which JSON leaves as they are.
    lines = file.read_text(encoding="utf-8").split("\n")[:-1]
    return [_result(line, f"{file}:{number}") for number, line in enumerate(lines, start=1)]


def _result(line: str, place: str) -> ItemResult:
    try:
        return ItemResult.model_validate_json(line)
    except ValidationError as error:
        raise InputError(
            f"{place} is damaged: {error.errors()[0]['msg']}", hint="remove the line; run again"
        ) from error
