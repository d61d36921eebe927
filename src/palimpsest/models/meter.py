"""What a model has cost so far, whoever called it."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from palimpsest.errors import ModelError
from palimpsest.models.model import Completion, Message, Model, Sampling, Usage
from palimpsest.models.scripted import texts
from palimpsest.sources.tokens import Tokenizer, count

_CELL_PX = 28
"""Pixels a side of one visual token; the smaller of the two that are in use, so none is missed."""


class Totals(BaseModel):
    """Sums over calls."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    calls: int = 0
    """All calls, failed ones included."""
    failures: int = 0
    usage: Usage = Usage()
    seconds: float = 0.0
    """Spent waiting, summed over calls: more than has passed where calls ran side by side."""

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            calls=self.calls + other.calls,
            failures=self.failures + other.failures,
            usage=self.usage + other.usage,
            seconds=self.seconds + other.seconds,
        )


class MeteredModel:
    """Passes every call on and adds it up in `totals`. A call that is cancelled is not counted."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.totals = Totals()

    @property
    def name(self) -> str:
        return self._model.name

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        started = time.monotonic()
        try:
            answer = await self._model.complete(messages, sampling)
        except ModelError:
            seconds = time.monotonic() - started
            self.totals += Totals(calls=1, failures=1, seconds=seconds)
            raise
        seconds = time.monotonic() - started
        self.totals += Totals(calls=1, usage=answer.usage, seconds=seconds)
        return answer

    async def tokenizer(self) -> Tokenizer:
        return await self._model.tokenizer()

    async def aclose(self) -> None:
        await self._model.aclose()


async def prompt_tokens(
    tokenizer: Tokenizer, messages: Sequence[Message], *, image_tokens: int = 0
) -> int:
    """What a conversation costs to read: its texts by the tokenizer, its images by their cells,
    each at least `image_tokens`.

    What a server's chat template adds, a few tokens a message, is not known here.
    """
    images = sum(max(_cells(url), image_tokens) for url in _images_of(messages))
    return await count(tokenizer, _text_of(messages)) + images


def _text_of(messages: Sequence[Message]) -> str:
    return "\n".join(texts(messages))


def _images_of(messages: Sequence[Message]) -> list[str]:
    return [
        part["image_url"]["url"]
        for message in messages
        if not isinstance(message["content"], str)
        for part in message["content"]
        if part["type"] == "image_url"
    ]


def _cells(url: str) -> int:
    from PIL import Image

    from palimpsest.models.sight import image_bytes

    with Image.open(io.BytesIO(image_bytes(url))) as image:
        return math.ceil(image.width / _CELL_PX) * math.ceil(image.height / _CELL_PX)
