"""`palimpsest dataset`: sets of items made, filtered and turned into other formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from palimpsest.cli.app import notes, run_async
from palimpsest.cli.making import Build, Made, made_files
from palimpsest.cli.options import ModelOptions
from palimpsest.datasets.filters import Duplicates, Filter, KnownByHeart, Unanswerable, sift
from palimpsest.datasets.item import Item
from palimpsest.datasets.lengths import parse_lengths
from palimpsest.datasets.storing import Format, open_items, read_items
from palimpsest.errors import ConfigurationError, InputError
from palimpsest.evals.scoring import METRICS
from palimpsest.models import Model
from palimpsest.settings import ModelSettings, open_model

dataset = App(name="dataset", help="Make, filter and convert sets of long-context items.")

Json = Annotated[bool, Parameter(name="--json", negative=())]
Quiet = Annotated[bool, Parameter(name=["--quiet", "-q"], negative=())]
Flag = Annotated[bool, Parameter(negative=())]

_AT_ONCE = 8
"""Questions put to a model at once, where `--concurrency` does not say."""


@dataset.command
def build(
    task: str,
    /,
    *,
    out: Path,
    data: str | None = None,
    lengths: str = "",
    documents: str = "",
    limit: int | None = None,
    distractors: Annotated[list[Path] | None, Parameter(consume_multiple=True, negative=())] = None,
    format: Format = "parquet",
    model: ModelOptions = ModelOptions(),  # noqa: B008
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a benchmark's items in contexts of the lengths asked for, a file for each length.

    The gold documents are put among distractors: the benchmark's other passages and those of
    --distractors. Tokens are those of --tokenizer, else of the model that is named, else an
    estimate. A file that is finished is left as it is when the same command is given again.

    Parameters
    ----------
    task
        A benchmark: hotpotqa, ruler, nq.
    out
        Folder for the files.
    data
        The benchmark's folder or file, or its name on the Hugging Face hub.
    lengths
        Tokens with commas between; k is 1,024 and m 1,048,576 of them: 8k,128k,1m.
    documents
        Numbers of documents with commas between, as in the papers: 50,200,800.
    limit
        Most items in a file; a fixed sample of the benchmark.
    distractors
        Files of further passages: rows with `title` and `text`, or plain text.
    format
        parquet: the papers' training rows; papers-json: their evaluation rows; jsonl: items.
    as_json
        Print what was written as JSON.
    quiet
        No progress.
    """
    if lengths and documents:
        raise InputError("a context has either tokens or documents", hint="give one of the two")
    asked = Build(
        task=task,
        data=data,
        tokens=parse_lengths(lengths),
        documents=_numbers(documents),
        limit=limit,
        distractors=tuple(distractors or ()),
        format=format,
    )
    made = run_async(made_files(asked, out, model.settings(), quiet=quiet))
    _tell_made(made, as_json=as_json)


