"""Saved memories on disk: a folder each, to which any number of processes may add at once.

    NAME/memory.json      what it is for and how it is read: written once
    NAME/log.jsonl        what was given to it, in order: documents and notes
    NAME/texts/SHA256     the text of each document
    NAME/reading.jsonl    the records of its reading, by whoever holds the reader's lock
    NAME/asked.jsonl      the questions that were put to it, with their answers

What is given to a memory is an entry of the log, which is written whole, under a lock, and to the
disk before the call returns: a process that is killed on the way leaves all of its entry or
nothing. Reading the documents of the log is another matter, done by one process at a time.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from palimpsest.errors import InputError, ReadingError
from palimpsest.memory.log import Log, drop_torn_end
from palimpsest.memory.reading import Reading, Record, utc_now
from palimpsest.memory.store import Journal, load_reading, make_folder
from palimpsest.sources import Source

PLAN_VERSION = 1
NOTE_CHARACTERS = 2000
"""The longest note: what is longer is a document."""

_PLAN, _LOG, _TEXTS, _READING, _ASKED = (
    "memory.json", "log.jsonl", "texts", "reading.jsonl", "asked.jsonl",
)  # fmt: skip
_NAME = re.compile(r"\w[\w.-]{0,99}")


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Wording(_Kept):
    """One prompt template."""

    id: str
    text: str


class Plan(_Kept):
    """What a saved memory is for and how it is read; the same for all that is ever added."""

    kind: Literal["saved memory"] = "saved memory"
    version: int = PLAN_VERSION
    created: str
    """UTC, ISO 8601."""
    questions: tuple[str, ...]
    """What it is to answer; none for a digest."""
    reader: str
    settings: dict[str, Any]
    empty_memory: str
    prompts: dict[str, Wording]
    """The wording of each role, kept whole: files of prompts change."""
    model: str
    """Name of the model it was made for."""
    model_settings: dict[str, Any] | None = None
    """How that model is reached, without its key; None for a model that was given as an object."""


class KeptDocument(_Kept):
    """One version of a document."""

    name: str
    version: int = 1
    """Counts the texts that came under this name."""
    sha256: str
    """Of the text alone."""
    characters: int

    @property
    def title(self) -> str:
        """What citations show: the name, and which version of it when there were others."""
        return self.name if self.version == 1 else f"{self.name} (version {self.version})"


class Added(_Kept):
    """Documents that were appended together."""

    kind: Literal["documents"] = "documents"
    created: str
    documents: tuple[KeptDocument, ...]


class Appended(NamedTuple):
    """What became of the documents that were given to a memory."""

    added: tuple[KeptDocument, ...]
    """Those that are new to it. One of version 2 or more came with another text before."""
    skipped: tuple[str, ...]
    """Names of those whose text it had already."""


class Noted(_Kept):
    """A line to be added to the memory as it is."""

    kind: Literal["note"] = "note"
    created: str
    text: str


class Asked(_Kept):
    """A question to the memory: what was recorded from there to its answer."""

    kind: Literal["asked"] = "asked"
    created: str
    questions: tuple[str, ...]
    records_before: int
    """How many records of the memory's reading it followed on."""
    records: tuple[Record, ...]

    def reading(self, memory: Reading) -> Reading:
        """The reading of the memory up to this question, and on to its answer."""
        header = memory.opening.model_copy(update={"questions": self.questions})
        return Reading(header, [*memory.records[: self.records_before], *self.records])


Entry = Annotated[Added | Noted, Field(discriminator="kind")]
_ENTRY: TypeAdapter[Entry] = TypeAdapter(Entry)


class Contents:
    """What a memory was given, entry by entry."""

    def __init__(self) -> None:
        self.documents: list[KeptDocument] = []
        self.notes: list[str] = []
        self._digests: set[str] = set()
        self._versions: dict[str, int] = {}

    def take(self, entry: Entry) -> None:
        if isinstance(entry, Noted):
            self.notes.append(entry.text)
            return
        for document in entry.documents:
            self.documents.append(document)
            self._digests.add(document.sha256)
            self._versions[document.name] = document.version

    def sort_out(self, given: Sequence[tuple[str, str]]) -> tuple[Appended, dict[str, str]]:
        """Those of the (name, text) pairs that would be new, counted under their names; and
        their texts by hash."""
        versions: dict[str, int] = {}
        added: list[KeptDocument] = []
        skipped: list[str] = []
        texts: dict[str, str] = {}
        for name, text in given:
            digest = sha256(text.encode()).hexdigest()
            if digest in self._digests or digest in texts:
                skipped.append(name)
                continue
            texts[digest] = text
            version = versions.get(name, self._versions.get(name, 0)) + 1
            versions[name] = version
            added.append(
                KeptDocument(name=name, version=version, sha256=digest, characters=len(text))
            )  # fmt: skip
        return Appended(tuple(added), tuple(skipped)), texts


