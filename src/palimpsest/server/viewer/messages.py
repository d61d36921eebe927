"""The messages of a turn, made again from what the reading refers to.

A reading keeps of each call only what it was made from, and the hash of the whole request. So the
reader is set to go on from where that call came, with a model that says what was said then; the
request of that hash is the one that was sent, to the letter. Where the source, the wording or the
reader is not what it was, no request has that hash, and it is said so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from palimpsest.errors import InputError, ModelError, PalimpsestError
from palimpsest.memory.reading import Header, Reading, Turn
from palimpsest.models.model import Completion, Message, Sampling, request_key
from palimpsest.prompts import default_prompts
from palimpsest.readers.digest import for_digest
from palimpsest.readers.drafting import MemoryReader
from palimpsest.readers.reader import Reader
from palimpsest.readers.restoring import restore
from palimpsest.server.gateway import CLIENTS_OWN
from palimpsest.server.viewer.shapes import turn_of
from palimpsest.sources import EstimateTokenizer, Source, Tokenizer

_LONGEST_S = 30.0


class Sent(NamedTuple):
    """One request."""

    messages: Sequence[Message]
    sampling: Sampling


class _Found(ModelError):
    """Ends the reading that was gone on with."""


class _Rerun:
    """A model that answers as was answered then, until it is asked for the wanted request."""

    def __init__(self, name: str, wanted: str, answers: Mapping[str, Completion]) -> None:
        self._name = name
        self._wanted = wanted
        self._answers = answers
        self.sent: Sent | None = None

    @property
    def name(self) -> str:
        return self._name

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        await asyncio.sleep(0)
        key = request_key(self._name, messages, sampling)
        if key == self._wanted:
            self.sent = Sent(messages, sampling)
        if self.sent or key not in self._answers:
            raise _Found("the request was found, or is another one")
        return self._answers[key]

    async def tokenizer(self) -> Tokenizer:
        return EstimateTokenizer()

    async def aclose(self) -> None:
        """Nothing is held."""


def told_turn(reading: Reading, number: int, source: Source | None) -> dict[str, Any]:
    """A turn with its texts. Raises `InputError` where there is none of that number."""
    turn = turn_of(reading, number)
    told: dict[str, Any] = {
        "text": turn.completion.text,
        "reasoning": turn.completion.reasoning,
        "model": turn.completion.model,
        "request": turn.request,
    }
    try:
        sent = rebuilt(reading, turn, source)
    except PalimpsestError as error:
        return told | {"messages": None, "why": str(error)}
    return told | {
        "messages": [
            {"role": message["role"], "parts": _parts(message)} for message in sent.messages
        ],
        "sampling": sent.sampling.model_dump(),
    }


def rebuilt(reading: Reading, turn: Turn, source: Source | None) -> Sent:
    """The request of a turn, to the letter. Raises an error that says why it cannot be had."""
    header = reading.header
    if turn.prompt == CLIENTS_OWN:
        raise InputError("it was a client's own request, with the memory in it, which is not kept")
    if source is None and turn.chunk is not None:
        raise InputError("the prompt holds a chunk of the source, which is not at hand")
    # Prompts without a chunk need nothing of the source but its name.
    whole = source or Source((), "", header.source_sha256)
    reader = _reader(header)
    answers = {one.request: one.completion for one in reading.turns}
    model = _Rerun(header.model, turn.request, answers)
    before = Reading(reading.opening, _before(reading, turn))
    asyncio.run(
        asyncio.wait_for(
            reader.read(whole, header.questions, model, reading=before), timeout=_LONGEST_S
        )
    )
    if model.sent is None:
        raise InputError(_why_not(before))
    return model.sent


def _reader(header: Header) -> Reader:
    """As it was: with the wording of a digest, where that is what the record says."""
    reader = restore(header.reader, header.settings, default_prompts())
    if isinstance(reader, MemoryReader) and reader.fingerprints() != header.prompts:
        return for_digest(reader)
    return reader


def _why_not(gone_on: Reading) -> str:
    """Why the request is not among those that were made again."""
    if gone_on.end and gone_on.end.error == "ReadingError":
        return gone_on.end.reason
    if gone_on.header.replay_of:
        return f"it was made for another question, in the reading {gone_on.header.replay_of}"
    return "it was made with another wording, reader or tokenizer than are here"


def _before(reading: Reading, turn: Turn) -> list[Any]:
    place = next(n for n, record in enumerate(reading.records) if record is turn)
    return reading.records[:place]


def _parts(message: Message) -> list[dict[str, str]]:
    content = message["content"]
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [
        {"type": "text", "text": part["text"]}
        if part["type"] == "text"
        else {"type": "image", "url": part["image_url"]["url"]}
        for part in content
    ]
