"""`palimpsest replay`: a reading gone on with from one of its chunks, as a new one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, NamedTuple

from cyclopts import Parameter

from palimpsest.asking import default_readings_folder
from palimpsest.cli.app import notes, run_async
from palimpsest.cli.ask import print_answers, say_loading, summary
from palimpsest.cli.options import ModelOptions
from palimpsest.cli.progress import Progress
from palimpsest.cli.readers import PriceOptions, ReaderOptions
from palimpsest.cli.stored import Stored, open_stored, required_source
from palimpsest.memory.reading import Header, Reading, Record
from palimpsest.memory.receipt import receipt_of
from palimpsest.memory.replaying import records_before, replayed
from palimpsest.memory.store import Journal, ReadingStore
from palimpsest.models import Model
from palimpsest.prompts import default_prompts, load_prompts
from palimpsest.readers.reader import Reader
from palimpsest.readers.restoring import restore
from palimpsest.settings import ModelSettings, open_model
from palimpsest.sources import Source


class _Order(NamedTuple):
    stored: Stored
    kept: list[Record]
    replay_of: str
    source: Source
    reader: Reader
    settings: ModelSettings
    store: ReadingStore
    quiet: bool


def replay(
    name: str,
    *,
    from_chunk: int,
    reading: ReaderOptions = ReaderOptions(),  # noqa: B008
    model: ModelOptions = ModelOptions(),  # noqa: B008
    prices: PriceOptions = PriceOptions(),  # noqa: B008
    source: Annotated[list[Path], Parameter(name="--source", negative=())] = [],  # noqa: B006
    readings: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative=())] = False,
) -> None:
    """Read on from a chunk of a reading, with the memory that stood before it, as a new reading.

    The reader is the reading's own unless options name another; the model is the one in force.
    Chunks stay as they were cut, and what was taken over is not in the receipt. A replay that was
    stopped goes on when the same command is given again.

    Parameters
    ----------
    name
        The start of a reading's name, or the path of its folder.
    from_chunk
        The first chunk to be read anew, counted from 1; one past the last only answers again.
    source
        What was read, where it is no longer found.
    readings
        Folder in which readings are kept.
    as_json
        Print the answers and the reading's facts as JSON.
    quiet
        No progress.
    """
    stored = open_stored(name, readings)
    kept = records_before(stored.reading, from_chunk - 1)
    found = required_source(stored, source)
    store = ReadingStore(readings or default_readings_folder())
    title = f"{_name_of(stored.folder)} from chunk {from_chunk}"
    reader = _reader(reading, stored.reading.header)
    order = _Order(stored, kept, title, found, reader, model.settings(), store, quiet)
    done, folder = run_async(_replay(order))
    done.raise_for_status()
    own = Reading(done.opening, done.records[len(kept) :])
    receipt = receipt_of(own, prices.price(done.header.model, order.settings.base_url))
    if as_json:
        print(json.dumps(summary(done, folder, receipt), ensure_ascii=False, indent=2))
    else:
        print_answers(done)
    if not quiet:
        notes.print(str(receipt), markup=False)


def _name_of(path: Path) -> str:
    folder = path.resolve() if path.is_dir() else path.resolve().parent
    return folder.name


def _reader(options: ReaderOptions, header: Header) -> Reader:
    """The reader that the options name, else that of the reading."""
    prompts = load_prompts(options.prompts) if options.prompts else default_prompts()
    if options != ReaderOptions(prompts=options.prompts):
        return options.build()
    reader = restore(header.reader, header.settings, prompts)
    if reader.fingerprints() != header.prompts:
        notes.print("the prompts are not those of the reading; --prompts gives its own")
    return reader


async def _replay(order: _Order) -> tuple[Reading, Path]:
    model = open_model(order.settings, on_load=say_loading)
    try:
        reading, journal = await _begun(order, model)
        with journal, Progress(notes, quiet=order.quiet) as progress:
            progress.start(reading, journal.folder)

            def hear(heard: Reading, part: Header | Record) -> None:
                journal.write(heard, part)
                progress.event(heard, part)

            await order.reader.read(
                order.source, reading.header.questions, model, reading=reading, on_event=hear
            )
            return reading, journal.folder
    finally:
        await model.aclose()


async def _begun(order: _Order, model: Model) -> tuple[Reading, Journal]:
    """The replay to go on with: one that was stopped, or a new one."""
    old = order.stored.reading
    key = order.reader.key(order.source, old.header.questions, model)
    found = order.store.resume(key, replay_of=order.replay_of)
    if found:
        return found
    new = await order.reader.begin(order.source, old.header.questions, model)
    begun = replayed(new.header, old, order.kept, order.replay_of)
    return begun, order.store.create(begun)
