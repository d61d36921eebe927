"""Items in files: one after another, so that no two long contexts are in memory at once.

    with open_items(Path("hotpotqa_1m.parquet")) as file:
        async for item in build_contexts(...):
            file.add(item)

The suffix tells the format: `.parquet` training rows, `.json` the papers' evaluation rows,
`.jsonl` items with all their fields. A file comes into being whole, or not at all.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from palimpsest.datasets.files import data_suffix, read_rows
from palimpsest.datasets.item import Item
from palimpsest.datasets.schema import evaluation_row, item_of, training_row, writable
from palimpsest.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["parquet", "jsonl", "papers-json"]
SUFFIXES: dict[Format, str] = {"parquet": ".parquet", "jsonl": ".jsonl", "papers-json": ".json"}

ROW_GROUP_CHARACTERS = 8_000_000
"""Of the contexts that are written together, which is also what a reader has to hold."""


class ItemFile(ABC):
    """A file that is being written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.items = 0

    def add(self, item: Item) -> None:
        """Writes the next item."""
        self._write(item)
        self.items += 1

    @abstractmethod
    def close(self) -> None:
        """Ends the file."""

    @abstractmethod
    def _write(self, item: Item) -> None: ...


@contextmanager
def open_items(path: Path) -> Iterator[ItemFile]:
    """A file to add items to. It takes its name, over an earlier one, when the block ends
    without an error. Raises `InputError` for a name of another kind and `ConfigurationError`
    where Parquet cannot be written."""
    kinds: dict[str, Callable[[Path], ItemFile]] = {
        ".parquet": _ParquetFile, ".jsonl": _LinesFile, ".json": _ListFile
    }  # fmt: skip
    kind = kinds.get(path.suffix)
    if kind is None:
        raise InputError(
            f"{path}: items are not written as {path.suffix or 'that'}",
            hint=f"name it {', '.join(SUFFIXES.values())}",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        file = kind(part)
        try:
            yield file
        finally:
            file.close()
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_items(path: Path) -> Iterator[Item]:
    """The items of a file: of `open_items`, or of rows as the papers have them. Raises
    `InputError` naming file and row for what is none."""
    if data_suffix(path) == ".txt":
        raise InputError(f"{path} holds no items", hint=f"give {', '.join(SUFFIXES.values())}")
    for number, row in enumerate(read_rows(path), start=1):
        yield item_of(row, f"{path}, row {number}")


class _LinesFile(ItemFile):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._file = path.open("w", encoding="utf-8", newline="\n")

    def _write(self, item: Item) -> None:
        line = json.dumps(item.model_dump(), ensure_ascii=False, separators=(",", ":"))
        self._file.write(writable(line) + "\n")

    def close(self) -> None:
        self._file.close()


class _ListFile(_LinesFile):
    """One JSON list, a row a line."""

    def _write(self, item: Item) -> None:
        row = json.dumps(evaluation_row(item, self.items), ensure_ascii=False)
        self._file.write((",\n" if self.items else "[\n") + writable(row))

    def close(self) -> None:
        self._file.write("\n]\n" if self.items else "[]\n")
        super().close()


class _ParquetFile(ItemFile):
    """Row groups of few rows where contexts are long."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._schema = _arrow_schema()
        import pyarrow.parquet

        self._writer = pyarrow.parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []
        self._characters = 0

    def _write(self, item: Item) -> None:
        row = training_row(item, self.items)
        length = len(row["context"])
        if self._rows and self._characters + length > ROW_GROUP_CHARACTERS:
            self._write_group()
        self._rows.append(row)
        self._characters += length

    def close(self) -> None:
        self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        import pyarrow as pa

        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows, self._characters = [], 0


def _arrow_schema() -> pa.Schema:
    try:
        import pyarrow as pa
    except ImportError as error:
        raise ConfigurationError(
            "Parquet needs pyarrow", hint='pip install "palimpsest-memory[eval]"'
        ) from error
    text = pa.string()
    message = pa.struct([("role", text), ("content", text)])
    reward = pa.struct([("style", text), ("ground_truth", pa.list_(text))])
    extra = [("index", pa.int64()), ("question", text), ("num_docs", pa.int64()), ("item", text)]
    return pa.schema(
        [
            ("data_source", text),
            ("prompt", pa.list_(message)),
            ("context", text),
            ("ability", text),
            ("reward_model", reward),
            ("extra_info", pa.struct(extra)),
        ]
    )
