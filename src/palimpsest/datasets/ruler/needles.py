"""The eight needle tasks: values hidden in a long text, each under a key, to be given by key.

RULER (COLM 2024), section 3, with its published parameters. A key is an adjective and a noun, or a
UUID; a value is a number of seven digits, or a UUID. Keys and values are drawn without repetition
here, and no number occurs in the essay, so that each question has one answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple
from uuid import UUID

import numpy as np

from palimpsest.datasets.item import Evidence, Passage
from palimpsest.datasets.ruler.haystack import NOISE, Hidden, among_lines, in_essay
from palimpsest.datasets.ruler.resources import Resources
from palimpsest.datasets.ruler.sizing import Draft, Wanted, fit

_LEAST_NUMBER, _NUMBERS = 10**6, 9 * 10**6
_UNITS_PER_TOKEN = {"noise": 1 / 25, "needles": 1 / 30, "essay": 3.5}
"""Lines, lines and characters."""


class Needle(NamedTuple):
    key: str
    value: str
    line: str


@dataclass(frozen=True)
class Needles:
    """A needle task by its parameters."""

    haystack: Literal["noise", "needles", "essay"]
    key: Literal["word", "uuid"] = "word"
    value: Literal["number", "uuid"] = "number"
    keys: int = 1
    values: int = 1
    """Of each key."""
    queries: int = 1
    """Keys that are asked for."""

    async def make(self, wanted: Wanted, resources: Resources) -> Draft:
        return await fit(
            wanted,
            lambda units: self._build(wanted, resources, units),
            units_per_token=_UNITS_PER_TOKEN[self.haystack],
            fewest=self.keys * self.values,
        )

    def _build(self, wanted: Wanted, resources: Resources, units: int) -> Draft:
        random = wanted.random()
        hidden = self._hidden(random, resources)
        others = self._others(random, resources, hidden, units)
        shuffled = [hidden[place] for place in random.permutation(len(hidden))]
        names = list(dict.fromkeys(one.key for one in hidden))
        asked = [names[place] for place in random.permutation(len(names))[: self.queries]]
        answering = [one for key in asked for one in hidden if one.key == key]
        text, depths = self._hide(random, resources, units, shuffled, others)
        return Draft(
            question=self._question(asked),
            answers=tuple(one.value for one in answering),
            documents=(Passage(title="text", text=text),),
            gold=(0,),
            evidence=tuple(Evidence(document=0, quote=one.line) for one in answering),
            details={
                "haystack": self.haystack,
                "asked": asked,
                "needles": [
                    {"key": one.key, "value": one.value, "depth": depth}
                    for one, depth in zip(shuffled, depths, strict=True)
                ],
            },
        )

    def _hidden(self, random: np.random.Generator, resources: Resources) -> list[Needle]:
        keys = self._keys(random, resources, self.keys)
        repeated = [key for key in keys for _ in range(self.values)]
        return self._under(repeated, self._values(random, resources, len(repeated)))

    def _others(
        self,
        random: np.random.Generator,
        resources: Resources,
        hidden: Sequence[Needle],
        units: int,
    ) -> list[Needle]:
        """Needles that are the haystack, with keys and values of their own."""
        if self.haystack != "needles":
            return []
        spare = units + len(hidden)
        keys = _without(self._keys(random, resources, spare), [one.key for one in hidden])
        values = _without(self._values(random, resources, spare), [one.value for one in hidden])
        return self._under(keys[:units], values[:units])

    def _under(self, keys: Sequence[str], values: Sequence[str]) -> list[Needle]:
        return [
            Needle(key, value, f"A secret {self.value} of {key} is {value}.")
            for key, value in zip(keys, values, strict=True)
        ]

    def _keys(self, random: np.random.Generator, resources: Resources, number: int) -> list[str]:
        if self.key == "uuid":
            return _uuids(random, number)
        return adjective_nouns(random, resources, number)

    def _values(self, random: np.random.Generator, resources: Resources, number: int) -> list[str]:
        if self.value == "uuid":
            return _uuids(random, number)
        essay = resources.require_essay() if self.haystack == "essay" else ""
        # Twice as many, as a few may stand in the essay.
        drawn = random.choice(_NUMBERS, size=2 * number, replace=False) + _LEAST_NUMBER
        return [text for text in map(str, drawn.tolist()) if text not in essay][:number]

    def _hide(
        self,
        random: np.random.Generator,
        resources: Resources,
        units: int,
        needles: Sequence[Needle],
        others: Sequence[Needle],
    ) -> Hidden:
        lines = [one.line for one in needles]
        if self.haystack == "essay":
            return in_essay(random, resources.require_essay(), units, lines)
        return among_lines(random, [one.line for one in others] or [NOISE] * units, lines)

    def _question(self, keys: Sequence[str]) -> str:
        if self.values * self.queries == 1:
            return f"The text tells a secret {self.value} of {keys[0]}. What is it?"
        *rest, last = keys
        names = f"{', '.join(rest)} and {last}" if rest else last
        return f"The text tells secret {self.value}s of {names}. What are they all?"


NEEDLES: Mapping[str, Needles] = MappingProxyType(
    {
        "niah_single_1": Needles("noise"),
        "niah_single_2": Needles("essay"),
        "niah_single_3": Needles("essay", value="uuid"),
        "niah_multikey_1": Needles("essay", keys=4),
        "niah_multikey_2": Needles("needles"),
        "niah_multikey_3": Needles("needles", key="uuid", value="uuid"),
        "niah_multivalue": Needles("essay", values=4),
        "niah_multiquery": Needles("essay", keys=4, queries=4),
    }
)


def adjective_nouns(random: np.random.Generator, resources: Resources, number: int) -> list[str]:
    """So many different pairs of an adjective and a noun, joined by a hyphen."""
    nouns = resources.nouns
    pairs = random.choice(len(resources.adjectives) * len(nouns), size=number, replace=False)
    return [
        f"{resources.adjectives[pair // len(nouns)]}-{nouns[pair % len(nouns)]}"
        for pair in pairs.tolist()
    ]


def _uuids(random: np.random.Generator, number: int) -> list[str]:
    return [str(UUID(bytes=random.bytes(16), version=4)) for _ in range(number)]


def _without(drawn: Sequence[str], taken: Sequence[str]) -> list[str]:
    return [one for one in drawn if one not in taken]
