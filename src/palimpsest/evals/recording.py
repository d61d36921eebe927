"""Writing a run's folder: its configuration once, a line for each item as soon as it ends.

    with Recording(folder, config) as recording:
        recording.write(result)

A line is on the disk when `write` returns. One process writes a run at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from palimpsest.errors import ConfigurationError
from palimpsest.evals.run import (
    CONFIG_FILE,
    READINGS_FOLDER,
    RESULTS_FILE,
    ItemResult,
    Run,
    RunConfig,
    load_run,
)
from palimpsest.memory.log import drop_torn_end

_LOCK = ".lock"
_SHOWN = 3
"""How many differences of configurations are named."""


class Recording:
    """A run's folder, open for writing and locked until it is closed.

    Raises `ConfigurationError` for a folder that cannot be made, that another process writes, or
    that holds a run of another configuration; it names what differs.
    """

    def __init__(self, folder: Path, config: RunConfig) -> None:
        self.folder = folder
        self._lock = _locked(folder)
        try:
            run = _begun(folder, config)
            self.results: dict[str, ItemResult] = {one.key: one for one in run.results}
            """By key; the last where there were several."""
            self._file = (folder / RESULTS_FILE).open("ab+")
            drop_torn_end(self._file)
        except BaseException:
            self._lock.release()
            raise

    @property
    def readings(self) -> Path:
        """The folder of its readings."""
        return self.folder / READINGS_FOLDER

    def write(self, result: ItemResult) -> None:
        """Appends a result, which stands for an earlier one with the same key."""
        self._file.write(result.model_dump_json().encode("utf-8", "surrogatepass") + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.results[result.key] = result

    def close(self) -> None:
        self._file.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def make_run_folder(folder: Path) -> None:
    """Makes the folder of a run, unless it is there. Raises `ConfigurationError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"no run can be kept in {folder}: {error.strerror}",
            hint="name another folder with --out",
        ) from error


def _locked(folder: Path) -> FileLock:
    make_run_folder(folder)
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigurationError(
            f"another process is writing the run {folder}",
            hint="wait for it, or name another folder with --out",
        ) from None
    return lock


def _begun(folder: Path, config: RunConfig) -> Run:
    """The run in a folder, begun now where there is none."""
    file = folder / CONFIG_FILE
    if not file.exists():
        _write_whole(file, config.model_dump_json(indent=2) + "\n")
        return Run(folder, config, [])
    run = load_run(folder)
    differing = list(_differences(_flat(run.config), _flat(config)))
    if differing:
        raise ConfigurationError(
            f"{folder} is a run with other settings: {_listed(differing)}",
            hint="give the same again, or name another folder with --out",
        )
    return run


def _write_whole(file: Path, text: str) -> None:
    """Writes a file that is there as a whole or not at all."""
    passing = file.with_suffix(".new")
    with passing.open("w", encoding="utf-8") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())
    passing.replace(file)


def _flat(config: RunConfig) -> dict[str, Any]:
    return dict(_leaves("", config.model_dump(mode="json")))


def _leaves(name: str, value: object) -> Iterator[tuple[str, object]]:
    """What is inside, by the names that lead to it with dots between."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _leaves(f"{name}.{key}" if name else key, part)
    else:
        yield name, value


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys((*old, *new)):
        before, now = old.get(name), new.get(name)
        if before != now:
            yield f"{name} was {_told(before)}, now {_told(now)}"


def _told(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_told, value)) or "none"
    return "not set" if value is None else str(value)


def _listed(differences: list[str]) -> str:
    more = len(differences) - _SHOWN
    shown = "; ".join(differences[:_SHOWN])
    return f"{shown}; and {more} more" if more > 0 else shown
