"""What is being read for clients, written down so that a killed process does not lose it.

A request that has to be read is an entry in the journal before any work is done:

    callers/ID/jobs/NAME.request    a line of JSON, then the request's body as it came
    callers/ID/jobs/NAME.answer     what it came to, from when it is done until a client has it

An entry goes away when its answer was sent. What is left after a restart is gone on with, and the
answer waits for a client of the same key that sends the same request again: it is given that
answer, once. Nobody else is, and no other request is answered from the journal.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from palimpsest.server.gateway.conversation import DialectName, Json

_REQUEST, _ANSWER = ".request", ".answer"
UNCLAIMED_S = 24 * 3600.0
"""How long an answer waits that nobody comes for."""


class Outcome(NamedTuple):
    """What a job came to."""

    status: int
    body: Json


class Entry(NamedTuple):
    """A request in the journal."""

    name: str
    dialect: DialectName
    body: bytes
    outcome: Outcome | None

    @property
    def key(self) -> str:
        return request_key(self.dialect, self.body)


def request_key(dialect: DialectName, body: bytes) -> str:
    """Equal for requests that are the same byte for byte."""
    return hashlib.sha256(dialect.encode() + b"\0" + body).hexdigest()


class JobJournal:
    """The entries of one caller."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def begin(self, dialect: DialectName, body: bytes) -> str:
        """Writes a request down; the entry's name."""
        name = f"{time.time_ns():020d}-{secrets.token_hex(4)}"
        head = json.dumps({"dialect": dialect}).encode()
        _write(self._folder / (name + _REQUEST), head + b"\n" + body)
        return name

    def answer(self, name: str, outcome: Outcome) -> None:
        """Writes down what came of an entry."""
        _write(self._folder / (name + _ANSWER), json.dumps(outcome._asdict()).encode())

    def end(self, name: str) -> None:
        """Takes an entry out: its client has the answer, or wants none."""
        # The request first: an answer alone is none, a request alone would be answered again.
        (self._folder / (name + _REQUEST)).unlink(missing_ok=True)
        (self._folder / (name + _ANSWER)).unlink(missing_ok=True)

    def left(self) -> Iterator[Entry]:
        """The entries that are there, oldest first; those that are too old are taken out."""
        for file in sorted(self._folder.glob(f"*{_ANSWER}")):
            if not file.with_suffix(_REQUEST).exists():
                file.unlink(missing_ok=True)
        for file in sorted(self._folder.glob(f"*{_REQUEST}")):
            if time.time() - file.stat().st_mtime > UNCLAIMED_S:
                self.end(file.stem)
            elif entry := _entry(file):
                yield entry


class Job:
    """A request being read for, and what its client hears of it.

    The client may leave and another one, with the same request, come in its place.
    """

    def __init__(self, name: str, key: str) -> None:
        self.name = name
        self.key = key
        self.events: asyncio.Queue[Json | str | None] = asyncio.Queue()
        """Chunks or events of a streamed answer, lines on how far it is, None at the end."""
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[Any] | None = None
        self.left_by_client = False
        """Whether it is to stop after the chunk that is being read."""
        self.in_final_turn = False
        """Whether all is read, and the answer is being asked for."""

    def settle(self, outcome: Outcome) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)
        self.events.put_nowait(None)


class Waiting:
    """The jobs of one caller that have no client: left over from before, or left by theirs."""

    def __init__(self) -> None:
        self._jobs: dict[str, list[Job]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._jobs.values()))

    def put(self, job: Job) -> None:
        self._jobs.setdefault(job.key, []).append(job)

    def claim(self, key: str) -> Job | None:
        """The oldest job of such a request, which is the caller's from now on."""
        jobs = self._jobs.get(key)
        if not jobs:
            return None
        job = jobs.pop(0)
        if not jobs:
            del self._jobs[key]
        return job

    def drop(self, job: Job) -> None:
        """Forgets a job that came to nothing."""
        jobs = self._jobs.get(job.key, [])
        if job in jobs:
            jobs.remove(job)
            if not jobs:
                del self._jobs[job.key]


def _entry(file: Path) -> Entry | None:
    head, _, body = file.read_bytes().partition(b"\n")
    try:
        dialect = json.loads(head)["dialect"]
        return Entry(file.stem, dialect, body, _outcome(file.with_suffix(_ANSWER)))
    except (ValueError, LookupError, TypeError):
        return None


def _outcome(file: Path) -> Outcome | None:
    try:
        return Outcome(**json.loads(file.read_bytes()))
    except FileNotFoundError:
        return None


def _write(path: Path, data: bytes) -> None:
    """A file that is whole and on the disk, or not there."""
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
