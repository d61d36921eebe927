"""What an endpoint can do, found out by asking it: the measurements behind `palimpsest doctor`.

    checks = await Checkup(OpenAIModel("qwen2.5-vl-7b", base_url=url)).run()

About ten short calls, at temperature 0. Nothing raises: what fails is a finding.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from palimpsest.errors import (
    AuthError,
    EndpointError,
    ModelError,
    PalimpsestError,
    TransientError,
)
from palimpsest.models.answer import split_thinking
from palimpsest.models.eyetest import judge, judge_ocr, look
from palimpsest.models.model import Completion, Model, Sampling, user
from palimpsest.models.openai import OpenAIModel
from palimpsest.models.sight import SightModel
from palimpsest.sources.tokens import Tokenizer, count

Status = Literal["ok", "warn", "fail", "skipped"]
Figure = int | float | str | bool | None

GREETING = user("Reply with the single word: ready")
TRIVIAL = user("What is 2 + 3? Reply with the number alone.")
TRIVIAL_TOKENS = 1024
"""Room for an answer with its thinking."""
ENDLESS = user("Write the numbers from 1 to 300 in words, separated by commas.")
ENDLESS_TOKENS = 16
SAMPLE = (
    "On 14 March 1893 the brig Constance left Ardrossan for Valparaíso with 412 tons of coal; "
    "her master, J. P. O'Driscoll, carried a letter of credit for £1,275.50.\n"
    "    for (int i = 0; i < total_count; i++) { checksum ^= table[i & 0xff]; }\n"
    "The committee's re-evaluation, published in 2021, found no statistically significant "
    "difference between the two hydroelectric catchments.\n"
) * 3
"""Prose, names, numbers and code, to compare counts on."""

_NAMES_SHOWN = 5
_SAME = 0.02
"""Share by which two counts of the same tokens may differ, at the joints."""
_WINDOW_FIELDS = (
    "max_model_len", "context_length", "context_window", "max_context_length", "n_ctx",
)  # fmt: skip


class Check(BaseModel):
    """One thing looked at."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    status: Status
    """`warn` works, with a loss that `advice` tells how to avoid; `fail` does not work."""
    finding: str
    advice: str = ""
    figures: dict[str, Figure] = {}
    """The numbers behind the finding, for programs."""


