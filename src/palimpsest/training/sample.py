"""The model seam as training needs it: completions with the tokens they were made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from palimpsest.models.model import Completion, Message, Model, Sampling


@dataclass(frozen=True)
class Sample:
    """A completion with its tokens."""

    completion: Completion
    """Its `token_ids` and `logprobs` are set; the end token is among them where it was sampled."""
    prompt_ids: tuple[int, ...]
    """Image placeholders expanded, one for each visual token."""
    images: tuple[bytes, ...] = ()
    """PNG, in the order of their placeholders."""


class SamplingModel(Model, Protocol):
    """A model that tells which tokens it saw and which it wrote."""

    async def sample(self, messages: Sequence[Message], sampling: Sampling) -> Sample:
        """As `complete`, with tokens. Raises `ModelError` when none can be had."""
        ...

    async def extend(
        self, ids: Sequence[int], images: Sequence[bytes], messages: Sequence[Message],
        sampling: Sampling,
    ) -> Sample:  # fmt: skip
        """Goes on after `ids`, which end with an answer, with further messages (a tool's
        response, the user's next). The sample's `prompt_ids` begin with `ids` as they are, and
        only what the messages add was tokenised."""
        ...
