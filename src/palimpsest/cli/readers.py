"""Options that say how to read, what it may take, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter

from palimpsest.errors import ConfigurationError
from palimpsest.models.caps import Caps
from palimpsest.models.prices import GivenPrice, Price, listed_price
from palimpsest.prompts import load_prompts
from palimpsest.readers.reader import Reader
from palimpsest.readers.registry import at_budget, build_reader, readers_with, settings_of

_READING = Group("Reading", sort_key=1)
_COST = Group("Cost", sort_key=3)
_FLAGS = {"budgets": "budget"}
"""Flags that are not called what the setting is."""

_OWN_MEANING = {"retrieval": {"chunk_tokens"}}
"""Settings that are of another thing than in other readers: its chunks are passages."""


@Parameter(name="*", group=_READING)
@dataclass(frozen=True)
class ReaderOptions:
    """How to read."""

    reader: str | None = None
    """closed, full, gated, memagent, memocr, memreread, parallel, rememr1 or retrieval; wrappers
    before what they wrap, as in memreread+memocr. MemOCR when a budget is given, else MemAgent."""
    budget: Annotated[list[int] | None, Parameter(negative=())] = None
    """Visual tokens for MemOCR's page, or text tokens of the memory that MemAgent and ReMemR1 show;
    give it several times to read one memory at each."""
    faithful: bool = False
    """The papers' settings: exact token windows, their sampling, cut-off drafts accepted."""
    chunk_tokens: int | None = None
    """Tokens of the source a draft sees (5000)."""
    memory_tokens: int | None = None
    """Most tokens of the memory (1024; MemOCR 2048)."""
    answer_tokens: int | None = None
    """Most tokens of the answer (1024; MemOCR 2048)."""
    cutting: Literal["sentence", "token"] | None = None
    """Where chunks end."""
    order: Literal["memory_first", "section_first"] | None = None
    """Prompt order; section_first lets servers with prefix caching share the section."""
    cell: Literal[28, 32] | None = None
    """Pixels a side of a visual token: 28 for Qwen2.5-VL, 32 for Qwen3-VL."""
    context_tokens: int | None = None
    """Most tokens of the source that full shows (6144)."""
    rereads: int | None = None
    """Most rereads of memreread (2)."""
    depth: int | None = None
    """How deep the sub-questions of memreread go (1)."""
    stop: Annotated[bool | None, Parameter(negative=())] = None
    """Let gated end reading when the memory is enough."""
    lanes: int | None = None
    """Stretches that parallel reads side by side (8)."""
    fan_in: int | None = None
    """Most memories that parallel merges into one (4)."""
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    prompts: Path | None = None
    """TOML file with a checkpoint's own wording."""

    def build(self) -> Reader:
        """The reader these options describe."""
        name = self.reader or ("memocr" if self.budget else "memagent")
        given = self._given()
        if self.budget:
            given["budgets"] = tuple(self.budget)
        _refuse_idle(name, given)
        return _built(name, given, self.faithful)

    def build_at_budget(self, name: str) -> Reader:
        """The named one among several readers that are compared: each has what it can use of
        these options, and the budget is the memory's, whatever it is made of."""
        usable = settings_of(name) - _OWN_MEANING.get(name, set())
        given = {key: value for key, value in self._given().items() if key in usable}
        if self.budget:
            given |= at_budget(name, self.budget[0])
        return _built(name, given, self.faithful)

    def _given(self) -> dict[str, Any]:
        """The settings that were given, the budget apart."""
        apart = ("reader", "budget", "faithful", "prompts")
        given = {
            name: value
            for name, value in vars(self).items()
            if value is not None and name not in apart
        }
        return given | ({"prompts": load_prompts(self.prompts)} if self.prompts else {})


def _refuse_idle(name: str, given: dict[str, Any]) -> None:
    for setting in sorted(given.keys() - settings_of(name)):
        others = readers_with(setting)
        raise ConfigurationError(
            f"--{_flag(setting)} is for {', '.join(others)}, and {name} has no use for it",
            hint=f"use --reader {others[0]}, or leave it out",
        )


def _built(name: str, given: dict[str, Any], faithful: bool) -> Reader:
    from pydantic import ValidationError

    try:
        return build_reader(name, given, faithful=faithful)
    except ValidationError as error:
        first = error.errors()[0]
        place = first["loc"][0] if first["loc"] else "reader"
        message = f"--{_flag(str(place))}: {first['msg']}"
        raise ConfigurationError(message, hint="correct it") from error


def _flag(setting: str) -> str:
    return _FLAGS.get(setting, setting).replace("_", "-")


@Parameter(name="*", group=_COST)
@dataclass(frozen=True)
class PriceOptions:
    """What tokens cost, where the list of public prices does not know or is wrong."""

    price_in: float | None = None
    """US dollars a million tokens of prompts."""
    price_out: float | None = None
    """US dollars a million tokens of completions."""

    def price(
        self, model: str, base_url: str | None = None, at: datetime | None = None
    ) -> Price | None:
        """The price given, else the one listed; None where nobody knows it."""
        if self.price_in is None and self.price_out is None:
            return listed_price(model, base_url, at)
        if self.price_in is None or self.price_out is None:
            raise ConfigurationError(
                "a price of the prompts or of the completions alone tells no cost",
                hint="give both --price-in and --price-out; 0 is a price",
            )
        if min(self.price_in, self.price_out) < 0:
            raise ConfigurationError("a price is below 0", hint="correct it")
        return GivenPrice(input=self.price_in, output=self.price_out)


@Parameter(name="*", group=_COST)
@dataclass(frozen=True)
class CapOptions:
    """The most that a reading may take; then it answers from what it has read."""

    max_tokens_total: int | None = None
    """Tokens of all prompts and completions."""
    max_cost: float | None = None
    """US dollars."""
    max_seconds: float | None = None
    max_calls: int | None = None

    def caps(self, price: Price | None) -> Caps:
        """The caps. Raises `ConfigurationError` if money is capped and nobody knows the price."""
        if self.max_cost is not None and price is None:
            raise ConfigurationError(
                "--max-cost needs to know what tokens cost, and the model is on no list",
                hint="give --price-in and --price-out, or cap tokens",
            )
        return Caps(
            tokens=self.max_tokens_total,
            cost=self.max_cost,
            seconds=self.max_seconds,
            calls=self.max_calls,
            price=price,
        )
