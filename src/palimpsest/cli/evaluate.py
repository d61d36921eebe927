"""`palimpsest eval`: a reader on a benchmark, at lengths and budgets, with what it took."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractContextManager, aclosing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from palimpsest.cli.app import notes, run_async
from palimpsest.cli.options import ModelOptions
from palimpsest.cli.readers import CapOptions, PriceOptions, ReaderOptions
from palimpsest.cli.scoreboard import Scoreboard, total_of
from palimpsest.errors import InputError
from palimpsest.evals.run import CONFIG_FILE, ItemResult, RunConfig, load_run
from palimpsest.prompts import default_prompts, load_prompts
from palimpsest.readers.reader import Reader
from palimpsest.readers.restoring import restore
from palimpsest.settings import (
    EMBEDDED,
    ModelSettings,
    checked_settings,
    open_model,
    resolve_settings,
)

if TYPE_CHECKING:
    from palimpsest.datasets.item import Item
    from palimpsest.evals.engines import Engine
    from palimpsest.evals.runner import Evaluated
    from palimpsest.models.model import Model

_MODEL_FILE = "model.json"
"""Beside the run: how its model is reached, for --resume."""
_RUNS = Path("runs")
_ENDPOINT_ITEMS = 8
"""Items at once with an endpoint, which by default is called so often at once."""
_WIDTH = 200
"""Columns of the report where no terminal is."""

EngineName = Literal["local", "ray"]


@dataclass(frozen=True)
class _Asked:
    """What says which run it is; None for what was left out."""

    task: str | None
    data: str | None
    lengths: str | None
    budgets: str | None
    limit: int | None
    seeds: int | None
    out: Path | None


@dataclass(frozen=True)
class _Plan:
    """A run and what reads it."""

    folder: Path
    config: RunConfig
    reader: Reader
    settings: ModelSettings
    model: Model


@dataclass(frozen=True)
class _Go:
    """How the run is gone on with this time."""

    caps: CapOptions
    prices: PriceOptions
    engine: EngineName
    ray_address: str | None
    retry_failed: bool
    keep_sources: bool
    quiet: bool


def evaluate_command(
    task: str | None = None,
    /,
    *,
    reading: ReaderOptions = ReaderOptions(),  # noqa: B008
    model: ModelOptions = ModelOptions(),  # noqa: B008
    caps: CapOptions = CapOptions(),  # noqa: B008
    prices: PriceOptions = PriceOptions(),  # noqa: B008
    data: str | None = None,
    lengths: str | None = None,
    budgets: str | None = None,
    limit: int | None = None,
    seeds: int | None = None,
    out: Path | None = None,
    resume: Path | None = None,
    retry_failed: Annotated[bool, Parameter(negative=())] = False,
    no_sources: Annotated[bool, Parameter(negative=())] = False,
    engine: EngineName = "local",
    ray_address: str | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative=())] = False,
) -> None:
    """Evaluate a reader on a benchmark.

    Writes a line for each item as soon as it is read. A run that was stopped goes on when the
    same command is given again, or with --resume. The caps are those of the whole run. As many
    items are read at once as --concurrency says.

    Parameters
    ----------
    task
        A benchmark: hotpotqa, ruler, longbench:qasper.
    data
        Its folder or file, or a dataset's name on the Hugging Face hub.
    lengths
        Tokens of the contexts, with commas between: 8k,32k,1m. As the benchmark gives them, or
        the generator's own, where left out.
    budgets
        Tokens at which each memory is read, with commas between: 1024,256,64,16. It is drafted
        once for all. Visual tokens for memocr, text tokens for memagent and rememr1.
    limit
        Most items at each length; a fixed sample of the benchmark.
    seeds
        How many times each item is read, with sampling seeds from --seed (0) on.
    out
        Folder of the run (by default one in runs/ that is named by what it is of).
    resume
        Folder of a run to go on with; its task, reader and model are known.
    retry_failed
        Read again what failed before.
    no_sources
        Do not keep what is read in the run's folder, where the viewer finds it.
    engine
        Read in this process, or on a Ray cluster: one of this machine, or --ray-address.
    ray_address
        Address of a Ray cluster that runs already, or auto.
    as_json
        Print the summary as JSON.
    quiet
        No progress.
    """
    if ray_address and engine != "ray":
        raise InputError("--ray-address is for --engine ray", hint="add --engine ray")
    asked = _Asked(task, data, lengths, budgets, limit, seeds, out)
    plan = _resumed(resume, asked, reading, model) if resume else _planned(asked, reading, model)
    go = _Go(caps, prices, engine, ray_address, retry_failed, not no_sources, quiet)
    done = run_async(_evaluated(plan, go))
    _print(done, as_json=as_json)
    _say_ending(plan, done)


def _planned(asked: _Asked, reading: ReaderOptions, model: ModelOptions) -> _Plan:
    """The run that the command line describes."""
    from palimpsest.datasets.lengths import parse_lengths
    from palimpsest.evals.job import configure
    from palimpsest.evals.tasks import TASKS, find_task

    if not asked.task:
        raise InputError("no task is named", hint=f"tasks are: {', '.join(TASKS)}")
    found = find_task(asked.task)
    options = _with_budgets(reading, asked.budgets)
    reader, settings = options.build(), model.settings()
    opened = open_model(settings, on_load=_say)
    config = configure(
        task=found.name,
        data=asked.data or "",
        name=options.reader or reader.name,
        reader=reader,
        model=opened.name,
        metrics=found.metrics,
        lengths=parse_lengths(asked.lengths) if asked.lengths else (None,),
        seeds=_seeds(asked.seeds, reading.seed),
        limit=_positive(asked.limit, "--limit"),
    )
    return _Plan(asked.out or _default_folder(config), config, reader, settings, opened)


def _resumed(
    folder: Path, asked: _Asked, reading: ReaderOptions, model: ModelOptions
) -> _Plan:  # fmt: skip
    """The run of a folder."""
    given = [name for options in (asked, reading) for name in _given(options) if name != "prompts"]
    if given:
        raise InputError(
            f"--{given[0].replace('_', '-')} cannot be changed in a run that was begun",
            hint="leave it out, or begin another run without --resume",
        )
    from palimpsest.evals.job import with_seed

    config = load_run(folder).config
    prompts = load_prompts(reading.prompts) if reading.prompts else default_prompts()
    reader = restore(config.reader.split("+")[0].strip(), config.settings, prompts)
    settings = resolve_settings(model.given().over(kept_settings(folder)))
    opened = open_model(settings, on_load=_say)
    # What is given now is told from what the run was begun with when the run is opened.
    now = {
        "settings": with_seed(reader, None).settings(),
        "prompts": reader.fingerprints(),
        "model": opened.name,
    }
    return _Plan(folder, config.model_copy(update=now), reader, settings, opened)


async def _evaluated(plan: _Plan, go: _Go) -> Evaluated:
    from palimpsest.evals.runner import evaluate

    price = go.prices.price(plan.model.name, plan.settings.base_url)
    _keep_settings(plan)
    board = Scoreboard(notes, plan.config, _earlier(plan.folder), quiet=go.quiet)
    try:
        with _engine(plan, go) as engine, board:
            async with aclosing(_items(plan)) as items:
                return await evaluate(
                    items, plan.reader, plan.model, plan.folder, plan.config,
                    engine=engine, concurrency=_at_once(plan.settings), price=price,
                    caps=go.caps.caps(price), retry_failed=go.retry_failed,
                    keep_sources=go.keep_sources, on_result=board.result,
                )  # fmt: skip
    finally:
        await plan.model.aclose()


async def _items(plan: _Plan) -> AsyncGenerator[tuple[int | None, Item]]:
    from palimpsest.evals.tasks import find_task

    config = plan.config
    task, tokenizer = find_task(config.task), await plan.model.tokenizer()
    for length in config.lengths:
        items = task.items(config.data or None, tokenizer, tokens=length, limit=config.limit)
        async for item in items:
            yield length, item


def _engine(plan: _Plan, go: _Go) -> AbstractContextManager[Engine | None]:
    """Where items are read; None in this process."""
    from palimpsest.evals.engines import RayEngine

    if go.engine == "local":
        return nullcontext()
    workers = plan.settings.concurrency
    return RayEngine(plan.settings, address=go.ray_address, workers=workers)


def _at_once(settings: ModelSettings) -> int:
    """How many items are read side by side. The embedded model takes one call at a time, and has
    the last prompt's beginning at hand."""
    if settings.concurrency:
        return settings.concurrency
    name = settings.name or ("" if settings.base_url else EMBEDDED)
    return 1 if name.split(":")[0] == EMBEDDED else _ENDPOINT_ITEMS


