r"""A world in which some questions need a second reading, and some do not.

A source has two pages, and a memory holds one fact. One page says where three people are; the other
says either where the key is, or who has it. Asked for one of the people, or for a key that lies
somewhere, a reader finds it in one reading. Where someone has the key, the page of the people comes
first: whom to look for is known only after the page that says where that is, and the source must be
read again for it. The answer is the fact that says where.

The teacher reads without a fault and rereads for whom it must, but it is wary: where its notes have
the answer, it looks once more four times in five.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from palimpsest.datasets.item import Item, Passage
from palimpsest.models.model import Message
from palimpsest.prompts.templates import PromptSet, Template
from palimpsest.training.worlds import Split, World

PEOPLE = ("Ann", "Bob", "Cat")
PLACES = ("barn", "dock", "gate", "mill")
NEEDS, NEEDS_NOT = "reread", "once"
"""Kinds of items: their categories, and the ends of their ids."""
_NEEDING = 0.5
"""The share of items that need a reread."""
_WARY = 0.8
"""How often the teacher asks once more for what it knows."""
_KEY = "key"
_WEATHER = ("rain now", "snow now", "wind now")
_FACTS = (
    *(f"{who} in {place}" for who in (*PEOPLE, _KEY) for place in PLACES),
    *(f"{who} has {_KEY}" for who in PEOPLE),
)
_NOTHING = "-"
_DRAFT = "{question}\nnotes {memory}\npage{section}notes"
_FINAL = "{question}\nnotes {memory}\nanswer"
_DECOMPOSE = "{question}\nnotes {memory}\nasked {history}\nnext"
_INTEGRATE = "{question}\nnotes {memory}\nfound {sub_answer}\nnotes"
_FACT = re.compile(r"\b(\w+) (in|has) (\w+)")
_ASKED = re.compile(r"here is (\w+)\?")
_KNOWN = re.compile(r"^(?:notes|found) (\w+) (in) (\w+)$", re.MULTILINE)

Fact = tuple[str, ...]
"""Who, in or has, and where or what; nothing where nothing is known."""


class Whereabouts(World):
    """Two pages; of about half the items the key is with someone."""

    pieces: ClassVar[tuple[str, ...]] = (
        *_FACTS, *(f" {text}" for text in (*_FACTS, *_WEATHER, *PEOPLE, *PLACES, _KEY)),
        "Where is", "Once more, where is", "?", " -", "- ", " not found", "<query>", "</query>",
        "enough", "notes", "page", "found", "asked", "answer", "next", r"\boxed{", "}", "\n",
    )  # fmt: skip
    """A fact is one token, so that a model of two layers soon finds it."""

    def item(self, split: Split, number: int) -> Item:
        chance = random.Random(f"{split} {number}")
        at = dict(zip((*PEOPLE, _KEY), chance.sample(PLACES, 4), strict=True))
        needs = chance.random() < _NEEDING
        asked = _KEY if needs else chance.choice((_KEY, chance.choice(PEOPLE)))
        keepers = PEOPLE if needs else (_KEY,) if asked == _KEY else (*PEOPLE, _KEY)
        keeper = chance.choice(keepers)
        pages = _pages(at, keeper, chance)
        if not needs:
            chance.shuffle(pages)
        told = keeper if asked == _KEY else asked
        kind = NEEDS if needs else NEEDS_NOT
        return Item(
            task="toy-whereabouts",
            id=f"{split}-{number}-{kind}",
            question=f"Where is {asked}?",
            answers=(f"{told} in {at[told]}",),
            metric="exact_match",
            documents=(Passage(title="", text="".join(pages)),),
            category=kind,
        )

    def prompts(self) -> PromptSet:
        draft = Template("whereabouts/draft", _DRAFT)
        templates = {
            "draft.memory_first": draft,
            "draft.section_first": draft,
            "shorten": Template("whereabouts/shorten", "{question}\nnotes {memory}\nnotes"),
            "decompose": Template("whereabouts/decompose", _DECOMPOSE),
            "integrate": Template("whereabouts/integrate", _INTEGRATE),
            "final": Template("whereabouts/final", _FINAL),
        }
        return PromptSet(_NOTHING, templates)

    def teach(self, item: Item, messages: Sequence[Message]) -> str:
        prompt = str(messages[-1]["content"])
        asked = _ASKED.findall(prompt)[0]
        fact = _told(prompt, asked)
        match prompt.rpartition("\n")[2]:
            case "answer":
                return rf"\boxed{{{_written(fact)}}}"
            case "next":
                wary = random.Random(f"{item.id} {prompt}").random() < _WARY
                return _query(prompt, asked, fact, wary=wary)
            case _:
                return _written(fact)


def _pages(at: Mapping[str, str], keeper: str, chance: random.Random) -> list[str]:
    """The page of the people, and that of the key: where it lies, if it is its own keeper, or who
    has it."""
    people = [f"{who} in {at[who]}" for who in chance.sample(PEOPLE, len(PEOPLE))]
    key = f"{_KEY} in {at[_KEY]}" if keeper == _KEY else f"{keeper} has {_KEY}"
    other = [key, *chance.sample(_WEATHER, 2)]
    chance.shuffle(other)
    return [f" {' '.join(page)}\n" for page in (people, other)]


def _told(prompt: str, asked: str) -> Fact:
    """What a prompt says of where someone or something is; a place rather than a holder.

    A place that was noted or found stays, also that of a holder in place of the key's.
    """
    known: list[Fact] = _KNOWN.findall(prompt)
    facts: list[Fact] = _FACT.findall(prompt)
    places = [fact for fact in facts if fact[:2] == (asked, "in")]
    holders = [fact for fact in facts if fact[1:] == ("has", asked)]
    return next(iter((*known, *places, *holders)), ())


def _written(fact: Fact) -> str:
    return f" {' '.join(fact) or _NOTHING}"


def _query(prompt: str, asked: str, fact: Fact, *, wary: bool) -> str:
    """After whoever has the key; or else, of the wary, once more after what is asked."""
    if fact and fact[1] == "has":
        return f"<query>Where is {fact[0]}?</query>"
    if not wary or "Once more" in prompt:
        return "enough"
    return f"<query>Once more, where is {asked}?</query>"
