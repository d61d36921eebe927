"""What the tools of the MCP server tell: plain records, made from readings."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from palimpsest.errors import InputError
from palimpsest.memory.citations import Citation, LineCitation, citations
from palimpsest.memory.ledger import Origin, origins
from palimpsest.memory.reading import Reading
from palimpsest.memory.receipt import receipt_of
from palimpsest.sources import Source

_QUOTED = 500
"""Characters of a quote; the span tells where the rest is."""
_LINES_SHOWN = 5


class _Told(BaseModel):
    # What stands under a field is what a client shows of it.
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Quote(_Told):
    """A passage of a document."""

    document: str
    start: int
    """Characters of the document's text."""
    end: int
    quote: str


class Answered(_Told):
    """An answer and what it rests on."""

    answer: str
    status: str
    """`answered`, or `partial` when a limit ended the reading before the end of the source."""
    reason: str
    supported: bool
    """Whether the answer was found in what was read."""
    quotes: list[Quote]
    reading: str
    """Name of the reading or the memory, for blame_line."""
    memory: str
    """The notes that it was answered from."""
    took: str


class Added(_Told):
    """A memory after it was given something."""

    name: str
    made: bool
    """Whether there was no memory of that name before."""
    added: list[str]
    skipped: list[str]
    """Those whose text it had already."""
    documents: int
    memory: str
    """What it says now."""


class Shelved(_Told):
    """A memory in the list."""

    name: str
    questions: list[str]
    """What it was made for; none for a digest of whatever it is given."""
    documents: list[str]
    pending: int
    """Documents that are not read yet."""
    notes: int
    model: str


class Blamed(_Told):
    """Where a line of a memory comes from."""

    line: int
    """Its place among the lines of the memory, from 0."""
    text: str
    introduced: int
    """The version of the memory in which it first stood."""
    changed: int
    """The version that gave it its present words."""
    chunk: int | None
    """The chunk of the source, from 0, after which it was written."""
    supported: bool
    noted_by_hand: bool
    quotes: list[Quote]
    """The sentences that it rests on."""


def answered(reading: Reading, source: Source, name: str) -> Answered:
    """The answer to the first question, with the sentences behind it."""
    found = citations(reading, source).answers if source.documents else ()
    cited = next((one for one in found if one.question == 0 and one.text == reading.answer), None)
    return Answered(
        answer=reading.answer,
        status=reading.status or "",
        reason=reading.end.reason if reading.end else "",
        supported=bool(cited and cited.supported),
        quotes=[_quote(span) for span in cited.spans] if cited else [],
        reading=name,
        memory=reading.memory,
        took=str(receipt_of(reading)),
    )


def blamed(reading: Reading, source: Source, line: str) -> Blamed:
    """Where one line comes from. Raises `InputError` where it is none or several."""
    lines = origins(reading)
    origin = _line_of(lines, line)
    cited = next(
        (one for one in citations(reading, source).lines if one.line == origin.line), None
    )  # fmt: skip
    assert cited
    return _blame(origin, cited)


def _blame(origin: Origin, cited: LineCitation) -> Blamed:
    return Blamed(
        line=origin.line,
        text=origin.text,
        introduced=origin.introduced,
        changed=origin.changed,
        chunk=origin.chunk,
        supported=cited.supported,
        noted_by_hand=cited.given,
        quotes=[_quote(span) for span in cited.spans],
    )


def _line_of(lines: Sequence[Origin], wanted: str) -> Origin:
    """The line that is meant. Raises `InputError` where it is none or several."""
    sought = " ".join(wanted.split()).casefold()
    if not sought:
        raise InputError("no line is named", hint="give the line, or words that only it has")
    texts = [" ".join(line.text.split()).casefold() for line in lines]
    found = [line for line, text in zip(lines, texts, strict=True) if text == sought]
    found = found or [line for line, text in zip(lines, texts, strict=True) if sought in text]
    if len(found) == 1:
        return found[0]
    shown = found or [line for line in lines if line.text.strip()]
    listed = "\n".join(line.text for line in shown[:_LINES_SHOWN])
    problem = f"{len(found)} lines have" if found else "no line has"
    more = "\n..." if len(shown) > _LINES_SHOWN else ""
    raise InputError(f"{problem} {wanted!r}", hint=f"there are:\n{listed}{more}")


def _quote(span: Citation) -> Quote:
    quote = span.quote if len(span.quote) <= _QUOTED else span.quote[: _QUOTED - 1] + "…"
    return Quote(document=span.document, start=span.start, end=span.end, quote=quote)
