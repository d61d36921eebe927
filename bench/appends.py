"""Many processes append to one saved memory at once: is anything lost or doubled?

    python bench/appends.py --appends 10000 --processes 8

Each process adds its share of notes, and then its share of documents without waiting for them to
be read, through the same calls that a program would use. Afterwards the memory is opened anew
and every append is looked for. Prints the counts and the seconds; ends with 1 if one is lost,
doubled or cut.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from palimpsest.models import ScriptedModel
from palimpsest.remembering import SavedMemory
from palimpsest.sources import Source

NAME = "appends"
KINDS = ("notes", "documents")


def main() -> int:
    options = _options()
    starting = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(starting)
    if starting == "forkserver":
        context.set_forkserver_preload(["palimpsest.remembering"])
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(options.processes, mp_context=context) as pool,
    ):
        SavedMemory.create(NAME, model=ScriptedModel([]), memories=folder)
        # All processes are there, with everything imported, before the clock starts.
        list(pool.map(time.sleep, [0.2] * options.processes))
        return max(_measure(pool, folder, kind, options) for kind in KINDS)


def _measure(pool: ProcessPoolExecutor, folder: str, kind: str, options: argparse.Namespace) -> int:
    appends, processes = options.appends, options.processes
    ends = [appends * number // processes for number in range(processes + 1)]
    started = time.monotonic()
    list(pool.map(partial(_work, folder, kind), map(range, ends, ends[1:])))
    seconds = time.monotonic() - started
    found = Counter(_found(SavedMemory.open(NAME, memories=folder), kind))
    expected = {_line(number) for number in range(appends)}
    lost = len(expected - found.keys())
    doubled = sum(count - 1 for count in found.values())
    damaged = len(found.keys() - expected)
    print(
        f"{appends:,} {kind} by {processes} processes in {seconds:.1f} s"
        f" ({appends / seconds:,.0f} a second): {lost} lost, {doubled} doubled,"
        f" {damaged} damaged"
    )
    return int(bool(lost or doubled or damaged))


def _work(folder: str, kind: str, numbers: Sequence[int]) -> None:
    memory = SavedMemory.open(NAME, memories=folder)
    for number in numbers:
        if kind == "notes":
            memory.note(_line(number))
        else:
            memory.append(Source.from_text(_line(number), f"{number}.txt"), wait=False)


def _found(memory: SavedMemory, kind: str) -> list[str]:
    """What was appended, as it is seen by whoever uses the memory."""
    if kind == "notes":
        assert set(memory.folder.notes()) == set(memory.memory.splitlines())
        return memory.folder.notes()
    return [memory.folder.text(document.sha256) for document in memory.pending]


def _line(number: int) -> str:
    return f"Append {number}: the lamp of Gull Rock was lit {number} times."


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--appends", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=8)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
