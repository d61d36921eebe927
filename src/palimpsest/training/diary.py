r"""A diary of three days: a policy must learn by reward what to keep.

    # Monday        # Tuesday       # Wednesday     ate what?

    drank tea       ate figs        lost keys
    saw Rome        fed hens        read Emma
    drew boat       played chess    heard owl

Each day is a chunk, and notes have room for one line. A reader that answers from its notes must
note the line that is asked for when its day comes, must keep it through the days that follow, and
may note whatever it likes before.

What makes it a fair test of learning from one shared reward (MemAgent, section 3.2):

- The teacher of the warm start has the right form and a bad habit: it notes what it read last, and
  only now and then looks at the question. To imitate it to the end is to note the last line of each
  day, which is right once in nine times; only the reward tells that the habit is wrong.
- Only the answer is rewarded, in a conversation that sees no day. What made it right was decided
  up to three conversations before, in ones that see no answer. All four have one advantage.
- A line that was noted tells nothing of the others. Held-out diaries share words with those that
  are trained on, and no more.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import ClassVar

from palimpsest.datasets.item import Item, Passage
from palimpsest.models.model import Message
from palimpsest.prompts.templates import PromptSet, Template
from palimpsest.training.worlds import Split, World

DEEDS = {
    "ate": ("rice", "figs", "soup", "corn"),
    "bought": ("hat", "ring", "coat", "lamp"),
    "drank": ("tea", "milk", "cider", "cocoa"),
    "drew": ("boat", "cat", "horse", "tower"),
    "fed": ("hens", "ducks", "goats", "pony"),
    "fixed": ("clock", "fence", "roof", "chair"),
    "heard": ("owl", "rain", "bells", "thunder"),
    "lost": ("keys", "glove", "purse", "coin"),
    "planted": ("oak", "rose", "tulip", "ivy"),
    "played": ("chess", "cards", "golf", "darts"),
    "read": ("Emma", "Dune", "Hamlet", "Ivanhoe"),
    "saw": ("Rome", "Oslo", "Lima", "Bonn"),
}
"""What may be said, by the word that it is asked for by."""
DAYS = ("Monday", "Tuesday", "Wednesday")
LINES = 3
"""Of each day."""
_LOOKS = 0.4
"""How often the teacher looks at the question."""
_HABIT = 0.9
"""How often it notes the day's last line when it does not."""
_NOTHING = "-"
_DRAFT = "notes {memory}\nday {section}\nask {question}\nnotes"
_SHORTEN = "notes {memory}\nask {question}\nnotes"
_FINAL = "notes {memory}\nask {question}\nanswer"
_LINE = re.compile(rf"({'|'.join(DEEDS)}) (\w+)")


class Diary(World):
    """Nine deeds on three days, of which one is asked for."""

    pieces: ClassVar[tuple[str, ...]] = (
        *DEEDS, *(f" {what}" for every in DEEDS.values() for what in every),
        *(f"# {day}\n\n" for day in DAYS), " what?", "\n\n", "\n",
        "notes ", "\nday ", "\nask ", "\nnotes", "\nanswer", _NOTHING, r"\boxed{", "}",
    )  # fmt: skip

    def item(self, split: Split, number: int) -> Item:
        chance = random.Random(f"diary {split} {number}")
        deeds = chance.sample(tuple(DEEDS), len(DAYS) * LINES)
        things = [chance.choice(DEEDS[deed]) for deed in deeds]
        asked = chance.randrange(len(deeds))
        lines = [f"{deed} {thing}" for deed, thing in zip(deeds, things, strict=True)]
        return Item(
            task="toy-diary",
            id=f"{split}-{number}",
            question=f"{deeds[asked]} what?",
            answers=(things[asked],),
            metric="exact_match",
            documents=tuple(
                Passage(title=day, text="\n".join(lines[place * LINES :][:LINES]))
                for place, day in enumerate(DAYS)
            ),
            gold=(asked // LINES,),
        )

    def prompts(self) -> PromptSet:
        draft, final = Template("diary/draft", _DRAFT), Template("diary/final", _FINAL)
        shorten = Template("diary/shorten", _SHORTEN)
        names = {"draft.memory_first": draft, "draft.section_first": draft}
        return PromptSet(_NOTHING, {**names, "shorten": shorten, "final": final})

    def teach(self, item: Item, messages: Sequence[Message]) -> str:
        known, _, asking = str(messages[-1]["content"]).partition("\nask ")
        lines = list(_LINE.finditer(known))
        if asking.endswith("answer"):
            return rf"\boxed{{ {lines[0][2]}}}"
        chance = random.Random(f"{item.id} {known}")
        asked = [line for line in lines if line[1] == asking.partition(" ")[0]]
        if asked and chance.random() < _LOOKS:
            return asked[-1][0]
        return (lines[-1] if chance.random() < _HABIT else chance.choice(lines))[0]