class Need(BaseModel):
    """Tokens of the longest request of a reader."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reader: str
    chunk_tokens: int
    other_tokens: int
    """Prompt, memory and the draft that is written."""

    @property
    def tokens(self) -> int:
        return self.chunk_tokens + self.other_tokens


class Checkup:
    """Looks at one model."""

    def __init__(
        self,
        model: OpenAIModel,
        *,
        needs: Sequence[Need] = (),
        thinking_tokens: int = 4096,
        eyes: bool = False,
        on_check: Callable[[str], None] | None = None,
    ) -> None:
        """Args:
        needs: What the window is compared to.
        thinking_tokens: The allowance of the model should it think.
        eyes: Look at images through OCR, for a model that cannot see.
        on_check: Hears the name of each check as it begins.
        """
        self._model = model
        self._needs = needs
        self._thinking_tokens = thinking_tokens
        self._eyes = eyes
        self._on_check = on_check or (lambda _: None)
        self._listed: list[Mapping[str, Any]] = []
        self._greeting: Completion | ModelError = ModelError("not asked yet")
        self._thinks = False

    async def run(self) -> list[Check]:
        """All checks, in order; those that a failure makes pointless are skipped."""
        checks: list[Check] = []
        steps = {
            "reachable": self._reachable,
            "model": self._answers,
            "thinking": self._thinking,
            "window": self._window,
            "limit": self._limit,
            "tokenizer": self._tokenizer,
            "images": self._images,
        }
        for name, step in steps.items():
            if any(check.status == "fail" for check in checks[:2]):
                checks.append(Check(name=name, status="skipped", finding="no answers to look at"))
            else:
                self._on_check(name)
                checks.append(await _caught(name, step))
        return checks

    async def _reachable(self) -> Check:
        self._listed = await self._entries()
        try:
            self._greeting = await self._model.complete(GREETING, Sampling(max_tokens=16))
        except ModelError as error:
            self._greeting = error
            if isinstance(error, EndpointError | AuthError | TransientError):
                raise
        where = self._model.endpoint.base_url
        count_listed = len(self._listed) or "no"
        listed = f"it lists {count_listed} model{'' if len(self._listed) == 1 else 's'}"
        return Check(
            name="reachable",
            status="ok",
            finding=f"{where} answers; {listed}",
            figures={"base_url": where, "models_listed": len(self._listed)},
        )

    async def _entries(self) -> list[Mapping[str, Any]]:
        """What the endpoint lists; nothing where it has no list."""
        try:
            return _entries_of(await self._model.fetch("/models"))
        except ModelError:
            return []

    async def _answers(self) -> Check:
        greeting = self._greeting
        if isinstance(greeting, ModelError):
            raise greeting
        names, served = self._names(), greeting.model
        finding = f"{self._model.name} answers in {greeting.seconds:.1f} s"
        if served and served != self._model.name:
            finding += f", as {served}"
        if names and self._model.name not in names:
            finding += f"; the endpoint lists other names: {', '.join(names[:_NAMES_SHOWN])}"
        figures: dict[str, Figure] = {
            "served_as": served,
            "listed": self._model.name in names,
            "seconds": round(greeting.seconds, 3),
        }
        if not greeting.text.strip():
            advice = "is it an instruction model, served with its chat template?"
            return Check(
                name="model", status="warn", finding=f"{finding}, but with no text", advice=advice,
                figures=figures,
            )  # fmt: skip
        return Check(name="model", status="ok", finding=finding, figures=figures)

    def _names(self) -> list[str]:
        return [str(entry.get("id")) for entry in self._listed]

    async def _thinking(self) -> Check:
        answered = await self._model.once(TRIVIAL, Sampling(max_tokens=TRIVIAL_TOKENS))
        found, leaks = answered.completion, _leaks(answered.body)
        self._thinks = bool(found.reasoning) or found.usage.reasoning > 0
        if not self._thinks:
            figures: dict[str, Figure] = {"thinks": False, "leaks": False, "tokens": 0}
            return Check(name="thinking", status="ok", finding="it does not think", figures=figures)
        is_cut = found.finish_reason == "length"
        tokens = found.usage.reasoning or found.usage.completion
        where = "in the content, from which it is split off" if leaks else "apart from its answer"
        advice = f"--thinking-tokens is what it may think ({self._thinking_tokens:,} now)"
        if leaks:
            advice = f"start the server with the model's reasoning parser; {advice}"
        return Check(
            name="thinking",
            status="warn" if leaks or is_cut else "ok",
            finding=f"it thinks {where}: {'over ' if is_cut else ''}{tokens:,} tokens for a"
            " trivial question",
            advice=advice,
            figures={"thinks": True, "leaks": leaks, "tokens": tokens},
        )

    async def _window(self) -> Check:
        window = await self._window_tokens()
        needs = {need.reader: self._needed(need) for need in self._needs}
        figures: dict[str, Figure] = {"window": window}
        figures |= {f"needed_by_{reader}": tokens for reader, tokens in needs.items()}
        if window is None:
            return Check(
                name="window",
                status="skipped",
                finding="the endpoint does not tell",
                advice=" and ".join(f"{name} needs {n:,} tokens" for name, n in needs.items()),
                figures=figures,
            )
        short = [need for need in self._needs if self._needed(need) > window]
        return Check(
            name="window",
            status="warn" if short else "ok",
            finding=f"{window:,} tokens"
            + "".join(f"; {need.reader} needs up to {self._needed(need):,}" for need in short),
            advice="; ".join(self._smaller(need, window) for need in short),
            figures=figures,
        )

    async def _window_tokens(self) -> int | None:
        """As the model list has it, else as llama.cpp's properties do."""
        name = self._model.name
        own = [entry for entry in self._listed if entry.get("id") == name] or self._listed
        if len(own) == 1:
            window = _window_of(own[0])
            if window:
                return window
        for root in self._model.endpoint.roots:
            try:
                properties = await self._model.fetch(f"{root}/props")
            except ModelError:
                continue
            if isinstance(properties, Mapping):
                return _window_of(properties.get("default_generation_settings"))
        return None

    def _needed(self, need: Need) -> int:
        return need.tokens + (self._thinking_tokens if self._thinks else 0)

    def _smaller(self, need: Need, window: int) -> str:
        fitting = (window - self._needed(need) + need.chunk_tokens) // 100 * 100
        if fitting < 500:
            return f"too small for {need.reader}: serve the model with a larger window"
        return f"--chunk-tokens {fitting} fits {need.reader}, or serve a larger window"

    async def _limit(self) -> Check:
        answered = await self._model.once(ENDLESS, Sampling(max_tokens=ENDLESS_TOKENS))
        reason, tokens = answered.completion.finish_reason, answered.completion.usage.completion
        status, finding, advice = _limit_judged(reason == "length", tokens)
        figures: dict[str, Figure] = {"finish_reason": reason, "tokens": tokens}
        return Check(name="limit", status=status, finding=finding, advice=advice, figures=figures)

    async def _tokenizer(self) -> Check:
        tokenizer = await self._model.tokenizer()
        ours, theirs = await count(tokenizer, SAMPLE), await self._charged(SAMPLE)
        status, finding, advice = _counts_judged(tokenizer, ours, theirs)
        return Check(
            name="tokenizer",
            status=status,
            finding=finding,
            advice=advice,
            figures={"exact": tokenizer.exact, "counted": ours, "charged": theirs},
        )

    async def _charged(self, text: str) -> int:
        """Prompt tokens that the server counts for a text; 0 where it does not tell."""
        sampling = Sampling(max_tokens=1)
        without = await self._model.once(user("Say ok.\n"), sampling)
        with_it = await self._model.once(user(f"Say ok.\n{text}"), sampling)
        return with_it.completion.usage.prompt - without.completion.usage.prompt

    async def _images(self) -> Check:
        model: Model = SightModel(self._model) if self._eyes else self._model
        test = await look(model)
        judgement = judge_ocr(test) if self._eyes else judge(test)
        return Check(
            name="images",
            status="ok" if judgement.sound else "warn",
            finding=judgement.finding,
            advice=judgement.advice,
            figures={} if self._eyes else test.figures(),
        )


