"""Made-up worlds to train in: questions without end, small enough for a model of no knowledge.

A recipe names one as `data.task`. A world makes its items by number, says which words are tokens
of a tiny model, may bring short prompts, and may teach: say what a good model would answer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import ClassVar, Literal

from palimpsest.datasets.item import Item
from palimpsest.errors import ConfigurationError
from palimpsest.models.model import Message
from palimpsest.prompts.templates import PromptSet

Split = Literal["train", "held_out"]

WORLDS: Mapping[str, str] = MappingProxyType(
    {
        "toy-echo": "palimpsest.training.echo:Echo",
        "toy-pinboard": "palimpsest.training.pinboard:Pinboard",
        "toy-diary": "palimpsest.training.diary:Diary",
        "toy-whereabouts": "palimpsest.training.whereabouts:Whereabouts",
    }
)
"""Module and class of each world, by the name that recipes use."""


class World(ABC):
    """Items by number. The same number of the same split is the same item on any machine."""

    pieces: ClassVar[tuple[str, ...]] = ()
    """Words that are one token each in a tiny model."""

    @abstractmethod
    def item(self, split: Split, number: int) -> Item:
        """No item of one split has the id of one of the other."""

    def prompts(self) -> PromptSet | None:
        """What readers say in this world; None for our own wording."""
        return None

    def teach(self, item: Item, messages: Sequence[Message]) -> str:
        """What a teacher answers to a call that an agent made for the item.

        Raises `ConfigurationError` where the world has no teacher.
        """
        raise ConfigurationError(
            f"the world of {item.task} has no teacher", hint="leave out warm_start.lessons"
        )


def find_world(name: str) -> World | None:
    """The world of that name; None where it is not one of them."""
    if name not in WORLDS:
        return None
    module, _, kind = WORLDS[name].partition(":")
    world: World = getattr(import_module(module), kind)()
    return world
