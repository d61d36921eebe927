"""`palimpsest layout-study`: what the layout of a run's memories is worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from cyclopts import Parameter
from rich.table import Table

from palimpsest.cli.app import notes, run_async
from palimpsest.cli.evaluate import kept_settings
from palimpsest.cli.options import ModelOptions
from palimpsest.cli.readers import PriceOptions
from palimpsest.cli.report import report_console
from palimpsest.errors import ConfigurationError, InputError
from palimpsest.evals.evidence import EvidenceOfRun, load_evidence, read_evidence
from palimpsest.evals.evidence_words import Precision, precisions
from palimpsest.evals.layout_study import Study, study_layout
from palimpsest.evals.report import as_text, load_runs, report_of
from palimpsest.evals.report.tables import percent
from palimpsest.evals.report.text import plain
from palimpsest.evals.run import ItemResult, Run, load_run
from palimpsest.models import Model
from palimpsest.models.prices import Price
from palimpsest.pages.page import MAX_BUDGET
from palimpsest.prompts import PromptSet, load_prompts
from palimpsest.settings import open_model, resolve_settings


def layout_study_command(
    run: Path,
    *,
    inject: Literal["heading", "body", "none"] = "none",
    style: Literal["default", "drop", "plain", "uniform"] = "default",
    budgets: str | None = None,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    precision: Annotated[bool, Parameter(negative=())] = False,
    evidence: Path | None = None,
    data: str | None = None,
    prompts: Path | None = None,
    at_once: int = 4,
    model: ModelOptions = ModelOptions(),  # noqa: B008
    prices: PriceOptions = PriceOptions(),  # noqa: B008
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Draw the memories of a run of memocr in another way and answer from them again.

    Writes a run folder of its own, for `report` and `curve` to compare with the run. Nothing is
    drafted, and what was stopped goes on when the same command is given again. The model is that
    of the run where options name no other.

    Parameters
    ----------
    run
        The folder of the run.
    inject
        Put the gold evidence before each memory: as headings, or as body text.
    style
        How pages are drawn; uniform is all type of one size and weight.
    budgets
        Visual tokens with commas between; those of the run by default.
    out
        Folder of the new run.
    precision
        Say instead how many words of headings, bold type and body are words of the gold evidence
        or of an accepted answer.
    evidence
        JSON Lines file with an `id` and `evidence`, a list of sentences, a line; without it the
        run's task is loaded again.
    data
        Where the task's data lies, where it is not found as the run names it.
    prompts
        TOML file with the wording that the run was read with.
    at_once
        Memories that are read side by side.
    as_json
        Print as JSON.
    """
    if precision == (out is not None):
        raise ConfigurationError(
            "a study keeps its answers in a folder, and --precision has no answers",
            hint="give either --out FOLDER or --precision",
        )
    if at_once < 1:
        raise InputError(f"{at_once} memories at once are none", hint="give 1 or more")
    found = load_run(run)
    known = read_evidence(evidence) if evidence else None
    settings = resolve_settings(model.given().over(kept_settings(run)))
    opened = open_model(settings, on_load=_say)
    order = _Order(found, opened, known, data)
    if out is None:
        _print_precisions(run_async(order.precisions()), as_json=as_json)
        return
    study = Study(inject=inject, style=style, budgets=_budgets(budgets, found))
    wording = load_prompts(prompts) if prompts else None
    run_async(
        order.study(study, out, wording, prices.price(opened.name, settings.base_url), at_once)
    )
    report = report_of(load_runs([run, out]))
    if as_json:
        print(report.model_dump_json(indent=2))
    else:
        as_text(report, report_console())


class _Order(NamedTuple):
    run: Run
    model: Model
    known: EvidenceOfRun | None
    """From a file; None where the task is to be loaded again."""
    data: str | None

    async def precisions(self) -> list[Precision]:
        try:
            return precisions(self.run, await self._evidence())
        finally:
            await self.model.aclose()

    async def study(
        self, study: Study, out: Path, prompts: PromptSet | None, price: Price | None, at_once: int
    ) -> None:
        if self.model.name != self.run.config.model:
            _say(f"note: the run is of {self.run.config.model}; {self.model.name} answers now")
        try:
            evidence = await self._evidence() if study.inject != "none" else None
            if evidence:
                self._say_unmarked(evidence)
            await study_layout(
                self.run, evidence, study, self.model, out,
                prompts=prompts, price=price, concurrency=at_once,
                on_result=_Count(len(self.run.results)),
            )  # fmt: skip
        finally:
            await self.model.aclose()

    async def _evidence(self) -> EvidenceOfRun:
        known = self.known
        if known is None:
            known = await load_evidence(self.run, await self.model.tokenizer(), self.data)
        known.check(self.run)
        return known

    def _say_unmarked(self, evidence: EvidenceOfRun) -> None:
        without = sum(not evidence.of(result) for result in self.run.results)
        if without:
            _say(f"note: {without} readings have no gold evidence; their memories stay as they are")


class _Count:
    """Says how far a study is."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0

    def __call__(self, result: ItemResult) -> None:
        self._done += 1
        said = f"failed: {result.reason}" if result.status == "failed" else result.status
        _say(plain(f"{self._done}/{self._total} {result.id}: {said}"))


def _budgets(given: str | None, run: Run) -> tuple[int, ...]:
    if given is None:
        return tuple(budget for budget in run.config.budgets if budget is not None)
    try:
        budgets = tuple(int(one) for one in given.split(","))
    except ValueError:
        budgets = ()
    if not budgets or not all(1 <= budget <= MAX_BUDGET for budget in budgets):
        raise InputError(
            f"{given!r} are no budgets of visual tokens",
            hint=f"give numbers from 1 to {MAX_BUDGET:,} with commas between, as in 1024,256,64,16",
        )
    return budgets


def _print_precisions(found: list[Precision], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([_as_data(one) for one in found], indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for name in ("region", "memories", "words", "of evidence", "precision", "words each, median"):
        table.add_column(name, justify="left" if name == "region" else "right", no_wrap=True)
    for one in found:
        table.add_row(
            one.region,
            f"{one.memories:,}",
            f"{one.words:,}",
            f"{one.evidence:,}",
            percent(one.precision) if one.precision else "",
            f"{one.median_words:,.1f}",
        )
    report_console().print(table)


def _as_data(one: Precision) -> dict[str, object]:
    share = one.precision._asdict() if one.precision else None
    return {**one.model_dump(exclude={"precision"}), "precision": share}


def _say(message: object) -> None:
    notes.print(str(message), markup=False)
