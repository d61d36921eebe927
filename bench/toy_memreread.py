"""What credit for few rereads teaches a policy that rereads without looking: the toy of MemReread.

    python bench/toy_memreread.py --out runs/toy-memreread

For each seed one warm start of `recipes/toy-memreread.toml`, and from its weights as many steps by
each credit: shared (MemAgent), rea with its cap, and rea without. Prints a markdown table of the
held-out questions, of which about half need a reread: rereads an item, and the share answered
right, with 95% bootstrap intervals over items, each with the answers of all seeds; each seed's own
values; and the differences from shared credit, item by item. Draws both against the step, from the
rollouts that were learnt from. Runs are kept in `--out`, and what is there is not run again.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from palimpsest.evals import clustered_interval, paired_difference
from palimpsest.training.recipe import ModelPart, Recipe
from palimpsest.training.recipes import load_recipe
from palimpsest.training.trainer import Trainer
from palimpsest.training.transcripts import read_transcript, transcript_file, transcript_steps
from palimpsest.training.whereabouts import NEEDS, NEEDS_NOT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RECIPE = Path(__file__).parents[1] / "recipes/toy-memreread.toml"
ARMS = {
    "shared": ("credit.kind='shared'",),
    "rea": ("credit.kind='rea'",),
    "rea uncapped": ("credit.kind='rea'", "credit.efficiency_cap='none'"),
}
KINDS = {NEEDS_NOT: "one reading is enough", NEEDS: "a reread is needed"}
MEASURES = ("rereads an item", "answered right")
_SMOOTHED = 3
"""Steps that a point of the picture is the mean of."""
_COLOURS = {"shared": "#0b62b0", "rea": "#c2410c", "rea uncapped": "#17803d"}

Measured = dict[str, dict[str, list[float]]]
"""By item the values of each measure, one for each seed."""


class Run(NamedTuple):
    """One training run."""

    arm: str
    seed: int
    folder: Path


def main() -> None:
    options = _options()
    arms = options.arms.split(",")
    runs = [run for seed in range(options.seeds) for run in _trained(options, arms, seed)]
    starts = [_held_out(run.folder, 0) for run in runs if run.arm == arms[0]]
    ends = {arm: [_held_out(run.folder, -1) for run in runs if run.arm == arm] for arm in arms}
    print(_table({"before": starts, **ends}))
    print(_by_seed({"before": starts, **ends}))
    print(_differences(ends))
    if options.picture:
        draw(runs, options.picture)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", default=",".join(ARMS), help="their names")
    parser.add_argument("--set", action="append", default=[], help="key=value, for all runs")
    parser.add_argument("--picture", type=Path, help="PNG of rereads and answers by step")
    return parser.parse_args()


def _trained(options: argparse.Namespace, arms: Sequence[str], seed: int) -> Iterator[Run]:
    """The runs of a seed, each from the weights of one warm start."""
    base = (*options.set, f"seed={seed}", "log.to=[]", "log.curves=false")
    start = options.out / f"start-{seed}"
    recipe = load_recipe(options.recipe, [*base, "steps=0", "evaluation.every=0"])
    _train(recipe, start)
    for arm in arms:
        folder = options.out / f"{arm.replace(' ', '-')}-{seed}"
        recipe = load_recipe(options.recipe, [*base, *ARMS[arm]])
        parts = {"warm_start": None, "model": ModelPart(folder=start / "model")}
        _train(recipe.model_copy(update=parts), folder)
        yield Run(arm, seed, folder)


def _train(recipe: Recipe, folder: Path) -> None:
    if not (folder / "model").exists():
        asyncio.run(Trainer.begin(recipe, folder).run())


def _held_out(folder: Path, which: int) -> list[dict[str, Any]]:
    """The answers to the held-out questions of a run's first or last evaluation."""
    step = transcript_steps(folder, "held-out")[which]
    return read_transcript(transcript_file(folder, "held-out", step))


def _kind(line: dict[str, Any]) -> str:
    return str(line["group"]).rpartition("-")[2]


def _measures(line: dict[str, Any]) -> tuple[float, float]:
    return float(line["nodes"] - 1), float(line["reward"] or 0.0)


