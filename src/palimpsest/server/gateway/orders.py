"""What a request asks of the gateway: to be passed on, to be answered as it is, or to be read."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from palimpsest.errors import InputError
from palimpsest.models.model import Model
from palimpsest.models.prices import listed_price
from palimpsest.models.sight import Eyes, RapidEyes
from palimpsest.readers.reader import Reader
from palimpsest.readers.wrapper import Wrapper
from palimpsest.server.config import ServerConfig
from palimpsest.server.errors import ApiError
from palimpsest.server.gateway.conversation import Conversation, Entry, Json, Part
from palimpsest.server.gateway.extension import FIELD, Extension, extension_of
from palimpsest.server.gateway.fitting import UNSAID_LIMIT_TOKENS, prompt_tokens, surely_fits
from palimpsest.server.gateway.splitting import Sizes, Split, split
from palimpsest.server.gateway.upstream import Dialect
from palimpsest.server.mending import may_be_broken, mended
from palimpsest.settings import EMBEDDED

MOST_NESTED = 200
"""Levels of a body; Python's own limit, of about a thousand, depends on who calls."""
INTRODUCTION_TOKENS = 150
"""Of what is said about the notes."""
_PART = "Document: {name}\n\n{text}"
_SMALL_BYTES = 64 << 10
"""A body of fewer is parsed in less time than it takes to hand it to a thread."""


class Pass(NamedTuple):
    """The request goes to the upstream, byte for byte where `body` is None."""

    body: bytes | None
    model: str


@dataclass(frozen=True)
class Order:
    """A request that the gateway answers itself."""

    dialect: Dialect
    body: Json
    """Without the extension, and with a model that the upstream knows."""
    extension: Extension
    entries: Sequence[Entry]
    """What stays of the messages."""
    reader: Reader
    split: Split | None = None
    """None where all of it fits."""
    eyes: Eyes | None = None

    @property
    def streamed(self) -> bool:
        return self.body.get("stream") is True

    @property
    def limit(self) -> int:
        """Tokens that the answer may have."""
        return self.dialect.limit(self.body) or UNSAID_LIMIT_TOKENS


class Office:
    """Tells what is to be done with a request."""

    def __init__(self, config: ServerConfig, model: Model, reader: Reader, window: int) -> None:
        self._config = config
        self._model = model
        self._reader = reader
        self._window = window
        self._passes = config.upstream.base_url is not None
        self._eyes = eyes_of(config)

    async def order(self, dialect: Dialect, raw: bytes) -> Pass | Order:
        """Raises `ApiError` and `InputError` for what cannot be done."""
        body = parse(raw) if len(raw) <= _SMALL_BYTES else await asyncio.to_thread(parse, raw)
        extension = extension_of(body)
        plain = {name: value for name, value in body.items() if name != FIELD}
        upstream_body = self._with_model(plain)
        untouched = FIELD not in body and upstream_body is plain
        if extension.source is None and extension.when == "needed":
            fitting = await self._fits(dialect, plain, raw)
            if fitting and self._passes:
                content = None if untouched else json.dumps(upstream_body).encode()
                return Pass(content, str(body.get("model", "")))
            _require_flag(plain)
            if fitting:
                conversation = _known(dialect.conversation(plain))
                return Order(
                    dialect, upstream_body, extension, conversation.entries, self._reader
                )  # fmt: skip
        _require_flag(plain)
        return await self._read(dialect, upstream_body, extension)

    def _with_model(self, body: Json) -> Json:
        """The body under the upstream's name, where it comes under the gateway's own."""
        if body.get("model") not in (None, *self._config.own_models):
            return body
        return {**body, "model": self._model.name}

    async def _fits(self, dialect: Dialect, body: Json, raw: bytes) -> bool:
        limit = dialect.limit(body)
        if surely_fits(raw, self._window, limit):
            return True
        conversation = dialect.conversation(body)
        tokens = await prompt_tokens(body, conversation, await self._model.tokenizer())
        return tokens + (limit or UNSAID_LIMIT_TOKENS) <= self._window

    async def _read(self, dialect: Dialect, body: Json, extension: Extension) -> Order:
        conversation = dialect.conversation(body)
        documents = await asyncio.to_thread(extension.documents)
        reader = extension.open_reader(self._config.reader, self._reader)
        if documents and extension.when == "needed" and not conversation.strange:
            inline = _inline(conversation, documents, extension.question)
            if await self._entries_fit(dialect, body, inline.entries):
                shown = dialect.request(body, inline.entries)
                return Order(dialect, shown, extension, inline.entries, reader)
        _require_price(extension, self._model)
        parted = await asyncio.to_thread(
            split,
            conversation,
            Sizes(self._window),
            explicit=documents or (),
            question=extension.question,
            eyes=self._eyes,
        )
        if parted.documents:
            # Before anything is read for a question that could not be asked in the end.
            await self._require_room(dialect, body, parted.entries, memory_cost(reader))
            return Order(dialect, body, extension, parted.entries, reader, parted, self._eyes)
        if await self._entries_fit(dialect, body, parted.entries):
            shown = dialect.request(body, parted.entries)
            return Order(dialect, shown, extension, parted.entries, reader)
        raise too_long(self._window)

    async def _entries_fit(
        self, dialect: Dialect, body: Json, entries: Sequence[Entry], extra: int = 0
    ) -> bool:
        tokenizer = await self._model.tokenizer()
        tokens = await prompt_tokens(body, Conversation(tuple(entries)), tokenizer)
        limit = dialect.limit(body) or UNSAID_LIMIT_TOKENS
        return tokens + limit + extra <= self._window

    async def _require_room(
        self, dialect: Dialect, body: Json, entries: Sequence[Entry], extra: int
    ) -> None:
        if not await self._entries_fit(dialect, body, entries, extra):
            raise too_long(self._window)

    async def check(self, order: Order, entries: Sequence[Entry]) -> None:
        """Raises 400 unless the final turn of an order fits the window."""
        await self._require_room(order.dialect, order.body, entries, 0)


