"""Answers kept on disk, so that a run can be repeated without a model and byte for byte.

    model = RecordedModel(OpenAIModel("qwen3-8b", ...), "answers.sqlite", "on")

A request is known by its content: model, messages and sampling. Two equal requests have one
answer, the first that was stored; where several are wanted at a temperature above zero, give each
its own `Sampling.seed`. Errors and refusals are never stored, so they are tried again; answers cut
at the limit are.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Literal

from palimpsest.errors import ConfigurationError, ModelError
from palimpsest.models.model import Completion, Message, Model, Sampling, request_key
from palimpsest.sources.tokens import Tokenizer

Mode = Literal["on", "off", "replay"]

SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 30.0

_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS completions (key TEXT PRIMARY KEY, completion TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tokenizers
    (model TEXT PRIMARY KEY, name TEXT NOT NULL, exact INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS offsets
    (tokenizer TEXT, text TEXT, deltas BLOB NOT NULL, PRIMARY KEY (tokenizer, text));
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""


class RecordedModel:
    """Wraps a model and remembers what it answered.

    Modes: `on` answers from the file where it can and records the rest; `off` passes everything
    through; `replay` answers from the file alone and needs no model, only its name. Any number of
    processes may share a file.
    """

    def __init__(
        self,
        model: Model | None,
        path: str | Path,
        mode: Mode = "on",
        *,
        name: str | None = None,
    ) -> None:
        if model is None and (mode != "replay" or name is None):
            raise ConfigurationError(
                "a recording without a model can only be replayed, and needs the model's name",
                hint="Give the model, or mode='replay' and name=...",
            )
        self._model = model
        self._mode = mode
        self._name = name or (model.name if model else "")
        self._store = _Store(Path(path))
        if mode != "off":
            self._store.open(create=mode == "on")
        self.hits = 0
        """Requests answered from the file."""

    @property
    def name(self) -> str:
        return self._name

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        if self._mode == "off":
            return await self._inner().complete(messages, sampling)
        key = request_key(self._name, messages, sampling)
        stored = await asyncio.to_thread(self._store.completion, key)
        if stored is not None:
            self.hits += 1
            return stored
        if self._mode == "replay":
            raise _not_recorded(f"this request to {self._name!r}", self._store.path)
        answer = await self._inner().complete(messages, sampling)
        if answer.finish_reason == "refused":
            return answer
        return await asyncio.to_thread(self._store.keep_completion, key, answer)

    async def tokenizer(self) -> Tokenizer:
        """The model's, its offsets recorded too, so that a replay cuts the same chunks."""
        if self._mode == "off":
            return await self._inner().tokenizer()
        stored = await asyncio.to_thread(self._store.tokenizer, self._name)
        if self._mode == "replay":
            if stored is None:
                raise _not_recorded(f"the tokenizer of {self._name!r}", self._store.path)
            return _RecordedTokenizer(self._store, *stored)
        inner = await self._inner().tokenizer()
        await asyncio.to_thread(self._store.keep_tokenizer, self._name, inner.name, inner.exact)
        return _RecordedTokenizer(self._store, inner.name, inner.exact, inner)

    async def aclose(self) -> None:
        if self._model is not None:
            await self._model.aclose()

    def _inner(self) -> Model:
        assert self._model is not None
        return self._model


class _RecordedTokenizer:
    def __init__(
        self, store: _Store, name: str, exact: bool, tokenizer: Tokenizer | None = None
    ) -> None:
        self.name = name
        self.exact = exact
        self._store = store
        self._tokenizer = tokenizer

    async def offsets(self, text: str) -> list[int]:
        digest = hashlib.sha256(text.encode()).hexdigest()
        stored = await asyncio.to_thread(self._store.offsets, self.name, digest)
        if stored is not None:
            return stored
        if self._tokenizer is None:
            raise _not_recorded(f"the tokens of a text of {len(text)} characters", self._store.path)
        offsets = await self._tokenizer.offsets(text)
        await asyncio.to_thread(self._store.keep_offsets, self.name, digest, offsets)
        return offsets


class _Store:
    """The file. Each operation has a connection of its own, so threads and forks are safe."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self, *, create: bool) -> None:
        """Makes the file where there is none, or where it is empty, if it may."""
        if create:
            # Where this fails, SQLite says why it cannot open the file.
            with suppress(OSError):
                self.path.parent.mkdir(parents=True, exist_ok=True)
        elif not self.path.is_file():
            raise ConfigurationError(
                f"there is no recording {self.path}", hint="Record a run into it first."
            )
        with self._connected() as database:
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, SCHEMA_VERSION):
                raise ConfigurationError(
                    f"{self.path} was recorded by another version of this package",
                    hint="Record into a new file.",
                )
            if version == 0:
                database.execute("PRAGMA journal_mode=WAL")
                database.executescript(_SCHEMA)

    def completion(self, key: str) -> Completion | None:
        row = self._row("SELECT completion FROM completions WHERE key = ?", key)
        return None if row is None else Completion.model_validate_json(row[0])

    def keep_completion(self, key: str, completion: Completion) -> Completion:
        """What is stored under the key now: where another was quicker, its answer stands."""
        self._keep("completions", key, completion.model_dump_json())
        return self.completion(key) or completion

    def tokenizer(self, model: str) -> tuple[str, bool] | None:
        row = self._row("SELECT name, exact FROM tokenizers WHERE model = ?", model)
        return None if row is None else (row[0], bool(row[1]))

    def keep_tokenizer(self, model: str, name: str, exact: bool) -> None:
        self._keep("tokenizers", model, name, exact)

    def offsets(self, tokenizer: str, text_hash: str) -> list[int] | None:
        row = self._row(
            "SELECT deltas FROM offsets WHERE tokenizer = ? AND text = ?", tokenizer, text_hash
        )
        return None if row is None else list(accumulate(json.loads(zlib.decompress(row[0]))))

    def keep_offsets(self, tokenizer: str, text_hash: str, offsets: Sequence[int]) -> None:
        deltas = [after - before for before, after in pairwise([0, *offsets])]
        blob = zlib.compress(json.dumps(deltas, separators=(",", ":")).encode())
        self._keep("offsets", tokenizer, text_hash, blob)

    def _row(self, query: str, *values: object) -> tuple[Any, ...] | None:
        with self._connected() as database:
            row: tuple[Any, ...] | None = database.execute(query, values).fetchone()
            return row

    def _keep(self, table: str, *values: object) -> None:
        marks = ", ".join("?" * len(values))
        with self._connected() as database:
            database.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", values)

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            database = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S)
            try:
                with database:
                    yield database
            finally:
                database.close()
        except sqlite3.Error as error:
            raise ConfigurationError(
                f"the recording {self.path} cannot be used: {error}",
                hint="Is it a recording, and can it be written to? Name another file to start "
                "a new one.",
            ) from error


def _not_recorded(what: str, path: Path) -> ModelError:
    return ModelError(
        f"{what} is not in the recording {path}",
        hint="Model, prompts, settings and source must be those of the recorded run; to add what "
        "is missing, run once with recording on.",
    )
