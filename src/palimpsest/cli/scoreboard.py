"""What is seen of an evaluation while it runs: items done, the score so far, what it takes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from palimpsest.datasets.lengths import length_label
from palimpsest.evals.run import ItemResult, RunConfig
from palimpsest.memory.receipt import money

_NORMAL_95 = 1.96
_ANSWER_CHARACTERS = 60
_MINUTE_S, _HOUR_S = 60, 3600


def total_of(config: RunConfig) -> int | None:
    """The most readings that a run can have; None where its items are not limited."""
    if config.limit is None:
        return None
    return config.limit * len(config.lengths) * len(config.seeds)


class Scoreboard:
    """A live line on a terminal, a line for each item elsewhere, nothing when quiet.

    The score is the mean of the items' headline metric over all that is read, failures as 0. Its
    interval is the normal one, quick to tell; reports have it by bootstrap.
    """

    def __init__(
        self,
        console: Console,
        config: RunConfig,
        earlier: Iterable[ItemResult],
        *,
        quiet: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._config = config
        self._results = {result.key: result for result in earlier}
        self._quiet = quiet
        self._clock = clock
        self._started = clock()
        self._read = 0
        self._bar = Progress(
            TextColumn("{task.completed:.0f}/{task.fields[of]}"), BarColumn(),
            TextColumn("{task.description}", markup=False), console=console, transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=self.total, of=self.total or "?")

    @property
    def total(self) -> int | None:
        """As `total_of`."""
        return total_of(self._config)

    @property
    def done(self) -> int:
        return len(self._results)

    def __enter__(self) -> Self:
        if self._results and not self._quiet:
            self._say(f"going on, {self.done} items are done: {self._standing()}")
        if self._live:
            self._show()
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._bar.stop()

    def result(self, result: ItemResult) -> None:
        """Made to be an evaluation's `on_result`."""
        self._results[result.key] = result
        self._read += 1
        if self._quiet:
            return
        if self._live:
            self._show()
        if result.status == "failed" or not self._live:
            line = self._line(result)
            self._say(line if self._live else f"{line} | {self._standing()}")

    @property
    def _live(self) -> bool:
        return self._console.is_terminal and not self._quiet

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False)

    def _show(self) -> None:
        self._bar.update(self._task, completed=self.done, description=self._standing())

    def _line(self, result: ItemResult) -> str:
        """One item, for people."""
        length = f" {length_label(result.length)}" if result.length is not None else ""
        seed = f" seed {result.seed}" if len(self._config.seeds) > 1 else ""
        of = f"/{self.total}" if self.total else ""
        said = f"failed: {result.reason}" if result.status == "failed" else _said(result)
        return f"{self.done}{of} {result.id}{length}{seed}: {said}"

    def _standing(self) -> str:
        """How the run stands."""
        results = list(self._results.values())
        failed = sum(result.status == "failed" for result in results)
        tokens = sum(result.prompt + result.completion for result in results)
        costs = [result.cost for result in results if result.cost is not None]
        parts = [
            f"{self._config.metrics[0]} {self._scores(results)}",
            f"{failed} failed",
            f"{tokens:,} tokens",
            *([money(sum(costs))] if costs else []),
            *self._remaining(),
        ]
        return " | ".join(parts)

    def _scores(self, results: list[ItemResult]) -> str:
        """The headline at each budget."""
        told = []
        for place, budget in enumerate(self._config.budgets):
            scores = [one.answers[place].scores[one.metric] for one in results]
            told.append(f"{_mean(scores)}{f' at {budget}' if budget else ''}")
        return ", ".join(told)

    def _remaining(self) -> list[str]:
        if not self.total or not self._read:
            return []
        seconds = (self._clock() - self._started) / self._read * max(0, self.total - self.done)
        return [f"{_duration(seconds)} left"]


def _said(result: ItemResult) -> str:
    first = result.answers[0]
    answer = " ".join(first.prediction.split())
    short = answer if len(answer) <= _ANSWER_CHARACTERS else f"{answer[:_ANSWER_CHARACTERS]}…"
    partial = f" (partial: {result.reason})" if result.status == "partial" else ""
    return f"{short!r} {first.scores[result.metric]:.2f}{partial}"


def _mean(scores: list[float]) -> str:
    """The mean, and half of its interval, in hundredths as in reports."""
    count = len(scores)
    if not count:
        return "-"
    mean = math.fsum(scores) / count
    if count == 1:
        return f"{100 * mean:.1f}"
    variance = math.fsum((score - mean) ** 2 for score in scores) / (count - 1)
    return f"{100 * mean:.1f} ±{100 * _NORMAL_95 * math.sqrt(variance / count):.1f}"


def _duration(seconds: float) -> str:
    if seconds >= _HOUR_S:
        return f"{seconds / _HOUR_S:.1f} h"
    return f"{seconds / _MINUTE_S:.0f} min" if seconds >= _MINUTE_S else f"{seconds:.0f} s"
