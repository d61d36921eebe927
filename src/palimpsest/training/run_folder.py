"""The folder of a training run: made, opened again, held by one process, and given its model.

    RUN/recipe.toml     as it was resolved
    RUN/model/          at the end
    RUN/.lock           held while a process trains

What else is in it belongs to `logbook`, `transcripts`, `checkpoint` and `curves`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from palimpsest.errors import ConfigurationError, InputError
from palimpsest.training.recipe import Recipe
from palimpsest.training.recipes import RECIPE_FILE, load_recipe, recipe_text
from palimpsest.training.transcripts import Occasion, transcript_file, transcript_steps

MODEL_FOLDER = "model"
CHANGEABLE = ("steps", "early_stop", "checkpoints", "log")
"""What a run may be gone on with otherwise than it was begun."""
_LOCK = ".lock"
_OCCASIONS: tuple[Occasion, ...] = ("step", "held-out")


def check_new(folder: Path) -> None:
    """Raises `ConfigurationError` for a folder that holds a run."""
    if (folder / RECIPE_FILE).exists():
        raise ConfigurationError(
            f"{folder} holds a training run",
            hint=f"palimpsest train --resume {folder} goes on with it; --out names another",
        )


def make_folder(folder: Path, recipe: Recipe) -> None:
    """The folder of a new run, with its recipe."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        keep_recipe(folder, recipe)
    except OSError as error:
        raise ConfigurationError(
            f"no run can be kept in {folder}: {error.strerror}",
            hint="name another folder with --out",
        ) from error


def keep_recipe(folder: Path, recipe: Recipe) -> None:
    (folder / RECIPE_FILE).write_text(recipe_text(recipe), encoding="utf-8")


def kept_recipe(folder: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a run, with other values of what may be changed."""
    file = folder / RECIPE_FILE
    if not file.exists():
        raise InputError(f"{folder} holds no training run", hint="give the folder of one")
    before, recipe = load_recipe(file), load_recipe(file, overrides)
    rest = {name: getattr(before, name) for name in CHANGEABLE}
    if recipe.model_copy(update=rest) != before:
        raise ConfigurationError(
            "a run goes on with its own recipe",
            hint=f"only {', '.join(CHANGEABLE)} may be changed; begin another run",
        )
    return recipe


def locked(folder: Path) -> FileLock:
    """Holds the folder for this process, until it is released."""
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigurationError(
            f"another process is training in {folder}", hint="wait for it, or stop it first"
        ) from None
    return lock


def forget_after(folder: Path, step: int) -> None:
    """Removes what a process that was killed wrote after its last checkpoint."""
    for occasion in _OCCASIONS:
        for late in transcript_steps(folder, occasion):
            if late > step:
                transcript_file(folder, occasion, late).unlink()


def leave_model(place: Path, save: Callable[[Path], None]) -> None:
    """Puts what `save` writes in a place once all of it is written."""
    passing = place.with_name(f".new-{place.name}")
    for old in (passing, place):
        if old.exists():
            shutil.rmtree(old)
    save(passing)
    passing.rename(place)
