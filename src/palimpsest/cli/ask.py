"""`palimpsest ask`: a question about files of any length."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from cyclopts import Parameter

from palimpsest.asking import aask
from palimpsest.cli.app import notes, run_async
from palimpsest.cli.citing import cited, cited_text
from palimpsest.cli.options import ModelOptions
from palimpsest.cli.progress import Progress
from palimpsest.cli.questions import read_questions
from palimpsest.cli.readers import CapOptions, PriceOptions, ReaderOptions
from palimpsest.errors import InputError
from palimpsest.memory.citations import citations
from palimpsest.memory.reading import Reading
from palimpsest.memory.receipt import Receipt, receipt_of
from palimpsest.readers import Reader
from palimpsest.settings import ModelSettings, open_model
from palimpsest.sources import Source, open_source


@dataclass(frozen=True)
class _Order:
    """What was asked for."""

    source: Source
    question: str | tuple[str, ...]
    reader: Reader
    settings: ModelSettings
    prices: PriceOptions
    caps: CapOptions
    readings: Path | None
    fresh: bool
    quiet: bool


class _Done(NamedTuple):
    reading: Reading
    folder: Path
    receipt: Receipt


def ask(
    *arguments: Annotated[str, Parameter(allow_leading_hyphen=True)],
    reading: ReaderOptions = ReaderOptions(),  # noqa: B008
    model: ModelOptions = ModelOptions(),  # noqa: B008
    caps: CapOptions = CapOptions(),  # noqa: B008
    prices: PriceOptions = PriceOptions(),  # noqa: B008
    questions: Path | None = None,
    readings: Path | None = None,
    fresh: bool = False,
    skip_unreadable: bool = False,
    cite: Annotated[bool, Parameter(negative=())] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative=())] = False,
) -> None:
    """Answer a question about files, folders, globs or standard input (`-`).

    A killed or interrupted reading goes on from its last finished chunk when the same command is
    given again, and so does one that a cap ended, when the cap is larger.

    Parameters
    ----------
    arguments
        FILE... QUESTION: what to read, then what to ask.
    questions
        File of questions that share one reading: one a line, or `.jsonl` rows with a "question".
        Then all arguments are files, and --json prints a list of answers.
    readings
        Folder in which readings are kept.
    fresh
        Begin anew even when an unfinished reading could go on.
    skip_unreadable
        Leave out files that cannot be read, and say so.
    cite
        Print the sentences of the source that the answers and the memory's lines come from, too.
    as_json
        Print the answers and the reading's facts as JSON.
    quiet
        No progress.
    """
    paths, question = _split(arguments, questions)
    reader = reading.build()
    settings = model.settings()
    source = open_source(paths, skip_unreadable=skip_unreadable, on_skip=say_skipped)
    order = _Order(source, question, reader, settings, prices, caps, readings, fresh, quiet)
    done = run_async(_ask(order))
    _print(done, source if cite else None, as_json=as_json, listed=bool(questions), quiet=quiet)


async def _ask(order: _Order) -> _Done:
    opened = open_model(order.settings, on_load=say_loading)
    price = order.prices.price(opened.name, order.settings.base_url)
    folders: list[Path] = []
    started = time.monotonic()
    with Progress(notes, quiet=order.quiet) as progress:

        def start(begun: Reading, folder: Path) -> None:
            folders.append(folder)
            progress.start(begun, folder)

        try:
            done = await aask(
                order.source, order.question, model=opened, reader=order.reader,
                readings=order.readings, fresh=order.fresh, caps=order.caps.caps(price),
                on_start=start, on_event=progress.event,
            )  # fmt: skip
        finally:
            await opened.aclose()
    passed = time.monotonic() - started
    return _Done(done, folders[0], receipt_of(done, price, passed))


def _split(
    arguments: tuple[str, ...], questions: Path | None
) -> tuple[list[str], str | tuple[str, ...]]:
    """Paths and what to ask; a lone question is about standard input when that is piped."""
    refuse_options(arguments)
    if questions:
        return list(arguments) or ["-"], read_questions(questions)
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


def refuse_options(arguments: tuple[str, ...]) -> None:
    """Raises `InputError` for an argument that is an option which does not exist."""
    # The parser passes on whatever begins with a hyphen, as `-` is standard input.
    for argument in arguments:
        if re.match(r"--?[A-Za-z]", argument):
            raise InputError(
                f"unknown option {argument}", hint="--help with the command lists its options"
            )


def say_skipped(error: Exception) -> None:
    notes.print(f"left out: {error}", markup=False)


def say_loading(message: str) -> None:
    notes.print(message, markup=False)


def _print(
    done: _Done, cited_source: Source | None, *, as_json: bool, listed: bool, quiet: bool
) -> None:
    reading = done.reading
    if as_json:
        whole = summary(reading, done.folder, done.receipt)
        if cited_source:
            whole["citations"] = cited(reading, cited_source)
        told = answer_list(reading) if listed and not cited_source else whole
        print(json.dumps(told, ensure_ascii=False, indent=2))
    elif cited_source:
        print(cited_text(citations(reading, cited_source)))
    else:
        print_answers(reading)
    if reading.end and reading.status == "partial":
        notes.print(f"partial: {reading.end.reason}", markup=False)
        notes.print(f"  {reading.end.hint}", markup=False)
    if not quiet:
        notes.print(str(done.receipt), markup=False)


def print_answers(reading: Reading) -> None:
    """The answers on standard output, each after its question where there were several."""
    questions = reading.header.questions
    several = len(reading.answers) > 1
    for answer in reading.answers:
        if len(questions) > 1:
            print(f"Q: {questions[answer.question]}")
        label = f"[{answer.budget} tokens] " if several and answer.budget else ""
        print(f"{'A: ' if len(questions) > 1 else ''}{label}{answer.text}")
        if not answer.boxed:
            notes.print("(no box in the model's answer: this is its last line)", markup=False)


def answer_list(reading: Reading) -> list[dict[str, Any]]:
    """The answers with their questions."""
    return [
        {
            "question": reading.header.questions[answer.question],
            "answer": answer.text,
            "budget": answer.budget,
            "boxed": answer.boxed,
        }
        for answer in reading.answers
    ]


def summary(reading: Reading, folder: Path, receipt: Receipt) -> dict[str, Any]:
    """What `--json` prints of a reading."""
    header = reading.header
    return {
        "answer": reading.answer,
        "status": reading.status,
        "reason": reading.end.reason if reading.end else "",
        "answers": [answer.model_dump(exclude={"kind"}) for answer in reading.answers],
        "memory": reading.memory,
        "questions": header.questions,
        "reader": header.reader,
        "model": header.model,
        "documents": header.documents,
        "chunks": len(header.chunks),
        "chunks_read": len(reading.done()),
        "source_tokens": header.tokens,
        "tokenizer": header.tokenizer,
        "calls": len(reading.turns),
        "usage": reading.usage.model_dump(),
        "model_seconds": round(reading.model_seconds, 3),
        "receipt": receipt.model_dump(),
        "guards": [guard.model_dump(exclude={"kind"}) for guard in reading.guards],
        "pages": [page.model_dump(exclude={"kind"}) for page in reading.pages],
        "reading": str(folder),
    }
