"""The long input: one or more documents as one text with stable character offsets.

    source = Source.from_documents([("Rome", rome), ("Carthage", carthage)])
    source.locate(120, 260)  # which documents, and where in each

Chunks, citations and gold spans are all offsets into `Source.text`.
"""

from __future__ import annotations

import hashlib
import json
import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Self

from palimpsest.errors import InputError, SourceError

_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Document:
    """One document of a source."""

    name: str
    """A file path, a title: what a citation shows."""
    text: str
    start: int
    """Where `text` begins in the source's text."""

    @property
    def end(self) -> int:
        """Where `text` ends in the source's text."""
        return self.start + len(self.text)


class Location(NamedTuple):
    """A span of one document, in characters of that document's own text."""

    document: str
    start: int
    end: int


@dataclass(frozen=True)
class Source:
    """Documents joined into one text.

    The text of a single document stands as it is. Several are each preceded by a Markdown heading
    with the document's name and a blank line, and separated by a blank line.
    """

    documents: tuple[Document, ...]
    text: str
    sha256: str
    """Of the names and the texts: equal sources have equal hashes on any machine."""

    @classmethod
    def from_text(cls, text: str, name: str = "text") -> Self:
        return cls.from_documents([(name, text)])

    @classmethod
    def from_documents(cls, documents: Iterable[tuple[str, str]], *, growing: bool = False) -> Self:
        """A source of (name, text) pairs, in their order.

        With `growing` a single document has its heading too, so that no span moves when the
        source is made again with further documents. Characters that no encoding can write (lone
        surrogates) become U+FFFD.
        """
        named = [(_writable(name), _writable(text)) for name, text in documents]
        if not named:
            raise InputError("the source has no document", hint="give at least one")
        if not any(text.strip() for _, text in named):
            raise SourceError(named[0][0], "there is no text in it", hint="give some text to read")
        placed, text = _join(named, headed=growing or len(named) > 1)
        canonical = json.dumps(named, ensure_ascii=False, separators=(",", ":"))
        return cls(placed, text, hashlib.sha256(canonical.encode()).hexdigest())

    def locate(self, start: int, end: int) -> list[Location]:
        """The parts of documents that `text[start:end]` covers; headings belong to none."""
        starts = [document.start for document in self.documents]
        first = max(0, bisect_right(starts, start) - 1)
        locations = []
        for document in self.documents[first:]:
            if document.start >= end:
                break
            begin = max(start, document.start) - document.start
            stop = min(end, document.end) - document.start
            if begin < stop:
                locations.append(Location(document.name, begin, stop))
        return locations


def _writable(text: str) -> str:
    return _SURROGATES.sub("\ufffd", text)


def _join(named: list[tuple[str, str]], *, headed: bool) -> tuple[tuple[Document, ...], str]:
    if not headed:
        name, text = named[0]
        return (Document(name, text, 0),), text
    placed: list[Document] = []
    parts: list[str] = []
    length = 0
    for name, text in named:
        opening = f"{chr(10) * 2 if parts else ''}# {' '.join(name.split())}\n\n"
        placed.append(Document(name, text, length + len(opening)))
        parts += [opening, text]
        length += len(opening) + len(text)
    return tuple(placed), "".join(parts)
