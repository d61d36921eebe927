"""Which part of a conversation is the source, which the question, and what stays as it is.

The rules, which docs/gateway.md states for users, in their order:

1. What `palimpsest.source` holds is source.
2. Every file of the messages is source, and every text of more than a part of the window; of such
   a text, a question in its first or last short paragraph stays in its message.
3. While what is left of the messages takes more than a quarter of the window, the oldest turns
   become source, until it takes an eighth.
4. The question is `palimpsest.question`, else what is left of the user's last message.
5. System messages stay, unless they alone take more than half of the window.

A document is decided by what came before it in the conversation, never by what came after, so a
conversation that goes on only adds documents behind those that it had.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import NamedTuple

from PIL import Image

from palimpsest.errors import InputError
from palimpsest.models.sight import Eyes, image_bytes
from palimpsest.server.gateway.conversation import Conversation, Entry, Part
from palimpsest.server.gateway.ends import take_ends
from palimpsest.sources.tokens import estimate_tokens

_CELL_PX = 28
_IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
_BROKEN_IMAGE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
_LINKED_IMAGE_TOKENS = 1024
"""What an image is taken to cost that is a link, and so not looked at."""


class Sizes(NamedTuple):
    """How much of what stays, in tokens."""

    window: int

    @property
    def large(self) -> int:
        """A text of more is source."""
        return max(256, self.window // 8)

    @property
    def talk(self) -> int:
        """The most that turns may take together before the oldest become source."""
        return self.window // 4

    @property
    def kept_talk(self) -> int:
        """What they take after that."""
        return self.window // 8


class Split(NamedTuple):
    """A conversation taken apart."""

    documents: list[tuple[str, str]]
    """The source, as (name, text) pairs; none where all of it fits."""
    question: str
    """Empty where none was found."""
    entries: list[Entry]
    """What stays."""
    at: int
    """Which of them is the user's last message, before which the memory is put."""
    shown: tuple[str, ...] = ()
    """Ends of the last message, repeated for the answer where no question was found."""


def estimate(text: str) -> int:
    """Tokens of a text, rather too many than too few."""
    return int(estimate_tokens(text).sum())


def split(
    conversation: Conversation,
    sizes: Sizes,
    *,
    explicit: Sequence[tuple[str, str]] = (),
    question: str | None = None,
    eyes: Eyes | None = None,
) -> Split:
    """Takes a conversation apart. Raises `InputError` for a file or image that cannot be read."""
    if conversation.strange:
        raise InputError(
            "the messages are too long for the model's window, and one of them is of no shape "
            "that is known, so they cannot be read in parts",
            hint="send text, file and image parts, as OpenAI documents them",
        )
    work = _Splitting(sizes, eyes if _images_are_many(conversation, sizes) else None)
    work.documents += explicit
    for entry in conversation.entries:
        work.take(entry, instructions=_instructions_are_long(conversation, sizes))
    entries, at = _with_user(work.kept(), question)
    asked = question or entries[at].text.strip()
    named = list(_named_apart(work.documents))
    shown = work.shown if not asked else ()
    return Split(named, asked, entries, at, shown)


@dataclass
class _Kept:
    entry: Entry
    number: int
    """Of the message, from 1, without instructions."""
    size: int
    turn: int
    """Counts the user's messages."""


