"""What was read, kept beside the readings of it, once for each content.

    FOLDER/readings/                    readings
    FOLDER/sources/SHA256.jsonl.gz      the documents of a source, a JSON line each

For sources that are nowhere else: those that came in a request, or were built for an evaluation.
A kept file is one that can be read like any other. Nothing is deleted here.
"""

from __future__ import annotations

import gzip
import re
import secrets
import zlib
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict

from palimpsest.errors import InputError
from palimpsest.memory.citations import as_read
from palimpsest.memory.reading import Reading
from palimpsest.sources import Source

SOURCES_FOLDER = "sources"
_LEVEL = 6
"""Of gzip: prose becomes two fifths of its size, at about 10 MB a second."""
_DIGEST = re.compile("[0-9a-f]{64}")


class _Kept(BaseModel):
    """One document."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    text: str


class SourceStore:
    """A folder of sources."""

    def __init__(self, folder: Path) -> None:
        """`folder` is made when the first source is kept."""
        self.folder = folder

    @classmethod
    def beside(cls, readings: Path) -> Self:
        """The store that belongs to a folder of readings."""
        return cls(readings.parent / SOURCES_FOLDER)

    def keep(self, source: Source) -> None:
        """Keeps a source, unless it is there. The file is there as a whole or not at all."""
        file = self._file(source.sha256)
        if file.exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = (_Kept(title=one.name, text=one.text).model_dump_json() for one in source.documents)
        text = "".join(f"{line}\n" for line in lines)
        # Several may keep the same source at once, each in a file of its own until it is whole.
        part = file.with_suffix(f".{secrets.token_hex(4)}.part")
        part.write_bytes(gzip.compress(text.encode(), _LEVEL, mtime=0))
        part.replace(file)

    def holds(self, reading: Reading) -> bool:
        """Whether there is a file for what was read."""
        digest = reading.header.source_sha256
        # It comes out of a file, and becomes part of a path.
        return bool(_DIGEST.fullmatch(digest)) and self._file(digest).is_file()

    def open(self, reading: Reading) -> Source:
        """What was read. Raises `InputError` where it was not kept, or is not that any more."""
        if not self.holds(reading):
            raise InputError("what was read was not kept beside the reading")
        try:
            documents = _documents(self._file(reading.header.source_sha256))
        except (OSError, EOFError, zlib.error, ValueError) as error:
            raise InputError("what was kept of the source is damaged") from error
        return as_read(reading, Source.from_documents(documents))

    def _file(self, digest: str) -> Path:
        return self.folder / f"{digest}.jsonl.gz"


def _documents(file: Path) -> list[tuple[str, str]]:
    # Not splitlines: a text may hold other line separators, which JSON leaves as they are.
    lines = gzip.decompress(file.read_bytes()).decode().split("\n")[:-1]
    kept = [_Kept.model_validate_json(line) for line in lines]
    return [(one.title, one.text) for one in kept]
