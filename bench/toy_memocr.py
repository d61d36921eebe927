"""What the budget-aware objectives do for a toy: a miniature of MemOCR's second table.

    python bench/toy_memocr.py --out runs/toy-memocr --seeds 3

One model is warm-started once. From it, every arm is trained with each seed, for the same number of
steps on the same questions; only the objectives differ. Every few steps all arms answer the same
held-out questions, at the full budget and at the low one, whatever they were trained on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from palimpsest.training.agents import ReaderAgent
from palimpsest.training.checkpoint import Checkpoints
from palimpsest.training.gathering import Tries, roll_out_all
from palimpsest.training.objectives import Objectives
from palimpsest.training.opening import Opening
from palimpsest.training.pinboard import in_heading
from palimpsest.training.policy import Policy
from palimpsest.training.recipe import CreditPart, ModelPart, ObjectivesPart, Recipe
from palimpsest.training.recipes import load_recipe
from palimpsest.training.sampler import PolicyModel
from palimpsest.training.trainer import Trainer

RECIPE = Path(__file__).parent.parent / "recipes" / "toy-memocr.toml"
ARMS: Mapping[str, tuple[str, ...]] = {
    "standard only": ("standard",),
    "+ low budget": ("standard", "low_budget"),
    "+ cloze": ("standard", "cloze"),
    "all three": ("standard", "low_budget", "cloze"),
}
MEASURES = {
    "standard": "accuracy, full budget",
    "low_budget": "accuracy, low budget",
    "cloze": "gaps filled",
    "heading": "answers in the heading",
}
RESAMPLES = 10_000

Measured = dict[str, list[float]]
"""By measure, one number for each held-out question."""
Results = dict[str, list[dict[int, Measured]]]
"""By arm and seed, what was measured at each step."""


class Interval(NamedTuple):
    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


def interval(values: np.ndarray) -> Interval:
    """Of the mean of a table of seeds and questions, of which both are drawn anew."""
    chance = np.random.default_rng(0)
    seeds, items = values.shape
    rows = chance.integers(seeds, size=(RESAMPLES, seeds))
    columns = chance.integers(items, size=(RESAMPLES, items))
    means = [values[np.ix_(row, column)].mean() for row, column in zip(rows, columns, strict=True)]
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))


def warm_started(recipe: Recipe, folder: Path) -> Path:
    """The model that all arms begin with."""
    if not (folder / "model").exists():
        alone = recipe.model_copy(update={"steps": 0, **quiet(recipe)})
        asyncio.run(Trainer.begin(alone, folder).run())
    return folder / "model"


def quiet(recipe: Recipe) -> dict[str, Any]:
    """What is measured and drawn here is not measured and drawn by the run."""
    return {
        "evaluation": recipe.evaluation.model_copy(update={"every": 0}),
        "log": recipe.log.model_copy(update={"curves": False}),
    }


def recipe_of(recipe: Recipe, arm: str, start: Path, seed: int, every: int) -> Recipe:
    own = recipe.objectives or ObjectivesPart()
    tasks = ARMS[arm]
    weights = {task: own.weights[task] for task in tasks}
    several = len(tasks) > 1
    return recipe.model_copy(
        update={
            "seed": seed,
            "model": ModelPart(folder=start, threads=1),
            "warm_start": None,
            "objectives": own.model_copy(update={"weights": weights}) if several else None,
            "credit": recipe.credit if several else CreditPart(),
            **quiet(recipe),
            "checkpoints": recipe.checkpoints.model_copy(update={"every": every, "keep": 1000}),
        }
    )


def trained(recipe: Recipe, folder: Path) -> Path:
    """The run of an arm with a seed, gone on with where it was cut short."""
    if not (folder / "model").exists():
        begun = (folder / "recipe.toml").exists()
        trainer = Trainer.resume(folder) if begun else Trainer.begin(recipe, folder)
        asyncio.run(trainer.run())
    return folder


def measured(recipe: Recipe, policy: Policy, items: int) -> Measured:
    """What a policy does with the held-out questions, sampled as in training."""
    opening = Opening(recipe)
    own = recipe.objectives or ObjectivesPart()
    objectives = Objectives(low_budgets=own.low_budgets, gaps=own.gaps)
    agent = ReaderAgent(opening.reader, opening.reward, objectives)
    world = opening.world
    assert world
    asked = [world.item("held_out", number) for number in range(items)]
    rollouts = asyncio.run(
        roll_out_all(agent, asked, PolicyModel(policy, seed=0), Tries("held-out", 1, 1.0, 1.0, 64))
    )
    found: Measured = {task: [one.scores[task] for one in rollouts] for task in objectives.tasks}
    found["heading"] = [
        float(in_heading(one.details.get("memory", ""), item.answers[0]))
        for one, item in zip(rollouts, asked, strict=True)
    ]
    return found


def measurements(
    base: Recipe, run: Path, start: Measured, policy: Policy, items: int
) -> dict[int, Measured]:
    """At each checkpoint of a run; step 0 is the common start."""
    kept = Checkpoints(run, 1000)
    steps = {0: start}
    for step in kept.steps():
        file = run / f"measured-{step}.json"
        if not file.exists():
            kept.restore(step, policy)
            file.write_text(json.dumps(measured(base, policy, items)))
        steps[step] = json.loads(file.read_text())
    return steps


def table(results: Results) -> Iterator[str]:
    yield "| trained on | " + " | ".join(MEASURES.values()) + " |"
    yield "| --- |" + " --- |" * len(MEASURES)
    first = next(iter(results.values()))
    yield row("warm start", [seed[0] for seed in first[:1]])
    for arm, seeds in results.items():
        yield row(arm, [seed[max(seed)] for seed in seeds])


def row(name: str, seeds: Sequence[Measured]) -> str:
    cells = [str(interval(np.array([seed[measure] for seed in seeds]))) for measure in MEASURES]
    return f"| {name} | " + " | ".join(cells) + " |"


def differences(results: Results, baseline: str) -> Iterator[str]:
    """Of each arm to the baseline at the last step, the same seeds and questions side by side."""
    for arm, seeds in results.items():
        if arm == baseline:
            continue
        for measure, name in MEASURES.items():
            gains = np.array(
                [
                    np.subtract(own[max(own)][measure], other[max(other)][measure])
                    for own, other in zip(seeds, results[baseline], strict=True)
                ]
            )
            yield f"{arm} - {baseline}, {name}: {interval(gains)}"


def draw(results: Results, file: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True)
    for axis, measure in zip(axes, ("low_budget", "heading"), strict=True):
        for number, (arm, seeds) in enumerate(results.items()):
            steps = sorted(set.intersection(*(set(seed) for seed in seeds)))
            lines = np.array([[np.mean(seed[step][measure]) for step in steps] for seed in seeds])
            axis.plot(steps, lines.T, color=f"C{number}", alpha=0.3, linewidth=1)
            axis.plot(steps, lines.mean(0), color=f"C{number}", linewidth=2, label=arm)
        axis.set(title=MEASURES[measure], xlabel="step", ylim=(0, 1))
        axis.grid(alpha=0.3)
    axes[1].legend(loc="best", fontsize=8)
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of runs; gone on with")
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--set", action="append", default=[], help="key=value of the recipe")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--items", type=int, default=128, help="held-out questions")
    parser.add_argument("--every", type=int, default=5, help="steps between measurements")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    asked = parser.parse_args()
    base = load_recipe(asked.recipe, asked.set)
    start = warm_started(base, asked.out / "warm-start")
    policy = Opening(recipe_of(base, asked.arms[0], start, 0, asked.every)).policy()
    file = asked.out / "warm-start" / "measured.json"
    if not file.exists():
        file.write_text(json.dumps(measured(base, policy, asked.items)))
    before: Measured = json.loads(file.read_text())
    results: Results = {arm: [] for arm in asked.arms}
    for seed in range(1, asked.seeds + 1):
        for arm in asked.arms:
            begun = time.perf_counter()
            recipe = recipe_of(base, arm, start, seed, asked.every)
            run = trained(recipe, asked.out / f"{arm.replace(' ', '-').strip('+-')}-{seed}")
            results[arm].append(measurements(base, run, before, policy, asked.items))
            last = results[arm][-1][max(results[arm][-1])]
            told = ", ".join(f"{name} {np.mean(last[name]):.2f}" for name in MEASURES)
            print(f"{arm}, seed {seed}: {told} ({time.perf_counter() - begun:.0f} s)", flush=True)
    print("\n".join(table(results)))
    if "standard only" in results:
        print("\n".join(differences(results, "standard only")))
    draw(results, asked.out / "toy_memocr.png")


if __name__ == "__main__":
    main()