@dataclass
class _Splitting:
    """The messages so far."""

    sizes: Sizes
    eyes: Eyes | None
    documents: list[tuple[str, str]] = field(default_factory=list)
    shown: tuple[str, ...] = ()
    """Of the user's last message."""
    _entries: list[Entry | _Kept] = field(default_factory=list)
    _turn: int = 0
    _number: int = 0

    def take(self, entry: Entry, *, instructions: bool) -> None:
        if entry.role == "instructions":
            name = "instructions"
            self._entries.append(self._without_source(entry, name) if instructions else entry)
            return
        self._number += 1
        if entry.role == "user":
            self._turn += 1
            self.shown = ()
        kept = self._without_source(entry, f"message {self._number}")
        size = sum(map(part_tokens, kept.parts)) + estimate(kept.called)
        self._entries.append(_Kept(kept, self._number, size, self._turn))
        if entry.role == "user":
            self._let_go()

    def kept(self) -> list[Entry]:
        return [one.entry if isinstance(one, _Kept) else one for one in self._entries]

    def _without_source(self, entry: Entry, name: str) -> Entry:
        parts: list[Part] = []
        for number, part in enumerate(entry.parts):
            parts += self._left_of(part, f"{name}, part {number + 1}" if number else name, entry)
        return entry if len(parts) == len(entry.parts) and parts == list(entry.parts) else (
            entry.with_parts(parts)
        )  # fmt: skip

    def _left_of(self, part: Part, name: str, entry: Entry) -> Iterator[Part]:
        """What stays of a part in its message; the rest is a document."""
        if part.kind == "file":
            self.documents += part.documents(part.name or f"file of {name}")
        elif part.kind == "image" and self.eyes is not None:
            self.documents.append((f"image of {name}", _read_image(part, self.eyes)))
        elif part.kind != "text" or not self._is_large(part.text):
            yield part
        elif entry.role == "user":
            ends = take_ends(part.text)
            self.shown = ends.shown
            self.documents.append((name, ends.body))
            if ends.question:
                yield Part("text", None, ends.question)
        else:
            self.documents.append((name, part.text))
            yield Part("text", None, f"[{name}: it is in the notes]")

    def _let_go(self) -> None:
        """Makes the oldest turns documents where all of them take too much."""
        held = [one for one in self._entries if isinstance(one, _Kept)]
        total = sum(one.size for one in held)
        if total <= self.sizes.talk:
            return
        gone: set[int] = set()
        for one in held:
            if one.turn == self._turn or (total <= self.sizes.kept_talk and one.turn not in gone):
                break
            gone.add(one.turn)
            total -= one.size
            self._make_document(one)
        self._entries = [
            one for one in self._entries if not isinstance(one, _Kept) or one.turn not in gone
        ]

    def _make_document(self, one: _Kept) -> None:
        text = "\n\n".join(part for part in (one.entry.text, one.entry.called) if part.strip())
        if text:
            who = f"message {one.number} ({one.entry.role})"
            self.documents.append((who, text))

    def _is_large(self, text: str) -> bool:
        return len(text) > self.sizes.large and estimate(text) > self.sizes.large


def part_tokens(part: Part) -> int:
    """What a part costs in a prompt."""
    if part.kind == "text":
        return estimate(part.text)
    return image_tokens(part) if part.kind == "image" else 0


def image_tokens(part: Part) -> int:
    """What an image costs in a prompt: its cells, or a guess where it is a link."""
    try:
        with _opened(part) as image:
            return math.ceil(image.width / _CELL_PX) * math.ceil(image.height / _CELL_PX)
    except (InputError, *_BROKEN_IMAGE):
        return _LINKED_IMAGE_TOKENS


def _images_are_many(conversation: Conversation, sizes: Sizes) -> bool:
    images = (part for entry in conversation.entries for part in entry.parts)
    return sum(image_tokens(part) for part in images if part.kind == "image") > sizes.talk


def _instructions_are_long(conversation: Conversation, sizes: Sizes) -> bool:
    own = (entry for entry in conversation.entries if entry.role == "instructions")
    return sum(estimate(entry.text) for entry in own) > sizes.window // 2


def _read_image(part: Part, eyes: Eyes) -> str:
    try:
        with _opened(part) as image:
            return eyes.read(image.convert("RGB"))
    except _BROKEN_IMAGE as error:
        raise InputError(f"an image cannot be decoded: {error}") from error


def _opened(part: Part) -> Image.Image:
    # Not whatever Pillow knows: some formats start programs, or are documents of their own.
    return Image.open(BytesIO(image_bytes(part.data)), formats=_IMAGE_FORMATS)


def _with_user(entries: list[Entry], question: str | None) -> tuple[list[Entry], int]:
    """The entries and which of them asks; one is added where none does."""
    users = [at for at, entry in enumerate(entries) if entry.role == "user"]
    if not users:
        entries = [*entries, Entry("user", (), {"role": "user", "content": ""}, changed=True)]
        users = [len(entries) - 1]
    at = users[-1]
    if question and question not in entries[at].text:
        made = Part("text", None, question)
        entries[at] = entries[at].with_parts([*entries[at].parts, made])
    return entries, at


def _named_apart(documents: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The documents that hold something; of two of one name the later one is numbered."""
    seen: dict[str, int] = {}
    for name, text in documents:
        if not text.strip():
            continue
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name} ({seen[name]})"), text