def _with_budgets(reading: ReaderOptions, budgets: str | None) -> ReaderOptions:
    """The options with the budgets of `--budgets` beside those of `--budget`."""
    given = [_budget(text) for text in (budgets or "").split(",") if text.strip()]
    if budgets is not None and not given:
        raise InputError("--budgets is empty", hint="give numbers of tokens: 1024,256,64,16")
    every = [*(reading.budget or []), *given]
    return replace(reading, budget=sorted(set(every), reverse=True)) if every else reading


def _budget(text: str) -> int:
    number = text.strip()
    if not number.isdecimal() or int(number) < 1:
        raise InputError(f"{number!r} is no budget", hint="give numbers of tokens: 1024,256,64,16")
    return int(number)


def _seeds(count: int | None, first: int | None) -> tuple[int, ...]:
    start = first or 0
    return tuple(range(start, start + (_positive(count, "--seeds") or 1)))


def _positive(number: int | None, flag: str) -> int | None:
    if number is not None and number < 1:
        raise InputError(f"{flag} {number} leaves nothing to read", hint="give 1 or more")
    return number


def _given(options: object) -> Iterator[str]:
    """The names of the options that were given."""
    return (name for name, value in vars(options).items() if value not in (None, False))


def _default_folder(config: RunConfig) -> Path:
    """The same for the same run."""
    digest = hashlib.sha256(config.model_dump_json().encode()).hexdigest()[:8]
    return _RUNS / f"{config.task.replace(':', '-')}-{config.reader}-{digest}"


