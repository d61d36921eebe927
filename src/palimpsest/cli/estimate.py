"""`palimpsest estimate`: what a question about files will take, before it is asked."""

from __future__ import annotations

import os
from collections.abc import Callable
from glob import glob
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from palimpsest.asking import default_readings_folder
from palimpsest.cli.app import notes, run_async
from palimpsest.cli.options import ModelOptions
from palimpsest.cli.readers import PriceOptions, ReaderOptions
from palimpsest.errors import ConfigurationError, InputError
from palimpsest.memory.receipt import money
from palimpsest.memory.store import ReadingStore
from palimpsest.models.model import Model
from palimpsest.models.rate import Rate
from palimpsest.readers.estimate import FILL, HIGH, LOW, Bill, Estimate, estimate
from palimpsest.readers.reader import Reader
from palimpsest.settings import EMBEDDED, ModelSettings, open_model
from palimpsest.sources import Source, open_source

_MEASURED = "measured"
_SOME_QUESTION = "What does the text say about the person, the place and the year in question?"
"""Stands for a question that is not known yet."""


def estimate_command(
    *arguments: Annotated[str, Parameter(allow_leading_hyphen=True)],
    reading: ReaderOptions = ReaderOptions(),  # noqa: B008
    model: ModelOptions = ModelOptions(),  # noqa: B008
    prices: PriceOptions = PriceOptions(),  # noqa: B008
    rate: str | None = None,
    fill: float = FILL,
    readings: Path | None = None,
    skip_unreadable: bool = False,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Say what a question would take: chunks, calls, tokens, money and seconds.

    The real reader is run on the real chunks and prompts, and no model is asked. Only what the
    model would write is assumed.

    Parameters
    ----------
    arguments
        FILE... [QUESTION], as for `ask`.
    rate
        The model's speed in tokens a second: of prompts and of completions (2000,60), one number
        for both, or `measured` for that of earlier readings with this model.
    fill
        Share of their limit that memories are assumed to take.
    readings
        Folder in which readings are kept, for `measured`.
    skip_unreadable
        Leave out files that cannot be read, and say so.
    as_json
        Print as JSON.
    """
    if not 0 <= fill <= 1:
        raise InputError(f"--fill {fill} is no share", hint="give one from 0 to 1")
    paths, question = _split(arguments)
    reader, settings = reading.build(), model.settings()
    source = open_source(paths, skip_unreadable=skip_unreadable, on_skip=_say)
    opened = open_model(settings, on_load=_say)
    speed = _rate(rate, opened, readings or default_readings_folder())
    price = prices.price(opened.name, settings.base_url)

    async def tried() -> Estimate:
        try:
            return await estimate(
                reader, source, [question], opened,
                fill=fill, price=price, rate=speed, concurrency=_concurrency(settings),
                reads_out=_reads_out(settings),
            )  # fmt: skip
        finally:
            await opened.aclose()

    found = run_async(tried())
    if as_json:
        print(found.model_dump_json(indent=2))
    else:
        _print(found, reader, source, opened)


def _split(arguments: tuple[str, ...]) -> tuple[list[str], str]:
    """Paths and the question; what is no file at the end is the question."""
    for argument in arguments:
        if argument.startswith("-") and argument != "-":
            raise InputError(
                f"unknown option {argument}", hint="`palimpsest estimate --help` lists the options"
            )
    if not arguments:
        raise InputError("nothing to do", hint='palimpsest estimate FILE... ["question"]')
    *paths, last = arguments
    is_source = last == "-" or os.path.exists(last) or bool(glob(last, recursive=True))
    if paths and not is_source:
        return paths, last
    return [*paths, last], _SOME_QUESTION


def _rate(given: str | None, model: Model, readings: Path) -> Rate | None:
    if given != _MEASURED:
        return None if given is None else Rate.parse(given)
    kept = [reading for _, reading in ReadingStore(readings) if reading.header.model == model.name]
    rate = Rate.measured([turn.completion for reading in kept for turn in reading.turns])
    if rate is None:
        raise ConfigurationError(
            f"no reading with {model.name} is kept in {readings} to measure its speed by",
            hint="ask it something first, or give --rate IN,OUT in tokens a second",
        )
    return rate


def _concurrency(settings: ModelSettings) -> int | None:
    """The most calls in flight; the local model takes one at a time."""
    return 1 if _is_local(settings) else settings.concurrency


def _reads_out(settings: ModelSettings) -> bool:
    """Whether images are read out to the model by OCR."""
    return settings.sight if settings.sight is not None else _is_local(settings)


def _is_local(settings: ModelSettings) -> bool:
    name = settings.name or (EMBEDDED if settings.base_url is None else "")
    return name.split(":")[0] == EMBEDDED


def _print(found: Estimate, reader: Reader, source: Source, model: Model) -> None:
    names = ", ".join(document.name for document in source.documents)
    out = Console(highlight=False, soft_wrap=True)
    out.print(
        f"{names}: {found.source_tokens:,} tokens in {found.chunks} chunks,"
        f" read by {reader.name} with {model.name}",
        markup=False,
    )
    table = Table("", "expected", "low", "high", box=None)
    for label, told in _ROWS:
        cells = [told(bill) for bill in (found.expected, found.low, found.high)]
        if any(cells):
            table.add_row(label, *cells)
    out.print(table)
    notes.print(_assumed(found), markup=False)


_ROWS: tuple[tuple[str, Callable[[Bill], str]], ...] = (
    ("calls", lambda bill: f"{bill.calls:,}"),
    ("tokens in", lambda bill: f"{bill.prompt:,}"),
    ("tokens out", lambda bill: f"{bill.completion:,}"),
    ("money", lambda bill: "no price known" if bill.cost is None else money(bill.cost)),
    ("seconds", lambda bill: "" if bill.seconds is None else f"{bill.seconds:,.1f}"),
)


def _assumed(found: Estimate) -> str:
    shares = [f"{share:.0%}" for share in (found.fill, LOW.fill, HIGH.fill)]
    counted = "" if found.exact else (
        f"; tokens are counted by {found.tokenizer}, true counts are mostly lower"
    )  # fmt: skip
    return (
        f"assumed: memories of {shares[0]} of their limit (low {shares[1]}, high {shares[2]}),"
        " every reread made and no chunk skipped (low: none made, all skipped that can be);"
        f" thinking and calls that shorten a memory are not foreseen{counted}"
    )


def _say(message: object) -> None:
    notes.print(str(message), markup=False)
