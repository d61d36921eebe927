"""`palimpsest report` and `palimpsest curve`: what runs have shown, in words and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from palimpsest.cli.app import notes
from palimpsest.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from palimpsest.evals.report import Report
    from palimpsest.evals.report.lines import Panel
    from palimpsest.evals.report.plots import ImageFormat
    from palimpsest.evals.run import Run

_FORMATS = {".md": "markdown", ".markdown": "markdown", ".json": "json", ".html": "html"}
_IMAGES = ("png", "svg", "pdf")
_WIDTH = 200
"""Columns of a report that is no terminal's: its tables are not to be folded."""

ReportFormat = Literal["text", "markdown", "json", "html"]


def report(
    *run: Path,
    report_format: Annotated[ReportFormat | None, Parameter(name="--format")] = None,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
) -> None:
    """Show how runs came out: scores with intervals, failures, costs and comparisons.

    Runs of one task are compared item by item, each with the first, and visual with text memory.
    A reading that failed counts as wrong.

    Parameters
    ----------
    run
        The folder of a run, or of several.
    report_format
        How to write it; by the end of --out where there is one, else text. html is a page of its
        own with plots and all readings, which needs the `eval` extra.
    out
        File to write to instead of standard output.
    """
    from palimpsest.evals.report import load_runs, report_of

    chosen = report_format or _FORMATS.get(out.suffix.lower() if out else "", "text")
    runs = load_runs(run)
    found = report_of(runs)
    if chosen == "text" and not out:
        from palimpsest.evals.report import as_text

        as_text(found, report_console())
        return
    text = _written(found, runs, chosen)
    if out:
        _write(out, text.encode("utf-8", "replace"))
    else:
        print(text)


def curve(
    *run: Path,
    against: Literal["budget", "length"] = "budget",
    metric: str | None = None,
    cost: Literal["tokens", "money", "none"] = "tokens",
    out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("curve.png"),
) -> None:
    """Draw scores of runs against budget or length, with intervals and what it took.

    Needs the `eval` extra. A panel for each length (or budget) and task; below it the costs.

    Parameters
    ----------
    run
        The folder of a run, or of several: one of text memory and one of visual memory, say.
    against
        What lies along the axis.
    metric
        Which score; the task's own headline by default.
    cost
        Against budget: tokens that are read to answer. Against length: tokens or US dollars of a
        reading, at all of its budgets.
    out
        The picture, as PNG, SVG or PDF by its end.
    """
    from palimpsest.evals.report import load_runs, report_of
    from palimpsest.evals.report.plots import curve_image

    image_format = _image_format(out)
    if against == "budget" and cost == "money":
        raise ConfigurationError(
            "what a reading costs is known for all of its budgets together",
            hint="use --cost tokens, or --against length",
        )
    runs = load_runs(run)
    panels = _panels(report_of(runs), runs, against, metric, cost)
    if not panels:
        raise InputError("there is nothing to draw: no item is read yet", hint="go on with a run")
    _write(out, curve_image(panels, image_format))


def _panels(
    found: Report, runs: dict[str, Run], against: str, metric: str | None, cost: str
) -> list[Panel]:
    from palimpsest.evals.report.costs import answering_tokens
    from palimpsest.evals.report.lines import against_budget, against_length

    if against == "length":
        kind: Literal["tokens", "money"] | None = (
            "tokens" if cost == "tokens" else "money" if cost == "money" else None
        )
        return against_length(found.runs, kind, metric)
    costs = answering_tokens(runs) if cost == "tokens" else None
    if cost == "tokens" and not costs:
        notes.print("the readings are not found, so it is not known what was read to answer")
    return against_budget(found.runs, costs, metric)


def _written(found: Report, runs: dict[str, Run], chosen: str) -> str:
    from palimpsest.evals.report import as_markdown, as_text

    if chosen == "json":
        return found.model_dump_json(indent=2)
    if chosen == "markdown":
        return as_markdown(found)
    if chosen == "html":
        from palimpsest.evals.report.page import as_page

        return as_page(found, runs)
    console = report_console()
    with console.capture() as captured:
        as_text(found, console)
    return captured.get()


def report_console() -> Console:
    """Where tables are printed."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _WIDTH
    return console


def _image_format(out: Path) -> ImageFormat:
    for known in _IMAGES:
        if out.suffix.lower() == f".{known}":
            return known  # type: ignore[return-value]
    raise InputError(f"{out} is no PNG, SVG or PDF", hint="end it in .png, .svg or .pdf")


def _write(out: Path, data: bytes) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(data)
    except OSError as error:
        raise InputError(
            f"{out} cannot be written: {error.strerror}", hint="name another file with --out"
        ) from error
    notes.print(f"written: {out}", markup=False)
