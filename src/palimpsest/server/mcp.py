"""Reading as tools of an MCP client: ask a file, append to a memory, ask it, blame a line.

    server = mcp_server(Desk(roots=Roots([Path("papers")])))
    await server.run_stdio_async()

Files are read from the roots alone. Saved memories are those of one folder: whoever may use the
server may ask all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import Field, ValidationError

from palimpsest.asking import aask, default_readings_folder
from palimpsest.errors import InputError, PalimpsestError
from palimpsest.memory.citations import check_source
from palimpsest.memory.reading import ChunkRead, Header, Reading, Record
from palimpsest.memory.saved import Appended, MemoryStore
from palimpsest.memory.store import ReadingStore, load_reading
from palimpsest.models import Model
from palimpsest.models.caps import Caps
from palimpsest.planning import plan_memory
from palimpsest.readers.reader import Reader
from palimpsest.readers.registry import READERS, at_budget, build_reader
from palimpsest.remembering import SavedMemory, default_memories_folder
from palimpsest.server.mcp_answers import Added, Answered, Blamed, Shelved, answered, blamed
from palimpsest.server.roots import Roots
from palimpsest.settings import ModelSettings, open_model, resolve_settings
from palimpsest.sources import Source, open_source

_BUDGETED = "memocr"
"""The reader of a budget that comes without one, as in the command."""

_INSTRUCTIONS = """\
Answers questions about documents of any length. ask_file reads files and answers once; a memory
(append_memory, ask_memory) keeps what matters of what it is given, to be asked again and again.
Reading is slow: minutes for a book. blame_line tells where a line of a memory comes from."""


@dataclass
class Desk:
    """What the tools work with, and the tools; their docstrings are what a client shows."""

    roots: Roots
    model: ModelSettings = field(default_factory=ModelSettings)
    """What was given for the model; unset fields come from where they always do."""
    reader: Reader | None = None
    """For questions that name none, and for new memories."""
    caps: Caps | None = None
    """Of one question to files."""
    readings: Path = field(default_factory=default_readings_folder)
    memories: Path = field(default_factory=default_memories_folder)

    def __post_init__(self) -> None:
        self._models: dict[ModelSettings, Model] = {}

    async def ask_file(
        self,
        paths: Annotated[list[str], Field(description="Files or folders.")],
        question: str,
        context: Context[Any, Any],
        reader: Annotated[
            str | None,
            Field(
                description=f"How to read: {', '.join(READERS)}; wrappers before what they wrap, "
                "as in memreread+memocr."
            ),
        ] = None,
        budget: Annotated[
            int | None,
            Field(ge=1, le=16_384, description="Most tokens the notes may cost when answering."),
        ] = None,
    ) -> Answered:
        """Read files of any length and answer a question about them, with quotes.

        The same call goes on where it was stopped.
        """
        with _told():
            source = await self._source(paths)
            chosen = self._reader(reader, budget)
            folders: list[Path] = []
            async with _progress(context) as progress:
                reading = await aask(
                    source,
                    question,
                    model=self._model(ModelSettings()),
                    reader=chosen,
                    readings=self.readings,
                    caps=self.caps,
                    on_start=lambda _, folder: folders.append(folder),
                    on_event=progress,
                )
            return await asyncio.to_thread(answered, reading, source, folders[0].name)

    async def append_memory(
        self,
        name: Annotated[str, Field(description="Letters, digits, hyphens, underscores, dots.")],
        context: Context[Any, Any],
        paths: Annotated[list[str] | None, Field(description="Files or folders.")] = None,
        text: Annotated[str | None, Field(description="A document's text, to be read.")] = None,
        title: Annotated[str, Field(description="What to call that text.")] = "text",
        note: Annotated[
            str | None, Field(description="A line to add as it is, without reading.")
        ] = None,
        question: Annotated[
            str | None,
            Field(
                description="What a new memory is to answer; without it, it keeps what its "
                "documents are about."
            ),
        ] = None,
    ) -> Added:
        """Give a memory files, a text or a note; made if there is none of that name.

        Only what is new is read. The same call goes on where it was stopped.
        """
        with _told():
            if not (paths or text or note):
                raise InputError("nothing to append", hint="give paths, text or note")
            source = await self._joined(paths, text, title)
            saved, made = await asyncio.to_thread(self._opened, name, question)
            if note:
                saved.note(note)
            appended = Appended((), ())
            if source:
                appended = await saved.aappend(source, wait=False)
            async with _progress(context) as progress:
                await saved.aread(model=self._model_of(saved), on_event=progress)
            return Added(
                name=saved.name,
                made=made,
                added=[document.title for document in appended.added],
                skipped=list(appended.skipped),
                documents=len(saved.documents),
                memory=saved.memory,
            )

    async def ask_memory(
        self,
        name: str,
        context: Context[Any, Any],
        question: Annotated[
            str | None, Field(description="Without it, what the memory was made for.")
        ] = None,
    ) -> Answered:
        """Answer a question from a memory as it stands, with quotes. No document is read for it."""
        with _told():
            saved = SavedMemory.open(name, memories=self.memories)
            async with _progress(context) as progress:
                reading = await saved.aask(question, model=self._model_of(saved), on_event=progress)
            source = _read_source(saved, reading)
            return await asyncio.to_thread(answered, reading, source, saved.name)

    async def list_memories(self) -> list[Shelved]:
        """List the memories, what they are for and what they were given."""
        with _told():
            return await asyncio.to_thread(self._shelf)

    async def blame_line(
        self,
        line: Annotated[str, Field(description="The line, or words that only it has.")],
        memory: Annotated[str | None, Field(description="Name of a memory.")] = None,
        reading: Annotated[
            str | None, Field(description="Name of a reading, as ask_file gives it.")
        ] = None,
        paths: Annotated[
            list[str] | None,
            Field(description="What the reading has read, where that has moved."),
        ] = None,
    ) -> Blamed:
        """Tell where a line of a memory, or of a reading's notes, comes from: document, characters,
        quote, and the version that brought it."""
        with _told():
            if (memory is None) == (reading is None):
                raise InputError(
                    "it takes one memory or one reading", hint="give `memory` or `reading`"
                )
            if memory is not None:
                saved = SavedMemory.open(memory, memories=self.memories)
                found = saved.reading
                if found is None:
                    raise InputError(f"{memory!r} has read nothing yet", hint="append to it")
                source = _read_source(saved, found)
            else:
                found = await asyncio.to_thread(self._reading, reading or "")
                source = await self._source(paths or found.header.documents)
                check_source(found, source)
            return await asyncio.to_thread(blamed, found, source, line)

    async def aclose(self) -> None:
        """Lets go of the models."""
        for model in self._models.values():
            await model.aclose()

    async def _source(self, paths: Sequence[str]) -> Source:
        files = await asyncio.to_thread(self.roots.files, paths)
        return await asyncio.to_thread(open_source, files)

    async def _joined(
        self, paths: Sequence[str] | None, text: str | None, title: str
    ) -> Source | None:
        """Files and a text as one source; None where there is neither."""
        documents: list[tuple[str, str]] = []
        if paths:
            documents += [(one.name, one.text) for one in (await self._source(paths)).documents]
        if text:
            documents.append((title, text))
        return Source.from_documents(documents) if documents else None

    def _reader(self, name: str | None, budget: int | None) -> Reader | None:
        """The reader that is asked for. Raises `InputError` for one that cannot be."""
        if name is None and budget is None:
            return self.reader
        chosen = name or _BUDGETED
        try:
            settings = at_budget(chosen, budget) if budget else {}
            if budget and not settings:
                raise InputError(f"{chosen} has no budget", hint="leave it out")
            return build_reader(chosen, settings)
        except ValidationError as error:
            first = error.errors()[0]
            raise InputError(f"{chosen}: {first['msg']}", hint="correct the budget") from error

    def _model_of(self, saved: SavedMemory) -> Model:
        """What was given over how the memory was made, over what is in force."""
        return self._model(ModelSettings.model_validate(saved.plan.model_settings or {}))

    def _model(self, kept: ModelSettings) -> Model:
        settings = resolve_settings(self.model.over(kept))
        if settings not in self._models:
            self._models[settings] = open_model(settings)
        return self._models[settings]

    def _opened(self, name: str, question: str | None) -> tuple[SavedMemory, bool]:
        """The memory of that name, and whether it was made for this."""
        store = MemoryStore(self.memories)
        if name not in (folder.name for folder in store):
            plan = plan_memory(
                question=question, reader=self.reader, model=resolve_settings(self.model)
            )
            return SavedMemory(store.create(name, plan)), True
        saved = SavedMemory(store.open(name))
        if question is not None and (question,) != saved.plan.questions:
            purpose = "; ".join(saved.plan.questions) or "whatever its documents are about"
            raise InputError(
                f"{name!r} is there already, for {purpose}",
                hint="leave `question` out, or take another name",
            )
        return saved, False

    def _shelf(self) -> list[Shelved]:
        return [
            Shelved(
                name=saved.name,
                questions=list(saved.plan.questions),
                documents=[document.title for document in saved.documents],
                pending=len(saved.pending),
                notes=len(saved.folder.notes()),
                model=saved.plan.model,
            )
            for saved in map(SavedMemory, MemoryStore(self.memories))
        ]

    def _reading(self, name: str) -> Reading:
        # A name begins a pattern of files, so what it may hold is what names are made of.
        if not name.replace("-", "").isalnum():
            raise InputError(f"{name!r} is no reading's name", hint="give one as ask_file gave it")
        return load_reading(ReadingStore(self.readings).find(name))


def mcp_server(desk: Desk) -> MCPServer[Any]:
    """The server with the desk's tools."""
    server: MCPServer[Any] = MCPServer(
        "palimpsest",
        title="Palimpsest",
        instructions=_INSTRUCTIONS,
        version=version("palimpsest-memory"),
        log_level="WARNING",
    )
    asks = ToolAnnotations(read_only_hint=True, open_world_hint=False)
    adds = ToolAnnotations(destructive_hint=False, open_world_hint=False)
    server.add_tool(desk.ask_file, title="Ask files", annotations=asks)
    server.add_tool(desk.append_memory, title="Append to a memory", annotations=adds)
    server.add_tool(desk.ask_memory, title="Ask a memory", annotations=asks)
    server.add_tool(desk.list_memories, title="List memories", annotations=asks)
    server.add_tool(desk.blame_line, title="Blame a line", annotations=asks)
    return server


