"""`palimpsest ask`: a question about files of any length."""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter

from palimpsest.asking import aask
from palimpsest.cli.app import notes, run_async
from palimpsest.cli.options import ModelOptions
from palimpsest.cli.progress import Progress
from palimpsest.errors import ConfigurationError, InputError
from palimpsest.memory.reading import Reading
from palimpsest.prompts import load_prompts
from palimpsest.readers import MemAgent, MemOCR, Reader
from palimpsest.settings import ModelSettings, open_model
from palimpsest.sources import Source, open_source

_READING = Group("Reading", sort_key=1)


@Parameter(name="*", group=_READING)
@dataclass(frozen=True)
class ReaderOptions:
    """How to read."""

    reader: Literal["memagent", "memocr"] | None = None
    """Text memory, or a memory drawn as a page. MemOCR when a budget is given, else MemAgent."""
    budget: Annotated[list[int] | None, Parameter(negative=())] = None
    """Visual tokens for MemOCR's page; give it several times to read one memory at each."""
    faithful: bool = False
    """The papers' settings: exact token windows, their sampling, cut-off drafts accepted."""
    chunk_tokens: int | None = None
    """Tokens of the source a draft sees (5000)."""
    memory_tokens: int | None = None
    """Most tokens of the memory (1024; MemOCR 2048)."""
    answer_tokens: int | None = None
    """Most tokens of the answer (1024; MemOCR 2048)."""
    cutting: Literal["sentence", "token"] | None = None
    """Where chunks end."""
    order: Literal["memory_first", "section_first"] | None = None
    """Prompt order; section_first lets servers with prefix caching share the section."""
    cell: Literal[28, 32] | None = None
    """Pixels a side of a visual token: 28 for Qwen2.5-VL, 32 for Qwen3-VL."""
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    prompts: Path | None = None
    """TOML file with a checkpoint's own wording."""

    def build(self) -> Reader:
        """The reader these options describe."""
        given: dict[str, Any] = {
            name: value
            for name, value in vars(self).items()
            if value is not None and name not in ("reader", "budget", "faithful", "prompts")
        }
        if self.prompts:
            given["prompts"] = load_prompts(self.prompts)
        if self.budget:
            given["budgets"] = tuple(self.budget)
        visual = self.reader == "memocr" or (self.reader is None and bool(self.budget))
        return self._memocr(given) if visual else self._memagent(given)

    def _memocr(self, given: dict[str, Any]) -> Reader:
        base = MemOCR.faithful() if self.faithful else MemOCR()
        return _checked(base, given)

    def _memagent(self, given: dict[str, Any]) -> Reader:
        for name, flag in (("budgets", "--budget"), ("cell", "--cell")):
            if name in given:
                raise ConfigurationError(
                    f"{flag} is for a page, and MemAgent draws none",
                    hint="use --reader memocr, or leave it out",
                )
        base = MemAgent.faithful() if self.faithful else MemAgent()
        return _checked(base, given)


def _checked(base: Reader, given: dict[str, Any]) -> Reader:
    from pydantic import ValidationError

    settings = {name: getattr(base, name) for name in type(base).model_fields}
    try:
        return type(base)(**{**settings, **given})
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0]).replace("_", "-")
        raise ConfigurationError(f"--{field}: {first['msg']}", hint="correct it") from error


def ask(
    *arguments: Annotated[str, Parameter(allow_leading_hyphen=True)],
    reading: ReaderOptions = ReaderOptions(),
    model: ModelOptions = ModelOptions(),  # noqa: B008
    readings: Path | None = None,
    fresh: bool = False,
    skip_unreadable: bool = False,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative=())] = False,
) -> None:
    """Answer a question about files, folders, globs or standard input (`-`).

    A killed or interrupted reading goes on from its last finished chunk when the same command is
    given again.

    Parameters
    ----------
    arguments
        FILE... QUESTION: what to read, then what to ask.
    readings
        Folder in which readings are kept.
    fresh
        Begin anew even when an unfinished reading could go on.
    skip_unreadable
        Leave out files that cannot be read, and say so.
    as_json
        Print the answers and the reading's facts as JSON.
    quiet
        No progress.
    """
    paths, question = _split(arguments)
    reader = reading.build()
    settings = model.settings()
    source = open_source(paths, skip_unreadable=skip_unreadable, on_skip=_say_skipped)
    done = run_async(_ask(source, question, reader, settings, readings, fresh, quiet))
    _print(done[0], done[1], as_json=as_json)


async def _ask(
    source: Source, question: str, reader: Reader, settings: ModelSettings, readings: Path | None,
    fresh: bool, quiet: bool,
) -> tuple[Reading, Path]:  # fmt: skip
    opened = open_model(settings, on_load=_say_loading)
    folders: list[Path] = []
    with Progress(notes, quiet=quiet) as progress:

        def start(begun: Reading, folder: Path) -> None:
            folders.append(folder)
            progress.start(begun, folder)

        try:
            done = await aask(
                source, question, model=opened, reader=reader, readings=readings, fresh=fresh,
                on_start=start, on_event=progress.event,
            )  # fmt: skip
        finally:
            await opened.aclose()
    return done, folders[0]


def _split(arguments: tuple[str, ...]) -> tuple[list[str], str]:
    """Paths and the question; a lone question is about standard input when that is piped."""
    _refuse_options(arguments)
    if not arguments:
        raise InputError("nothing to do", hint='palimpsest ask FILE... "question"')
    *paths, question = arguments
    if not paths:
        if sys.stdin.isatty():
            raise InputError(
                "no file is named", hint='palimpsest ask FILE... "question", with - for input'
            )
        paths = ["-"]
    if os.path.isfile(question):
        raise InputError(
            f"the last argument must be the question, and {question} is a file",
            hint='palimpsest ask FILE... "question"',
        )
    return paths, question


def _refuse_options(arguments: tuple[str, ...]) -> None:
    # The parser passes on whatever begins with a hyphen, as `-` is standard input.
    for argument in arguments:
        if re.match(r"--?[A-Za-z]", argument):
            raise InputError(
                f"unknown option {argument}", hint="`palimpsest ask --help` lists the options"
            )


def _say_skipped(error: Exception) -> None:
    notes.print(f"left out: {error}", markup=False)


def _say_loading(message: str) -> None:
    notes.print(message, markup=False)


def _print(reading: Reading, folder: Path, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(summary(reading, folder), ensure_ascii=False, indent=2))
        return
    several = len(reading.answers) > 1
    for answer in reading.answers:
        label = f"[{answer.budget} tokens] " if several and answer.budget else ""
        print(f"{label}{answer.text}")
        if not answer.boxed:
            notes.print("(no box in the model's answer: this is its last line)", markup=False)


def summary(reading: Reading, folder: Path) -> dict[str, Any]:
    """What `--json` prints of a reading."""
    header = reading.header
    return {
        "answer": reading.answer,
        "status": reading.status,
        "answers": [answer.model_dump(exclude={"kind"}) for answer in reading.answers],
        "memory": reading.memory,
        "questions": header.questions,
        "reader": header.reader,
        "model": header.model,
        "documents": header.documents,
        "chunks": len(header.chunks),
        "source_tokens": header.tokens,
        "tokenizer": header.tokenizer,
        "calls": len(reading.turns),
        "usage": reading.usage.model_dump(),
        "model_seconds": round(reading.model_seconds, 3),
        "guards": [guard.model_dump(exclude={"kind"}) for guard in reading.guards],
        "pages": [page.model_dump(exclude={"kind"}) for page in reading.pages],
        "reading": str(folder),
    }
