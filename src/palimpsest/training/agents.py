r"""What can be trained: any async function that talks to a model and says how it went.

    async def ask_twice(item: Item, recorder: Recorder) -> Outcome:
        draft = await recorder.named("draft").complete(user(item.question), sampling)
        final = await recorder.named("final").complete(user(draft.text), sampling)
        score = REWARDS["strict"](final.text, item.answers)
        return Outcome(recorder.conversations(), {"standard": score})

    rollout = await roll_out(ask_twice, item, policy_model, number=0)

One turn, many turns with tool calls, or many independent conversations: the recorder tells them
apart. `ReaderAgent` runs our readers as they answer users. A try that fails is a rollout like any
other, with scores of 0.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from palimpsest import errors
from palimpsest.datasets.item import Item
from palimpsest.errors import ConfigurationError, ModelError, PalimpsestError
from palimpsest.memory.reading import Reading
from palimpsest.readers.memocr import MemOCR
from palimpsest.readers.reader import Reader
from palimpsest.readers.wrapper import Wrapper
from palimpsest.training.objectives import Asked, Objectives, page_reader_of
from palimpsest.training.recorder import Recorder
from palimpsest.training.rewards import Recall, Reward
from palimpsest.training.rollout import Conversation, Rollout
from palimpsest.training.sample import SamplingModel
from palimpsest.training.turns import STANDARD, answering_turn, labels

AsyncReward = Callable[[str, Sequence[str]], Awaitable[float]]
"""As `Reward`, elsewhere: a `RewardPool`."""

_POLICYS_OWN = (errors.WindowError, errors.RefusedError)
"""Failures of a call that what the policy wrote has led to."""
_MACHINERY = (ModelError, ConfigurationError, OSError, MemoryError)


@dataclass(frozen=True)
class Outcome:
    """How one try of an agent went: a `Rollout` but for whose it is."""

    conversations: tuple[Conversation, ...]
    scores: Mapping[str, float]
    nodes: int = 1
    answer: str = ""
    failure: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


Agent = Callable[[Item, Recorder], Awaitable[Outcome]]
"""Works on one item with the recorder as its only model. One with several tasks has them as
`tasks`, so that a failed try has a score of 0 in each."""


async def roll_out(
    agent: Agent,
    item: Item,
    model: SamplingModel,
    *,
    number: int = 0,
    occasion: str = "",
    temperature: float | None = None,
    top_p: float | None = None,
) -> Rollout:
    """One try at an item; it raises nothing but cancellation.

    `occasion` (the run's seed and step) decides chance together with the item and `number`.
    `temperature` and `top_p` stand in for the agent's own. What a failed try had written counts
    against the policy, unless the machinery failed: a server, the configuration, the disk.
    """
    recorder = Recorder(
        model,
        group=f"{occasion}/{item.id}",
        number=number,
        temperature=temperature,
        top_p=top_p,
    )
    try:
        outcome = await agent(item, recorder)
    except Exception as error:
        outcome = _failed(error, recorder, getattr(agent, "tasks", (STANDARD,)))
    return Rollout(group=item.id, number=number, **vars(outcome))


@dataclass(frozen=True)
class ReaderAgent:
    """A reader in training: it reads the item's source and answers its question."""

    reader: Reader
    reward: Reward | AsyncReward
    """Of the answer, at the full budget and at the small one."""
    objectives: Objectives | None = None
    """What else a page is read for; None for the question alone."""
    recall: Recall | None = None
    """Rewards each step by what of the answers came into the memory with it, for credit by steps;
    None for none."""

    def __post_init__(self) -> None:
        if self.objectives:
            page_reader_of(self.reader)
        core = self.reader.inner if isinstance(self.reader, Wrapper) else self.reader
        if isinstance(core, MemOCR) and len(core.budgets) > 1:
            raise ConfigurationError(
                f"a reading at {len(core.budgets)} budgets has no one outcome to learn from",
                hint="train at one budget, and at smaller ones by the objectives' low_budgets",
            )

    @property
    def tasks(self) -> tuple[str, ...]:
        return self.objectives.tasks if self.objectives else (STANDARD,)

    async def __call__(self, item: Item, recorder: Recorder) -> Outcome:
        source = item.source()
        reading = await self.reader.begin(source, item.question, recorder)
        failure: Exception | None = None
        try:
            await self.reader.read(source, item.question, recorder, reading=reading)
            reading.raise_for_status()
            asked = await self._judged(item, reading, recorder)
        except Exception as error:
            failure, asked = error, Asked(dict.fromkeys(self.tasks, 0.0), _trace(error))
        return Outcome(
            self._conversations(item, reading, recorder, failure),
            asked.scores,
            nodes=1 + len(reading.rereads),
            answer=reading.answer,
            failure=_reason(failure),
            details={**_facts(reading), **asked.details},
        )

    async def _judged(self, item: Item, reading: Reading, recorder: Recorder) -> Asked:
        """The score of each task."""
        turn = answering_turn(reading)
        if turn is None:
            raise ConfigurationError(
                f"{self.reader.name} made no turn that answers", hint="train another reader"
            )

        async def score(completion: str) -> float:
            return await _rewarded(self.reward, completion, item.answers)

        standard = await score(turn.completion.text)
        further = Asked({}, {})
        if self.objectives:
            further = await self.objectives.ask(self.reader, reading, recorder, score)
        return Asked({STANDARD: standard, **further.scores}, further.details)

    def _conversations(
        self, item: Item, reading: Reading, recorder: Recorder, failure: Exception | None
    ) -> tuple[Conversation, ...]:
        worth = partial(_recalled, self.recall, item.answers) if self.recall else None
        found = labels(reading, recorder.recorded, worth)
        if not _counts(failure):
            found = [label._replace(trained=False) for label in found]
        return recorder.conversations(found)


def _recalled(recall: Recall, answers: Sequence[str], memory: str) -> float:
    return recall(memory, answers)


async def _rewarded(reward: Reward | AsyncReward, completion: str, answers: Sequence[str]) -> float:
    """Raises `ConfigurationError` for a reward that does, so that no policy is blamed for it."""
    try:
        value = reward(completion, answers)
        return await value if inspect.isawaitable(value) else value
    except Exception as error:
        raise ConfigurationError(
            f"the reward failed: {_reason(error)}", hint="a reward gives a number to any text"
        ) from error


def _facts(reading: Reading) -> dict[str, Any]:
    """What is worth looking at in the log of a run."""
    version = reading.memory_version
    return {
        "memory": reading.memory,
        "memory_tokens": 0 if version is None else reading.memories[version].tokens,
        "chunks": len(reading.header.chunks),
        "guards": len(reading.guards),
        "rereads": len(reading.rereads),
    }


def _failed(error: Exception, recorder: Recorder, tasks: Sequence[str]) -> Outcome:
    found = [
        one.label._replace(trained=one.label.trained and _counts(error))
        for one in recorder.recorded
    ]
    return Outcome(
        recorder.conversations(found),
        dict.fromkeys(tasks, 0.0),
        failure=_reason(error),
        details=_trace(error),
    )


def _counts(failure: Exception | None) -> bool:
    """Whether what was written counts: for the policy where nothing failed, against it where what
    it wrote has led to the failure."""
    return isinstance(failure, _POLICYS_OWN) or not isinstance(failure, _MACHINERY)


def _reason(error: Exception | None) -> str:
    return f"{type(error).__name__}: {error}" if error else ""


def _trace(error: Exception) -> dict[str, str]:
    """Where an error came from that this package does not raise on purpose."""
    if isinstance(error, PalimpsestError):
        return {}
    return {"trace": "".join(traceback.format_exception(error))}
