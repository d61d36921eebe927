"""A model that asks nobody: what a reading would send is counted, what comes back is assumed.

    dry = DryModel(model, lambda messages, sampling: "notes of the length that is assumed")
    await MemAgent().read(source, question, dry)
    dry.calls

The real reader runs before it, so chunks, prompts and the number of calls are the real ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from palimpsest.models.meter import prompt_tokens
from palimpsest.models.model import Completion, Message, Model, Sampling, Usage
from palimpsest.sources.tokens import Tokenizer, clip, count

Assume = Callable[[Sequence[Message], Sampling], str]


class DryCall(NamedTuple):
    """One call that was not made."""

    usage: Usage
    """As it would be if the model answered as assumed."""
    max_tokens: int
    """The most that it could have written."""

    @property
    def most(self) -> Usage:
        """As it would be if the model wrote as much as it may."""
        return self.usage.model_copy(update={"completion": self.max_tokens})


class DryModel:
    """Stands before a model, whose name and tokenizer it has, and answers what `assume` says."""

    def __init__(self, model: Model, assume: Assume, *, image_tokens: int = 0) -> None:
        """`image_tokens`: the least that an image costs, where its text is read out to the
        model and its cells say nothing."""
        self.calls: list[DryCall] = []
        self.most_at_once = 0
        """The most calls that were under way at the same time."""
        self._at_once = 0
        self._model = model
        self._assume = assume
        self._image_tokens = image_tokens

    @property
    def name(self) -> str:
        return self._model.name

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await self._answered(messages, sampling)
        finally:
            self._at_once -= 1

    async def tokenizer(self) -> Tokenizer:
        return await self._model.tokenizer()

    async def aclose(self) -> None:
        """The model is whoever opened it's."""

    async def _answered(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        # What runs side by side with this call gets its chance to be under way too.
        await asyncio.sleep(0)
        tokenizer = await self.tokenizer()
        text = self._assume(messages, sampling)
        usage = Usage(
            prompt=await prompt_tokens(tokenizer, messages, image_tokens=self._image_tokens),
            completion=await count(tokenizer, text),
        )
        self.calls.append(DryCall(usage, sampling.max_tokens))
        return Completion(text=text, usage=usage, model=self.name)


async def filler(tokenizer: Tokenizer, sample: str, tokens: int) -> str:
    """Text of so many tokens, or a few less, in the words of a sample."""
    text = f"{sample.strip() or 'word'}\n"
    while await count(tokenizer, text) < tokens:
        text += text
    limit = tokens
    while await count(tokenizer, text) > tokens:
        # What is cut may count anew, as its last word is another.
        text = (await clip(tokenizer, text, limit)).rstrip()
        limit -= 1
    return text