@dataset.command(name="filter")
def filter_command(
    file: Path,
    /,
    *,
    out: Path,
    duplicates: Flag = False,
    unanswerable: Flag = False,
    closed_book: Flag = False,
    tries: int = 4,
    temperature: float = 1.0,
    metric: str = "substring",
    model: ModelOptions = ModelOptions(),  # noqa: B008
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Leave out items that are doubles, that nothing answers, or that a model knows by heart.

    Writes what is kept, and beside it what was dropped and why (OUT.dropped.jsonl). With --record
    a closed-book filter that was stopped goes on where it was.

    Parameters
    ----------
    file
        Items: a file of `dataset build`, or the papers' rows.
    out
        What is kept; .parquet, .jsonl or .json.
    duplicates
        Drop questions that came before.
    unanswerable
        Drop items without an answer, or whose gold documents hold none.
    closed_book
        Drop items that the model answers without the context.
    tries
        How often the model is asked; one right answer drops the item.
    temperature
        Of the tries; each has a sampling seed of its own.
    metric
        The score that must be 1 for an answer to be right.
    as_json
        Print the counts as JSON.
    quiet
        No progress.
    """
    if not (duplicates or unanswerable or closed_book):
        raise InputError(
            "no filter is named", hint="give --duplicates, --unanswerable or --closed-book"
        )
    filters: list[Filter] = [
        *([Duplicates()] if duplicates else []),
        *([Unanswerable()] if unanswerable else []),
    ]
    settings = model.settings() if closed_book else ModelSettings()
    opened = open_model(settings) if closed_book else None
    by_heart = _by_heart(opened, metric, tries, temperature) if opened else None
    if by_heart:
        filters.append(by_heart)
    at_once = settings.concurrency or _AT_ONCE
    kept, dropped = run_async(_filtered(file, out, filters, opened, at_once, quiet=quiet))
    failed = by_heart.failed if by_heart else 0
    if as_json:
        _print_json({"out": str(out), "kept": kept, "dropped": dropped, "failed_calls": failed})
    else:
        print(f"{out}: {kept:,} kept, {dropped:,} dropped")
        if failed:
            print(f"{failed:,} calls failed; they dropped nothing")


@dataset.command
def convert(source: Path, out: Path, /, *, as_json: Json = False) -> None:
    """Write a file's items in another format, which the suffix of OUT names.

    Parameters
    ----------
    source
        Items, or the papers' training or evaluation rows.
    out
        .parquet for training rows, .json for evaluation rows, .jsonl for items.
    as_json
        Print the count as JSON.
    """
    with open_items(out) as file:
        for item in read_items(source):
            file.add(item)
    if as_json:
        _print_json({"out": str(out), "items": file.items})
    else:
        print(f"{out}: {file.items:,} items")


def _by_heart(model: Model, metric: str, tries: int, temperature: float) -> KnownByHeart:
    if metric not in METRICS:
        raise ConfigurationError(
            f"there is no metric {metric}", hint=f"one of {', '.join(METRICS)}"
        )
    return KnownByHeart(model, METRICS[metric], tries=tries, temperature=temperature)


async def _filtered(
    file: Path, out: Path, filters: list[Filter], model: Model | None, at_once: int, *, quiet: bool
) -> tuple[int, int]:
    dropped_file = out.with_name(f"{out.stem}.dropped.jsonl")
    reasons: list[str] = []
    try:
        with open_items(out) as kept:
            async for verdict in sift(read_items(file), filters, concurrency=at_once):
                if verdict.reason:
                    reasons.append(_reason_line(verdict.item, verdict.reason))
                else:
                    kept.add(verdict.item)
                seen = kept.items + len(reasons)
                if not quiet and model and seen % _SAID_EVERY == 0:
                    notes.print(f"{seen:,} items, {len(reasons):,} dropped")
    finally:
        if model:
            await model.aclose()
    dropped_file.write_text("".join(reasons), encoding="utf-8")
    return kept.items, len(reasons)


_SAID_EVERY = 100


def _reason_line(item: Item, reason: str) -> str:
    told = {"task": item.task, "id": item.id, "question": item.question, "answers": item.answers}
    return json.dumps({**told, "reason": reason}, ensure_ascii=True) + "\n"


def _numbers(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    bad = next((part for part in parts if not part.isdecimal() or not int(part)), None)
    if bad:
        raise InputError(f"{bad!r} is no number of documents", hint="write it as 50,200,800")
    return tuple(dict.fromkeys(map(int, parts)))


def _tell_made(made: list[Made], *, as_json: bool) -> None:
    if as_json:
        _print_json([one.model_dump(mode="json") for one in made])
        return
    for one in made:
        skipped = f", {one.skipped:,} skipped ({one.skipped_because})" if one.skipped else ""
        print(f"{one.file}: {one.items:,} items, {one.most_tokens:,} tokens at most{skipped}")
    if made:
        print(f"tokens counted by {made[0].tokenizer}")


def _print_json(told: object) -> None:
    print(json.dumps(told, ensure_ascii=False, indent=2))
