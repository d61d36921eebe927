"""What is seen of a reading while it runs: chunks, tokens and the memory so far."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.text import Text

from palimpsest.memory.reading import ChunkRead, GuardEvent, Header, Reading, Record

_MEMORY_LINES = 12


class Progress:
    """A live view on a terminal, a line per chunk elsewhere, nothing when quiet."""

    def __init__(self, console: Console, *, quiet: bool) -> None:
        self._console = console
        self._quiet = quiet
        self._bar = Bar(
            TextColumn("reading"), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[of]}"), TimeElapsedColumn(), console=console,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=None, of="")
        self._live = Live(console=console, transient=True, refresh_per_second=4)
        self._live_on = console.is_terminal and not quiet

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live.is_started:
            self._live.stop()

    def start(self, reading: Reading, folder: Path) -> None:
        """Says what is about to be read, and where it is written."""
        if self._quiet:
            return
        header = reading.header
        self._console.print(
            f"{header.reader} with {header.model}: {header.tokens:,} tokens"
            f" ({header.tokenizer}) in {len(header.chunks)} chunks; reading {folder.name}",
            markup=False,
        )
        if reading.next_chunk:
            self._console.print(f"going on after chunk {reading.next_chunk}")
        if self._live_on:
            self._show(reading)
            self._live.start()

    def event(self, reading: Reading, part: Header | Record) -> None:
        """Made to be a reader's `on_event`."""
        if self._quiet:
            return
        if isinstance(part, GuardEvent):
            where = f"chunk {part.chunk + 1}: " if part.chunk is not None else ""
            self._console.print(f"guard {part.guard}: {where}{part.detail}", markup=False)
        if self._live_on:
            self._show(reading)
        elif isinstance(part, ChunkRead):
            self._console.print(f"chunk {part.chunk + 1}: {_counts(reading)}")

    def _show(self, reading: Reading) -> None:
        total, done = len(reading.header.chunks), reading.next_chunk
        self._bar.update(self._task, total=total, completed=done, of=_counts(reading))
        lines = reading.memory.splitlines()
        shown = "\n".join(lines[-_MEMORY_LINES:])
        title = "memory" if len(lines) <= _MEMORY_LINES else f"memory, last {_MEMORY_LINES} lines"
        self._live.update(Group(Panel(Text(shown), title=title, title_align="left"), self._bar))


def _counts(reading: Reading) -> str:
    usage = reading.usage
    memory = reading.memories[-1].tokens if reading.memories else 0
    return f"memory {memory} tokens; {usage.prompt:,} in, {usage.completion:,} out"