def _earlier(folder: Path) -> list[ItemResult]:
    return load_run(folder).results if (folder / CONFIG_FILE).exists() else []


def _keep_settings(plan: _Plan) -> None:
    """Keeps how the model is reached, but for the key."""
    from palimpsest.evals.recording import make_run_folder

    make_run_folder(plan.folder)
    if (plan.folder / CONFIG_FILE).exists() and load_run(plan.folder).config != plan.config:
        return  # another run's, which will be refused
    kept = plan.settings.model_dump_json(exclude={"api_key"}, exclude_none=True, indent=2)
    (plan.folder / _MODEL_FILE).write_text(kept + "\n", encoding="utf-8")


def kept_settings(folder: Path) -> ModelSettings:
    """How the model of a run is reached, as far as it was kept."""
    file = folder / _MODEL_FILE
    if not file.exists():
        return ModelSettings()
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file}: {error}", hint="remove it, and name the model") from error
    return checked_settings(values, str(file))


def _print(done: Evaluated, *, as_json: bool) -> None:
    """The summary of the run on standard output."""
    from palimpsest.evals.report import as_text, report_of

    report = report_of({done.run.folder.name: done.run})
    if as_json:
        told = {
            "run": str(done.run.folder),
            "capped": done.capped,
            **report.runs[0].model_dump(mode="json"),
        }
        print(json.dumps(told, ensure_ascii=False, indent=2))
        return
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _WIDTH
    as_text(report, console)


def _say_ending(plan: _Plan, done: Evaluated) -> None:
    """What there is to know of the run beside its scores."""
    total = total_of(plan.config)
    if done.capped:
        of = f" of {total}" if total else ""
        _say(f"capped: {len(done.run.results)}{of} items; the same with a larger cap goes on")
    if any(result.status == "failed" for result in done.run.results):
        _say("some items failed: the same with --retry-failed reads them again")
    _say(f"the run is in {done.run.folder}; palimpsest report {done.run.folder} shows it again")


def _say(message: object) -> None:
    notes.print(str(message), markup=False)
