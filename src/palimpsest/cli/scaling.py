"""`palimpsest train --engine verl` and `palimpsest export`: a run on a cluster, and its model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from palimpsest.cli.app import INTERRUPTED_EXIT, notes
from palimpsest.errors import InputError, PalimpsestError

if TYPE_CHECKING:
    from palimpsest.training.recipe import Recipe
    from palimpsest.training.verl.mapping import Setting
    from palimpsest.training.verl.preflight import Check
    from palimpsest.training.verl.running import Plan

_WIDTH = 10


class Finding(NamedTuple):
    """How a check came out."""

    name: str
    ok: bool
    said: str
    hint: str = ""


def run_on_cluster(plan: Plan, *, quiet: bool) -> int:
    """Checks, prepares and runs a plan."""
    from palimpsest.training.verl.preflight import Preflight
    from palimpsest.training.verl.running import prepare, start

    def said(name: str, text: str) -> None:
        if not quiet:
            notes.print(f"{name:{_WIDTH}}{text}", markup=False)

    for line in _outline(plan):
        said(*line)
    preflight = Preflight(plan)
    preflight.run(said)
    for key, text in _told_notes(plan):
        said("note", f"{key}: {text}")
    prepare(plan, preflight.asked)
    try:
        start(plan)
    except KeyboardInterrupt:
        notes.print(f"stopped; palimpsest train --resume {plan.folder} goes on", markup=False)
        return INTERRUPTED_EXIT
    said("done", f"palimpsest export {plan.folder} FOLDER makes a model of it")
    return 0


def show_plan(plan: Plan, *, as_json: bool) -> int:
    """Prints what would run and how the checks come out, the cluster's where one is named."""
    from palimpsest.training.verl.preflight import Preflight

    checks = [
        check
        for check in Preflight(plan).checks()
        if check.name != "cluster" or plan.ray_address is not None
    ]
    findings = [_found(check) for check in checks]
    print(json.dumps(_as_json(plan, findings)) if as_json else "\n".join(_as_text(plan, findings)))
    return 0


def export(run: Path, folder: Path, /, *, step: int | None = None) -> None:
    """Make a folder of Hugging Face's shape of a run's checkpoint, for servers and for training.

    Parameters
    ----------
    run
        The folder of a run with --engine verl. (The embedded engine leaves its model in RUN/model.)
    folder
        Where the model goes.
    step
        Of which checkpoint; the last by default.
    """
    from palimpsest.training.verl.exporting import exported

    made = exported(run, folder, step=step)
    notes.print(f"step {made.step} is in {made.model}", markup=False)
    if made.adapters:
        notes.print(f"its adapters are in {made.adapters}", markup=False)


def check_flags(*, as_json: bool, dry_run: bool) -> None:
    """Raises `InputError` for flags that this engine has no use for."""
    if as_json and not dry_run:
        raise InputError(
            "--json goes with --dry-run here", hint="verl's steps are in RUN/log/after-0.jsonl"
        )


def _found(check: Check) -> Finding:
    try:
        return Finding(check.name, True, check.run())
    except PalimpsestError as error:
        return Finding(check.name, False, str(error), error.hint)


def _told_notes(plan: Plan) -> Sequence[tuple[str, str]]:
    from palimpsest.training.verl.unheld import notes

    return notes(plan.recipe)


def _settings(plan: Plan) -> Sequence[Setting]:
    from palimpsest.training.verl.mapping import settings

    return settings(plan.recipe, plan.folder)


def _outline(plan: Plan) -> Iterator[tuple[str, str]]:
    recipe, cluster = plan.recipe, plan.cluster
    batch = recipe.batch
    after = f", going on after step {plan.started_at}" if plan.started_at else ""
    yield "run", f"{plan.folder}{after}"
    yield "machines", f"{cluster.nodes} nodes of {cluster.gpus} GPUs"
    parts = cluster.tensor_parallel
    each = "a GPU" if parts == 1 else f"{parts} GPUs"
    yield "servers", f"{cluster.nodes * cluster.gpus // parts} of {cluster.server}, {each} each"
    yield (
        "steps",
        (
            f"{recipe.steps}, each {batch.prompts} questions by {batch.rollouts} rollouts, "
            f"{batch.updates} updates"
        ),
    )


def _as_text(plan: Plan, findings: Sequence[Finding]) -> Iterator[str]:
    for name, text in _outline(plan):
        yield f"{name:{_WIDTH}}{text}"
    yield "\nchecks"
    for finding in findings:
        hint = f" ({finding.hint})" if finding.hint else ""
        yield f"  {finding.name:{_WIDTH}}{'' if finding.ok else 'not yet: '}{finding.said}{hint}"
    yield "\nverl's configuration, and the keys of the recipe that it comes from"
    for setting in _settings(plan):
        origin = f"    # {', '.join(setting.origins)}" if setting.origins else ""
        yield f"  {setting.text}{origin}"
    yield "\nnot held to"
    for key, text in _told_notes(plan):
        yield f"  {key}: {text}"
    yield f"\ncommand\n  {plan.command}"


def _as_json(plan: Plan, findings: Sequence[Finding]) -> dict[str, Any]:
    from omegaconf import OmegaConf

    recipe: Recipe = plan.recipe
    return {
        "engine": "verl",
        "run": str(plan.folder),
        "after_step": plan.started_at,
        "recipe": recipe.model_dump(mode="json", exclude_none=True),
        "checks": [finding._asdict() for finding in findings],
        "settings": [
            {"key": one.key, "value": one.value, "recipe": list(one.origins)}
            for one in _settings(plan)
        ],
        "notes": [{"key": key, "text": text} for key, text in _told_notes(plan)],
        "command": plan.command,
        "configuration": OmegaConf.to_container(plan.config),
    }
