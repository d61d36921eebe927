"""The log of a run: a line for each step in log.jsonl, and the same for TensorBoard and others.

A line is on the disk when `write` returns. A run that goes on from a checkpoint cuts the log back
to it, so that every step is there once. The log of a run of the verl engine is verl's own, and is
read as if it were such a one.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Protocol, Self

from palimpsest.errors import InputError
from palimpsest.training.verl.written import log_starts, logged

FILE = "log.jsonl"
_EVENTS = "tensorboard"
_PROJECT = "palimpsest"

Phase = Literal["start", "warm_start", "learning"]


class Line(NamedTuple):
    """A step, in numbers by their names; docs/training.md says what each means."""

    step: int
    """Of the run, those of the warm start counted in; 0 before the first."""
    phase: Phase
    values: Mapping[str, float]
    """Finite numbers; what was not measured is not there."""


class Sink(Protocol):
    """Where numbers go besides the file."""

    def write(self, line: Line) -> None: ...

    def close(self) -> None: ...


class Logbook:
    """The log of a run, open for writing."""

    def __init__(self, folder: Path, *, lines: int, sinks: Sequence[Sink] = ()) -> None:
        """`lines` of the log stand; what comes after them is cut off."""
        self._path = folder / FILE
        kept = _lines_of(self._path)[:lines]
        passing = self._path.with_suffix(".new")
        passing.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        passing.replace(self._path)
        self._sinks = sinks
        self.lines = len(kept)
        """How many there are."""

    def write(self, line: Line) -> None:
        finite = {name: value for name, value in line.values.items() if math.isfinite(value)}
        told = {"step": line.step, "phase": line.phase, **finite}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(told) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.lines += 1
        for sink in self._sinks:
            sink.write(Line(line.step, line.phase, finite))

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _TensorBoard:
    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / _EVENTS), purge_step=step + 1)

    def write(self, line: Line) -> None:
        for name, value in line.values.items():
            self._writer.add_scalar(name, value, line.step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _Hosted:
    """trackio and W&B, which are spoken to alike."""

    def __init__(self, name: str, folder: Path, config: Mapping[str, Any]) -> None:
        self._service: Any = import_module(name)
        # W&B goes on with a run by its id, trackio by its name.
        place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]
        own = {"id": f"{folder.name}-{place}"} if name == "wandb" else {}
        self._service.init(
            project=_PROJECT, name=folder.name, config=dict(config), resume="allow", **own
        )

    def write(self, line: Line) -> None:
        self._service.log(dict(line.values), step=line.step)

    def close(self) -> None:
        self._service.finish()


def sinks_of(
    names: Sequence[str], folder: Path, config: Mapping[str, Any], step: int
) -> list[Sink]:
    """The sinks of these names, for a run that goes on after `step`."""
    return [
        _TensorBoard(folder, step) if name == _EVENTS else _Hosted(name, folder, config)
        for name in names
    ]


def has_log(folder: Path) -> bool:
    """Whether a folder holds a training run, by whichever engine."""
    return (folder / FILE).is_file() or bool(log_starts(folder))


def read_log(folder: Path) -> list[Line]:
    """The lines of a run. Raises `InputError` where there is no run."""
    if not has_log(folder):
        raise InputError(f"{folder} holds no training run", hint="give the folder of one")
    lines = [
        Line(step, "learning" if step else "start", values)
        for step, values in logged(folder).items()
    ]
    for text in _lines_of(folder / FILE):
        values = json.loads(text)
        lines.append(Line(values.pop("step"), values.pop("phase"), values))
    return lines


def _lines_of(path: Path) -> list[str]:
    """The whole lines of a file; a killed process may leave half of one."""
    if not path.exists():
        return []
    return path.read_text(encoding="utf-8").split("\n")[:-1]
