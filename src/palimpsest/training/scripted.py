"""A policy that says what it is told to: for testing agents and their training without a model.

policy = ScriptedPolicy(["first answer", "second answer"])
rollout = await roll_out(agent, item, policy)
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence

from palimpsest.models.model import Completion, Message, Sampling
from palimpsest.models.scripted import Answer, Call, Respond, ScriptedModel
from palimpsest.sources.tokens import Tokenizer
from palimpsest.training.sample import Sample

END = 0
"""The token that ends an answer."""
IMAGE = ord("\N{OBJECT REPLACEMENT CHARACTER}")
"""The token that stands for an image, whatever its size."""
_LOGPROB = -0.5


class ScriptedPolicy:
    """A `SamplingModel` over a `ScriptedModel`, whose tokens are the characters."""

    def __init__(self, answers: Sequence[Answer] | Respond, *, name: str = "scripted") -> None:
        self._model = ScriptedModel(answers, name=name)

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def calls(self) -> list[Call]:
        """What it was asked. For an extension, the messages that were added."""
        return self._model.calls

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        return (await self.sample(messages, sampling)).completion

    async def sample(self, messages: Sequence[Message], sampling: Sampling) -> Sample:
        return await self.extend((), (), messages, sampling)

    async def extend(
        self, ids: Sequence[int], images: Sequence[bytes], messages: Sequence[Message],
        sampling: Sampling,
    ) -> Sample:  # fmt: skip
        completion = await self._model.complete(messages, sampling)
        written = tuple(map(ord, completion.text))
        if completion.finish_reason == "stop":
            written += (END,)
        tokens = {"token_ids": written, "logprobs": (_LOGPROB,) * len(written)}
        return Sample(
            completion.model_copy(update=tokens),
            (*ids, *_tokens(messages)),
            (*images, *_images(messages)),
        )

    async def tokenizer(self) -> Tokenizer:
        return await self._model.tokenizer()

    async def aclose(self) -> None:
        """Nothing is held."""


def text_of(ids: Sequence[int]) -> str:
    """What a scripted policy's tokens say, an end as a newline."""
    return "".join("\n" if token == END else chr(token) for token in ids)


def _tokens(messages: Sequence[Message]) -> Iterator[int]:
    for message in messages:
        content = message["content"]
        parts = [content] if isinstance(content, str) else content
        yield from map(ord, f"{message['role']}: ")
        for part in parts:
            if isinstance(part, str):
                yield from map(ord, part)
            elif part["type"] == "text":
                yield from map(ord, part["text"])
            else:
                yield IMAGE
        yield END
    yield from map(ord, "assistant: ")


def _images(messages: Sequence[Message]) -> Iterator[bytes]:
    for message in messages:
        if isinstance(message["content"], str):
            continue
        for part in message["content"]:
            if part["type"] == "image_url":
                yield base64.b64decode(part["image_url"]["url"].partition(",")[2])
