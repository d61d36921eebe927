"""Many memories drawn in several processes: the work holds Python's lock, so threads do not help.

    for page in render_many(memories, 256):
        ...

A worker is a process of its own that needs nothing of the caller's program, so that a script may
call this without a guard. It ends with the batch, or with the process that started it.
"""

from __future__ import annotations

import gc
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import IO, NamedTuple

from palimpsest.errors import InputError, PalimpsestError
from palimpsest.pages.page import Page, render
from palimpsest.pages.style import Style

_CHUNK = 8
"""Pages a worker is given at once: enough that it never waits for the next."""
_AHEAD = 3
"""Chunks for each worker that are read from the memories before their pages are asked for."""
_PIPE_BYTES = 1 << 20
"""Room for a page or two, so that a worker draws on while its last page waits to be read."""
_PATIENCE_S = 5.0
"""Given to a process that has closed its output to end by itself."""
_PROGRAM = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); sys.path = {path!r}; "
    "from palimpsest.pages.batch import serve; serve()"
)
_READY = "ready"

Outcome = Page | PalimpsestError


class _Order(NamedTuple):
    """A page to draw."""

    markdown: str
    budget: int
    cell: int
    style: Style


def render_many(
    memories: Iterable[str],
    budget: int | Sequence[int],
    *,
    cell: int = 28,
    style: Style = Style(),  # noqa: B008
    workers: int | None = None,
) -> Generator[Outcome]:
    """The page of each memory, in order; with several budgets, all of a memory's, then the next's.

    A memory that cannot be drawn gives, in its place, the error that `render` would raise; one
    whose drawing ends its worker, a `PalimpsestError`. `workers` is the number of processes, by
    default one for each processor; with 1 the pages are drawn in this process. Memories are read
    a few chunks ahead of their pages. Closing the generator ends the workers.
    """
    count = _processors() if workers is None else workers
    if count < 1:
        raise InputError(f"{count} workers cannot draw pages", hint="give at least 1 worker")
    budgets = [budget] if isinstance(budget, int) else list(budget)
    if not budgets:
        raise InputError("no budget to draw pages for", hint="give at least one")
    orders = (_Order(memory, tokens, cell, style) for memory in memories for tokens in budgets)
    return _here(orders) if count == 1 else _elsewhere(orders, count)


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _here(orders: Iterable[_Order]) -> Generator[Outcome]:
    for order in orders:
        yield _outcome(order)


def _outcome(order: _Order) -> Outcome:
    try:
        return render(order.markdown, order.budget, cell=order.cell, style=order.style)
    except PalimpsestError as error:
        return error
    except Exception as error:
        return PalimpsestError(
            f"the page could not be drawn: {type(error).__name__}: {error}",
            hint="this is a fault; `render` of the same memory shows where",
        )


def _elsewhere(orders: Iterator[_Order], count: int) -> Generator[Outcome]:
    crew = _Crew(count)
    try:
        pending: deque[Future[list[Outcome]]] = deque()
        for chunk in iter(lambda: list(islice(orders, _CHUNK)), []):
            pending.append(crew.draw(chunk))
            if len(pending) >= count * _AHEAD:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    finally:
        crew.close()


class _Crew:
    """Workers, each with a thread that waits for its pages."""

    def __init__(self, count: int) -> None:
        self._threads = ThreadPoolExecutor(count, "palimpsest-pages")
        self._workers = [_Worker() for _ in range(count)]
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)

    def draw(self, orders: list[_Order]) -> Future[list[Outcome]]:
        return self._threads.submit(self._draw, orders)

    def _draw(self, orders: list[_Order]) -> list[Outcome]:
        worker = self._idle.get()
        try:
            return list(worker.draw(orders))
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.close()
        self._threads.shutdown()


class _Worker:
    """A process that draws, started when first needed and again after it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = False
        self._lock = threading.Lock()

    def draw(self, orders: list[_Order]) -> Iterator[Outcome]:
        """The pages in order. The order at which the process dies gives an error."""
        done = 0
        while done < len(orders) and (process := self._running()):
            for outcome in _answers(process, orders[done:]):
                yield outcome
                done += 1
            if done < len(orders):
                yield PalimpsestError(
                    f"the worker that drew the page ended with code {_ended(process)}",
                    hint="it may have run out of memory; shorten the memory",
                )
                done += 1

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            if self._process:
                self._process.kill()
                _ended(self._process)

    def _running(self) -> subprocess.Popen[bytes] | None:
        """The process; None once this is closed."""
        with self._lock:
            if self._is_closed:
                return None
            if self._process is None or self._process.poll() is not None:
                self._process = _started()
            return self._process


def _started() -> subprocess.Popen[bytes]:
    program = _PROGRAM.format(path=sys.path)
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pipesize=_PIPE_BYTES if sys.platform == "linux" else -1,
    )
    if not _read(process.stdout):
        raise PalimpsestError(
            f"a worker could not be started: it ended with code {_ended(process)}",
            hint="with workers=1 pages are drawn in this process",
        )
    return process


def _answers(process: subprocess.Popen[bytes], orders: list[_Order]) -> Iterator[Outcome]:
    """What the process sends back, as far as it comes."""
    assert process.stdin is not None
    with suppress(OSError, ValueError):
        pickle.dump(orders, process.stdin, pickle.HIGHEST_PROTOCOL)
        process.stdin.flush()
    for _ in orders:
        outcome = _read(process.stdout)
        if not isinstance(outcome, Outcome):
            return
        yield outcome


def _read(pipe: IO[bytes] | None) -> object:
    """The next object; None if the other end is gone."""
    assert pipe is not None
    with suppress(EOFError, OSError, ValueError, pickle.UnpicklingError):
        received: object = pickle.load(pipe)
        return received
    return None


def _ended(process: subprocess.Popen[bytes]) -> int:
    """Waits for a process that is about to end, and gives its exit code."""
    try:
        code = process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with suppress(OSError):
                pipe.close()
    return code


def serve() -> None:
    """What a worker does: draws what comes in and sends it back, until its input ends."""
    # Whatever else is printed must not come between the pages.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    # What is made for a page is freed with it; looking for cycles would take a fifth of the time.
    gc.freeze()
    gc.disable()
    _send(_READY, answers)
    while isinstance(orders := _read(sys.stdin.buffer), list):
        for order in orders:
            _send(_outcome(order), answers)


def _send(value: object, pipe: IO[bytes]) -> None:
    pickle.dump(value, pipe, pickle.HIGHEST_PROTOCOL)
    pipe.flush()
