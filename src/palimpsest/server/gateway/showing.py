"""The memory as the final turn shows it: in words or as a page, before the user's question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from palimpsest.memory.reading import PageRecord
from palimpsest.models.sight import HEADING, NOTHING, Eyes
from palimpsest.pages import Page
from palimpsest.readers.baseline import Baseline
from palimpsest.readers.drafting import Scan
from palimpsest.readers.growing import core
from palimpsest.readers.memagent import MemAgent
from palimpsest.readers.memocr import MemOCR, page_record
from palimpsest.readers.reader import Reader, Session
from palimpsest.server.gateway.conversation import Part
from palimpsest.sources import clip

_EMPTY = "(nothing was noted)"
_INTRODUCTION = (
    "{what} too long to be shown here. It was read part by part, and these notes were taken from "
    "it; they stand for it. Rely on them for whatever concerns it, and where they do not hold what "
    "is asked for, say so rather than guess."
)
_PAGE = "The picture shows the notes."
_PARTIAL = "Only {read} of its {chunks} parts were read."
_SHOWN = "What was read begins and ends as follows; answer whatever that asks for.\n\n{ends}"


class Shown(NamedTuple):
    """What is put before the question."""

    parts: list[Part]
    page: PageRecord | None
    """Where a page is shown."""


async def show(
    reader: Reader, session: Session, ends: Sequence[str], eyes: Eyes | None
) -> Shown:  # fmt: skip
    """The memory of a reading as parts of a message.

    `ends` are shown beside it. With `eyes` the page of a model that cannot see is read out.
    """
    introduction = Part("text", None, _introduction(reader, session))
    after = [Part("text", None, _SHOWN.format(ends="\n\n[...]\n\n".join(ends)))] if ends else []
    inner = None if isinstance(reader, Baseline) else core(reader)
    if not isinstance(inner, MemOCR):
        notes = await _notes(reader, session)
        text = f"<notes>\n{notes.strip() or _EMPTY}\n</notes>"
        return Shown([introduction, Part("text", None, text), *after], None)
    page = inner.page(session.reading.memory or _EMPTY, max(inner.budgets))
    picture = _read_out(page, eyes) if eyes else Part("image", None, data=page.data_url())
    told = Part("text", None, f"{introduction.text} {_PAGE}")
    return Shown([told, picture, *after], page_record(page, session.reading.memory_version))


def _introduction(reader: Reader, session: Session) -> str:
    header = session.reading.header
    one = len(header.documents) == 1
    names = ", ".join(header.documents[:5]) + (", ..." if len(header.documents) > 5 else "")
    what = f"A text ({names}) is" if one else f"{len(header.documents)} texts ({names}) are"
    said = _INTRODUCTION.format(what=what)
    read, chunks = len(session.reading.done()), len(header.chunks)
    if isinstance(reader, Baseline) or read >= chunks:
        return said
    return f"{said} {_PARTIAL.format(read=read, chunks=chunks)}"


async def _notes(reader: Reader, session: Session) -> str:
    if isinstance(reader, Baseline):
        return (await reader.notes(session, session.reading.header.questions[:1]))[0]
    inner = core(reader)
    if not isinstance(inner, MemAgent):
        return session.reading.memory
    notes = inner.notes(session.reading, Scan(session.reading.header.questions[0]))
    if inner.budgets:
        notes = await clip(await session.model.tokenizer(), notes, max(inner.budgets))
    return notes


def _read_out(page: Page, eyes: Eyes) -> Part:
    text = eyes.read(page.image.convert("RGB"))
    return Part("text", None, f"{HEADING}\n{text or NOTHING}\n")
