"""Conversations to imitate before reinforcement: readings, earlier runs, a world's teacher.

A stored reading has what was answered and not the prompts; they are made again by its own reader,
which is given the recorded completions in place of a model. What the policy is to imitate is
tokenised by its own tokenizer, so a reading may be of any model.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from palimpsest.datasets.item import Item
from palimpsest.errors import ConfigurationError, ModelError, PalimpsestError
from palimpsest.memory.reading import Reading
from palimpsest.memory.store import ReadingStore
from palimpsest.models.model import Completion, Message, Sampling, Usage, request_key
from palimpsest.prompts.templates import PromptSet
from palimpsest.readers.restoring import restore
from palimpsest.sources.tokens import Tokenizer
from palimpsest.training.agents import Agent, AsyncReward, roll_out
from palimpsest.training.crediting import reward_of
from palimpsest.training.encoding import Encoder, PolicyTokenizer, Prompt
from palimpsest.training.opening import Opening
from palimpsest.training.questions import Stream, taken
from palimpsest.training.recipe import WarmStartPart
from palimpsest.training.rewards import Reward
from palimpsest.training.rollout import Conversation
from palimpsest.training.sample import Sample
from palimpsest.training.transcripts import (
    conversations_of,
    read_transcript,
    transcript_file,
    transcript_steps,
)
from palimpsest.training.turns import answering_turn
from palimpsest.training.worlds import World


@dataclass
class Lessons:
    """What there is to imitate, and what was left out and why."""

    conversations: list[Conversation] = field(default_factory=list)
    left_out: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Readings and rollouts, by the reason."""

    def check(self) -> None:
        """Raises `ConfigurationError` where there is nothing to imitate."""
        if any(any(one.mask) for one in self.conversations):
            return
        reasons = "; ".join(f"{count} {reason}" for reason, count in self.left_out.items())
        raise ConfigurationError(
            f"there is nothing to imitate: {reasons or 'nothing was found'}",
            hint="lower warm_start.lowest_score, or name other readings or runs",
        )


class Teacher:
    """A world's teacher as the model of an agent that works on one item."""

    def __init__(self, world: World, item: Item, encoder: Encoder, tokenizer: Tokenizer) -> None:
        self._world, self._item = world, item
        self._encoder, self._tokenizer = encoder, tokenizer

    @property
    def name(self) -> str:
        return "teacher"

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        return (await self.sample(messages, sampling)).completion

    async def sample(self, messages: Sequence[Message], sampling: Sampling) -> Sample:
        return self._taught(self._encoder.prompt(messages), messages)

    async def extend(
        self, ids: Sequence[int], images: Sequence[bytes], messages: Sequence[Message],
        sampling: Sampling,
    ) -> Sample:  # fmt: skip
        return self._taught(self._encoder.continued(ids, images, messages), messages)

    async def tokenizer(self) -> Tokenizer:
        return self._tokenizer

    async def aclose(self) -> None:
        """Nothing is held."""

    def _taught(self, prompt: Prompt, messages: Sequence[Message]) -> Sample:
        text = self._world.teach(self._item, messages)
        ids = answer_ids(self._encoder, text)
        completion = Completion(
            text=text,
            usage=Usage(prompt=len(prompt.ids), completion=len(ids)),
            model=self.name,
            token_ids=ids,
            logprobs=(0.0,) * len(ids),
        )
        return Sample(completion, prompt.ids, prompt.images)


async def lessons_of(opening: Opening, stream: Stream, encoder: Encoder) -> Lessons:
    """All that a recipe names to imitate. Raises `ConfigurationError` where that is nothing.

    Args:
        stream: The training questions, which a teacher answers and readings are of.
    """
    part = opening.recipe.warm_start
    assert part
    lessons = Lessons()
    from_runs(lessons, part)
    if part.lessons:
        world = opening.world
        assert world
        shown = taken(stream, 0, part.lessons).items
        await taught(world, shown, opening.agent, encoder, lessons, part, opening.recipe.weights)
    if part.readings:
        if stream.distinct is None:
            raise ConfigurationError("readings are of questions that end", hint="set data.limit")
        items = taken(stream, 0, stream.distinct).items
        await from_readings(items, encoder, opening.reward, opening.prompts, lessons, part)
    lessons.check()
    return lessons


def chosen_lessons(
    lessons: Sequence[Conversation], count: int, step: int, seed: int
) -> list[Conversation]:
    """The conversations of a step of the warm start: epoch by epoch, each in its own order."""
    chosen = []
    orders: dict[int, list[int]] = {}
    for number in range(step * count, (step + 1) * count):
        epoch, place = divmod(number, len(lessons))
        if epoch not in orders:
            orders[epoch] = list(range(len(lessons)))
            random.Random(f"{seed}/{epoch}/lessons").shuffle(orders[epoch])
        chosen.append(lessons[orders[epoch][place]])
    return chosen


