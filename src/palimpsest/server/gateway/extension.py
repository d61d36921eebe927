"""The field `palimpsest` of a request: what the gateway is told beyond OpenAI's own fields.

client.chat.completions.create(..., extra_body={"palimpsest": {"source": [...], "budget": 256}})
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from palimpsest.errors import ConfigurationError, InputError
from palimpsest.models.caps import Caps
from palimpsest.readers.reader import Reader
from palimpsest.readers.registry import READERS, at_budget, build_reader
from palimpsest.server.config import ReaderChoice
from palimpsest.server.mending import mended
from palimpsest.sources.formats import read_documents

FIELD = "palimpsest"

_THE_SERVERS = frozenset({"prompts", "style", "concurrency"})
"""Settings of readers that no client may choose."""

MemoryFor = Literal["both", "question", "digest"]
"""What a memory is written for: the question together with whatever may be asked later, the
question alone, or whatever may be asked."""
Progress = Literal["comments", "reasoning", "none"]
OnDisconnect = Literal["keep", "finish", "cancel"]


class _Given(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceDocument(_Given):
    """One document of an explicit source: its text, or the bytes of a file in base64."""

    name: str = ""
    text: str | None = None
    data: str | None = None
    """Base64, or a `data:` URL; a PDF, a Word file and so on, by the ending of its name."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.text is None) == (self.data is None):
            raise ValueError("a document has either a text or data")
        return self


class GivenCaps(_Given):
    """The most that reading may take, as `palimpsest.models.caps.Caps`."""

    tokens: int | None = Field(None, ge=1)
    cost: float | None = Field(None, gt=0)
    seconds: float | None = Field(None, gt=0)
    calls: int | None = Field(None, ge=1)


class Extension(_Given):
    """All of the field. What is not given is decided by the rules of docs/gateway.md."""

    source: str | tuple[str | SourceDocument, ...] | None = None
    question: str | None = Field(None, min_length=1)
    when: Literal["needed", "always"] = "needed"
    """Whether to read what would fit the window too."""
    reader: str | None = Field(None, json_schema_extra={"enum": [*READERS, None]})
    settings: dict[str, Any] = {}
    """Of the reader."""
    budget: int | None = Field(None, ge=1, le=1 << 20)
    """Tokens that the memory may cost when it is read: visual ones for a page, text ones else."""
    caps: GivenCaps | None = None
    memory: MemoryFor = "both"
    progress: Progress = "comments"
    on_disconnect: OnDisconnect = "keep"
    citations: bool = True

    @property
    def opened_caps(self) -> Caps | None:
        return Caps(**self.caps.model_dump()) if self.caps else None

    def documents(self) -> list[tuple[str, str]] | None:
        """The explicit source as (name, text) pairs. Raises `SourceError` for an unreadable one."""
        if self.source is None:
            return None
        given = (self.source,) if isinstance(self.source, str) else self.source
        return [
            pair for number, one in enumerate(given, start=1) for pair in _documents(one, number)
        ]

    def open_reader(self, choice: ReaderChoice, own: Reader) -> Reader:
        """The reader that is asked for, else the server's `own`, which `choice` describes.

        Raises `InputError` for one that cannot be built.
        """
        if self.reader is None and not self.settings and self.budget is None:
            return own
        if reserved := self.settings.keys() & _THE_SERVERS:
            raise InputError(f"{FIELD}.settings: {min(reserved)} is the server's to choose")
        name = self.reader or choice.name
        settings = {**(choice.settings if name == choice.name else {}), **self.settings}
        try:
            if self.budget is not None:
                settings |= at_budget(name, self.budget)
            return build_reader(name, settings, faithful=choice.faithful and name == choice.name)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise InputError(f"{FIELD}: reader {name}: {place}: {first['msg']}") from error
        except ConfigurationError as error:
            raise InputError(f"{FIELD}: {error}", hint=error.hint) from error


def extension_of(body: Mapping[str, Any]) -> Extension:
    """What the request's field says. Raises `InputError` naming what is wrong in it."""
    given = body.get(FIELD)
    if given is None:
        return Extension()
    try:
        return Extension.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(str(part) for part in (FIELD, *first["loc"]))
        raise InputError(f"{place}: {first['msg']}", hint="see docs/gateway.md") from error


def _documents(one: str | SourceDocument, number: int) -> list[tuple[str, str]]:
    if isinstance(one, str):
        return [(f"document {number}", one)]
    name = one.name or f"document {number}"
    if one.data is None:
        return [(name, one.text or "")]
    return file_documents(one.data, name)


def file_documents(data: str, name: str) -> list[tuple[str, str]]:
    """What a file holds, as (name, text) pairs. Raises `InputError` or `SourceError`."""
    return [
        (mended(name), mended(text)) for name, text in read_documents(decoded(data, name), name)
    ]


def decoded(data: str, name: str) -> bytes:
    """The bytes behind base64 or a `data:` URL. Raises `InputError`; no link is followed."""
    if data.startswith("data:"):
        head, _, data = data.partition(",")
        if not head.endswith(";base64"):
            raise InputError(f"{name}: its data: URL is not in base64", hint="encode it in base64")
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{name}: the data is no valid base64: {error}") from error
