"""What the viewer holds while the server runs: the open files, and what each caller may see."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Literal

from palimpsest.asking import default_readings_folder
from palimpsest.memory.reading import Reading
from palimpsest.memory.store import ReadingStore
from palimpsest.server.config import Part, ServerConfig
from palimpsest.server.security import Caller
from palimpsest.server.state import ServerState
from palimpsest.server.viewer.citing import Citing
from palimpsest.server.viewer.drawing import Drawing
from palimpsest.server.viewer.following import Followed, Readings
from palimpsest.server.viewer.library import Entry, Library
from palimpsest.server.viewer.playground import Playground
from palimpsest.server.viewer.runs import Runs
from palimpsest.server.viewer.sources import Opened, Sources


class ViewerConfig(ServerConfig):
    """A server that is a viewer and nothing else, for one person on their own machine."""

    port: int = 0
    parts: frozenset[Part] = frozenset({"viewer"})
    sources: tuple[Path, ...] = ()
    """Where documents are that are no longer at their paths."""
    readings: Path | None = None
    """Where readings are kept; None for where `palimpsest ask` keeps them."""
    pages_on_disk: bool = False
    grace_s: float = 1.0
    log_level: Literal["debug", "info", "warning", "error"] = "warning"


class Viewing:
    """One server's viewer."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._shelves: dict[str, Shelf] = {}
        self.readings = Readings()
        config = state.config
        elsewhere = config.sources if isinstance(config, ViewerConfig) else ()
        self.sources = Sources(elsewhere, callers=state.callers_folder.resolve())
        self.citing = Citing()
        self.drawing = Drawing(state.pages)
        self.runs = Runs()
        state.at_stop(self.aclose)

    def shelf(self, caller: Caller) -> Shelf:
        """What a caller sees."""
        if caller.id not in self._shelves:
            self._shelves[caller.id] = Shelf(self._state, caller)
        return self._shelves[caller.id]

    def follow(self, entry: Entry) -> tuple[Reading, Followed]:
        """A reading as it is now. Raises `ReadingError`."""
        followed = self.readings.follow(entry.file)
        return followed.read(), followed

    def source(self, entry: Entry, reading: Reading) -> Opened:
        """Raises `InputError` where it is not at hand."""
        return self.sources.open(entry, reading)

    async def aclose(self) -> None:
        self.citing.close()


class Shelf:
    """What one caller may see, and where its own readings are made."""

    def __init__(self, state: ServerState, caller: Caller) -> None:
        own = state.caller_folder(caller)
        store = _store(state, caller)
        asking = _has_model(state)
        made = [store.folder, own / "readings", own / "memories"] if asking else []
        self.library = Library([*state.config.shown, *made])
        self.playground: Playground | None = None
        if asking:
            self.playground = Playground(
                state.model, store, own / "uploads", self._entry_id, spawn=_spawning(state)
            )

    def _entry_id(self, folder: Path) -> str:
        """The id of a reading that was begun just now."""
        entries = self.library.entries()
        return next((one.id for one in entries if one.path == folder.resolve()), "")


def _store(state: ServerState, caller: Caller) -> ReadingStore:
    """A viewer that runs alone keeps readings where `palimpsest ask` does."""
    if isinstance(state.config, ViewerConfig):
        return ReadingStore(state.config.readings or default_readings_folder())
    return state.readings(caller)


def _has_model(state: ServerState) -> bool:
    """Whether somebody named a model: the embedded one is not loaded for who only looks."""
    return "gateway" in state.config.parts or bool(state.config.upstream.name)


def _spawning(state: ServerState) -> Callable[[Coroutine[Any, Any, None]], asyncio.Task[Any]]:
    def spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[Any]:
        return state.spawn(work, name="playground")

    return spawn
