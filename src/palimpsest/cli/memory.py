"""`palimpsest memory`: memories that are saved, given more and asked again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from cyclopts import App, Parameter

from palimpsest.cli.app import notes, run_async
from palimpsest.cli.ask import (
    print_answers,
    refuse_options,
    say_loading,
    say_skipped,
    summary,
)
from palimpsest.cli.options import ModelOptions
from palimpsest.cli.progress import Progress
from palimpsest.cli.readers import PriceOptions, ReaderOptions
from palimpsest.cli.shelf import facts, print_memory, print_shelf
from palimpsest.errors import InputError
from palimpsest.memory.reading import Reading
from palimpsest.memory.receipt import receipt_of
from palimpsest.memory.saved import Appended, MemoryFolder, MemoryStore, Plan
from palimpsest.models.model import Model
from palimpsest.planning import plan_memory
from palimpsest.remembering import SavedMemory, default_memories_folder
from palimpsest.settings import ModelSettings, open_model, resolve_settings
from palimpsest.sources import Source, open_source

memory = App(name="memory", help="Save a memory, give it more whenever there is more, ask it.")

Json = Annotated[bool, Parameter(name="--json", negative=())]
Quiet = Annotated[bool, Parameter(name=["--quiet", "-q"], negative=())]
NoWait = Annotated[bool, Parameter(negative=())]
Text = Annotated[str, Parameter(allow_leading_hyphen=True)]
Files = Annotated[str, Parameter(allow_leading_hyphen=True)]


@memory.command
def new(
    name: str,
    /,
    *files: Files,
    question: Annotated[list[str] | None, Parameter(negative=())] = None,
    reading: ReaderOptions = ReaderOptions(),  # noqa: B008
    model: ModelOptions = ModelOptions(),  # noqa: B008
    no_wait: NoWait = False,
    skip_unreadable: bool = False,
    memories: Path | None = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a memory of files, for a question or, without one, a digest of what they say.

    Parameters
    ----------
    name
        What to call it.
    files
        Files, folders, globs or standard input (`-`).
    question
        What it is to answer; several times for several questions.
    no_wait
        Only take the files; the next append reads them.
    skip_unreadable
        Leave out files that cannot be read, and say so.
    memories
        Folder in which memories are kept.
    as_json
        Print what became of the files as JSON.
    quiet
        No progress.
    """
    source = _source(files, skip_unreadable)
    settings = model.settings()
    plan = plan_memory(question=question, reader=reading.build(), model=settings)
    saved = SavedMemory(_made(MemoryStore(memories or default_memories_folder()), name, plan))
    _append(saved, source, settings, _How(not no_wait, as_json, quiet))


