"""The policy as a model that readers and agents talk to.

    model = PolicyModel(policy, seed=0)
    reading = await reader.read(source, question, model)

Calls that wait at the same time go through the policy together, in batches of similar length.

What chance decides is a function of the seed, the name of the agent's seat, the prompt, and how
often this seat sampled this prompt before: not of the batch, and not of the order of arrival.
`Sampling.seed`, where it is set, takes the place of all but the prompt, so that equal requests
have equal answers; rollouts of one group must not share one.

Between batches of other sizes the arithmetic itself may differ in the last bit, which can change
a token once in about a million. Agents that each hold a seat, and call one at a time, make the
same batches each time; then a run repeats exactly on the same machine.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import NamedTuple

from palimpsest.errors import InputError, WindowError
from palimpsest.models.answer import split_thinking
from palimpsest.models.model import Completion, Message, Sampling, Usage
from palimpsest.sources.tokens import Tokenizer
from palimpsest.training.drawing import identity
from palimpsest.training.encoding import PolicyTokenizer, Prompt
from palimpsest.training.generating import Request, Written, written
from palimpsest.training.policy import Policy
from palimpsest.training.rounds import Rounds, seated
from palimpsest.training.sample import Sample

BATCH_TOKENS = 65_536
"""Prompts and answers of one batch at their longest, padding included."""


@dataclass
class Tally:
    """What went through the policy."""

    batches: int = 0
    answers: int = 0
    prompt_tokens: int = 0
    padded_tokens: int = 0
    """Prompts with their padding."""
    sampled_tokens: int = 0
    seconds: float = 0.0
    """Of generating alone."""


class _Done(NamedTuple):
    answer: Written
    seconds: float


class PolicyModel:
    """A `SamplingModel` over a policy in this process."""

    def __init__(
        self,
        policy: Policy,
        *,
        seed: int = 0,
        batch_tokens: int = BATCH_TOKENS,
        window: int | None = None,
    ) -> None:
        """Args:
        window: Most tokens of prompt and answer together; default the model's own.
        """
        self.tally = Tally()
        self._policy = policy
        self._seed = seed
        self._repeats: Counter[bytes] = Counter()
        self._batch_tokens = batch_tokens
        self._window = window or policy.encoder.family.window
        self._rounds: Rounds[Request, _Done] = Rounds(self._plan, self._serve)
        self._tokenizer: PolicyTokenizer | None = None

    @property
    def name(self) -> str:
        return self._policy.name

    def reseed(self, seed: int) -> None:
        """Begins chance anew, as a step of training does: the same calls give the same answers."""
        self._seed = seed
        self._repeats.clear()

    def seat(self, name: str = "") -> AbstractAsyncContextManager[None]:
        """Held by one agent while it talks to the model: batches wait until all that hold one
        have asked.

        Args:
            name: Which agent this is; agents of different names have chances of their own.
        """
        return self._rounds.seat(name)

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        return (await self.sample(messages, sampling)).completion

    async def sample(self, messages: Sequence[Message], sampling: Sampling) -> Sample:
        return await self._sample(self._policy.encoder.prompt(messages), sampling)

    async def extend(
        self, ids: Sequence[int], images: Sequence[bytes], messages: Sequence[Message],
        sampling: Sampling,
    ) -> Sample:  # fmt: skip
        prompt = self._policy.encoder.continued(ids, images, messages)
        return await self._sample(prompt, sampling)

    async def tokenizer(self) -> Tokenizer:
        if self._tokenizer is None:
            self._tokenizer = PolicyTokenizer(self._policy.encoder.tokenizer, self.name)
        return self._tokenizer

    async def aclose(self) -> None:
        """Nothing is held: the policy belongs to whoever made it."""

    async def _sample(self, prompt: Prompt, sampling: Sampling) -> Sample:
        self._check(prompt, sampling)
        done = await self._rounds.ask(
            Request(
                prompt,
                sampling.max_tokens,
                sampling.temperature,
                sampling.top_p,
                self._key(prompt, sampling.seed),
            )
        )
        return Sample(self._completion(prompt, done), prompt.ids, prompt.images)

    def _check(self, prompt: Prompt, sampling: Sampling) -> None:
        if sampling.max_tokens < 1:
            raise InputError(
                f"an answer of at most {sampling.max_tokens} tokens", hint="Allow at least one."
            )
        needed = len(prompt.ids) + sampling.max_tokens
        if needed > self._window:
            raise WindowError(
                f"a prompt of {len(prompt.ids)} tokens and an answer of {sampling.max_tokens} "
                f"do not fit the window of {self._window}",
                hint="Choose smaller chunks or a smaller memory.",
            )

    def _key(self, prompt: Prompt, seed: int | None) -> bytes:
        if seed is not None:
            return identity(str(seed), prompt.ids, prompt.images)
        name = identity(f"{self._seed} {seated()}", prompt.ids, prompt.images)
        self._repeats[name] += 1
        return hashlib.sha256(name + self._repeats[name].to_bytes(8)).digest()

    def _plan(self, requests: Sequence[Request]) -> list[list[int]]:
        """Batches of similar rows under the limit, the same ones for the same requests."""
        order = sorted(range(len(requests)), key=lambda place: _rank(requests[place]))
        batches: list[list[int]] = []
        longest = 0
        for place in order:
            length = len(requests[place].prompt.ids) + requests[place].max_tokens
            longest = max(longest, length)
            fits = batches and (len(batches[-1]) + 1) * longest <= self._batch_tokens
            if not fits or _sees(requests[batches[-1][0]]) != _sees(requests[place]):
                batches.append([])
                longest = length
            batches[-1].append(place)
        return batches

    def _serve(self, requests: Sequence[Request]) -> list[_Done]:
        begun = time.perf_counter()
        answers = written(self._policy, requests)
        seconds = time.perf_counter() - begun
        lengths = [len(request.prompt.ids) for request in requests]
        self.tally.batches += 1
        self.tally.answers += len(requests)
        self.tally.prompt_tokens += sum(lengths)
        self.tally.padded_tokens += len(requests) * max(lengths)
        self.tally.sampled_tokens += sum(len(answer.ids) for answer in answers)
        self.tally.seconds += seconds
        return [_Done(answer, seconds) for answer in answers]

    def _completion(self, prompt: Prompt, done: _Done) -> Completion:
        ids = done.answer.ids
        thinking = split_thinking(self._policy.encoder.text(ids))
        return Completion(
            text=thinking.text,
            reasoning=thinking.reasoning,
            finish_reason="stop" if done.answer.ended else "length",
            usage=Usage(prompt=len(prompt.ids), completion=len(ids)),
            model=self.name,
            seconds=done.seconds,
            token_ids=tuple(ids),
            logprobs=tuple(done.answer.logprobs),
        )


def _sees(request: Request) -> bool:
    return bool(request.prompt.images)


def _rank(request: Request) -> tuple[bool, int, int, bytes]:
    return _sees(request), len(request.prompt.ids), request.max_tokens, request.key
