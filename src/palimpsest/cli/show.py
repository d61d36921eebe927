"""`palimpsest show`: readings that were made, and what is in one."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from palimpsest.asking import default_readings_folder
from palimpsest.cli.app import notes
from palimpsest.cli.ask import summary
from palimpsest.cli.readers import PriceOptions
from palimpsest.errors import InputError
from palimpsest.memory.reading import Reading
from palimpsest.memory.receipt import Receipt, receipt_of
from palimpsest.memory.store import ReadingStore, load_reading


def show(
    name: str | None = None,
    *,
    readings: Path | None = None,
    page: Path | None = None,
    budget: int | None = None,
    prices: PriceOptions = PriceOptions(),  # noqa: B008
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Show a reading again, or list them all.

    Parameters
    ----------
    name
        The start of a reading's name, or the path of its folder; without it, a list.
    readings
        Folder in which readings are kept.
    page
        Write the picture of the memory to this PNG file.
    budget
        Visual tokens of that picture; by default what the reading used.
    as_json
        Print as JSON.
    """
    store = ReadingStore(readings or default_readings_folder())
    if name is None:
        _list(store, prices, as_json=as_json)
        return
    folder = Path(name) if Path(name).is_dir() else store.find(name)
    reading = load_reading(folder)
    if page:
        _write_page(reading, page, budget)
    receipt = _receipt(reading, prices)
    if as_json:
        print(json.dumps(summary(reading, folder, receipt), ensure_ascii=False, indent=2))
    else:
        _print(reading, receipt)


def _receipt(reading: Reading, prices: PriceOptions) -> Receipt:
    header = reading.header
    price = prices.price(header.model, at=datetime.fromisoformat(header.created))
    return receipt_of(reading, price)


def _list(store: ReadingStore, prices: PriceOptions, *, as_json: bool) -> None:
    readings = list(store)
    if as_json:
        rows = [
            summary(reading, store.folder / name, _receipt(reading, prices))
            for name, reading in readings
        ]
        print(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    table = Table("reading", "status", "reader", "question", "answer", box=None)
    for name, reading in readings:
        total = len(reading.header.chunks)
        status = reading.status or f"{reading.next_chunk} of {total} chunks"
        question = reading.header.questions[0]
        table.add_row(name, status, reading.header.reader, question, reading.answer)
    notes.print(f"{len(readings)} readings in {store.folder}", markup=False)
    if readings:
        _out().print(table, soft_wrap=False)


def _print(reading: Reading, receipt: Receipt) -> None:
    header, out = reading.header, _out()
    out.print(f"{header.reader} with {header.model}, {header.created}", markup=False)
    out.print(
        f"{', '.join(header.documents)}: {header.tokens:,} tokens in {len(header.chunks)} chunks,"
        f" {reading.next_chunk} read",
        markup=False,
    )
    for question in header.questions:
        out.print(f"\nQ: {question}", markup=False)
    for answer in reading.answers:
        budget = f" [{answer.budget} tokens]" if answer.budget else ""
        note = "" if answer.boxed else " (not boxed: the last line)"
        out.print(f"A{budget}: {answer.text}{note}", markup=False)
    out.print(f"\n{reading.memory}\n", markup=False)
    for role, totals in receipt.by_role.items():
        out.print(
            f"{role}: {totals.calls} calls, {totals.usage.prompt:,} tokens in,"
            f" {totals.usage.completion:,} out",
            markup=False,
        )
    out.print(str(receipt), markup=False)
    end = reading.end
    ending = f"{end.status} {end.reason}".strip() if end else "unfinished"
    out.print(f"status: {ending}", markup=False)


def _write_page(reading: Reading, path: Path, budget: int | None) -> None:
    from palimpsest.readers import MemOCR

    if not reading.memory:
        raise InputError("the reading has no memory to draw", hint="read a chunk first")
    if budget is None and not reading.pages:
        raise InputError("how large should the page be?", hint="give --budget N visual tokens")
    tokens = budget or reading.pages[-1].budget
    header = reading.header
    reader = MemOCR(**header.settings) if header.reader == MemOCR.name else MemOCR()
    drawn = reader.page(reading.memory, tokens)
    path.write_bytes(drawn.png())
    notes.print(
        f"{path}: {drawn.grid_width}x{drawn.grid_height} of {drawn.cell}-pixel cells,"
        f" {drawn.tokens} visual tokens, body text {drawn.body_px:.1f} px",
        markup=False,
    )


def _out() -> Console:
    return Console(highlight=False, soft_wrap=True)
