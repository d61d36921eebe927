"""Readings on disk: one folder each, one JSON line per record, written as it happens.

A line is flushed to the operating system at once and to the disk after every chunk, so a killed
process loses at most the turn it was in. A half-written last line is dropped on loading.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from palimpsest.errors import ConfigurationError, ReadingError
from palimpsest.memory.reading import ChunkRead, End, Header, Reading, Record, dump_line

_FILE = "reading.jsonl"
_LOCK = ".lock"


def load_reading(path: Path) -> Reading:
    """The reading in a folder or a `.jsonl` file."""
    file = path / _FILE if path.is_dir() else path
    try:
        return Reading.from_lines(_whole_lines(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ReadingError(f"no reading at {path}", hint="`palimpsest show` lists them") from None


def _whole_lines(text: str) -> list[str]:
    # Not splitlines: a text may hold other line separators, which JSON leaves as they are.
    return text.split("\n")[:-1]


class Journal:
    """The open file of one reading; holds a lock on its folder until closed."""

    def __init__(self, folder: Path, file: IO[str], lock: FileLock) -> None:
        self.folder = folder
        self._file = file
        self._lock = lock

    def write(self, reading: Reading, part: Header | Record) -> None:
        """Appends one record; made to be a reader's `on_event`."""
        self._file.write(dump_line(part) + "\n")
        self._file.flush()
        if isinstance(part, ChunkRead | End):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()
        self._lock.release()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def make_folder(folder: Path, kept: str) -> None:
    """Makes the folder in which `kept` (readings, memories) are, unless it is there.

    Raises `ConfigurationError`, which names the option and the variable for another folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"{kept} cannot be kept in {folder}: {error.strerror}",
            hint=f"name another folder with --{kept} or PALIMPSEST_{kept.upper()}",
        ) from error


class ReadingStore:
    """A folder of readings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make_folder(folder, "readings")

    def create(self, reading: Reading) -> Journal:
        """A new folder for a new reading, with all it holds so far written."""
        folder = self._new_folder(reading.header.key)
        lock = _take_lock(folder)
        if lock is None:
            return self.create(reading)
        journal = Journal(folder, (folder / _FILE).open("a", encoding="utf-8"), lock)
        try:
            for part in (reading.header, *reading.records):
                journal.write(reading, part)
        except BaseException:
            journal.close()
            raise
        return journal

    def resume(self, key: str, *, replay_of: str = "") -> tuple[Reading, Journal] | None:
        """The newest unfinished reading with this key, locked and ready to go on, if any.

        A replay has another beginning than a reading of the same key, so it is found only by what
        it is a replay of.
        """
        for folder in sorted(self.folder.glob(f"{key[:12]}-*"), reverse=True):
            lock = _take_lock(folder)
            if lock is None:
                continue
            reading = _unfinished(folder / _FILE, key)
            if reading is not None and reading.header.replay_of == replay_of:
                file = _rewound(folder / _FILE, reading)
                return reading, Journal(folder, file, lock)
            lock.release()
        return None

    def answered(self, key: str) -> tuple[Reading, Path] | None:
        """The newest reading with this key that was read to its end, and its folder, if any."""
        for folder in sorted(self.folder.glob(f"{key[:12]}-*"), reverse=True):
            try:
                reading = load_reading(folder)
            except ReadingError:
                continue
            if reading.header.key == key and reading.status == "answered":
                return reading, folder
        return None

    def find(self, name: str) -> Path:
        """The folder whose name starts with `name`; raises when none or several do."""
        found = [path for path in self.folder.glob(f"{name}*") if path.is_dir()]
        if len(found) == 1:
            return found[0]
        problem = "several readings begin" if found else "no reading begins"
        raise ReadingError(
            f"{problem} with {name!r} in {self.folder}", hint="`palimpsest show` lists them"
        )

    def __iter__(self) -> Iterator[tuple[str, Reading]]:
        """Names and readings, oldest first; damaged ones are passed over."""
        files = sorted(self.folder.glob(f"*/{_FILE}"), key=lambda file: file.stat().st_mtime)
        for file in files:
            try:
                yield file.parent.name, load_reading(file)
            except ReadingError:
                continue

    def _new_folder(self, key: str) -> Path:
        for number in count(1):
            folder = self.folder / f"{key[:12]}-{number:03d}"
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            return folder
        raise AssertionError("count() never ends")


def _take_lock(folder: Path) -> FileLock | None:
    """The folder's lock, or None while another process is writing there."""
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock


def _unfinished(file: Path, key: str) -> Reading | None:
    """The reading in a file when it has this key and is not done."""
    try:
        stored = load_reading(file)
    except ReadingError:
        return None
    done = stored.status == "answered"
    return None if done or stored.header.key != key else stored.resumable()


def _rewound(file: Path, reading: Reading) -> IO[str]:
    """The file opened for appending, cut back to the end of the reading's last record."""
    whole = file.read_bytes().splitlines(keepends=True)
    kept = b"".join(whole[: 1 + len(reading.records)])
    os.truncate(file, len(kept))
    return file.open("a", encoding="utf-8")
