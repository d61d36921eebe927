"""`palimpsest compare`: which reader does best on a user's own questions, and at what cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from palimpsest.asking import default_readings_folder
from palimpsest.cli.app import notes, run_async
from palimpsest.cli.options import ModelOptions
from palimpsest.cli.readers import CapOptions, PriceOptions, ReaderOptions
from palimpsest.errors import ConfigurationError, InputError
from palimpsest.evals.comparison import (
    Row,
    Standing,
    compare,
    load_questions,
    standings,
)
from palimpsest.memory.receipt import money
from palimpsest.memory.store import ReadingStore
from palimpsest.readers.reader import Reader
from palimpsest.settings import open_model
from palimpsest.sources import open_source

_LINE_CHARACTERS = 60
_TABLE_CHARACTERS = 200
"""Of an answer: the JSON has all of it."""
_ROWS_FILE = "rows.jsonl"
_COMPARISON_FILE = "comparison.json"


def compare_command(
    *arguments: str,
    readers: str = "memagent,retrieval,full,closed",
    reading: ReaderOptions = ReaderOptions(),  # noqa: B008
    model: ModelOptions = ModelOptions(),  # noqa: B008
    caps: CapOptions = CapOptions(),  # noqa: B008
    prices: PriceOptions = PriceOptions(),  # noqa: B008
    out: Path | None = None,
    skip_unreadable: bool = False,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Compare readers on questions of your own, at one budget.

    Prints each reader's answer to each question, its scores where answers are given, and what it
    took. A comparison that was stopped goes on when the same command is given again.

    Parameters
    ----------
    arguments
        FILE... QUESTIONS.jsonl: what to read, then a file with an object a line, which has a
        `question` and, where they are known, `answers`.
    readers
        Names with commas between; wrappers before what they wrap: memagent,memreread+memocr.
    out
        Folder for the readings, the rows (rows.jsonl) and the comparison (comparison.json).
    skip_unreadable
        Leave out files that cannot be read, and say so.
    as_json
        Print as JSON.
    """
    paths, questions_file = _split(arguments)
    built = _built(readers, reading)
    questions = load_questions(Path(questions_file))
    settings = model.settings()
    source = open_source(paths, skip_unreadable=skip_unreadable, on_skip=_say)
    store = ReadingStore(out / "readings" if out else default_readings_folder())
    opened = open_model(settings, on_load=_say)
    price = prices.price(opened.name, settings.base_url)
    caps_of_each = caps.caps(price)
    report = _Report(len(built) * len(questions), out)

    async def compared() -> list[Row]:
        try:
            return await compare(
                source, questions, built, opened, store,
                price=price, caps=caps_of_each, on_row=report.row,
            )  # fmt: skip
        finally:
            await opened.aclose()

    rows = run_async(compared())
    report.end(rows)
    if as_json:
        print(_json(rows))
    else:
        _print(rows)


class _Report:
    """Says how far a comparison is, and writes what it found."""

    def __init__(self, total: int, out: Path | None) -> None:
        self._total = total
        self._done = 0
        self._out = out
        if out:
            (out / _ROWS_FILE).write_text("", encoding="utf-8")

    def row(self, row: Row) -> None:
        self._done += 1
        said = f"failed: {row.reason}" if row.status == "failed" else row.answer
        _say(f"{self._done}/{self._total} {row.reader}: {row.id}: {_short(said, _LINE_CHARACTERS)}")
        if self._out:
            with (self._out / _ROWS_FILE).open("a", encoding="utf-8") as file:
                file.write(row.model_dump_json() + "\n")

    def end(self, rows: Sequence[Row]) -> None:
        if self._out:
            (self._out / _COMPARISON_FILE).write_text(_json(rows) + "\n", encoding="utf-8")


def _split(arguments: tuple[str, ...]) -> tuple[list[str], str]:
    if len(arguments) < 2:
        raise InputError(
            "a comparison needs something to read and questions",
            hint="palimpsest compare FILE... QUESTIONS.jsonl",
        )
    *paths, questions = arguments
    return paths, questions


def _built(names: str, options: ReaderOptions) -> dict[str, Reader]:
    if options.reader:
        raise ConfigurationError(
            "--reader names one reader, and a comparison takes several", hint="use --readers a,b"
        )
    if options.budget and len(options.budget) > 1:
        raise ConfigurationError(
            "readers are compared at one budget", hint="give --budget once, and compare again"
        )
    given = [name.strip() for name in names.split(",") if name.strip()]
    return {name: options.build_at_budget(name) for name in given}


def _json(rows: Sequence[Row]) -> str:
    told = {
        "readers": [_standing_as_data(standing) for standing in standings(rows)],
        "rows": [row.model_dump() for row in rows],
    }
    return json.dumps(told, ensure_ascii=False, indent=2)


def _standing_as_data(standing: Standing) -> dict[str, object]:
    scores = {name: score._asdict() for name, score in standing.scores.items()}
    return {**standing.model_dump(exclude={"scores"}), "scores": scores}


def _print(rows: Sequence[Row]) -> None:
    out = Console(highlight=False, markup=False)
    scored = any(row.scores for row in rows)
    out.print(_row_table(rows, scored=scored))
    out.print()
    out.print(_standing_table(standings(rows), scored=scored))


def _row_table(rows: Sequence[Row], *, scored: bool) -> Table:
    """What each reader answered, question by question; what that took is in the JSON."""
    table = _table(("question", "reader"), ("answer",), _SCORES if scored else ())
    for row in sorted(rows, key=lambda row: _first(rows, row.id)):
        said = row.answer if row.status == "answered" else f"{row.answer} ({row.reason})".strip()
        marks = [f"{score:.2f}" for score in (row.scores or {}).values()]
        said = _short(said, _TABLE_CHARACTERS)
        table.add_row(row.id, row.reader, said, *((marks or _UNSCORED) if scored else ()))
    return table


def _standing_table(found: Sequence[Standing], *, scored: bool) -> Table:
    """How each reader did over all, and what it took."""
    table = _table(("reader", "failed", *(_SCORES if scored else ()), *_COSTS), (), ())
    for one in found:
        marks = [f"{score.mean:.2f}" for score in one.scores.values()]
        cost = "?" if one.cost is None else money(one.cost)
        counts = [f"{count:,}" for count in (one.calls, one.prompt, one.completion)]
        failed = f"{one.failed} of {one.questions}"
        table.add_row(one.reader, failed, *marks, *counts, f"{one.seconds:,.1f}", cost)
    return table


_SCORES = ("EM", "F1", "in it")
_UNSCORED = ["-"] * len(_SCORES)
_COSTS = ("calls", "in", "out", "seconds", "money")


def _table(before: Sequence[str], wide: Sequence[str], after: Sequence[str]) -> Table:
    """An empty table in which only the wide columns give way where the terminal is narrow."""
    table = Table(box=None, pad_edge=False)
    for name in (*before, *wide, *after):
        table.add_column(name, no_wrap=name not in wide)
    return table


def _first(rows: Sequence[Row], question: str) -> int:
    return next(place for place, row in enumerate(rows) if row.id == question)


def _short(text: str, characters: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= characters else f"{line[: characters - 1]}…"


def _say(message: object) -> None:
    notes.print(str(message), markup=False)
