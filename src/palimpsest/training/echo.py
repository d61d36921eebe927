r"""The least of all worlds: a word stands in one of two lines, and is asked for.

It is learnt in a minute from nothing but a warm start that teaches the form: the teacher boxes and
notes a word, but half the time a wrong one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar

from palimpsest.datasets.item import Item, Passage
from palimpsest.models.model import Message
from palimpsest.prompts.templates import PromptSet, Template
from palimpsest.training.worlds import Split, World

WORDS = ("red", "blue", "green", "black")
_NOTHING = "-"
_WRONG = 0.4
"""How often the teacher is wrong."""
_DRAFT = "notes {memory}\ntext {section}\nnotes"
_FINAL = "notes {memory}\nanswer"


class Echo(World):
    """Two documents; one says a word, the other nothing."""

    pieces: ClassVar[tuple[str, ...]] = (
        *(f" {word}" for word in WORDS), *WORDS, "notes", "text", "answer", "says", "nothing",
        r"\boxed{", "}", "word", "Which word?", " ", "\n", "-", ":",
    )  # fmt: skip

    def item(self, split: Split, number: int) -> Item:
        chance = random.Random(f"{split} {number}")
        word = chance.choice(WORDS)
        documents = [Passage(title="", text=f"says {word}"), Passage(title="", text="nothing")]
        chance.shuffle(documents)
        return Item(
            task="toy-echo",
            id=f"{split}-{number}",
            question="Which word?",
            answers=(word,),
            metric="exact_match",
            documents=tuple(documents),
        )

    def prompts(self) -> PromptSet:
        draft, final = Template("echo/draft", _DRAFT), Template("echo/final", _FINAL)
        shorten = Template("echo/shorten", "notes {memory}\nnotes")
        names = {"draft.memory_first": draft, "draft.section_first": draft}
        return PromptSet(_NOTHING, {**names, "shorten": shorten, "final": final})

    def teach(self, item: Item, messages: Sequence[Message]) -> str:
        prompt = str(messages[-1]["content"])
        seen = next((word for word in WORDS if word in prompt), _NOTHING)
        chance = random.Random(f"{item.id} {prompt}")
        said = chance.choice(WORDS) if seen != _NOTHING and chance.random() < _WRONG else seen
        return rf"\boxed{{{said}}}" if prompt.endswith("answer") else said
