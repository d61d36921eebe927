"""`palimpsest train` and `palimpsest rollouts`: a model taught by a recipe, and what it wrote."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from palimpsest.cli.app import INTERRUPTED_EXIT, notes
from palimpsest.errors import InputError

if TYPE_CHECKING:
    from palimpsest.training.logbook import Line
    from palimpsest.training.recipe import Recipe
    from palimpsest.training.trainer import Result, Trainer

Engine = Literal["embedded", "verl"]

_RUNS = Path("runs")
_SHOWN_CHARACTERS = 2000
"""Of one answer as text."""
_TOLD = {
    "reward/reward": "reward",
    "held_out/reward": "held out",
    "loss/imitation": "imitation",
    "loss/kl": "KL",
    "loss/entropy": "entropy",
    "written/answer_tokens": "tokens",
    "update/gradient_norm": "gradient",
}
"""What the line of a step says, by the names of the log."""


def train(
    recipe: Path | None = None,
    /,
    *,
    overrides: Annotated[list[str], Parameter(name="--set", negative=())] = [],  # noqa: B006
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    resume: Path | None = None,
    engine: Engine | None = None,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    ray_address: str | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative=())] = False,
) -> int:
    """Train a model by a recipe.

    Ctrl-C keeps a checkpoint of the last whole step, and a second one stops at once; --resume
    goes on either way, to the same numbers. Needs the `train` extra. With --engine verl, which
    needs the `verl` extra, Ctrl-C stops at once, and --resume goes on from the last checkpoint.

    Parameters
    ----------
    recipe
        A TOML file; docs/training.md lists what it may say.
    overrides
        A value in place of the recipe's: --set batch.prompts=8. May be given again.
    out
        Folder of the run (by default one in runs/ with the recipe's name).
    resume
        A run to go on with. Of its recipe steps, early_stop, checkpoints and log may be changed
        with --set.
    engine
        `embedded` trains in this process, on one device; `verl` on the GPUs of a Ray cluster, as
        the recipe's [cluster] says. By default embedded, and for --resume the run's own.
    dry_run
        Print what would run, and do nothing.
    ray_address
        host:port of the cluster's head, for verl; by default the cluster that this machine is part
        of, or one of its own.
    as_json
        Print each step as a line of JSON on standard output; with --dry-run what would run.
    quiet
        Print no progress.
    """
    _check_given(recipe, out, resume)
    if _engine(engine, resume) == "verl":
        return _train_on_cluster(
            recipe, overrides, out, resume, ray_address,
            dry_run=dry_run, as_json=as_json, quiet=quiet,
        )  # fmt: skip
    if ray_address:
        raise InputError("--ray-address is for --engine verl", hint="leave it out, or say both")
    if dry_run:
        return _show_recipe(recipe, overrides, resume, as_json=as_json)
    screen = _Screen(notes, as_json=as_json, quiet=quiet)
    trainer = _trainer(recipe, overrides, out, resume, screen)
    try:
        result = asyncio.run(trainer.run())
    except (KeyboardInterrupt, asyncio.CancelledError):
        screen.stop()
        notes.print(f"stopped; palimpsest train --resume {trainer.folder} goes on", markup=False)
        return INTERRUPTED_EXIT
    finally:
        screen.stop()
    if not quiet:
        _say(result)
    return 0


def rollouts(
    run: Path,
    /,
    *,
    step: int | None = None,
    held_out: Annotated[bool, Parameter(negative=())] = False,
    best: int | None = None,
    worst: int | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Show what a policy wrote in training, with its scores and advantages.

    Parameters
    ----------
    run
        The folder of a training run.
    step
        Which step; the last that there is by default.
    held_out
        The answers to held-out questions after that step.
    best
        So many with the highest reward.
    worst
        So many with the lowest.
    as_json
        Print each rollout as a line of JSON.
    """
    from palimpsest.training.transcripts import (
        read_transcript,
        transcript_file,
        transcript_steps,
    )

    occasion: Literal["step", "held-out"] = "held-out" if held_out else "step"
    steps = transcript_steps(run, occasion)
    if step is None and not steps:
        raise InputError(
            f"there are no rollouts in {run}",
            hint="give the folder of a training run with log.rollouts on",
        )
    lines = read_transcript(transcript_file(run, occasion, steps[-1] if step is None else step))
    for line in _picked(lines, best, worst):
        print(json.dumps(line, ensure_ascii=False) if as_json else _shown(line))


class _Screen:
    """What is seen of a run: a bar on a terminal, a line for each step elsewhere."""

    def __init__(self, console: Console, *, as_json: bool, quiet: bool) -> None:
        self._console = console
        self._as_json = as_json
        self._quiet = quiet
        self._bar = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
            TimeElapsedColumn(), console=console, transient=True,
        )  # fmt: skip
        self._steps = self._bar.add_task("steps", total=None)
        self._rollouts = self._bar.add_task("rollouts", total=None)

    def began(self, trainer: Trainer) -> None:
        done, last = trainer.progress.step, trainer.last_step
        self.noted(
            f"run {trainer.folder}: {'going on after ' if done else ''}step {done} of {last}"
        )
        self._bar.update(self._steps, completed=done, total=last)
        if self._console.is_terminal and not self._quiet:
            self._bar.start()

    def rolled_out(self, done: int, of: int) -> None:
        self._bar.update(self._rollouts, completed=done, total=of)

    def logged(self, line: Line) -> None:
        if self._as_json:
            values = {"step": line.step, "phase": line.phase, **line.values}
            print(json.dumps(values), flush=True)
        self._bar.update(self._steps, completed=line.step)
        told = [
            f"{words} {line.values[name]:.4g}"
            for name, words in _TOLD.items()
            if name in line.values
        ]
        self.noted(f"{line.phase.replace('_', ' ')} {line.step}: {', '.join(told)}")

    def noted(self, text: str) -> None:
        if not self._quiet:
            self._console.print(text, markup=False)

    def stop(self) -> None:
        if self._bar.live.is_started:
            self._bar.stop()