async def serve(desk: Desk) -> None:
    """Serves standard input and output until the client hangs up."""
    try:
        await mcp_server(desk).run_stdio_async()
    finally:
        await desk.aclose()


@contextmanager
def _told() -> Iterator[None]:
    """Turns errors of the package into what the client is told."""
    try:
        yield
    except PalimpsestError as error:
        raise ToolError(f"{error} ({error.hint})" if error.hint else str(error)) from error


class _Progress:
    """Chunks as they are read, made to be a reader's `on_event`."""

    def __init__(self) -> None:
        self.steps: asyncio.Queue[tuple[int, int, str] | None] = asyncio.Queue()

    def __call__(self, reading: Reading, part: Header | Record) -> None:
        if not isinstance(part, ChunkRead):
            return
        done = sum(isinstance(record, ChunkRead) for record in reading.records)
        total = len(reading.header.chunks) * (1 + len(reading.rereads))
        tokens = reading.memories[-1].tokens if reading.memories else 0
        again = f", reread {part.reread}" if part.reread else ""
        message = f"chunk {part.chunk + 1} of {len(reading.header.chunks)}{again}: {tokens} tokens"
        self.steps.put_nowait((done, total, message))

    async def send(self, context: Context[Any, Any]) -> None:
        while step := await self.steps.get():
            await context.report_progress(*step)


@asynccontextmanager
async def _progress(context: Context[Any, Any]) -> AsyncIterator[_Progress]:
    """Tells the client of each chunk, in turn, while the reading goes on."""
    progress = _Progress()
    sending = asyncio.create_task(progress.send(context))
    try:
        yield progress
    finally:
        progress.steps.put_nowait(None)
        # A client that takes no progress is no reason to give up the answer.
        await asyncio.gather(sending, return_exceptions=True)


def _read_source(saved: SavedMemory, reading: Reading) -> Source:
    """The documents of a memory that were read by then; later ones may be pending."""
    return saved.folder.source(saved.documents[: len(reading.header.documents)])