def _values(
    seeds: Sequence[Sequence[dict[str, Any]]], kind: str, measure: int
) -> list[tuple[str, float]]:
    """Item and value of each answer to a question of a kind."""
    return [
        (line["group"], _measures(line)[measure])
        for lines in seeds
        for line in lines
        if _kind(line) == kind
    ]


def _table(measured: dict[str, list[list[dict[str, Any]]]]) -> str:
    heads = [f"{name}: {what}" for name in KINDS.values() for what in MEASURES]
    rows = [_row("", *heads), _row("---", *["---"] * len(heads))]
    for name, seeds in measured.items():
        cells = []
        for kind in KINDS:
            for measure in range(len(MEASURES)):
                items, values = zip(*_values(seeds, kind, measure), strict=True)
                found = clustered_interval(values, items)
                cells.append(f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]")
        rows.append(_row(name, *cells))
    counts = ", ".join(
        f"{len({item for item, _ in _values(next(iter(measured.values())), kind, 0)})} where {name}"
        for kind, name in KINDS.items()
    )
    return "\n".join((*rows, "", f"Items: {counts}."))


def _by_seed(measured: dict[str, list[list[dict[str, Any]]]]) -> str:
    rows = ["", "By seed, in the order of the columns:"]
    for name, seeds in measured.items():
        told = [
            "/".join(
                f"{statistics.fmean(value for _, value in _values([lines], kind, measure)):.2f}"
                for kind in KINDS
                for measure in range(len(MEASURES))
            )
            for lines in seeds
        ]
        rows.append(f"{name}: {'  '.join(told)}")
    return "\n".join(rows)


def _differences(ends: dict[str, list[list[dict[str, Any]]]]) -> str:
    """Each arm's means by item less those of the first."""
    base, *others = ends
    rows = ["", f"Less {base}, item by item:"]
    for arm in others:
        for kind, name in KINDS.items():
            for measure, what in enumerate(MEASURES):
                before = _means(_values(ends[base], kind, measure))
                after = _means(_values(ends[arm], kind, measure))
                gap = paired_difference([after[item] for item in before], list(before.values()))
                told = f"{gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"
                rows.append(f"{arm}, {name}, {what}: {told}")
    return "\n".join(rows)


def _means(values: Sequence[tuple[str, float]]) -> dict[str, float]:
    items = dict.fromkeys(item for item, _ in values)
    return {
        item: statistics.fmean(value for name, value in values if name == item) for item in items
    }


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def draw(runs: Sequence[Run], file: Path) -> None:
    """Rereads and right answers of both kinds against the step, a line for each arm."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    for row, (measure, what) in zip(figure.subplots(2, 2), enumerate(MEASURES), strict=True):
        for axes, (kind, name) in zip(row, KINDS.items(), strict=True):
            for arm in dict.fromkeys(run.arm for run in runs):
                _draw_arm(axes, [run for run in runs if run.arm == arm], kind, measure)
            axes.set_title(name)
            axes.set_ylabel(what)
            axes.set_xlabel("step")
            axes.set_ylim(-0.05, 2.05 if measure == 0 else 1.05)
            axes.grid(color="#d0d4d9", linewidth=0.6)
    figure.axes[0].legend()
    figure.savefig(file, dpi=110)


def _draw_arm(axes: Axes, runs: Sequence[Run], kind: str, measure: int) -> None:
    curves = [_curve(run.folder, kind, measure) for run in runs]
    for curve in curves:
        axes.plot(range(1, len(curve) + 1), curve, color=_COLOURS[runs[0].arm], alpha=0.25)
    means = [statistics.fmean(values) for values in zip(*curves, strict=True)]
    steps = range(1, len(means) + 1)
    axes.plot(steps, means, color=_COLOURS[runs[0].arm], linewidth=2, label=runs[0].arm)


def _curve(folder: Path, kind: str, measure: int) -> list[float]:
    """The mean of a measure over a step's rollouts of a kind, and over the steps before it."""
    by_step = [
        [value for _, value in _values([lines], kind, measure)]
        for lines in (
            read_transcript(transcript_file(folder, "step", step))
            for step in transcript_steps(folder)
        )
    ]
    return [
        statistics.fmean(value for near in by_step[max(0, at - _SMOOTHED + 1) : at + 1]
                         for value in near)
        for at in range(len(by_step))
    ]  # fmt: skip


if __name__ == "__main__":
    main()
