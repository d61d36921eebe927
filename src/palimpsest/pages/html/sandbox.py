"""Runs what touches hostile HTML in a process that is killed when it takes too much."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from palimpsest.errors import ConfigurationError, InputError

_START_S = 60.0
"""Enough for a worker to start on a busy machine."""
_LONGEST_LINE = 10_000
_SESSIONS = 400
"""A worker is replaced after so many: the engine keeps some memory of every page."""
_PROGRAM = "from palimpsest.pages.html.worker import main; main()"
_NEEDED = ("blitz_py", "nh3", "tinycss2")
_INHERITED = ("LD_LIBRARY_PATH", "PATH", "SYSTEMROOT")
"""Variables without which some interpreters do not start. The others may be secrets."""
_NO_FONTS = Path(__file__).parent / "fonts.conf"

Reply = tuple[dict[str, Any], bytes]


class Sandbox:
    """A worker process, started when first needed, replaced when it dies, ended with this one.

    Sessions of several threads take turns.
    """

    def __init__(self, families: Sequence[str], *, deadline_s: float, memory_mb: int) -> None:
        self._settings = {"families": families, "memory": memory_mb << 20}
        self._deadline_s = deadline_s
        self._memory_mb = memory_mb
        self._lock = threading.Lock()
        self._worker: _Worker | None = None

    @contextmanager
    def session(self) -> Iterator[Session]:
        """The worker for one page. What is asked of it raises `InputError` once the session has
        lasted for the deadline, or when the worker breaks."""
        with self._lock:
            worker = self._ready()
            worker.sessions += 1
            with worker.killed_after(self._deadline_s) as late:
                yield Session(worker, late, self._deadline_s, self._memory_mb)

    def close(self) -> None:
        """Ends the worker; the next session starts another."""
        worker, self._worker = self._worker, None
        atexit.unregister(self.close)
        # A fork's copy shares the pipes with its parent's worker: leave that alone.
        if worker and worker.owner == os.getpid():
            worker.close()

    def _ready(self) -> _Worker:
        if self._worker and self._worker.usable:
            return self._worker
        self.close()
        missing = [name for name in _NEEDED if find_spec(name) is None]
        if missing:
            raise ConfigurationError(
                f"drawing HTML needs {' and '.join(missing)}",
                hint="pip install 'palimpsest-memory[html]'",
            )
        self._worker = _Worker(self._settings)
        atexit.register(self.close)
        return self._worker


class Session:
    """Requests to the worker about one page."""

    def __init__(
        self, worker: _Worker, late: threading.Event, deadline_s: float, memory_mb: int
    ) -> None:
        self._worker = worker
        self._late = late
        self._deadline_s = deadline_s
        self._memory_mb = memory_mb

    def ask(self, do: str, body: bytes = b"", **fields: object) -> Reply:
        """The fields and the bytes of the worker's reply."""
        try:
            reply, payload = self._worker.ask({"do": do, **fields}, body)
        except (OSError, ValueError) as error:
            self._worker.kill()
            raise self._failure("the engine crashed") from error
        if "refused" in reply:
            raise InputError(reply["refused"], hint=reply["hint"])
        if "broken" in reply:
            self._worker.kill()
            raise self._failure(reply["broken"])
        return reply, payload

    def _failure(self, reason: str) -> InputError:
        if self._late.is_set():
            reason = f"it took longer than {self._deadline_s:g} s"
        return InputError(
            f"the HTML draft could not be drawn: {reason}",
            hint=f"shorten or flatten it; it may take {self._deadline_s:g} s"
            f" and {self._memory_mb:,} MB",
        )


class _Worker:
    """A running worker process. Raises `ConfigurationError` if it does not start."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.owner = os.getpid()
        self.sessions = 0
        self._killed = False
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={
                **{name: os.environ[name] for name in _INHERITED if name in os.environ},
                "PYTHONPATH": os.pathsep.join(sys.path),
                "FONTCONFIG_FILE": str(_NO_FONTS),
            },
        )
        try:
            with self.killed_after(_START_S):
                self.ask({"do": "start"}, b"")
        except (OSError, ValueError) as error:
            self.close()
            raise ConfigurationError(
                "the process that draws HTML does not start",
                hint=f"see whether this works: python -c 'import {', '.join(_NEEDED)}'",
            ) from error

    @property
    def usable(self) -> bool:
        """Whether it is this process's own, alive and not worn out."""
        mine = self.owner == os.getpid()
        alive = not self._killed and self._process.poll() is None
        return mine and alive and self.sessions < _SESSIONS

    @contextmanager
    def killed_after(self, seconds: float) -> Iterator[threading.Event]:
        """The event tells whether it came to that."""
        late = threading.Event()

        def end() -> None:
            late.set()
            self.kill()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield late
        finally:
            timer.cancel()
            timer.join()

    def ask(self, request: dict[str, Any], body: bytes) -> Reply:
        """Raises `OSError` or `ValueError` when the process is gone or talks nonsense."""
        assert self._process.stdin
        assert self._process.stdout
        line = json.dumps({**request, "size": len(body)}).encode()
        self._process.stdin.write(line + b"\n" + body)
        self._process.stdin.flush()
        reply = json.loads(self._process.stdout.readline(_LONGEST_LINE))
        payload = self._process.stdout.read(reply["size"])
        if len(payload) < reply["size"]:
            raise ValueError("the reply is cut off")
        return reply, payload

    def kill(self) -> None:
        """Makes it end now. Callable while another thread waits for a reply."""
        self._killed = True
        self._process.kill()

    def close(self) -> None:
        self.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()
