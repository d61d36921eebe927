"""What the viewer shows: the readings, memories and runs under the folders that it was given.

Each has an id, which is looked up in the listing and never joined to a path: what is not listed
cannot be asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from palimpsest.errors import InputError
from palimpsest.evals.run import CONFIG_FILE, READINGS_FOLDER
from palimpsest.training.logbook import has_log

Kind = Literal["reading", "memory", "run", "training"]
READING_FILE = "reading.jsonl"
_PLAN_FILE = "memory.json"
_DEPTH = 3
"""Folders below a root that are looked into."""
_ID_DIGITS = 16
_OPENING = 4096
"""Bytes of a file that tell whether it is a reading."""


class NotListed(InputError):
    """There is nothing of that id."""


@dataclass(frozen=True)
class Entry:
    """Something that can be shown."""

    id: str
    kind: Kind
    path: Path
    """A folder, or a reading's file."""
    name: str

    @property
    def file(self) -> Path:
        """The file of a reading or of a memory's reading."""
        return self.path / READING_FILE if self.path.is_dir() else self.path


class Library:
    """The entries under some folders, found again at each listing."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = list(dict.fromkeys(root.resolve() for root in roots))
        self._known: dict[str, Entry] = {}
        self._of_runs: dict[str, Entry] = {}
        """Readings of runs, as they were listed last."""

    def entries(self) -> list[Entry]:
        """All that is there now."""
        found = [entry for root in self.roots for entry in _below(root, root, _DEPTH)]
        self._known = {}
        for entry in found:
            self._known.setdefault(entry.id, entry)
        return list(self._known.values())

    def find(self, id: str, *kinds: Kind) -> Entry:
        """The entry of an id and of one of the kinds. Raises `NotListed`."""
        run, _, reading = id.partition("-")
        entry = self._of_run(id, run) if reading else self._entry(run)
        if entry is None or (kinds and entry.kind not in kinds):
            raise NotListed(
                f"there is no {' or '.join(kinds) or 'entry'} of that id", hint="list them again"
            )
        return entry

    def readings_of(self, run: Entry) -> dict[str, Entry]:
        """The readings of an evaluation run, by id."""
        folder = run.path / READINGS_FOLDER
        files = folder.glob(f"*/{READING_FILE}") if folder.is_dir() else ()
        found = (reading_of_run(run, file.parent.name) for file in files)
        listed = {entry.id: entry for entry in found}
        self._of_runs |= listed
        return listed

    def _of_run(self, id: str, run: str) -> Entry | None:
        if id not in self._of_runs or not self._of_runs[id].path.exists():
            entry = self._entry(run)
            return self.readings_of(entry).get(id) if entry and entry.kind == "run" else None
        return self._of_runs[id]

    def _entry(self, id: str) -> Entry | None:
        if id not in self._known or not self._known[id].path.exists():
            self.entries()
        return self._known.get(id)


def reading_of_run(run: Entry, name: str) -> Entry:
    """The entry of one of a run's readings, by the name of its folder."""
    path = run.path / READINGS_FOLDER / name
    return Entry(f"{run.id}-{_digest(name)}", "reading", path, f"{run.name}/{name}")


def _below(root: Path, path: Path, depth: int) -> Iterator[Entry]:
    kind = _kind(path)
    if kind:
        inside = str(path.relative_to(root))
        name = path.name if inside == "." else inside
        yield Entry(_digest(str(path)), kind, path, name)
    elif depth and path.is_dir():
        for child in _folders(path):
            yield from _below(root, child, depth - 1)


def _folders(path: Path) -> Iterable[Path]:
    try:
        found = list(path.iterdir())
    except OSError:
        return []
    return sorted(one for one in found if one.is_dir() and not one.name.startswith("."))


def _kind(path: Path) -> Kind | None:
    """What stands at a path, by the files that are there."""
    if path.is_file():
        return "reading" if _is_reading(path) else None
    if (path / CONFIG_FILE).is_file():
        return "run"
    if (path / _PLAN_FILE).is_file():
        return "memory"
    if (path / READING_FILE).is_file():
        return "reading"
    return "training" if has_log(path) else None


def _is_reading(file: Path) -> bool:
    if file.suffix != ".jsonl":
        return False
    with file.open("rb") as opened:
        return b'"kind":"reading"' in opened.read(_OPENING).replace(b'": "', b'":"')


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_ID_DIGITS]
