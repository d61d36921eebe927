"""A model that keeps what training needs of every call of one rollout.

    recorder = Recorder(policy_model, group="hotpotqa-17", number=3)
    reading = await reader.read(source, question, recorder)
    recorder.conversations()

Readers and agents talk to it as to any model. What was sampled is kept as it was sampled, token by
token. A call whose messages go on from an earlier call's (its messages, the answer as it was
returned, and more: a tool's response) goes on from that call's tokens, and the two are one
conversation, in which only what the policy wrote is trained on. Any other call begins a new one.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from palimpsest.errors import ConfigurationError
from palimpsest.models.model import Completion, Message, Model, Sampling, request_key
from palimpsest.sources.tokens import Tokenizer
from palimpsest.training.rollout import Conversation
from palimpsest.training.sample import Sample, SamplingModel

UNNAMED = "turn"
"""The role of a conversation that nobody named."""


class Label(NamedTuple):
    """What a conversation is to training."""

    role: str = UNNAMED
    task: str = ""
    step: int | None = None
    """None for its place among the conversations of its role."""
    state_reward: float | None = None
    trained: bool = True


@dataclass(eq=False)
class Recorded:
    """One conversation as it grows."""

    label: Label
    messages: list[Message]
    """Up to the last answer and with it."""
    requests: list[str] = field(default_factory=list)
    """The key of each call, of the request as it was made."""
    completions: list[Completion] = field(default_factory=list)
    prompt_ids: tuple[int, ...] = ()
    response_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    mask: tuple[bool, ...] = ()
    images: tuple[bytes, ...] = ()
    waiting: bool = True
    """Whether a call of it is under way."""

    @property
    def ids(self) -> tuple[int, ...]:
        return self.prompt_ids + self.response_ids

    def add(self, request: str, messages: Sequence[Message], sample: Sample) -> None:
        """Takes in the answer to `messages`, with what stands between it and the last one."""
        between = sample.prompt_ids[len(self.ids) :] if self.completions else ()
        if not self.completions:
            self.prompt_ids = sample.prompt_ids
        written, logprobs = _tokens(sample.completion)
        self.response_ids += between + written
        self.logprobs += (0.0,) * len(between) + logprobs
        self.mask += (False,) * len(between) + (True,) * len(written)
        self.images = sample.images
        self.requests.append(request)
        self.completions.append(sample.completion)
        self.messages = [*messages, {"role": "assistant", "content": sample.completion.text}]

    def conversation(self, label: Label, step: int) -> Conversation:
        return Conversation(
            role=label.role,
            prompt_ids=self.prompt_ids,
            response_ids=self.response_ids,
            logprobs=self.logprobs,
            mask=self.mask,
            images=self.images,
            finish=self.completions[-1].finish_reason,
            step=step,
            task=label.task,
            state_reward=label.state_reward,
            trained=label.trained,
        )


class Recorder:
    """A `Model` over the policy's, for one rollout.

    What chance decides in the rollout is a function of `group` and `number`: the same two give the
    same rollout of the same policy.
    """

    def __init__(
        self,
        model: SamplingModel,
        *,
        group: str = "",
        number: int = 0,
        temperature: float | None = None,
        top_p: float | None = None,
    ) -> None:
        """`temperature` and `top_p` take the place of what calls ask for, so that a reader which
        answers users without chance explores in training."""
        self._model = model
        self._group = group
        self._number = number
        self._temperature = temperature
        self._top_p = top_p
        self._asked: Counter[str] = Counter()
        self._recorded: list[Recorded] = []

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def recorded(self) -> list[Recorded]:
        """The conversations that have an answer, in the order of their first calls."""
        return [one for one in self._recorded if one.completions]

    def chance(self, purpose: str) -> random.Random:
        """For what differs between the rollouts of a group."""
        return random.Random(f"{self._group}/{self._number}/{purpose}")

    def group_chance(self, purpose: str) -> random.Random:
        """For what must be the same in all of them, since they are compared."""
        return random.Random(f"{self._group}//{purpose}")

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        return await self._complete(messages, sampling, Label())

    def named(self, role: str, *, task: str = "", step: int | None = None) -> Model:
        """The same model, whose calls begin conversations of that role."""
        return _Named(self, Label(role, task, step))

    def conversations(self, labels: Sequence[Label] | None = None) -> tuple[Conversation, ...]:
        """What was said so far, under the labels given for `recorded` or their own."""
        recorded = self.recorded
        labels = labels or [one.label for one in recorded]
        counts: Counter[str] = Counter()
        conversations = []
        for one, label in zip(recorded, labels, strict=True):
            step = counts[label.role] if label.step is None else label.step
            counts[label.role] += 1
            conversations.append(one.conversation(label, step))
        return tuple(conversations)

    async def tokenizer(self) -> Tokenizer:
        return await self._model.tokenizer()

    async def aclose(self) -> None:
        """Nothing: the policy outlives the rollout."""

    async def _complete(
        self, messages: Sequence[Message], sampling: Sampling, label: Label
    ) -> Completion:
        request = request_key(self.name, messages, sampling)
        sampling = self._own(sampling, request)
        earlier = self._continued(messages)
        if earlier is None:
            earlier = Recorded(label, [])
            self._recorded.append(earlier)
        earlier.waiting = True
        try:
            sample = await self._ask(earlier, messages, sampling)
        finally:
            earlier.waiting = False
        earlier.add(request, messages, sample)
        return sample.completion

    async def _ask(
        self, earlier: Recorded, messages: Sequence[Message], sampling: Sampling
    ) -> Sample:
        if not earlier.completions:
            return await self._model.sample(messages, sampling)
        new = messages[len(earlier.messages) :]
        sample = await self._model.extend(earlier.ids, earlier.images, new, sampling)
        if sample.prompt_ids[: len(earlier.ids)] != earlier.ids:
            raise ConfigurationError(
                f"{self.name} did not go on from the tokens it was given",
                hint="`extend` must return them as the beginning of `prompt_ids`",
            )
        return sample

    def _continued(self, messages: Sequence[Message]) -> Recorded | None:
        """The conversation that these messages go on from, the longest of several."""
        begun = (one for one in self._recorded if not one.waiting and _goes_on(messages, one))
        return max(begun, key=lambda one: len(one.messages), default=None)

    def _own(self, sampling: Sampling, request: str) -> Sampling:
        """As asked for, but with the rollout's chance. The same request twice is two draws."""
        self._asked[request] += 1
        draw = f"{self._group}/{self._number}/{request}/{self._asked[request]}"
        seed = int.from_bytes(hashlib.sha256(draw.encode()).digest()[:4])
        temperature, top_p = self._temperature, self._top_p
        return Sampling(
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature if temperature is None else temperature,
            top_p=sampling.top_p if top_p is None else top_p,
            seed=seed,
        )


class _Named:
    """A recorder's view whose calls carry a label."""

    def __init__(self, recorder: Recorder, label: Label) -> None:
        self._recorder = recorder
        self._label = label

    @property
    def name(self) -> str:
        return self._recorder.name

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        return await self._recorder._complete(messages, sampling, self._label)

    async def tokenizer(self) -> Tokenizer:
        return await self._recorder.tokenizer()

    async def aclose(self) -> None:
        await self._recorder.aclose()


def _goes_on(messages: Sequence[Message], earlier: Recorded) -> bool:
    before = earlier.messages
    return 0 < len(before) < len(messages) and all(
        (old["role"], old["content"]) == (new["role"], new["content"])
        for old, new in zip(before, messages, strict=False)
    )


def _tokens(completion: Completion) -> tuple[tuple[int, ...], tuple[float, ...]]:
    ids, logprobs = completion.token_ids, completion.logprobs
    if ids is None or logprobs is None or len(ids) != len(logprobs):
        raise ConfigurationError(
            f"{completion.model or 'the model'} gives no token with its log-probability each",
            hint="train with a model that samples here, as the embedded trainer's does",
        )
    return tuple(ids), tuple(logprobs)
