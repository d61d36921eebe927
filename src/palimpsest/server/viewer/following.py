"""Readings that are read from their files as they grow."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from palimpsest.errors import ReadingError
from palimpsest.memory.reading import End, Header, Reading, Record

_RECORD: TypeAdapter[Record] = TypeAdapter(Record)
_MARK = 256
"""Bytes before the place that was read to, by which a file that was written anew is known."""
_KEPT = 12
"""Readings that are held at once."""
_TAIL = 1 << 16
"""Bytes at the end of a file in which its last line is looked for."""
_CUT = 400
"""Characters of a text in a list."""
_QUESTIONS = 3


class Followed:
    """One reading's file, read on from where it was read to."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._reading: Reading | None = None
        self._end = 0
        self._mark = b""

    def read(self) -> Reading:
        """The reading as the file has it now, without a line that is being written.

        Raises `ReadingError` where there is none, or a line is damaged.
        """
        with self._lock:
            try:
                return self._read()
            except FileNotFoundError:
                raise ReadingError(
                    f"no reading at {self._file}", hint="it was begun just now, or removed"
                ) from None

    @property
    def stamp(self) -> str:
        """Of what was read last: another one where there is more."""
        return f"{self._end}-{len(self._reading.records) if self._reading else 0}"

    def _read(self) -> Reading:
        with self._file.open("rb") as opened:
            opened.seek(max(0, self._end - _MARK))
            if opened.read(min(self._end, _MARK)) != self._mark:
                self._reading, self._end = None, 0
                opened.seek(0)
            new = opened.read()
        whole = new[: new.rfind(b"\n") + 1]
        if whole:
            self._take(whole)
        if self._reading is None:
            raise ReadingError(f"nothing is read at {self._file} yet", hint="wait a moment")
        return self._reading

    def _take(self, whole: bytes) -> None:
        lines = whole.decode().split("\n")[:-1]
        if self._reading is None:
            self._reading = Reading.from_lines(lines)
        else:
            for line in lines:
                self._reading.add(_RECORD.validate_json(line))
        self._end += len(whole)
        self._mark = (self._mark + whole)[-_MARK:]


class Readings:
    """The readings that were opened last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._followed: OrderedDict[Path, Followed] = OrderedDict()

    def follow(self, file: Path) -> Followed:
        with self._lock:
            followed = self._followed.setdefault(file, Followed(file))
            self._followed.move_to_end(file)
            while len(self._followed) > _KEPT:
                self._followed.popitem(last=False)
            return followed


def glance(file: Path) -> dict[str, Any]:
    """What a list shows of a reading, from the first and the last line of its file alone."""
    try:
        with file.open("rb") as opened:
            header = Header.model_validate_json(opened.readline())
            opened.seek(0, os.SEEK_END)
            opened.seek(max(0, opened.tell() - _TAIL))
            end = _end(opened.read())
    except (OSError, ValueError):
        return {"status": "damaged"}
    return {
        "created": header.created,
        "reader": header.reader,
        "model": header.model,
        "questions": [question[:_CUT] for question in header.questions[:_QUESTIONS]],
        "documents": len(header.documents),
        "tokens": header.tokens,
        "chunks": len(header.chunks),
        "status": end.status if end else "unfinished",
        "reason": end.reason[:_CUT] if end else "",
    }


def _end(tail: bytes) -> End | None:
    """The record in the last whole line, where it ends the reading."""
    last = tail[: tail.rfind(b"\n") + 1].rstrip(b"\n").rpartition(b"\n")[2]
    return End.model_validate_json(last) if last.startswith(b'{"kind":"end"') else None
