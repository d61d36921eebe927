"""The model seam: one async method, OpenAI chat messages in, a completion out.

Everything that talks to a language model does so through `Model`. Implementations live beside
this module: an OpenAI-compatible endpoint, the embedded local model, a scripted one for tests,
and the wrappers that record, give eyes, and meter.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypedDict

from pydantic import BaseModel, ConfigDict

from palimpsest.sources.tokens import Tokenizer


class TextPart(TypedDict):
    type: Literal["text"]
    text: str


class ImageURL(TypedDict):
    url: str


class ImagePart(TypedDict):
    """An image as a `data:image/png;base64,...` URL, in OpenAI's shape."""

    type: Literal["image_url"]
    image_url: ImageURL


class Message(TypedDict):
    role: Literal["system", "user", "assistant"]
    content: str | list[TextPart | ImagePart]


class Sampling(BaseModel):
    """How to generate. `max_tokens` bounds the text; thinking has an allowance of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None


class Usage(BaseModel):
    """Tokens of one call. `completion` includes `reasoning`; `prompt` includes `cached`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: int = 0
    cached: int = 0
    completion: int = 0
    reasoning: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            prompt=self.prompt + other.prompt,
            cached=self.cached + other.cached,
            completion=self.completion + other.completion,
            reasoning=self.reasoning + other.reasoning,
        )


FinishReason = Literal["stop", "length", "refused"]


class Completion(BaseModel):
    """What a model answered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    """The answer, without thinking."""
    reasoning: str = ""
    """Thinking, whether the server kept it apart or it leaked into the content as a tag."""
    finish_reason: FinishReason = "stop"
    usage: Usage = Usage()
    model: str = ""
    """The model as the server reports it."""
    seconds: float = 0.0
    token_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None


class Model(Protocol):
    """Anything that completes chat messages."""

    @property
    def name(self) -> str:
        """What is asked for; stored with every reading."""
        ...

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """One completion. Raises `ModelError` when none can be had."""
        ...

    async def tokenizer(self) -> Tokenizer:
        """The model's own tokenizer where it can be had, else a conservative estimate."""
        ...

    async def aclose(self) -> None:
        """Lets go of connections and of a loaded model; a later call opens them again."""
        ...


def request_key(model: str, messages: Sequence[Message], sampling: Sampling) -> str:
    """SHA-256 of the canonical request: equal requests have equal keys on any machine."""
    request: dict[str, Any] = {
        "model": model,
        "messages": messages,
        "sampling": sampling.model_dump(),
    }
    canonical = json.dumps(request, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def user(text: str, image_url: str | None = None) -> list[Message]:
    """A one-turn conversation; the image, if any, comes before the text as in MemOCR."""
    if image_url is None:
        return [{"role": "user", "content": text}]
    image: ImagePart = {"type": "image_url", "image_url": {"url": image_url}}
    return [{"role": "user", "content": [image, {"type": "text", "text": text}]}]
