"""A reader made again from what a record says of it: its name, its settings and its prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from palimpsest.errors import ReadingError
from palimpsest.prompts.templates import PromptSet
from palimpsest.readers.reader import PromptedReader, Reader
from palimpsest.readers.registry import READERS, reader_class


def restore(name: str, settings: Mapping[str, Any], prompts: PromptSet) -> Reader:
    """The reader with these settings, around the reader that they hold where it is a wrapper.

    Raises `ReadingError` when this program has no such reader or it takes other settings.
    """
    given = dict(settings)
    if "base" in given:
        base = dict(given["base"])
        given["base"] = restore(base.pop("reader"), base, prompts)
    kind = _kind(name)
    if issubclass(kind, PromptedReader):
        given["prompts"] = prompts
    try:
        return kind(**given)
    except ValidationError as error:
        raise ReadingError(
            f"the settings of the reader {name!r} do not fit: {error.errors()[0]['msg']}",
            hint="use the version that wrote them, or begin anew",
        ) from error


def _kind(name: str) -> type[Reader]:
    if name in READERS:
        return reader_class(name)
    for kind in _subclasses(Reader):  # type: ignore[type-abstract]
        if vars(kind).get("name") == name:
            return kind
    raise ReadingError(
        f"there is no reader {name!r}",
        hint="import the module that defines it first, or use the version that wrote the record",
    )


def _subclasses(kind: type[Reader]) -> Iterator[type[Reader]]:
    """Readers that are defined elsewhere."""
    for one in kind.__subclasses__():
        yield one
        yield from _subclasses(one)
