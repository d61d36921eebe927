"""Readers by their names, as commands and configuration give them.

    build_reader("memreread+gated+memocr", {"rereads": 1, "budgets": (256,)})

A name is that of a reader, or of wrappers with `+` between and the reader that they wrap last;
a wrapper that stands last wraps `memagent`. A setting goes to every part that has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from itertools import pairwise
from typing import Any, NamedTuple

from palimpsest.errors import ConfigurationError
from palimpsest.readers.drafting import MemoryReader
from palimpsest.readers.reader import Reader
from palimpsest.readers.wrapper import Wrapper


class _Place(NamedTuple):
    module: str
    kind: str


READERS: Mapping[str, _Place] = {
    "closed": _Place("closed", "ClosedBook"),
    "full": _Place("full", "FullContext"),
    "gated": _Place("gated", "Gated"),
    "memagent": _Place("memagent", "MemAgent"),
    "memocr": _Place("memocr", "MemOCR"),
    "memreread": _Place("memreread", "MemReread"),
    "parallel": _Place("parallel", "Parallel"),
    "rememr1": _Place("rememr1", "ReMemR1"),
    "retrieval": _Place("retrieval", "Retrieval"),
}
_DEFAULT_BASE = "memagent"


def build_reader(
    name: str, settings: Mapping[str, Any] | None = None, *, faithful: bool = False
) -> Reader:
    """The reader of that name with these settings, over the papers' own where `faithful`.

    Raises `ConfigurationError` for a name that is none and for a setting that no part of it has,
    and pydantic's `ValidationError` for a value that does not fit.
    """
    parts = _parts(name)
    given = dict(settings or {})
    idle = given.keys() - settings_of(name)
    if idle:
        raise ConfigurationError(
            f"{name} has no setting {min(idle)!r}", hint="leave it out, or name another reader"
        )
    if faithful and not any(map(_has_preset, parts)):
        raise ConfigurationError(
            f"no paper's settings are known for {name}", hint="leave `faithful` out"
        )
    reader: Reader | None = None
    for kind in reversed(parts):
        base = {} if reader is None else {"base": reader}
        own = {field: given[field] for field in kind.model_fields if field in given}
        reader = kind(**{**_preset(kind, faithful), **own, **base})
    assert reader
    return reader


def settings_of(name: str) -> set[str]:
    """What can be set of a reader, its wrappers included."""
    return {field for kind in _parts(name) for field in kind.model_fields} - {"base"}


def readers_with(setting: str) -> list[str]:
    """The names of the readers that have a setting themselves."""
    return [name for name in READERS if setting in _kind(name).model_fields]


def at_budget(name: str, tokens: int) -> dict[str, Any]:
    """The settings that let a reader's memory, or the passages in its place, cost so many tokens
    when it is read: visual ones for a page, text ones else, which the memory then is written for.
    Nothing for a reader without one."""
    fields = _parts(name)[-1].model_fields
    if "cell" in fields:
        return {"budgets": (tokens,)}
    return {"memory_tokens": tokens} if "memory_tokens" in fields else {}


def _parts(name: str) -> list[type[Reader]]:
    """The classes that a name stands for, the outermost wrapper first."""
    kinds = [_kind(part.strip()) for part in name.split("+")]
    if issubclass(kinds[-1], Wrapper):
        kinds.append(_kind(_DEFAULT_BASE))
    for outer, inner in pairwise(kinds):
        if not issubclass(outer, Wrapper):
            raise ConfigurationError(
                f"{outer.name} wraps no other reader",
                hint=f"put it last: {inner.name}+{outer.name}",
            )
        if not issubclass(inner, MemoryReader):
            raise ConfigurationError(
                f"{inner.name} has no memory for {outer.name} to work on",
                hint="wrap memagent, memocr or rememr1",
            )
    return kinds


def _kind(name: str) -> type[Reader]:
    if name not in READERS:
        raise ConfigurationError(
            f"there is no reader {name!r}",
            hint=f"readers are: {', '.join(READERS)}; wrappers go before with +, "
            "as in memreread+memocr",
        )
    return reader_class(name)


def reader_class(name: str) -> type[Reader]:
    """The class of one of `READERS`."""
    place = READERS[name]
    kind: type[Reader] = getattr(import_module(f"palimpsest.readers.{place.module}"), place.kind)
    return kind


def _has_preset(kind: type[Reader]) -> bool:
    return hasattr(kind, "faithful")


def _preset(kind: type[Reader], faithful: bool) -> dict[str, Any]:
    """A class's own settings of its paper; none where it has none or they are not asked for."""
    if not faithful or not _has_preset(kind):
        return {}
    made: Reader = kind.faithful()  # type: ignore[attr-defined]
    return {field: getattr(made, field) for field in kind.model_fields if field != "base"}
