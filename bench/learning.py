"""What a recipe learns, and how long it takes: `palimpsest train` with several seeds.

    python bench/learning.py recipes/toy-memagent.toml --out runs/toy --plot learning.png

Each seed is a run of the command, in a process of its own. Prints a markdown table with a row for
each: the reward of the held-out questions before reinforcement (after the warm start, if there is
one) and at the end, the mean reward of the first three and the last three steps of reinforcement,
the steps of both, and what the command took, in seconds of the clock and of the processor. The
picture has the held-out reward against the step, with the rewards that were learnt from as faint
lines. Runs are kept in `--out`, and what is there is not run again.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from palimpsest.training.logbook import Line, read_log

HELD_OUT, REWARD = "held_out/reward", "reward/reward"
COLUMNS = ("seed", "held out before", "held out after", "first steps", "last steps",
           "warm start", "steps", "seconds", "processor seconds")  # fmt: skip
_TIMES = "times-{seed}.json"
_ENDS = 3
"""Steps whose mean reward is told."""
_COLOURS = ("#0b62b0", "#c2410c", "#17803d", "#8b2fc9", "#a16207", "#be185d")


class Run(NamedTuple):
    """One seed's."""

    seed: int
    lines: list[Line]
    seconds: float
    processor_seconds: float

    @property
    def warm_steps(self) -> int:
        return max((line.step for line in self.lines if line.phase == "warm_start"), default=0)

    def points(self, name: str) -> list[tuple[int, float]]:
        """A value by the step of reinforcement, 0 for before it."""
        return [
            (line.step - self.warm_steps, line.values[name])
            for line in self.lines
            if name in line.values and line.step >= self.warm_steps
        ]


def main() -> None:
    options = _options()
    runs = [_run(options, seed) for seed in range(options.seeds)]
    print(_table(runs))
    if options.plot:
        draw(runs, options.recipe.stem, options.plot)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0 on")
    parser.add_argument("--set", action="append", default=[], help="key=value, for all seeds")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--plot", type=Path, help="PNG of the reward by step")
    return parser.parse_args()


def _run(options: argparse.Namespace, seed: int) -> Run:
    folder = options.out / f"{options.recipe.stem}-{seed}"
    times = options.out / _TIMES.format(seed=seed)
    if not times.exists():
        settings = [f"--set={one}" for one in (*options.set, f"seed={seed}")]
        command = ("train", str(options.recipe), *settings, "--out", str(folder), "--quiet")
        begun, before = time.perf_counter(), _processor_seconds()
        subprocess.run([sys.executable, "-m", "palimpsest", *command], check=True)
        taken = (time.perf_counter() - begun, _processor_seconds() - before)
        times.write_text(json.dumps(taken), encoding="utf-8")
    return Run(seed, read_log(folder), *json.loads(times.read_text(encoding="utf-8")))


def _processor_seconds() -> float:
    """Of the processes that this one has started."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _table(runs: Sequence[Run]) -> str:
    return "\n".join((_row(COLUMNS), _row(["---"] * len(COLUMNS)), *map(_told, runs)))


def _told(run: Run) -> str:
    held_out = [value for _, value in run.points(HELD_OUT)]
    rewards = [value for _, value in run.points(REWARD)]
    cells = (
        run.seed,
        f"{held_out[0]:.3f}" if held_out else "",
        f"{held_out[-1]:.3f}" if held_out else "",
        f"{statistics.fmean(rewards[:_ENDS]):.3f}",
        f"{statistics.fmean(rewards[-_ENDS:]):.3f}",
        run.warm_steps,
        len(rewards),
        f"{run.seconds:.0f}",
        f"{run.processor_seconds:.0f}",
    )
    return _row([str(cell) for cell in cells])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def draw(runs: Sequence[Run], title: str, file: Path) -> None:
    """The held-out reward against the step of reinforcement, a line for each seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for run, colour in zip(runs, _COLOURS, strict=False):
        axes.plot(*zip(*run.points(REWARD), strict=True), color=colour, alpha=0.25, linewidth=1)
        if held_out := run.points(HELD_OUT):
            axes.plot(*zip(*held_out, strict=True), "o-", color=colour, markersize=4,
                      label=f"seed {run.seed}, held out")  # fmt: skip
    axes.set_title(title, loc="left")
    axes.set_xlabel("step of reinforcement")
    axes.set_ylabel("reward")
    axes.set_ylim(-0.03, 1.03)
    axes.grid(color="#d0d4d9", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, loc="lower right")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
