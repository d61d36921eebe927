"""Checkpoints of a run, each there as a whole or not at all.

    RUN/checkpoints/step-40/progress.json     where the run stands
    RUN/checkpoints/step-40/state.pt          trained weights, optimiser, random generators

One is written beside its place, forced to the disk, and then renamed. With it a run goes on to the
same numbers that it would have come to without a stop.
"""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from palimpsest.errors import ConfigurationError, InputError
from palimpsest.training.policy import Policy

FOLDER = "checkpoints"
_PROGRESS, _STATE = "progress.json", "state.pt"
_PASSING = ".new-"
_NAME = "step-"


class Progress(BaseModel):
    """Where a run stands."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    step: int = 0
    """Steps done, those of the warm start first."""
    position: int = 0
    """Of the next question."""
    lines: int = 0
    """Of the log."""
    pending: dict[str, float] | None = {}
    """What is to be logged of the last step once it is evaluated; None when it is."""
    best_step: int | None = None
    best_score: float | None = None
    stale: int = 0
    """Evaluations since the best."""
    ended: str = ""
    """Why training ended before its last step."""


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of a run."""

    run: Path
    keep: int

    @property
    def folder(self) -> Path:
        return self.run / FOLDER

    def steps(self) -> list[int]:
        """Those that are there, ascending."""
        names = (path.name.removeprefix(_NAME) for path in self.folder.glob(f"{_NAME}*"))
        return sorted(int(name) for name in names if name.isdecimal())

    def save(self, progress: Progress, policy: Policy, optimiser: torch.optim.Optimizer) -> None:
        """Writes the checkpoint of a step, and lets go of those that are not to be kept.

        One that is there already stands: it has the same weights.
        """
        self.folder.mkdir(exist_ok=True)
        if progress.step not in self.steps():
            self._write(progress, policy, optimiser)
        self._tidy(progress)

    def _write(self, progress: Progress, policy: Policy, optimiser: torch.optim.Optimizer) -> None:
        passing = self.folder / f"{_PASSING}{progress.step}"
        _remove(passing)
        passing.mkdir()
        state = {
            "trained": policy.state(),
            "optimiser": optimiser.state_dict(),
            "generators": _generators(),
        }
        torch.save(state, passing / _STATE)
        (passing / _PROGRESS).write_text(progress.model_dump_json(indent=2) + "\n")
        for file in passing.iterdir():
            _force(file)
        _force(passing)
        passing.rename(self._place(progress.step))
        _force(self.folder)

    def progress(self) -> Progress | None:
        """Of the last checkpoint; None where there is none."""
        steps = self.steps()
        if not steps:
            return None
        file = self._place(steps[-1]) / _PROGRESS
        try:
            return Progress.model_validate_json(file.read_text())
        except (OSError, ValueError) as error:
            raise InputError(
                f"{file} is damaged: {error}",
                hint="remove its folder; the run goes on from the checkpoint before",
            ) from error

    def restore(
        self, step: int, policy: Policy, optimiser: torch.optim.Optimizer | None = None
    ) -> None:
        """Takes over the weights of a checkpoint, and with an optimiser all else of it."""
        file = self._place(step) / _STATE
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
            raise InputError(
                f"{file} cannot be read: {type(error).__name__}",
                hint="remove its folder; the run goes on from the checkpoint before",
            ) from error
        policy.restore(state["trained"])
        if optimiser is not None:
            _load_optimiser(optimiser, state["optimiser"])
            _set_generators(state["generators"])

    def _place(self, step: int) -> Path:
        return self.folder / f"{_NAME}{step}"

    def _tidy(self, progress: Progress) -> None:
        steps = [step for step in self.steps() if step != progress.best_step]
        for step in steps[: -self.keep]:
            _remove(self._place(step))


def save_weights(file: Path, policy: Policy) -> None:
    """Keeps the trained weights alone, whole or not at all."""
    passing = file.with_name(_PASSING + file.name)
    torch.save(policy.state(), passing)
    _force(passing)
    passing.replace(file)
    _force(file.parent)


def load_weights(file: Path, policy: Policy) -> None:
    try:
        policy.restore(torch.load(file, map_location="cpu", weights_only=True))
    except FileNotFoundError as error:
        raise InputError(
            f"{file} is missing: the model that reinforcement began with",
            hint="begin the run anew",
        ) from error


def _load_optimiser(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    try:
        optimiser.load_state_dict(state)
    except ValueError as error:
        raise ConfigurationError(
            f"the optimiser of the checkpoint does not fit: {error}",
            hint="resume with the model and the adapters of the run",
        ) from error


def _generators() -> dict[str, Any]:
    """The random generators, of which our own code uses none but agents may."""
    kind, inner, gauss = random.getstate()
    name, keys, *rest = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": [kind, list(inner), gauss],
        "numpy": [name, torch.tensor(np.asarray(keys, dtype=np.int64)), *rest],
    }


def _set_generators(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, inner, gauss = state["python"]
    random.setstate((kind, tuple(inner), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _force(path: Path) -> None:
    """Sees to it that a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