class MemoryFolder:
    """The files of one saved memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log = Log(path / _LOG)
        self._asked = Log(path / _ASKED)
        self._contents = Contents()
        self._questions: list[Asked] = []

    @property
    def name(self) -> str:
        return self.path.name

    def plan(self) -> Plan:
        try:
            return Plan.model_validate_json((self.path / _PLAN).read_bytes())
        except ValidationError as error:
            raise ReadingError(
                f"the saved memory {self.name!r} is damaged or of another version: {error}",
                hint="use the version that wrote it, or remove it and begin anew",
            ) from error

    def documents(self) -> list[KeptDocument]:
        """Every document that was given to it, in order."""
        return self._known().documents

    def notes(self) -> list[str]:
        """Every note that was given to it, in order."""
        return self._known().notes

    def add(self, documents: Sequence[tuple[str, str]]) -> Appended:
        """Logs those of the (name, text) pairs whose text is new, as one entry."""
        with self._log.locked():
            appended, texts = self._known().sort_out(documents)
            for digest, text in texts.items():
                self._keep_text(digest, text)
            if appended.added:
                entry = Added(created=utc_now(), documents=appended.added)
                self._log.append(entry.model_dump_json())
        return appended

    def note(self, text: str) -> None:
        """Logs a note. Raises `InputError` when it is empty or too long for one."""
        note = text.strip()
        if not note:
            raise InputError("the note is empty", hint="say what to note")
        if len(note) > NOTE_CHARACTERS:
            raise InputError(
                f"a note of {len(note):,} characters, {NOTE_CHARACTERS:,} are the most",
                hint="put it in a file and append that: it is read, and what matters is kept",
            )
        self._log.append(Noted(created=utc_now(), text=note).model_dump_json())

    def source(self, documents: Sequence[KeptDocument]) -> Source:
        """The documents as one source, in which those before others never move."""
        if not documents:
            return Source((), "", sha256().hexdigest())
        named = [(document.title, self.text(document.sha256)) for document in documents]
        return Source.from_documents(named, growing=True)

    def text(self, digest: str) -> str:
        """The text of a document."""
        try:
            return (self.path / _TEXTS / digest).read_bytes().decode()
        except FileNotFoundError:
            raise ReadingError(
                f"the saved memory {self.name!r} lacks a text of its documents",
                hint="remove it and begin anew",
            ) from None

    def reading(self) -> Reading | None:
        """The reading as far as it is, if it was begun."""
        file = self.path / _READING
        try:
            with file.open("rb") as opened:
                begun = opened.readline().endswith(b"\n")
        except FileNotFoundError:
            return None
        return load_reading(file) if begun else None

    def journal(self) -> Journal | None:
        """The reading's file, open for more, or None while another process writes there."""
        lock = FileLock(self.path / ".reader.lock", thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        with (self.path / _READING).open("ab+") as file:
            drop_torn_end(file)
        return Journal(self.path, (self.path / _READING).open("a", encoding="utf-8"), lock)

    def asked(self) -> list[Asked]:
        """The questions that were put to it, in order."""
        self._questions += [Asked.model_validate_json(line) for line in self._asked.new_lines()]
        return self._questions

    def keep_asked(self, asked: Asked) -> None:
        self._asked.append(asked.model_dump_json())

    def _known(self) -> Contents:
        """What the log says now."""
        try:
            for line in self._log.new_lines():
                self._contents.take(_ENTRY.validate_json(line))
        except ValidationError as error:
            raise ReadingError(
                f"the log of {self.name!r} is damaged: {error}",
                hint=f"mend {self.path / _LOG}, or remove the memory and begin anew",
            ) from error
        return self._contents

    def _keep_text(self, digest: str, text: str) -> None:
        folder = self.path / _TEXTS
        if (folder / digest).exists():
            return
        folder.mkdir(exist_ok=True)
        part = folder / f".{secrets.token_hex(8)}"
        with part.open("wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        part.replace(folder / digest)


class MemoryStore:
    """A folder of saved memories."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make_folder(folder, "memories")

    def create(self, name: str, plan: Plan) -> MemoryFolder:
        """A new memory, which nobody sees before it is whole. Raises if the name is taken."""
        if not _NAME.fullmatch(name):
            raise InputError(
                f"{name!r} cannot be a memory's name",
                hint="use letters, digits, hyphens, underscores and dots",
            )
        path = self.folder / name
        part = self.folder / f".{secrets.token_hex(8)}"
        part.mkdir()
        try:
            (part / _PLAN).write_text(plan.model_dump_json(indent=1) + "\n", encoding="utf-8")
            part.rename(path)
        except OSError:
            shutil.rmtree(part)
            if not path.exists():
                raise
            raise InputError(
                f"there is a saved memory {name!r} already",
                hint=f"`palimpsest memory append {name}` adds to it; or take another name",
            ) from None
        return MemoryFolder(path)

    def open(self, name: str) -> MemoryFolder:
        """Raises `InputError` when there is none of that name."""
        path = self.folder / name
        if not _NAME.fullmatch(name) or not (path / _PLAN).is_file():
            raise InputError(
                f"there is no saved memory {name!r} in {self.folder}",
                hint="`palimpsest memory show` lists them, `palimpsest memory new` makes one",
            )
        return MemoryFolder(path)

    def remove(self, name: str) -> None:
        """Removes a memory with all its texts, unless it is being read."""
        memory = self.open(name)
        journal = memory.journal()
        if journal is None:
            raise InputError(f"{name!r} is being read", hint="wait until that is done, or stop it")
        with journal:
            gone = self.folder / f".{secrets.token_hex(8)}"
            memory.path.rename(gone)
        shutil.rmtree(gone)

    def __iter__(self) -> Iterator[MemoryFolder]:
        """All memories, by name."""
        for path in sorted(self.folder.iterdir()):
            if not path.name.startswith(".") and (path / _PLAN).is_file():
                yield MemoryFolder(path)