async def _caught(name: str, step: Callable[[], Awaitable[Check]]) -> Check:
    try:
        return await step()
    except PalimpsestError as error:
        return Check(name=name, status="fail", finding=str(error), advice=error.hint)


def _entries_of(listing: object) -> list[Mapping[str, Any]]:
    entries = listing.get("data") if isinstance(listing, Mapping) else None
    if not isinstance(entries, list):
        return []
    return [entry for entry in entries if isinstance(entry, Mapping)]


def _window_of(fields: object) -> int | None:
    if not isinstance(fields, Mapping):
        return None
    found = (fields.get(name) for name in _WINDOW_FIELDS)
    window = next((value for value in found if isinstance(value, int) and value > 0), None)
    return window or _window_of(fields.get("meta"))


def _leaks(body: object) -> bool:
    """Whether thinking stands in the content of an answer."""
    assert isinstance(body, Mapping)
    content = body["choices"][0]["message"].get("content")
    return isinstance(content, str) and bool(split_thinking(content).reasoning)


def _limit_judged(is_told: bool, tokens: int) -> tuple[Status, str, str]:
    allowed = f"{tokens} of {ENDLESS_TOKENS} tokens"
    if tokens > 2 * ENDLESS_TOKENS:
        advice = "each memory over its limit will cost a further call, to shorten it"
        return "warn", f"max_tokens is not kept: {allowed}", advice
    if is_told:
        return "ok", f"an answer is cut at max_tokens ({allowed}) and says so", ""
    if tokens < ENDLESS_TOKENS:
        return "skipped", f"the model ended by itself ({allowed})", ""
    return (
        "warn",
        f"an answer is cut at max_tokens ({allowed}) and does not say so",
        "a cut-off memory cannot be told from a whole one here: allow it more --memory-tokens",
    )


def _counts_judged(tokenizer: Tokenizer, ours: int, theirs: int) -> tuple[Status, str, str]:
    kind = "exact" if tokenizer.exact else "an estimate"
    if theirs <= 0:
        return "warn", f"{kind} ({tokenizer.name}); the server reports no usage", ""
    ratio = ours / theirs
    finding = f"{kind} ({tokenizer.name}): {ours} tokens where the server counts {theirs}"
    if tokenizer.exact:
        is_same = abs(ratio - 1) <= _SAME
        advice = "" if is_same else "is the tokenizer.json that of this model?"
        return "ok" if is_same else "warn", finding, advice
    advice = "--tokenizer with the model's tokenizer.json counts exactly"
    return "ok" if ratio >= 1 - _SAME else "warn", finding, advice
