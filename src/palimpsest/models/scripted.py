"""A model that says what it is told to: for testing agents without a model.

model = ScriptedModel(["first answer", "second answer"])
...
assert "Paris" in str(model.calls[1].messages)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from palimpsest.errors import ModelError
from palimpsest.models.model import Completion, Message, Sampling, Usage
from palimpsest.sources.tokens import EstimateTokenizer, Tokenizer

Answer = str | Completion | Exception
Respond = Callable[[Sequence[Message], Sampling], str | Completion]


class Call(NamedTuple):
    """One request that a `ScriptedModel` was given."""

    messages: list[Message]
    sampling: Sampling


class ScriptedModel:
    """Answers from a list, in order, or from a function of the request.

    An exception in the list is raised in its turn. A plain string becomes a completion whose
    usage is estimated from the texts; images cost nothing.
    """

    def __init__(
        self,
        answers: Sequence[Answer] | Respond,
        *,
        name: str = "scripted",
        latency_s: float = 0.0,
    ) -> None:
        self.calls: list[Call] = []
        self._respond = answers if callable(answers) else None
        self._script: Iterator[Answer] = iter(() if callable(answers) else answers)
        self._name = name
        self._latency_s = latency_s
        self._tokenizer = EstimateTokenizer()

    @property
    def name(self) -> str:
        return self._name

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        self.calls.append(Call(list(messages), sampling))
        answer = self._next(messages, sampling)
        await asyncio.sleep(self._latency_s)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Completion):
            return answer
        return await self._completion(messages, answer)

    async def tokenizer(self) -> Tokenizer:
        return self._tokenizer

    async def aclose(self) -> None:
        """Nothing is held."""

    def _next(self, messages: Sequence[Message], sampling: Sampling) -> Answer:
        if self._respond is not None:
            return self._respond(messages, sampling)
        try:
            return next(self._script)
        except StopIteration:
            raise ModelError(
                f"the script of {self._name!r} ran out: this is call {len(self.calls)}",
                hint="Give one answer for each call, or a function that answers any.",
            ) from None

    async def _completion(self, messages: Sequence[Message], text: str) -> Completion:
        prompt = "\n".join(texts(messages))
        return Completion(
            text=text,
            usage=Usage(prompt=await self._count(prompt), completion=await self._count(text)),
            model=self._name,
            seconds=self._latency_s,
        )

    async def _count(self, text: str) -> int:
        return len(await self._tokenizer.offsets(text))


def texts(messages: Sequence[Message]) -> Iterator[str]:
    """The texts of a conversation, in order, without its images."""
    for message in messages:
        content = message["content"]
        if isinstance(content, str):
            yield content
            continue
        for part in content:
            if part["type"] == "text":
                yield part["text"]