async def taught(
    world: World, items: Iterable[Item], agent: Agent, encoder: Encoder, lessons: Lessons,
    part: WarmStartPart, weights: Mapping[str, float],
) -> None:  # fmt: skip
    """Adds what the world's teacher shows for the items."""
    tokenizer = PolicyTokenizer(encoder.tokenizer, "teacher")
    for item in items:
        rollout = await roll_out(agent, item, Teacher(world, item, encoder, tokenizer))
        if rollout.failure:
            lessons.left_out[f"failed: {rollout.failure}"] += 1
        elif not reward_of(rollout, weights) >= part.lowest_score:
            lessons.left_out["scored too low"] += 1
        else:
            lessons.conversations += [one for one in rollout.conversations if one.trained]


def from_runs(lessons: Lessons, part: WarmStartPart) -> None:
    """Adds the rollouts of training runs."""
    for run in part.runs:
        steps = transcript_steps(run)
        if not steps:
            lessons.left_out[f"no rollouts in {run}"] += 1
        for step in steps:
            file = transcript_file(run, "step", step)
            for line in read_transcript(file):
                if (line["reward"] or 0.0) < part.lowest_score or line["failure"]:
                    lessons.left_out["scored too low"] += 1
                else:
                    lessons.conversations += conversations_of(line, file)


async def from_readings(
    items: Iterable[Item], encoder: Encoder, reward: Reward | AsyncReward, prompts: PromptSet,
    lessons: Lessons, part: WarmStartPart,
) -> None:  # fmt: skip
    """Adds the readings of the items that scored high enough."""
    wanted = {(item.source().sha256, item.question): item for item in items}
    tokenizer = PolicyTokenizer(encoder.tokenizer, "policy")
    for reading in _readings(part.readings):
        item = wanted.get((reading.header.source_sha256, reading.header.questions[0]))
        if item is None or len(reading.header.questions) > 1:
            lessons.left_out["are of no question of the data"] += 1
            continue
        turn = answering_turn(reading)
        score = 0.0 if turn is None else reward(turn.completion.text, item.answers)
        if not isinstance(score, float | int):
            score = await score
        if score < part.lowest_score:
            lessons.left_out["scored too low"] += 1
            continue
        try:
            lessons.conversations += await reenacted(reading, item, encoder, prompts, tokenizer)
        except PalimpsestError as error:
            lessons.left_out[f"cannot be made again: {error}"] += 1


async def reenacted(
    reading: Reading, item: Item, encoder: Encoder, prompts: PromptSet, tokenizer: Tokenizer
) -> list[Conversation]:
    """The conversations of a stored reading, with the prompts that its reader made.

    Raises `PalimpsestError` where the reader, its settings or its prompts are others than then.
    """
    header = reading.header
    reader = restore(header.reader, header.settings, prompts)
    cast = _Recorded(reading, encoder, tokenizer)
    again = Reading(header, [])
    await reader.read(item.source(), header.questions, cast, reading=again)
    again.raise_for_status()
    return cast.conversations


class _Recorded:
    """The recorded completions of a reading as a model."""

    def __init__(self, reading: Reading, encoder: Encoder, tokenizer: Tokenizer) -> None:
        self.conversations: list[Conversation] = []
        self._name = reading.header.model
        self._encoder, self._tokenizer = encoder, tokenizer
        self._turns = defaultdict[str, list[tuple[str, Completion]]](list)
        for turn in reading.turns:
            self._turns[turn.request].append((turn.role, turn.completion))

    @property
    def name(self) -> str:
        return self._name

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        turns = self._turns[request_key(self.name, messages, sampling)]
        if not turns:
            raise ModelError(
                "a call that is not in the record",
                hint="the reading was made with other prompts or another tokenizer",
            )
        role, completion = turns.pop(0)
        if completion.finish_reason == "stop" and completion.text:
            self.conversations.append(self._conversation(role, messages, completion))
        return completion

    async def tokenizer(self) -> Tokenizer:
        return self._tokenizer

    async def aclose(self) -> None:
        """Nothing is held."""

    def _conversation(
        self, role: str, messages: Sequence[Message], completion: Completion
    ) -> Conversation:
        prompt = self._encoder.prompt(messages)
        ids = answer_ids(self._encoder, completion.text)
        return Conversation(
            role=role,
            prompt_ids=prompt.ids,
            response_ids=ids,
            logprobs=(0.0,) * len(ids),
            mask=(True,) * len(ids),
            images=prompt.images,
        )


def answer_ids(encoder: Encoder, text: str) -> tuple[int, ...]:
    """An answer's tokens with the one that ends it."""
    ids: list[int] = encoder.tokenizer(text, add_special_tokens=False)["input_ids"]
    end = encoder.tokenizer.eos_token_id
    return (*ids, end if end in encoder.ends else min(encoder.ends))


def _readings(folders: Sequence[Path]) -> Iterator[Reading]:
    for folder in folders:
        if not folder.is_dir():
            raise ConfigurationError(
                f"there is no folder of readings {folder}",
                hint="name one in warm_start.readings, such as an evaluation's readings",
            )
        for _, reading in sorted(ReadingStore(folder), key=lambda named: named[0]):
            yield reading