def _check_given(recipe: Path | None, out: Path | None, resume: Path | None) -> None:
    if (recipe is None) == (resume is None):
        raise InputError(
            "give either a recipe or --resume with a run",
            hint="palimpsest train recipes/memagent.toml",
        )
    if resume and out:
        raise InputError("--out is for a new run", hint="leave it out with --resume")
    if resume:
        from palimpsest.training.recipes import RECIPE_FILE

        if not (resume / RECIPE_FILE).exists():
            raise InputError(f"{resume} holds no training run", hint="give the folder of one")


def _engine(given: Engine | None, resume: Path | None) -> Engine:
    """The one that is asked for; a run goes on with its own."""
    if resume is None:
        return given or "embedded"
    from palimpsest.training.verl.running import is_verl_run

    own: Engine = "verl" if is_verl_run(resume) else "embedded"
    if given and given != own:
        raise InputError(
            f"{resume} is a run of the {own} engine", hint=f"leave out --engine {given}"
        )
    return own


def _loaded(recipe: Path | None, overrides: list[str], resume: Path | None) -> Recipe:
    """The recipe, once it is known that this machine can train by it."""
    from palimpsest.training.opening import Opening
    from palimpsest.training.recipes import RECIPE_FILE, load_recipe

    loaded = load_recipe(recipe or Path(resume or "") / RECIPE_FILE, overrides)
    Opening(loaded).check()
    return loaded


def _trainer(
    recipe: Path | None, overrides: list[str], out: Path | None, resume: Path | None,
    screen: _Screen,
) -> Trainer:  # fmt: skip
    """The trainer of a new run or of one that goes on."""
    # Before the trainer is imported, which needs PyTorch.
    loaded = _loaded(recipe, overrides, resume)
    from palimpsest.training.trainer import Trainer

    if resume:
        return Trainer.resume(resume, overrides, screen)
    assert recipe
    return Trainer.begin(loaded, out or _RUNS / recipe.stem, screen)


