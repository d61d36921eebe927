"""A checkpoint of verl's as a folder of Hugging Face's shape, by verl's own merger.

    exported(Path("runs/memagent"), Path("memagent-7b")).model

The weights come out in bfloat16, with the tokenizer and, of a model that sees, the processor. Of a
model with LoRA the folder holds the model that training began with and, in `lora_adapter/`, what
was learnt.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from palimpsest.errors import ConfigurationError, InputError
from palimpsest.training.run_folder import leave_model
from palimpsest.training.verl.mapping import CHECKPOINTS
from palimpsest.training.verl.running import is_verl_run, last_checkpoint
from palimpsest.training.verl.version import check_version

_ADAPTERS = "lora_adapter"
_SHOWN_LINES = 20


class Exported(NamedTuple):
    """Where a model came to lie."""

    model: Path
    step: int
    adapters: Path | None


def exported(run: Path, folder: Path, *, step: int | None = None) -> Exported:
    """The model of a step, the last by default, in `folder`. Raises `InputError` for a step without
    a whole checkpoint, and for a folder that is taken."""
    if not is_verl_run(run):
        model = run / "model"
        raise InputError(
            f"{run} holds no run of verl's",
            hint=f"the model is in {model}" if model.is_dir() else "give the folder of one",
        )
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty", hint="name another folder")
    step = last_checkpoint(run) if step is None else step
    shards = _shards(run, step)
    check_version()
    folder.parent.mkdir(parents=True, exist_ok=True)
    leave_model(folder, lambda place: _merge(shards, place))
    adapters = folder / _ADAPTERS
    return Exported(folder, step, adapters if adapters.is_dir() else None)


def _shards(run: Path, step: int) -> Path:
    """The folder of a step's weights, once all of them are there."""
    place = run / CHECKPOINTS / f"global_step_{step}" / "actor"
    steps = sorted(
        int(found.name.rpartition("_")[2]) for found in (run / CHECKPOINTS).glob("global_step_*")
    )
    if not place.is_dir():
        there = ", ".join(map(str, steps)) or "none"
        raise InputError(f"{run} has no checkpoint of step {step}", hint=f"there are: {there}")
    try:
        count = json.loads((place / "fsdp_config.json").read_text(encoding="utf-8"))["world_size"]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{place} is no whole checkpoint: {error}", hint="name another one with --step"
        ) from error
    names = [f"model_world_size_{count}_rank_{rank}.pt" for rank in range(count)]
    missing = [name for name in names if not (place / name).is_file()]
    if missing:
        raise InputError(
            f"{place} lacks {len(missing)} of {count} files, such as {missing[0]}",
            hint="every node must write its part into one folder that all of them see",
        )
    return place


def _merge(shards: Path, place: Path) -> None:
    command = [
        sys.executable, "-m", "verl.model_merger", "merge", "--backend", "fsdp",
        "--local_dir", str(shards), "--target_dir", str(place), "--use_cpu_initialization",
    ]  # fmt: skip
    # A process of its own gives back the memory that it took, some four bytes a parameter.
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        last = "\n".join(done.stdout.splitlines()[-_SHOWN_LINES:])
        raise ConfigurationError(
            f"verl's merger failed:\n{last}", hint=f"by hand: {' '.join(command[1:])}"
        )
