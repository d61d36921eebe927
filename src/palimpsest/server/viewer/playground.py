"""Files that are dropped on the page, and readings of them that are begun in this process."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from palimpsest.asking import kept_reading
from palimpsest.errors import ConfigurationError, InputError, PalimpsestError
from palimpsest.memory.reading import Answer, ChunkRead, End, GuardEvent, Header, Reading, Record
from palimpsest.memory.store import ReadingStore
from palimpsest.models import Model
from palimpsest.readers.reader import Reader
from palimpsest.readers.registry import READERS, at_budget, build_reader, settings_of
from palimpsest.sources import open_source

AT_ONCE = 2
"""Readings that are under way side by side."""
_KEPT = 50
"""Readings whose progress is remembered."""
_NAME = re.compile(r"[^\w .,()+@-]+")
_NAME_CHARACTERS = 120

Event = dict[str, Any]


class Busy(PalimpsestError):
    """As many readings are under way as there may be."""


class Order(BaseModel):
    """What was asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: tuple[str, ...] = Field(min_length=1, max_length=50)
    """Ids of files that were uploaded."""
    question: str = Field(min_length=1, max_length=20_000)
    reader: str = "memagent"
    budget: int | None = Field(None, ge=1, le=16_384)
    chunk_tokens: int | None = Field(None, ge=16, le=1_000_000)


class Job:
    """One reading that was begun, and what happened in it."""

    def __init__(self) -> None:
        self.id = secrets.token_urlsafe(12)
        self.events: list[Event] = []
        self.over = False
        self.task: asyncio.Task[Any] | None = None
        self._changed = asyncio.Condition()

    async def tell(self, kind: str, **facts: object) -> None:
        async with self._changed:
            self.events.append({"kind": kind, **facts})
            self.over = self.over or kind == "over"
            self._changed.notify_all()

    async def heard(self) -> AsyncIterator[Event]:
        """What happened so far and what happens from here on, to the end."""
        told = 0
        while True:
            async with self._changed:
                while len(self.events) == told and not self.over:
                    await self._changed.wait()
                new = self.events[told:]
            for event in new:
                yield event
            told += len(new)
            if self.over and told == len(self.events):
                return


