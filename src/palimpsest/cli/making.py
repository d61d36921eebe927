"""Making the files of `palimpsest dataset build`: one for each length, each whole or not at all."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import chain
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from palimpsest.cli.app import notes
from palimpsest.datasets.building import build_contexts
from palimpsest.datasets.distractors import read_passages
from palimpsest.datasets.item import Item
from palimpsest.datasets.lengths import length_label
from palimpsest.datasets.pool import Pool
from palimpsest.datasets.storing import SUFFIXES, Format, open_items
from palimpsest.errors import ConfigurationError, InputError
from palimpsest.evals.tasks import ContextTask, Task, choose, find_task
from palimpsest.models import Model
from palimpsest.settings import ModelSettings, open_model
from palimpsest.sources import EstimateTokenizer, FileTokenizer, Tokenizer

RECORD_FILE = "build.json"
"""Beside the files: what each was made of, so that the same command leaves them alone."""


class Build(BaseModel):
    """What is to be made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    data: str | None
    tokens: tuple[int, ...]
    documents: tuple[int, ...]
    """As the benchmark gives the contexts, where neither is named."""
    limit: int | None
    distractors: tuple[Path, ...]
    format: Format


class Made(BaseModel):
    """A file that was made, and of what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    task: str
    data: str | None
    tokens: int | None
    documents: int | None
    limit: int | None
    distractors: tuple[str, ...]
    tokenizer: str
    items: int = 0
    skipped: int = 0
    """Items for which no such context can be made."""
    skipped_because: str = ""
    """Of the first of them."""
    most_tokens: int = 0

    def same_as(self, other: Made) -> bool:
        """Whether both are made of the same."""
        found = {"items", "skipped", "skipped_because", "most_tokens"}
        return self.model_dump(exclude=found) == other.model_dump(exclude=found)


async def made_files(
    asked: Build, folder: Path, settings: ModelSettings, *, quiet: bool
) -> list[Made]:
    """Makes the files that are not there yet; all of them, as they are now."""
    model = _model(settings)
    try:
        tokenizer = await _tokenizer(settings, model)
        with _progress(quiet=quiet) as progress:
            maker = _Maker(asked, folder, tokenizer, progress)
            return [
                await maker.file(tokens, documents)
                for tokens, documents in (
                    *((one, None) for one in asked.tokens),
                    *((None, one) for one in asked.documents),
                    *([] if asked.tokens or asked.documents else [(None, None)]),
                )
            ]
    finally:
        if model:
            await model.aclose()


class _Maker:
    def __init__(
        self, asked: Build, folder: Path, tokenizer: Tokenizer, progress: Progress
    ) -> None:
        self._asked = asked
        self._folder = folder
        self._tokenizer = tokenizer
        self._progress = progress
        self._task = find_task(asked.task)
        self._pool: Pool | None = None
        if not isinstance(self._task, ContextTask):
            _refuse_context_options(self._task, asked)

    async def file(self, tokens: int | None, documents: int | None) -> Made:
        made = self._made(tokens, documents)
        path = self._folder / made.file
        record = _record(self._folder)
        if path.exists():
            return self._earlier(made, record)
        task = self._progress.add_task(made.file, total=self._asked.limit)
        first: InputError | None = None
        with open_items(path) as file:
            async with aclosing(self._items(tokens, documents)) as items:
                async for item, error in items:
                    if item:
                        file.add(item)
                    first = first or error
                    made = _with(made, item, error)
                    self._progress.update(task, completed=file.items)
            if not file.items:
                raise first or InputError(
                    f"{self._task.name} has no item", hint="name other --data"
                )
        record[made.file] = made
        _keep_record(self._folder, record)
        return made

    def _earlier(self, made: Made, record: dict[str, Made]) -> Made:
        earlier = record.get(made.file)
        if earlier is None or not earlier.same_as(made):
            raise InputError(
                f"{self._folder / made.file} is there already and was made otherwise",
                hint="name another folder with --out, or remove the file",
            )
        self._progress.console.print(f"{made.file} is there already", markup=False)
        return earlier

    def _made(self, tokens: int | None, documents: int | None) -> Made:
        asked = self._asked
        label = f"{documents}docs" if documents else length_label(tokens)
        return Made(
            file=f"{self._task.name.replace(':', '_')}_{label}{SUFFIXES[asked.format]}",
            task=self._task.name,
            data=asked.data,
            tokens=tokens,
            documents=documents,
            limit=asked.limit,
            distractors=tuple(map(str, asked.distractors)),
            tokenizer=self._tokenizer.name,
        )

    async def _items(
        self, tokens: int | None, documents: int | None
    ) -> AsyncGenerator[tuple[Item | None, InputError | None], None]:
        """The items, and what kept one from being made."""
        task, asked = self._task, self._asked
        if not isinstance(task, ContextTask) or (tokens is None and documents is None):
            given = task.items(asked.data, self._tokenizer, tokens=tokens, limit=asked.limit)
            async for item in given:
                yield item, None
            return
        skipped: list[InputError] = []
        built = build_contexts(
            choose(task.buildable(asked.data), asked.limit),
            self._filled_pool(task),
            self._tokenizer,
            tokens=[tokens] if tokens else [],
            documents=[documents] if documents else [],
            on_skip=lambda _, error: skipped.append(error),
        )
        async for item in built:
            yield item, None
        for error in skipped:
            yield None, error

    def _filled_pool(self, task: ContextTask) -> Pool:
        if self._pool is None:
            more = read_passages(self._asked.distractors)
            self._pool = Pool(chain(task.passages(self._asked.data), more))
        return self._pool


def _with(made: Made, item: Item | None, error: InputError | None) -> Made:
    if item is None:
        because = made.skipped_because or str(error)
        return made.model_copy(update={"skipped": made.skipped + 1, "skipped_because": because})
    tokens = max(made.most_tokens, int(item.details.get("tokens") or 0))
    return made.model_copy(update={"items": made.items + 1, "most_tokens": tokens})


def _refuse_context_options(task: Task, asked: Build) -> None:
    if asked.documents or asked.distractors:
        raise ConfigurationError(
            f"{task.name} is not made of passages, so none can be added",
            hint="leave out --documents and --distractors",
        )


def _model(settings: ModelSettings) -> Model | None:
    """The model whose tokens are counted, if one is named."""
    if settings.tokenizer or not (settings.name or settings.base_url):
        return None
    return open_model(settings)


async def _tokenizer(settings: ModelSettings, model: Model | None) -> Tokenizer:
    if settings.tokenizer:
        return FileTokenizer(settings.tokenizer)
    return await model.tokenizer() if model else EstimateTokenizer()


def _progress(*, quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=notes, transient=True, disable=quiet or not notes.is_terminal,
    )  # fmt: skip


def _record(folder: Path) -> dict[str, Made]:
    try:
        told = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
        return {name: Made.model_validate(made) for name, made in told.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, ValidationError, AttributeError) as error:
        raise InputError(
            f"{folder / RECORD_FILE} is damaged: {error}", hint="name another folder with --out"
        ) from error


def _keep_record(folder: Path, record: dict[str, Made]) -> None:
    part = folder / f".{RECORD_FILE}.part"
    told = {name: made.model_dump(mode="json") for name, made in record.items()}
    part.write_text(json.dumps(told, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    part.replace(folder / RECORD_FILE)
