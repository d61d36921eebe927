"""A request's messages in one form, whichever endpoint they came to, and back again.

What the gateway does not change goes back exactly as it came.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from palimpsest.server.gateway.extension import file_documents

DialectName = Literal["chat", "responses"]
Role = Literal["instructions", "user", "assistant", "tool"]
PartKind = Literal["text", "file", "image", "other"]
Json = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """A piece of a message."""

    kind: PartKind
    raw: Any
    """As it stands in the request; None for one that the gateway made."""
    text: str = ""
    """Of a text."""
    data: str = ""
    """Of a file or an image: base64 or a URL."""
    name: str = ""
    """Of a file."""

    def documents(self, name: str) -> list[tuple[str, str]]:
        """What a file holds, as (name, text) pairs. Raises `InputError` or `SourceError`."""
        return file_documents(self.data, name)


@dataclass(frozen=True)
class Entry:
    """One message, or what stands in the place of one: a call of a tool, its result."""

    role: Role
    parts: tuple[Part, ...]
    raw: Any
    called: str = ""
    """What an assistant's message calls, as text."""
    field: str = "content"
    """Where in `raw` the parts stand."""
    changed: bool = False

    def with_parts(self, parts: Sequence[Part]) -> Entry:
        return replace(self, parts=tuple(parts), changed=True)

    @property
    def text(self) -> str:
        """All its texts."""
        return "\n\n".join(part.text for part in self.parts if part.kind == "text")


@dataclass(frozen=True)
class Conversation:
    """All messages of a request, in order."""

    entries: tuple[Entry, ...]
    strange: bool = False
    """Whether something in it is of no shape that is known, so that it cannot be taken apart."""
    question_at: int | None = field(init=False)
    """The last message of the user."""

    def __post_init__(self) -> None:
        users = [at for at, entry in enumerate(self.entries) if entry.role == "user"]
        object.__setattr__(self, "question_at", users[-1] if users else None)


ReadPart = Callable[[Mapping[str, Any]], Part]


def parts_of(content: object, read: ReadPart) -> tuple[Part, ...] | None:
    """The parts of a message's content; None where it is of no known shape."""
    if content is None:
        return ()
    if isinstance(content, str):
        return (Part("text", content, content),)
    if not isinstance(content, list) or not all(isinstance(one, Mapping) for one in content):
        return None
    return tuple(read(one) for one in content)


def text_part(raw: Mapping[str, Any]) -> Part:
    """A part with a text, or one that is passed on."""
    text = raw.get("text")
    return Part("text", raw, text) if isinstance(text, str) else Part("other", raw)


def written(entry: Entry, made: Callable[[Part, Role], Json]) -> Any:  # noqa: ANN401
    """The message as JSON; `made` writes a part that the gateway made."""
    if not entry.changed:
        return entry.raw
    texts = all(part.kind == "text" for part in entry.parts)
    was_text = isinstance(entry.raw.get(entry.field), str)
    if texts and was_text:
        content: Any = entry.text
    else:
        content = [
            part.raw if isinstance(part.raw, Mapping) else made(part, entry.role)
            for part in entry.parts
        ]
    return {**entry.raw, entry.field: content}
