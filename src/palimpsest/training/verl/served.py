"""verl's inference servers as a model that readers and agents talk to, tokens in and tokens out.

    model = ServedModel(server, encoder, asked, window=32_768)
    rollout = await roll_out(agent, item, model)
    model.versions          # of the weights that wrote it

Prompts are made by the model's own template and tokenised here, once; what a server samples is
never tokenised again. Tokens that stand for images, and others that no answer can hold, are out of
the sampler's reach, as they are in the embedded trainer.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from PIL import Image

from palimpsest.errors import InputError, ModelError, TransientError, WindowError
from palimpsest.models.answer import split_thinking
from palimpsest.models.model import Completion, Message, Sampling, Usage
from palimpsest.sources.tokens import Tokenizer
from palimpsest.training.encoding import Encoder, PolicyTokenizer, Prompt
from palimpsest.training.families import family_of
from palimpsest.training.sample import Sample

_OUT_OF_REACH = -100.0
"""Added to the score of a token that must not be sampled; the most that servers take."""


class Server(Protocol):
    """verl's handle on its inference servers."""

    async def generate(
        self,
        request_id: str,
        *,
        prompt_ids: list[int],
        sampling_params: dict[str, Any],
        image_data: list[Image.Image] | None = None,
    ) -> Any:  # noqa: ANN401
        """Tokens with log-probabilities, and in `extra_fields` the version of the weights."""
        ...


class ServedModel:
    """A `SamplingModel` over verl's servers, for one rollout."""

    def __init__(
        self,
        server: Server,
        encoder: Encoder,
        asked: Mapping[str, Any],
        *,
        window: int | None = None,
        seed_key: str | None = None,
        name: str = "policy",
    ) -> None:
        """Args:
        asked: What verl wants of every call (top_k, logprobs), for both of its servers.
        window: Most tokens of prompt and answer together; default the model's own.
        seed_key: What the server calls a call's seed; None to leave chance to the server.
        """
        self.versions: list[int] = []
        """Of the weights, of each answer; empty where the server tells none."""
        self.seconds = 0.0
        """Of waiting for the servers."""
        self._server = server
        self._encoder = encoder
        self._asked = asked
        # Ids beyond the tokenizer's are left out: a trained model gives them no probability.
        self._banned = frozenset(encoder.banned(len(encoder.tokenizer)))
        self._window = window or encoder.family.window
        self._seed_key = seed_key
        self._name = name
        self._session = uuid4().hex

    @property
    def name(self) -> str:
        return self._name

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        return (await self.sample(messages, sampling)).completion

    async def sample(self, messages: Sequence[Message], sampling: Sampling) -> Sample:
        return await self._sample(self._encoder.prompt(messages), sampling)

    async def extend(
        self, ids: Sequence[int], images: Sequence[bytes], messages: Sequence[Message],
        sampling: Sampling,
    ) -> Sample:  # fmt: skip
        return await self._sample(self._encoder.continued(ids, images, messages), sampling)

    async def tokenizer(self) -> Tokenizer:
        return _tokenizer(self._encoder.tokenizer)

    async def aclose(self) -> None:
        """Nothing is held: the servers are verl's."""

    async def _sample(self, prompt: Prompt, sampling: Sampling) -> Sample:
        self._check(prompt, sampling)
        begun = time.perf_counter()
        written = await self._server.generate(
            self._session,
            prompt_ids=list(prompt.ids),
            sampling_params=self._parameters(sampling),
            image_data=[picture(png) for png in prompt.images] or None,
        )
        seconds = time.perf_counter() - begun
        self.seconds += seconds
        return Sample(self._completion(prompt, written, seconds), prompt.ids, prompt.images)

    def _check(self, prompt: Prompt, sampling: Sampling) -> None:
        if sampling.max_tokens < 1:
            raise InputError(
                f"an answer of at most {sampling.max_tokens} tokens", hint="allow at least one"
            )
        if len(prompt.ids) + sampling.max_tokens > self._window:
            raise WindowError(
                f"a prompt of {len(prompt.ids)} tokens and an answer of {sampling.max_tokens} "
                f"do not fit the window of {self._window}",
                hint="choose smaller chunks or a smaller memory",
            )

    def _parameters(self, sampling: Sampling) -> dict[str, Any]:
        asked = dict(self._asked)
        asked |= {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "logprobs": True,
            "stop_token_ids": sorted(self._encoder.ends),
            "logit_bias": dict.fromkeys(sorted(self._banned), _OUT_OF_REACH),
        }
        if self._seed_key and sampling.seed is not None:
            asked[self._seed_key] = sampling.seed
        return asked

    def _completion(
        self,
        prompt: Prompt,
        written: Any,  # noqa: ANN401
        seconds: float,
    ) -> Completion:
        ids = tuple(written.token_ids)
        logprobs = tuple(written.log_probs or ())
        if written.stop_reason == "aborted" or not ids:
            raise TransientError("the server broke off an answer", hint="the rollout is lost")
        if len(logprobs) != len(ids) or not all(map(math.isfinite, logprobs)):
            raise ModelError(
                "the server gave no log-probability to each token",
                hint="set actor_rollout_ref.rollout.calculate_log_probs=True",
            )
        if not self._banned.isdisjoint(ids):
            raise ModelError(
                "the server sampled a token that no answer can hold",
                hint="its sampler must heed logit_bias",
            )
        version = written.extra_fields.get("global_steps")
        if version is not None:
            self.versions.append(int(version))
        thinking = split_thinking(self._encoder.text(ids))
        return Completion(
            text=thinking.text,
            reasoning=thinking.reasoning,
            # verl's servers say the same of answers that ended and of those that were cut off.
            finish_reason="stop" if ids[-1] in self._encoder.ends else "length",
            usage=Usage(prompt=len(prompt.ids), completion=len(ids)),
            model=self.name,
            seconds=seconds,
            token_ids=ids,
            logprobs=logprobs,
        )


def encoder_of(folder: str | Path, tokenizer: Any, template: Mapping[str, Any]) -> Encoder:  # noqa: ANN401
    """How the model in a folder is spoken to, with the tokenizer that verl has loaded from it."""
    from transformers import AutoConfig, GenerationConfig

    config = AutoConfig.from_pretrained(folder)
    named: Any = None
    if (Path(folder) / "generation_config.json").is_file():
        named = GenerationConfig.from_pretrained(folder).eos_token_id
    ends = {*(named if isinstance(named, list) else [named]), tokenizer.eos_token_id} - {None}
    return Encoder(tokenizer, family_of(config), frozenset(ends), dict(template))


def picture(png: bytes) -> Image.Image:
    """An image as verl takes it."""
    with Image.open(io.BytesIO(png)) as image:
        return image.convert("RGB")


@lru_cache(maxsize=4)
def _tokenizer(tokenizer: Any) -> PolicyTokenizer:  # noqa: ANN401
    return PolicyTokenizer(tokenizer, "policy")
