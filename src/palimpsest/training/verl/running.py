"""A run on a cluster: planned, put into its folder, started by verl's own entry point, resumed.

    plan = new_plan(recipe, Path("runs/memagent"), ray_address="10.0.0.1:6379")
    prepare(plan, asyncio.run(questions(recipe)))
    start(plan)

    RUN/recipe.toml             as it was resolved
    RUN/verl.yaml               the whole of verl's configuration
    RUN/questions/              what is trained on and held out, as rows
    RUN/checkpoints/            global_step_N, of which `exporting` makes models
    RUN/log/after-N.jsonl       verl's log, a file for each start
    RUN/written/                what was sampled, a file for each step
    RUN/tensorboard/            the log, drawn

Every node of the cluster must see the folder. A run goes on from its last checkpoint; what was done
after it is done again, with other chances.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from palimpsest.errors import ConfigurationError, InputError, PalimpsestError
from palimpsest.sources.tokens import FileTokenizer
from palimpsest.training.questions import Questions, questions_of, taken
from palimpsest.training.recipe import ClusterPart, Recipe
from palimpsest.training.recipes import RECIPE_FILE, load_recipe
from palimpsest.training.run_folder import (
    check_new,
    keep_recipe,
    kept_recipe,
    locked,
    make_folder,
)
from palimpsest.training.verl.configuration import (
    VERL_FILE,
    compose,
    external_modules,
    write,
)
from palimpsest.training.verl.mapping import (
    CHECKPOINTS,
    HELD_OUT_ROWS,
    PLUGIN,
    TRAINING_ROWS,
)
from palimpsest.training.verl.written import log_file

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from palimpsest.datasets.item import Item

_TRACKER = "latest_checkpointed_iteration.txt"
_MODULES = "VERL_USE_EXTERNAL_MODULES"


class Plan(NamedTuple):
    """A run that could begin."""

    recipe: Recipe
    folder: Path
    """With no relative part, since processes elsewhere open it."""
    ray_address: str | None
    started_at: int
    """The step after which it goes on."""
    config: DictConfig

    @property
    def cluster(self) -> ClusterPart:
        return self.recipe.cluster or ClusterPart()

    @property
    def command(self) -> str:
        """What starts it by hand, once it is prepared."""
        return (
            f"{_MODULES}={PLUGIN} python -m verl.trainer.main_ppo"
            f" --config-path {self.folder} --config-name {Path(VERL_FILE).stem}"
        )


def new_plan(recipe: Recipe, folder: Path, ray_address: str | None = None) -> Plan:
    """A run that begins. Raises `ConfigurationError` for a folder that holds one, and for what verl
    cannot do."""
    check_new(folder)
    return _plan(recipe, folder, ray_address, 0)


def resumed_plan(
    folder: Path, overrides: Sequence[str] = (), ray_address: str | None = None
) -> Plan:
    """A run that goes on from its last checkpoint, with other values of what may be changed: what
    may be of any run, and its machines."""
    before = kept_recipe(folder)
    machines = [one for one in overrides if one.startswith("cluster.")]
    recipe = kept_recipe(folder, [one for one in overrides if one not in machines])
    moved = load_recipe(folder / RECIPE_FILE, machines).cluster
    recipe = recipe.model_copy(update={"cluster": moved})
    step = last_checkpoint(folder)
    gpus, now = _gpus(before), _gpus(recipe)
    if step and gpus != now:
        raise ConfigurationError(
            f"the checkpoints of {folder} are cut for {gpus} GPUs, not for {now}",
            hint="palimpsest export makes a model of them, from which another run can begin",
        )
    return _plan(recipe, folder, ray_address, step)


def is_verl_run(folder: Path) -> bool:
    """Whether a folder holds a run of this engine."""
    return (folder / VERL_FILE).is_file()


def last_checkpoint(folder: Path) -> int:
    """The step of a run's last whole checkpoint, 0 where there is none."""
    try:
        return int((folder / CHECKPOINTS / _TRACKER).read_text())
    except FileNotFoundError:
        return 0
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder / CHECKPOINTS / _TRACKER} names no step: {error}",
            hint="write the number of the last whole global_step_ folder into it",
        ) from error


async def questions(recipe: Recipe) -> Questions:
    """What is trained on and held out. Raises `InputError` and `ConfigurationError` for rows that
    cannot be read and for too few."""
    folder = recipe.model.folder
    assert folder
    return await questions_of(recipe, FileTokenizer(folder / "tokenizer.json"))


def prepare(plan: Plan, asked: Questions | None) -> None:
    """Puts into the run's folder what its processes read. A run that goes on keeps its rows, whose
    order its checkpoints know; its `asked` is None."""
    if asked is None:
        keep_recipe(plan.folder, plan.recipe)
    else:
        make_folder(plan.folder, plan.recipe)
        _write_rows(plan, asked)
    log_file(plan.folder, plan.started_at).parent.mkdir(exist_ok=True)
    write(plan.config, plan.folder / VERL_FILE)


def start(plan: Plan) -> None:
    """Trains to the last step. Raises `PalimpsestError` with what ended it before."""
    lock = locked(plan.folder)
    os.environ[_MODULES] = external_modules()
    try:
        from ray.exceptions import RayError
        from verl.trainer import main_ppo

        try:
            # Hydra's wrapper takes a configuration that is composed already.
            main_ppo.main(plan.config)
        except RayError as error:
            raise PalimpsestError(
                f"verl's trainer failed: {_last_line(error)}",
                hint=f"above is where; palimpsest train --resume {plan.folder} goes on from step "
                f"{last_checkpoint(plan.folder)}",
            ) from error
        except (AssertionError, ValueError) as error:
            raise ConfigurationError(
                f"verl refuses its configuration: {error}",
                hint=f"look at cluster.overrides, and at {plan.folder / VERL_FILE}",
            ) from error
    finally:
        lock.release()


def _plan(recipe: Recipe, folder: Path, ray_address: str | None, step: int) -> Plan:
    folder = folder.expanduser().resolve()
    config = compose(recipe, folder, ray_address=ray_address, started_at=step)
    return Plan(recipe, folder, ray_address, step, config)


def _gpus(recipe: Recipe) -> int:
    cluster = recipe.cluster or ClusterPart()
    return cluster.nodes * cluster.gpus


def _write_rows(plan: Plan, asked: Questions) -> None:
    from palimpsest.training.verl.rows import write_items

    stream, recipe = asked.training, plan.recipe
    rounds = 1 + (recipe.filter.refills if recipe.filter.keep == "informative" else 0)
    # Of a world without end as many as the run can take.
    count = stream.distinct or recipe.steps * recipe.batch.prompts * rounds
    training: Sequence[Item] = taken(stream, 0, count).items
    write_items(training, plan.folder / TRAINING_ROWS)
    # verl opens the held-out rows also where it asks none of them.
    write_items(asked.held_out or training[:1], plan.folder / HELD_OUT_ROWS)


def _last_line(error: Any) -> str:  # noqa: ANN401
    """The error itself; above it in its text are the traces of all processes it came through."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
