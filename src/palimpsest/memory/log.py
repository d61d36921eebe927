"""A file of lines to which many processes append, each line whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

_POLL_S = 0.001
"""How often the lock is tried again: it is held for one line only."""


class Log:
    """One process's view of such a file, which need not exist yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = FileLock(path.with_suffix(".lock"), poll_interval=_POLL_S)
        self._seen = 0

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else appends meanwhile."""
        with self._lock:
            yield

    def new_lines(self) -> list[str]:
        """The whole lines since the last call; what is being written now is not there yet."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._seen)
                new = file.read()
        except FileNotFoundError:
            return []
        whole = new[: new.rfind(b"\n") + 1]
        self._seen += len(whole)
        return whole.decode().split("\n")[:-1]

    def append(self, line: str) -> None:
        """Adds a line, which is on the disk when this returns."""
        with self._lock, self._path.open("ab+") as file:
            drop_torn_end(file)
            file.write(f"{line}\n".encode())
            file.flush()
            os.fsync(file.fileno())


def drop_torn_end(file: BinaryIO) -> None:
    """Cuts a file back to its last whole line: a killed process may leave half of one."""
    end = file.seek(0, os.SEEK_END)
    if not end:
        return
    file.seek(end - 1)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