def _show_recipe(
    recipe: Path | None, overrides: list[str], resume: Path | None, *, as_json: bool
) -> int:
    from palimpsest.training.recipes import recipe_text

    loaded = _loaded(recipe, overrides, resume)
    print(loaded.model_dump_json(exclude_none=True) if as_json else recipe_text(loaded), end="")
    return 0


def _train_on_cluster(
    recipe: Path | None, overrides: list[str], out: Path | None, resume: Path | None,
    ray_address: str | None, *, dry_run: bool, as_json: bool, quiet: bool,
) -> int:  # fmt: skip
    from palimpsest.cli.scaling import check_flags, run_on_cluster, show_plan
    from palimpsest.training.recipes import load_recipe
    from palimpsest.training.verl.running import new_plan, resumed_plan

    check_flags(as_json=as_json, dry_run=dry_run)
    if resume:
        plan = resumed_plan(resume, overrides, ray_address)
    else:
        assert recipe
        loaded = load_recipe(recipe, overrides)
        plan = new_plan(loaded, out or _RUNS / recipe.stem, ray_address)
    return show_plan(plan, as_json=as_json) if dry_run else run_on_cluster(plan, quiet=quiet)


def _say(result: Result) -> None:
    """How a run ended."""
    best = ""
    if result.best_score is not None:
        best = f"; best held-out reward {result.best_score:.3f} at step {result.best_step}"
    why = f" ({result.ended})" if result.ended else ""
    notes.print(f"done at step {result.steps}{why}{best}", markup=False)
    notes.print(f"the model is in {result.folder / 'model'}", markup=False)


def _picked(lines: list[dict[str, Any]], best: int | None, worst: int | None) -> Any:  # noqa: ANN401
    """The rollouts asked for, in the order of their reward where some were."""
    if best is None and worst is None:
        return lines
    order = sorted(lines, key=lambda line: line["reward"] or 0.0)
    return [*order[: worst or 0], *reversed(order[len(order) - (best or 0) :])]


def _shown(line: dict[str, Any]) -> str:
    """One rollout for people."""
    scores = line["scores"] or {"reward": line["reward"]}
    heading = ", ".join(f"{task} {_number(score)}" for task, score in scores.items())
    wanted = f", wanted {' | '.join(line['expected'])}" if line.get("expected") else ""
    left_out = " (left out: its group teaches nothing)" if line.get("dropped") else ""
    told = [f"=== {line['group']} #{line['number']}: {heading}{wanted}{left_out}"]
    if line["failure"]:
        told.append(f"failed: {line['failure']}")
    for number, one in enumerate(line["conversations"], 1):
        text = one["text"]
        told.append(": ".join(filter(None, [f"--- {_place(one, number)}", _facts(one)])))
        told.append(text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…")
    return "\n".join(told) + "\n"


def _place(one: dict[str, Any], number: int) -> str:
    """Where in its rollout a conversation stands. One that verl has written may have no role."""
    step = f" {one['step']}" if one["step"] else ""
    task = f" for {one['task']}" if one["task"] else ""
    return f"{one['role'] or f'conversation {number}'}{step}{task}"


def _facts(one: dict[str, Any]) -> str:
    """What is known of a conversation."""
    facts = {
        f"{one['prompt_tokens']} tokens in": one["prompt_tokens"] is not None,
        f"{one['tokens']} out": one["tokens"] is not None,
        f"advantage {one['advantage'] or 0.0:+.3f}": one["advantage"] is not None,
        f"ended by {one['finish']}": one["finish"] not in {"stop", None},
        "not learnt from": not one["trained"],
    }
    return ", ".join(fact for fact, known in facts.items() if known)


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"