@memory.command
def append(
    name: str,
    /,
    *files: Files,
    model: ModelOptions = ModelOptions(),  # noqa: B008
    no_wait: NoWait = False,
    skip_unreadable: bool = False,
    memories: Path | None = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Give a memory more files: only they are read. Without files, read what is pending.

    Parameters
    ----------
    name
        Which memory.
    files
        Files, folders, globs or standard input (`-`). One with a text that is there already is
        skipped; one that has changed is added as a new version.
    no_wait
        Only take the files; the next append reads them.
    skip_unreadable
        Leave out files that cannot be read, and say so.
    memories
        Folder in which memories are kept.
    as_json
        Print what became of the files as JSON.
    quiet
        No progress.
    """
    saved = SavedMemory.open(name, memories=memories)
    source = _source(files, skip_unreadable) if files else None
    _append(saved, source, _settings(saved, model), _How(not no_wait, as_json, quiet))


@memory.command
def note(name: str, text: Text, /, *, memories: Path | None = None) -> None:
    """Add a line to a memory as it is, without a model.

    Parameters
    ----------
    name
        Which memory.
    text
        The line.
    memories
        Folder in which memories are kept.
    """
    SavedMemory.open(name, memories=memories).note(text)


@memory.command
def ask(
    name: str,
    question: str | None = None,
    /,
    *,
    model: ModelOptions = ModelOptions(),  # noqa: B008
    memories: Path | None = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Answer from a memory as it stands. Nothing is read for it.

    Parameters
    ----------
    name
        Which memory.
    question
        What to ask; without it, what the memory was made for.
    memories
        Folder in which memories are kept.
    as_json
        Print the answer and its facts as JSON.
    quiet
        No progress.
    """
    saved = SavedMemory.open(name, memories=memories)
    _say_pending(saved)
    asked = run_async(_ask(saved, question, _settings(saved, model), quiet))
    if as_json:
        _print_json(summary(asked, saved.folder.path, receipt_of(asked)))
    else:
        print_answers(asked)


@memory.command
def show(
    name: str | None = None,
    /,
    *,
    prices: PriceOptions = PriceOptions(),  # noqa: B008
    memories: Path | None = None,
    as_json: Json = False,
) -> None:
    """Show a memory, its documents, what it was asked and what it cost; or list them all.

    Parameters
    ----------
    name
        Which memory; without it, a list.
    memories
        Folder in which memories are kept.
    as_json
        Print as JSON.
    """
    if name is not None:
        saved = SavedMemory.open(name, memories=memories)
        told = facts(saved, prices.price(saved.plan.model))
        _print_json(told) if as_json else print_memory(told)
        return
    store = MemoryStore(memories or default_memories_folder())
    shelf = [SavedMemory(folder) for folder in store]
    if as_json:
        _print_json([facts(one, prices.price(one.plan.model)) for one in shelf])
    else:
        print_shelf(shelf)


@memory.command
def remove(name: str, /, *, memories: Path | None = None) -> None:
    """Remove a memory with the texts that it keeps. The files it was made of stay.

    Parameters
    ----------
    name
        Which memory.
    memories
        Folder in which memories are kept.
    """
    MemoryStore(memories or default_memories_folder()).remove(name)
    notes.print(f"{name} is removed", markup=False)


class _How(NamedTuple):
    wait: bool
    as_json: bool
    quiet: bool


def _made(store: MemoryStore, name: str, plan: Plan) -> MemoryFolder:
    """The folder of a new memory, or of one that the same command was stopped in the midst of."""
    try:
        return store.create(name, plan)
    except InputError:
        if name not in (folder.name for folder in store):
            raise
        found = SavedMemory(store.open(name))
        same = found.plan.model_copy(update={"created": plan.created}) == plan
        if not same or (found.reading and not found.pending):
            raise
        return found.folder


def _source(files: tuple[str, ...], skip_unreadable: bool) -> Source:
    refuse_options(files)
    return open_source(files, skip_unreadable=skip_unreadable, on_skip=say_skipped)


def _settings(saved: SavedMemory, model: ModelOptions) -> ModelSettings:
    """What the command line says over how the memory was made, over what is in force."""
    kept = ModelSettings.model_validate(saved.plan.model_settings or {})
    return resolve_settings(model.given().over(kept))


def _append(saved: SavedMemory, source: Source | None, settings: ModelSettings, how: _How) -> None:
    appended = run_async(_append_with(saved, source, settings, how))
    for document in appended.added:
        if document.version > 1:
            notes.print(f"{document.name}: changed, version {document.version}", markup=False)
    for name in appended.skipped:
        notes.print(f"{name}: there already, skipped", markup=False)
    _say_pending(saved)
    if how.as_json:
        _print_json(_told(saved, appended))
    else:
        print(
            f"{saved.name}: {len(appended.added)} added, {len(appended.skipped)} skipped,"
            f" {len(saved.documents)} documents"
        )


async def _append_with(
    saved: SavedMemory, source: Source | None, settings: ModelSettings, how: _How
) -> Appended:
    opened = _open(saved, settings)
    try:
        with Progress(notes, quiet=how.quiet) as progress:
            appended = Appended((), ())
            if source:
                appended = await saved.aappend(source, wait=False)
            if how.wait:
                await saved.aread(
                    model=opened, on_start=progress.start, on_event=progress.event
                )  # fmt: skip
            return appended
    finally:
        await opened.aclose()


async def _ask(
    saved: SavedMemory, question: str | None, settings: ModelSettings, quiet: bool
) -> Reading:
    opened = _open(saved, settings)
    try:
        with Progress(notes, quiet=quiet) as progress:
            return await saved.aask(question, model=opened, on_event=progress.event)
    finally:
        await opened.aclose()


def _open(saved: SavedMemory, settings: ModelSettings) -> Model:
    opened = open_model(settings, on_load=say_loading)
    if opened.name != saved.plan.model:
        notes.print(
            f"{saved.name} was made with {saved.plan.model}; {opened.name} goes on with it",
            markup=False,
        )
    return opened


def _say_pending(saved: SavedMemory) -> None:
    pending = saved.pending
    if pending:
        notes.print(
            f"{len(pending)} of {len(saved.documents)} documents are pending;"
            f" `palimpsest memory append {saved.name}` reads them",
            markup=False,
        )


def _told(saved: SavedMemory, appended: Appended) -> dict[str, Any]:
    return {
        "name": saved.name,
        "added": [document.model_dump() for document in appended.added],
        "skipped": appended.skipped,
        "pending": [document.title for document in saved.pending],
        "memory": saved.memory,
    }


def _print_json(told: object) -> None:
    print(json.dumps(told, ensure_ascii=False, indent=2))
