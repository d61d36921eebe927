"""What a model has cost so far, whoever called it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from palimpsest.errors import ModelError
from palimpsest.models.model import Completion, Message, Model, Sampling, Usage
from palimpsest.sources.tokens import Tokenizer


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