class Playground:
    """Takes files and questions while the server runs."""

    def __init__(
        self,
        model: Model,
        store: ReadingStore,
        uploads: Path,
        entry_id: Callable[[Path], str],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[Any]],
    ) -> None:
        """`entry_id` names the reading in a folder as the page knows it; `spawn` has work done
        that outlives its request."""
        self.model = model
        self._store = store
        self._uploads = uploads
        self._entry_id = entry_id
        self._spawn = spawn
        self._files: dict[str, Path] = {}
        self._jobs: dict[str, Job] = {}

    def facts(self) -> dict[str, Any]:
        """What the page needs to ask."""
        return {"model": self.model.name, "readers": list(READERS)}

    def take(self, name: str, body: bytes) -> dict[str, Any]:
        """Keeps a file, under a name that can be no path. Raises `InputError` for an empty one."""
        if not body:
            raise InputError(f"{safe_name(name)} is empty", hint="leave it out")
        id = secrets.token_urlsafe(12)
        folder = self._uploads / id
        folder.mkdir(parents=True)
        path = folder / safe_name(name)
        path.write_bytes(body)
        self._files[id] = path
        return {"id": id, "name": path.name, "bytes": len(body)}

    def begin(self, order: Order) -> Job:
        """Begins a reading. Raises `Busy`, and `InputError` for what cannot be read."""
        under_way = [job for job in self._jobs.values() if not job.over]
        if len(under_way) >= AT_ONCE:
            raise Busy(f"{AT_ONCE} readings are under way", hint="wait until one is done")
        paths = [self._path(id) for id in order.files]
        reader = _reader(order)
        job = Job()
        self._jobs[job.id] = job
        for over in [one.id for one in self._jobs.values() if one.over][:-_KEPT]:
            del self._jobs[over]
        job.task = self._spawn(self._run(job, reader, paths, order.question))
        return job

    def job(self, id: str) -> Job:
        """Raises `InputError` where there is none of that id."""
        if id not in self._jobs:
            raise InputError("there is no such reading under way", hint="begin it anew")
        return self._jobs[id]

    def stop(self, id: str) -> None:
        """Stops a reading; what was read is kept, and the same question goes on from there."""
        task = self.job(id).task
        if task:
            task.cancel()

    def _path(self, id: str) -> Path:
        if id not in self._files:
            raise InputError("a file was not uploaded, or before a restart", hint="drop it again")
        return self._files[id]

    async def _run(self, job: Job, reader: Reader, paths: list[Path], question: str) -> None:
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        teller = asyncio.create_task(_tell_all(job, queue))
        try:
            await self._read(queue, reader, paths, question)
        except PalimpsestError as error:
            queue.put_nowait({"kind": "failed", "reason": str(error), "hint": error.hint})
        except asyncio.CancelledError:
            queue.put_nowait({"kind": "stopped"})
        except Exception as error:  # told to who waits for it; a server goes on
            queue.put_nowait({"kind": "failed", "reason": f"{type(error).__name__}: {error}"})
        queue.put_nowait({"kind": "over"})
        queue.put_nowait(None)
        await teller

    async def _read(
        self, queue: asyncio.Queue[Event | None], reader: Reader, paths: list[Path], question: str
    ) -> None:
        queue.put_nowait({"kind": "opening", "files": [path.name for path in paths]})
        source = await asyncio.to_thread(open_source, paths)
        queue.put_nowait({"kind": "cutting", "characters": len(source.text)})

        def started(reading: Reading, folder: Path) -> None:
            queue.put_nowait(
                {
                    "kind": "started",
                    "reading": self._entry_id(folder),
                    "chunks": len(reading.header.chunks),
                    "tokens": reading.header.tokens,
                    "done": len(reading.done()),
                }
            )

        def heard(reading: Reading, part: Header | Record) -> None:
            if event := _event(reading, part):
                queue.put_nowait(event)

        await kept_reading(
            self._store, reader, source, question, self.model, on_start=started, on_event=heard
        )


async def _tell_all(job: Job, queue: asyncio.Queue[Event | None]) -> None:
    while event := await queue.get():
        await job.tell(**event)


def _event(reading: Reading, part: Header | Record) -> Event | None:
    match part:
        case ChunkRead():
            return {
                "kind": "chunk",
                "chunk": part.chunk,
                "reread": part.reread,
                "skipped": part.skipped,
                "done": len(reading.done()),
                "memory": reading.text_of(part.memory),
            }
        case GuardEvent():
            return {"kind": "guard", "guard": part.guard, "detail": part.detail}
        case Answer():
            return {"kind": "answer", "budget": part.budget, "text": part.text}
        case End():
            return {"kind": "end", "status": part.status, "reason": part.reason, "hint": part.hint}
    return None


def _reader(order: Order) -> Reader:
    given: Mapping[str, Any] = at_budget(order.reader, order.budget) if order.budget else {}
    if order.chunk_tokens and "chunk_tokens" in settings_of(order.reader):
        given = {**given, "chunk_tokens": order.chunk_tokens}
    try:
        return build_reader(order.reader, given)
    except ValidationError as error:
        raise ConfigurationError(error.errors()[0]["msg"], hint="change it") from error


def safe_name(name: str) -> str:
    """The last part of a name, without what could make a path of it."""
    last = name.replace("\\", "/").rpartition("/")[2]
    kept = _NAME.sub("_", last).strip(" .")
    stem, dot, suffix = kept.rpartition(".")
    short = f"{stem[:_NAME_CHARACTERS]}{dot}{suffix[:16]}" if dot else kept[:_NAME_CHARACTERS]
    return short or "file.txt"
