r"""What a memory is read for in training, besides its question: MemOCR's budget-aware objectives.

    ReaderAgent(MemOCR(budgets=(256,)), REWARDS["strict"], objectives=Objectives())

A page is read for its question at the full budget, which the reader does itself; for the same
question on a page of so few tokens that only what stands out can be read; and for words that are
missing from its text, at the full budget (arXiv 2601.21468, section 3). Deviations:

- The small page is a page of that budget, as it is at reading time. The reference blurs the large
  one and enlarges it again, so that the policy never sees 32 tokens in training.
- The gaps are made by `make_cloze`, which has no leaks and pays nothing for an empty memory.
- The wording is ours.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from palimpsest.errors import ConfigurationError, ModelError
from palimpsest.memory.reading import Reading
from palimpsest.models.model import user
from palimpsest.readers.memocr import MemOCR
from palimpsest.readers.reader import Reader
from palimpsest.readers.wrapper import Wrapper
from palimpsest.training.cloze import GAPS, make_cloze
from palimpsest.training.recorder import Recorder
from palimpsest.training.turns import STANDARD

LOW_BUDGET = "low_budget"
CLOZE = "cloze"
WEIGHTS: Mapping[str, float] = MappingProxyType({STANDARD: 1.0, LOW_BUDGET: 0.7, CLOZE: 0.3})
"""MemOCR's, from its training script."""
NO_CLOZE = "no word of the memory can be asked about"
CLOZE_PROMPT = r"""
The picture shows notes that were taken while a long text was read. Here is a part of them from \
which some words are missing, each in a numbered gap:

{text}

Find the missing words in the picture. Reply with these words alone, in the order of their gaps, \
in a box, like this: \boxed{first; second; third}

Reply:""".replace("\\\n", "").strip()

Score = Callable[[str], Awaitable[float]]
"""Of a whole completion."""


class Asked(NamedTuple):
    """What came of reading a memory: by task, and what is worth logging of it."""

    scores: Mapping[str, float]
    details: Mapping[str, Any]


class _Read(NamedTuple):
    score: float
    detail: str | int


@dataclass(frozen=True)
class Objectives:
    """The tasks that a memory is read for, and how much each weighs."""

    weights: Mapping[str, float] = field(default_factory=lambda: dict(WEIGHTS))
    """For `credit.multi_task`. A further task that weighs nothing is not asked."""
    low_budgets: tuple[int, ...] = (32,)
    """Visual tokens; one is drawn for each group."""
    gaps: int = GAPS
    cloze_prompt: str = CLOZE_PROMPT
    r"""With `{text}` where the text with gaps goes; it asks for `\boxed{first; second; third}`."""

    def __post_init__(self) -> None:
        if not self.low_budgets or min(self.low_budgets) < 1 or self.gaps < 1:
            raise ConfigurationError(
                f"no objective is made of the budgets {self.low_budgets} and {self.gaps} gaps",
                hint="give budgets of 1 or more visual tokens and at least one gap",
            )
        if self.weights.keys() - WEIGHTS or not self.weights.get(STANDARD):
            raise ConfigurationError(
                f"the objectives {', '.join(self.weights)} cannot be weighed",
                hint=f"give a weight to {STANDARD}, and to {LOW_BUDGET} and {CLOZE} if wanted",
            )
        if "{text}" not in self.cloze_prompt:
            raise ConfigurationError("the cloze prompt lacks {text}", hint="say where it goes")

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(task for task in WEIGHTS if self.weights.get(task))

    async def ask(
        self, reader: Reader, reading: Reading, recorder: Recorder, score: Score
    ) -> Asked:
        """Reads the memory that stands in a reading for the further tasks, side by side.

        `score` is of the question's answer. A task for which the call failed has no score (NaN),
        and credit leaves it out; the question's own score stands.
        """
        page_reader = page_reader_of(reader)
        turns = {LOW_BUDGET: self._low_budget, CLOZE: self._cloze}
        tasks = [task for task in self.tasks if task in turns]
        asked = await asyncio.gather(
            *(turns[task](page_reader, reading, recorder, score) for task in tasks),
            return_exceptions=True,
        )
        scores: dict[str, float] = {}
        details: dict[str, Any] = {}
        for task, one in zip(tasks, asked, strict=True):
            match one:
                case _Read():
                    scores[task], details[task] = one
                case ModelError():
                    scores[task], details[task] = math.nan, f"failed: {one}"
                case _:
                    raise one
        return Asked(scores, details)

    async def _low_budget(
        self, reader: MemOCR, reading: Reading, recorder: Recorder, score: Score
    ) -> _Read:
        budget = recorder.group_chance(LOW_BUDGET).choice(self.low_budgets)
        page = reader.page(reading.memory or reader.empty_memory, budget)
        prompt = reader.template("read").fill(question=reading.header.questions[0])
        completion = await recorder.named("low-resolution", task=LOW_BUDGET).complete(
            user(prompt, page.data_url()), reader.sampling(reader.answer_tokens)
        )
        return _Read(await score(completion.text), budget)

    async def _cloze(
        self, reader: MemOCR, reading: Reading, recorder: Recorder, score: Score
    ) -> _Read:
        page = reader.page(reading.memory, max(reader.budgets))
        cloze = make_cloze(page.text, recorder.chance(CLOZE), gaps=self.gaps)
        if cloze is None:
            return _Read(0.0, NO_CLOZE)
        prompt = self.cloze_prompt.replace("{text}", cloze.text)
        completion = await recorder.named("cloze", task=CLOZE).complete(
            user(prompt, page.data_url()), reader.sampling(reader.answer_tokens)
        )
        return _Read(cloze.score(completion.text), "; ".join(cloze.words))


def page_reader_of(reader: Reader) -> MemOCR:
    """The reader at the core that draws pages. Raises `ConfigurationError` if there is none."""
    core = reader.inner if isinstance(reader, Wrapper) else reader
    if not isinstance(core, MemOCR):
        raise ConfigurationError(
            f"{reader.name} draws no page to read at a small budget",
            hint="train memocr, or leave the objectives out",
        )
    return core