def parse(raw: bytes) -> Json:
    """The object that a request's body is. Raises 400."""
    try:
        body = json.loads(raw, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError):
        raise ApiError(400, "the body is no valid JSON", code="invalid_json") from None
    if not isinstance(body, dict):
        raise ApiError(400, "the body is no JSON object", code="invalid_json")
    if _is_nested(body, MOST_NESTED):
        raise ApiError(400, f"the body is nested more than {MOST_NESTED} deep", code="invalid_json")
    return mended(body) if may_be_broken(raw) else body


def _finite(number: str) -> float:
    """JSON has no other numbers, whatever Python makes of them."""
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number} is no number of JSON")
    return value


def _is_nested(value: Any, levels: int) -> bool:  # noqa: ANN401 -- JSON
    """Whether there are objects or lists so deep in it, found without recursion."""
    level = [value]
    for _ in range(levels):
        values = (one.values() if isinstance(one, dict) else one for one in level)
        level = [inner for one in values for inner in one if isinstance(inner, dict | list)]
        if not level:
            return False
    return True


def _require_flag(body: Json) -> None:
    """Raises 400 for a `stream` that the gateway and the upstream might not take for the same."""
    if not isinstance(body.get("stream"), bool | None):
        raise ApiError(400, "stream is true or false", param="stream")


def _require_price(extension: Extension, model: Model) -> None:
    """Raises `InputError` where money is capped that cannot be counted."""
    if extension.caps and extension.caps.cost and listed_price(model.name) is None:
        raise InputError(
            f"{FIELD}.caps.cost: no price is known for the model that reads",
            hint="cap tokens or calls",
        )


def memory_cost(reader: Reader) -> int:
    """The most tokens that what a reader shows may cost in the final turn."""
    inner = reader.inner if isinstance(reader, Wrapper) else reader
    budgets = getattr(inner, "budgets", ())
    if budgets:
        return int(max(budgets)) + INTRODUCTION_TOKENS
    shown = getattr(inner, "memory_tokens", 0) or getattr(inner, "context_tokens", 0)
    return int(shown) + INTRODUCTION_TOKENS


def too_long(window: int) -> ApiError:
    """Said when what cannot be read in parts is too long for the window by itself."""
    return ApiError(
        400,
        f"what has to stay in the prompt (the question, recent messages, tools, pictures, and room "
        f"for the memory and the answer) does not fit the upstream's window of {window} tokens",
        code="context_length_exceeded",
        param="messages",
    )


def eyes_of(config: ServerConfig) -> Eyes | None:
    """What reads pictures out for an upstream that cannot see; None for one that can."""
    settings = config.upstream
    embedded = settings.name in (None, EMBEDDED) and settings.base_url is None
    sight = settings.sight if settings.sight is not None else embedded
    return RapidEyes() if sight else None


def _known(conversation: Conversation) -> Conversation:
    if conversation.strange:
        raise InputError("the messages are of no shape that is known")
    return conversation


def _inline(
    conversation: Conversation, documents: Sequence[tuple[str, str]], question: str | None
) -> Conversation:
    """The conversation with documents before its question."""
    at = conversation.question_at
    entries = list(conversation.entries)
    if at is None:
        entries.append(Entry("user", (), {"role": "user", "content": ""}))
        at = len(entries) - 1
    parts = [Part("text", None, _PART.format(name=n, text=t)) for n, t in documents]
    asked = [Part("text", None, question)] if question and question not in entries[at].text else []
    entries[at] = entries[at].with_parts([*parts, *entries[at].parts, *asked])
    return Conversation(tuple(entries))
