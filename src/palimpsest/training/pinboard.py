r"""A world in which it matters what stands in the heading.

A source says five things, one of each kind, and one of them is asked for. The notes hold all five,
what is asked for at the end, and one of them is a heading. A page of one visual token shows the
heading and little else, one of more shows everything.

The teacher does all without a fault but for one choice, which it makes by a throw of dice that
know nothing of the question: which line is the heading. It reads a page out before it answers.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

from palimpsest.datasets.item import Item, Passage
from palimpsest.models.model import Message
from palimpsest.prompts.templates import PromptSet, Template
from palimpsest.training.objectives import CLOZE_PROMPT
from palimpsest.training.worlds import Split, World

KINDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "hue": ("red", "blue", "pink", "gray"),
        "food": ("rice", "fish", "soup", "corn"),
        "pet": ("dog", "cat", "owl", "hen"),
        "time": ("dawn", "noon", "dusk", "late"),
        "sky": ("rain", "hail", "fog", "sun"),
    }
)
"""What a source says, in the order of notes. The words are short: four letters of bold type are as
wide as a page of one visual token."""
_WORDS = tuple(word for words in KINDS.values() for word in words)
_NOTHING = "-"
_DRAFT = "text{section}\nnotes {memory}\n{question}\nnotes"
_SHORTEN = "notes {memory}\n{question}\nnotes"
_READ = "{question}\nanswer"
_BEFORE_TEXT, _, _AFTER_TEXT = CLOZE_PROMPT.partition("{text}")
_GAP = re.compile(r"\[gap \d\]")


class Pinboard(World):
    """One text; each of the five things may be asked for."""

    pieces: ClassVar[tuple[str, ...]] = (
        *_WORDS, *(f" {word}" for word in _WORDS), *KINDS, *(f"Which {kind}?" for kind in KINDS),
        *(f"{space}[gap {number}]" for number in (1, 2, 3) for space in ("", " ")),
        "text", "notes", "answer", "#", "\n\n", "\n", " -", r" \boxed{", ";", "}",
        _BEFORE_TEXT, _AFTER_TEXT,
    )  # fmt: skip

    def item(self, split: Split, number: int) -> Item:
        chance = random.Random(f"{split} {number}")
        said = {kind: chance.choice(words) for kind, words in KINDS.items()}
        asked = chance.choice(list(KINDS))
        lines = [f"\n{kind} {word}" for kind, word in said.items()]
        chance.shuffle(lines)
        return Item(
            task="toy-pinboard",
            id=f"{split}-{number}",
            question=f"Which {asked}?",
            answers=(said[asked],),
            metric="exact_match",
            documents=(Passage(title="", text="".join(lines)),),
        )

    def prompts(self) -> PromptSet:
        draft = Template("pinboard/draft", _DRAFT)
        templates = {
            "draft_rich.memory_first": draft,
            "draft_rich.section_first": draft,
            "shorten": Template("pinboard/shorten", _SHORTEN),
            "read": Template("pinboard/read", _READ),
        }
        return PromptSet(_NOTHING, templates)

    def teach(self, item: Item, messages: Sequence[Message]) -> str:
        prompt = _text(messages[-1])
        notes = _notes(item)
        if prompt.endswith("notes"):
            heading = random.Random(f"{item.id} heading").choice(notes)
            return "\n\n".join(f"{'#' * (word == heading)} {word}" for word in notes)
        missing = [word for word in notes if not re.search(rf"\b{word}\b", prompt)]
        box = missing if _GAP.search(prompt) else item.answers
        return rf" {' '.join(notes)} \boxed{{ {'; '.join(box)}}}"


def in_heading(memory: str, answer: str) -> bool:
    """Whether an answer stands in a heading of a memory."""
    headings = [line for line in memory.splitlines() if line.lstrip().startswith("#")]
    return any(re.search(rf"\b{re.escape(answer)}\b", line) for line in headings)


def _notes(item: Item) -> list[str]:
    """What the teacher notes of an item: by kinds, but what is asked for at the end."""
    said = item.documents[0].text.split()
    words = [word for word in _WORDS if word in said]
    return sorted(words, key=lambda word: word in item.answers)


def _text(message: Message) -> str:
    content = message["content"]
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part["type"] == "text")
