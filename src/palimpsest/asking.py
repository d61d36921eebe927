"""The main job in one call: open the source, read it, keep the reading, give it back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack

import platformdirs

from palimpsest.memory.reading import OnEvent, Reading
from palimpsest.memory.store import Journal, ReadingStore
from palimpsest.models.caps import Caps
from palimpsest.models.model import Model
from palimpsest.sources import Source, open_source

if TYPE_CHECKING:
    from palimpsest.memory.reading import Header, Record
    from palimpsest.readers.reader import Reader

_T = TypeVar("_T")


class AskOptions(TypedDict, total=False):
    """The options of `aask`, for `ask`."""

    model: Model | str | None
    reader: Reader | None
    readings: Path | str | None
    fresh: bool
    caps: Caps | None
    on_event: OnEvent | None
    on_start: Callable[[Reading, Path], None] | None


def default_readings_folder() -> Path:
    """`PALIMPSEST_READINGS`, else `palimpsest/readings` in the user's state folder."""
    named = os.environ.get("PALIMPSEST_READINGS")
    return Path(named) if named else platformdirs.user_state_path("palimpsest") / "readings"


async def aask(
    source: Source | str | Path | Sequence[str | Path],
    question: str | Sequence[str],
    *,
    model: Model | str | None = None,
    reader: Reader | None = None,
    readings: Path | str | None = None,
    fresh: bool = False,
    caps: Caps | None = None,
    on_event: OnEvent | None = None,
    on_start: Callable[[Reading, Path], None] | None = None,
) -> Reading:
    """Reads a source and answers a question about it; `reading.answer` is the answer.

    `source` is a `Source` or paths of files, folders and globs. `model` is a model or a name as
    in `ModelSettings`; without one, the settings in force decide, and the embedded model is the
    default. `reader` is `MemAgent()` by default. The reading is kept in a folder under
    `readings`; an unfinished one of the same source, question, model and settings is gone on
    with, unless `fresh`. Before it would pass one of the `caps`, a reading ends `partial`, with
    the answer from what it has read; under larger caps it is gone on with like any other.
    `on_start` hears which reading is written where, `on_event` of each record. Raises an error
    of `palimpsest.errors` when no answer could be had.
    """
    opened = source if isinstance(source, Source) else open_source(paths_of(source))
    answering = _opened_model(model)
    strategy = reader or _default_reader()
    store = ReadingStore(Path(readings) if readings else default_readings_folder())
    try:
        reading = await kept_reading(
            store, strategy, opened, question, answering,
            fresh=fresh, caps=caps, on_start=on_start, on_event=on_event,
        )  # fmt: skip
    finally:
        if answering is not model:
            await answering.aclose()
    reading.raise_for_status()
    return reading


async def kept_reading(
    store: ReadingStore,
    reader: Reader,
    source: Source,
    question: str | Sequence[str],
    model: Model,
    *,
    fresh: bool = False,
    caps: Caps | None = None,
    on_event: OnEvent | None = None,
    on_start: Callable[[Reading, Path], None] | None = None,
) -> Reading:
    """Reads as `aask` does, with everything opened; a reading that failed is returned as it is."""
    found = None if fresh else store.resume(reader.key(source, question, model))
    if found:
        reading, journal = found
    else:
        reading = await reader.begin(source, question, model)
        journal = store.create(reading)
    with journal:
        if on_start:
            on_start(reading, journal.folder)
        listener = both(journal, on_event)
        return await reader.read(
            source, question, model, reading=reading, on_event=listener, caps=caps
        )


def ask(
    source: Source | str | Path | Sequence[str | Path],
    question: str | Sequence[str],
    **options: Unpack[AskOptions],
) -> Reading:
    """`aask` for code that is not asynchronous; takes the same options."""
    return run(
        aask(source, question, **options),
        "palimpsest.ask() was called inside an event loop; await aask() instead",
    )


def run(work: Coroutine[Any, Any, _T], inside_loop: str) -> _T:
    """Runs to its end what is asynchronous; inside an event loop raises with that message."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    work.close()
    raise RuntimeError(inside_loop)


def paths_of(source: str | Path | Sequence[str | Path]) -> Sequence[str | Path]:
    """One path or several, as several."""
    return [source] if isinstance(source, str | Path) else source


def _opened_model(model: Model | str | None) -> Model:
    if model is not None and not isinstance(model, str):
        return model
    from palimpsest.settings import ModelSettings, open_model, resolve_settings

    return open_model(resolve_settings(ModelSettings(name=model)))


def _default_reader() -> Reader:
    from palimpsest.readers import MemAgent

    return MemAgent()


def both(journal: Journal, on_event: OnEvent | None) -> OnEvent:
    """Tells the journal first, then the listener."""

    def listen(reading: Reading, part: Header | Record) -> None:
        journal.write(reading, part)
        if on_event:
            on_event(reading, part)

    return listen
