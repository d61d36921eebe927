"""Rows and texts out of data files: JSON, JSON Lines, Parquet and plain text, each also gzipped.

    for row in read_rows(Path("dev.jsonl.gz")): ...

JSON Lines and Parquet are streamed; a `.json` file is one document and is read whole.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palimpsest.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

ROW_SUFFIXES = (".jsonl", ".json", ".parquet")
TEXT_SUFFIXES = (".txt",)

Row = dict[str, Any]

_LISTS = ("data", "Data")
"""Where SQuAD and TriviaQA keep their rows in the one object of a file."""
_BATCH_ROWS = 1
"""A row may hold a context of millions of tokens, and as many are held as are read at once."""


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file, in its order.

    A `.json` file is a list of rows, an object with such a list under `data` or `Data`, or one
    object, which is its only row; several JSON values one after another, as benchmarks publish
    under that suffix, are read as JSON Lines. Raises `InputError` that names file and line.
    """
    match data_suffix(path):
        case ".jsonl":
            return _lines(path)
        case ".json":
            return _document(path)
        case ".parquet":
            return _parquet(path)
    raise InputError(f"{path}: no rows are read from such a file", hint=_kinds(ROW_SUFFIXES))


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without a byte order mark."""
    if data_suffix(path) not in TEXT_SUFFIXES:
        raise InputError(f"{path}: no text is read from such a file", hint=_kinds(TEXT_SUFFIXES))
    return _text(path)


def data_suffix(path: Path) -> str:
    """What kind of file it is, gzipped or not: `.jsonl` of `dev.jsonl.gz`."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _kinds(suffixes: tuple[str, ...]) -> str:
    return f"give {', '.join(suffixes)}, or one of them with .gz"


def _open(path: Path) -> gzip.GzipFile | io.BufferedReader:
    try:
        return gzip.open(path) if _is_packed(path) else path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}", hint="give a file that is there") from error


def _is_packed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _text(path: Path) -> str:
    try:
        with _open(path) as file:
            return file.read().decode("utf-8-sig")
    except (gzip.BadGzipFile, EOFError) as error:
        raise InputError(f"{path}: not whole: {error}", hint="get the file again") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: {error}", hint="save it as UTF-8") from error


def _lines(path: Path) -> Iterator[Row]:
    try:
        with _open(path) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _line(line, f"{path}:{number}")
    except (gzip.BadGzipFile, EOFError) as error:
        raise InputError(f"{path}: not whole: {error}", hint="get the file again") from error


def _line(line: bytes, place: str) -> Row:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: not JSON: {error}", hint="one JSON object a line") from error
    return _row(row, place)


def _document(path: Path) -> Iterator[Row]:
    text = _text(path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":
            yield from _lines(path)
            return
        raise InputError(f"{path}: not JSON: {error}", hint="get the file again") from error
    for number, row in enumerate(_listed(value), start=1):
        yield _row(row, f"{path}, row {number}")


def _listed(value: object) -> list[Any]:
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        for name in _LISTS:
            if isinstance(value.get(name), list):
                rows: list[Any] = value[name]
                return rows
    return [value]


def _row(value: object, place: str) -> Row:
    if not isinstance(value, dict):
        raise InputError(f"{place}: a row is an object, not a {type(value).__name__}")
    return value


def _parquet(path: Path) -> Iterator[Row]:
    file = _parquet_file(path)
    for batch in file.iter_batches(batch_size=_BATCH_ROWS):
        yield from batch.to_pylist()


def _parquet_file(path: Path) -> ParquetFile:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise ConfigurationError(
            f"{path}: Parquet needs pyarrow", hint='pip install "palimpsest-memory[eval]"'
        ) from error
    try:
        with _open(path) as file:
            # Parquet is read from its end, which a gzip stream cannot give without all of it.
            return ParquetFile(io.BytesIO(file.read()) if _is_packed(path) else path)
    except (ArrowException, gzip.BadGzipFile, EOFError) as error:
        raise InputError(f"{path}: not Parquet: {error}", hint="get the file again") from error
