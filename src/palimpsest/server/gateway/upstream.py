"""Where the final turn is asked: the upstream as an endpoint, or a model that is none.

The final turn is the client's own request with the memory in the place of the source, so an
endpoint is sent JSON as it is, and what it answers is kept as it is.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Protocol

import httpx2

from palimpsest.errors import EndpointError, InputError, TransientError
from palimpsest.models import LocalModel, Message, Model, OpenAIModel, Sampling, Usage
from palimpsest.models.endpoint import CONNECT_TIMEOUT_S, CONNECTIONS_KEPT, Endpoint, endpoint
from palimpsest.models.model import ImagePart, TextPart
from palimpsest.server.gateway.chat import Chat
from palimpsest.server.gateway.conversation import Entry, Json, Part
from palimpsest.server.gateway.responses_api import Responses
from palimpsest.server.mending import may_be_broken, mended
from palimpsest.server.tracing import outgoing_headers
from palimpsest.settings import ModelSettings

Dialect = Chat | Responses

_TIMEOUT_S = 300.0
_RETRIES = 2
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 10.0
_PASSING = frozenset({408, 409, 429, 502, 503, 504})
_ROLES = {"instructions": "system", "user": "user", "assistant": "assistant", "tool": "user"}


class Refused(Exception):
    """The upstream answered with an error, which is the client's to see."""

    def __init__(self, status: int, body: Json) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.body = body


class Answering(Protocol):
    """Whatever answers the final turn. Raises `Refused` or a `PalimpsestError`."""

    async def whole(self, dialect: Dialect, body: Json, entries: Sequence[Entry]) -> Json:
        """The answer to a request that is not streamed."""
        ...

    def stream(self, dialect: Dialect, body: Json, entries: Sequence[Entry]) -> AsyncIterator[Json]:
        """The chunks or events of the answer to one that is."""
        ...

    async def aclose(self) -> None: ...


class EndpointAnswering:
    """Asks an OpenAI-compatible endpoint."""

    def __init__(self, where: Endpoint, api_key: str | None, settings: ModelSettings) -> None:
        self._where = where
        self._headers = _key_header(where, api_key)
        self._retries = _RETRIES if settings.retries is None else settings.retries
        self._timeout_s = settings.timeout_s or _TIMEOUT_S
        self._client: httpx2.AsyncClient | None = None

    async def whole(self, dialect: Dialect, body: Json, entries: Sequence[Entry]) -> Json:
        async with await self._open(dialect, body) as response:
            return _object(await response.aread())

    async def stream(
        self, dialect: Dialect, body: Json, entries: Sequence[Entry]
    ) -> AsyncIterator[Json]:
        async with await self._open(dialect, body) as response:
            if "event-stream" not in response.headers.get("content-type", ""):
                for event in dialect.streamed(_object(await response.aread())):
                    yield event
                return
            try:
                async for event in _events(response):
                    yield event
            except httpx2.TransportError as error:
                raise _lost(error) from None

    async def aclose(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _open(self, dialect: Dialect, body: Json) -> _Opened:
        """The upstream's answer as soon as its head is there, asked for again where that helps."""
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                response = await self._send(dialect, body)
            except httpx2.TransportError as error:
                if last:
                    raise _lost(error) from None
                await asyncio.sleep(_FIRST_WAIT_S * 2**attempt)
                continue
            if response.status_code < 400:
                return _Opened(response)
            said = await response.aread()
            await response.aclose()
            if last or response.status_code not in _PASSING:
                raise Refused(response.status_code, _error_body(said, response.status_code))
            await asyncio.sleep(_wait_s(response, attempt))
        raise AssertionError("the last attempt returns or raises")

    async def _send(self, dialect: Dialect, body: Json) -> httpx2.Response:
        client = self._opened()
        headers = {**self._headers, **outgoing_headers()}
        request = client.build_request(
            "POST", self._url(dialect, body), json=body, headers=headers, params=self._query()
        )
        return await client.send(request, stream=True)

    def _url(self, dialect: Dialect, body: Json) -> str:
        base = self._where.base_url
        if self._where.api_version and "/deployments/" not in base and dialect.name == "chat":
            base = f"{base}/deployments/{body.get('model')}"
        return f"{base}{dialect.path}"

    def _query(self) -> dict[str, str]:
        version = self._where.api_version
        return {**self._where.query, **({"api-version": version} if version else {})}

    def _opened(self) -> httpx2.AsyncClient:
        if self._client is None:
            kept = 0 if self._where.is_loopback else CONNECTIONS_KEPT
            self._client = httpx2.AsyncClient(
                timeout=httpx2.Timeout(self._timeout_s, connect=CONNECT_TIMEOUT_S),
                trust_env=not self._where.is_loopback,
                limits=httpx2.Limits(max_keepalive_connections=kept, max_connections=None),
            )
        return self._client


class _Opened:
    """A response whose connection is let go of at the end."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response

    async def __aenter__(self) -> httpx2.Response:
        return self._response

    async def __aexit__(self, *_: object) -> None:
        await self._response.aclose()


class LocalAnswering:
    """Asks the model that runs in this process, which is an endpoint once it is loaded."""

    def __init__(self, model: LocalModel, settings: ModelSettings) -> None:
        self._model = model
        self._settings = settings.model_copy(update={"retries": 0, "timeout_s": 3600.0})
        self._asked: tuple[OpenAIModel, EndpointAnswering] | None = None

    async def whole(self, dialect: Dialect, body: Json, entries: Sequence[Entry]) -> Json:
        return await (await self._endpoint()).whole(dialect, body, entries)

    async def stream(
        self, dialect: Dialect, body: Json, entries: Sequence[Entry]
    ) -> AsyncIterator[Json]:
        async for event in (await self._endpoint()).stream(dialect, body, entries):
            yield event

    async def aclose(self) -> None:
        if self._asked is not None:
            await self._asked[1].aclose()

    async def _endpoint(self) -> EndpointAnswering:
        served = await self._model.served()
        if self._asked is None or self._asked[0] is not served:
            await self.aclose()
            asked = EndpointAnswering(served.endpoint, served._api_key, self._settings)
            self._asked = (served, asked)
        return self._asked[1]


class ModelAnswering:
    """Asks a model that is no endpoint: a text and its usage is all that it gives."""

    def __init__(self, model: Model) -> None:
        self._model = model

    async def whole(self, dialect: Dialect, body: Json, entries: Sequence[Entry]) -> Json:
        messages = [*_instructions(body), *map(_message, entries)]
        number = body.get("n")
        sampling = _sampling(dialect, body)
        times = number if isinstance(number, int) and 1 < number <= 128 else 1
        answers = [await self._model.complete(messages, sampling) for _ in range(times)]
        return dialect.answer(
            [_stopped(answer.text, body.get("stop")) for answer in answers],
            model=answers[0].model or self._model.name,
            usage=sum((answer.usage for answer in answers), Usage()),
            cut=any(answer.finish_reason == "length" for answer in answers),
        )

    async def stream(
        self, dialect: Dialect, body: Json, entries: Sequence[Entry]
    ) -> AsyncIterator[Json]:
        for event in dialect.streamed(await self.whole(dialect, body, entries)):
            yield event

    async def aclose(self) -> None:
        """The model is its owner's to close."""


def answering(model: Model, settings: ModelSettings) -> Answering:
    """What answers for a server with this model and these settings."""
    if settings.base_url:
        where = endpoint(settings.base_url, settings.api_version)
        return EndpointAnswering(where, settings.api_key, settings)
    local = _local(model)
    return LocalAnswering(local, settings) if local else ModelAnswering(model)


def _local(model: object) -> LocalModel | None:
    """The local model inside whatever is wrapped around it."""
    while model is not None and not isinstance(model, LocalModel):
        model = getattr(model, "_model", None)
        if isinstance(model, str):
            return None
    return model


def _key_header(where: Endpoint, api_key: str | None) -> dict[str, str]:
    if not api_key:
        return {}
    if where.api_version:
        return {"api-key": api_key}
    return {"Authorization": f"Bearer {api_key}"}


async def _events(response: httpx2.Response) -> AsyncIterator[Json]:
    data: list[str] = []
    async for line in response.aiter_lines():
        if line.startswith("data:"):
            data.append(line.removeprefix("data:").removeprefix(" "))
        elif not line.strip() and data:
            joined, data = "\n".join(data), []
            if joined.strip() == "[DONE]":
                return
            yield _event(joined)


def _event(data: str) -> Json:
    try:
        event = json.loads(data)
    except ValueError:
        raise TransientError("the upstream's stream holds what is no JSON") from None
    if not isinstance(event, dict):
        raise TransientError("the upstream's stream holds what is no object")
    if isinstance(event.get("error"), dict) and "choices" not in event and "type" not in event:
        code = event["error"].get("code")
        raise Refused(code if isinstance(code, int) and 400 <= code < 600 else 502, event)
    return event


def _object(data: bytes) -> Json:
    try:
        body = json.loads(data)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise EndpointError("the upstream answered with what is no JSON object")
    return mended(body) if may_be_broken(data) else body


def _error_body(data: bytes, status: int) -> Json:
    try:
        body = json.loads(data)
    except ValueError:
        body = None
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        return body
    message = f"the upstream answered with status {status}"
    return {"error": {"message": message, "type": "server_error", "param": None, "code": None}}


def _lost(error: httpx2.TransportError) -> EndpointError | TransientError:
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return EndpointError("the upstream cannot be reached")
    return TransientError("the connection to the upstream was lost")


def _wait_s(response: httpx2.Response, attempt: int) -> float:
    try:
        wished = float(response.headers.get("retry-after", ""))
    except ValueError:
        wished = _FIRST_WAIT_S * 2**attempt
    return max(0.0, min(_LONGEST_WAIT_S, wished))


def _sampling(dialect: Dialect, body: Json) -> Sampling:
    """What of a request a model takes that is no endpoint. Raises for what it cannot do."""
    for name in ("tools", "functions", "response_format"):
        if body.get(name):
            raise InputError(
                f"{name}: the model here is no endpoint, and answers in plain text only",
                hint="leave it out, or serve an OpenAI-compatible endpoint as the upstream",
            )
    return Sampling(
        max_tokens=dialect.limit(body) or 1024,
        temperature=_number(body.get("temperature"), 0.0),
        top_p=_number(body.get("top_p"), 1.0),
        seed=body.get("seed") if isinstance(body.get("seed"), int) else None,
    )


def _number(value: object, otherwise: float) -> float:
    return float(value) if isinstance(value, int | float) else otherwise


def _instructions(body: Json) -> list[Message]:
    text = body.get("instructions")
    return [{"role": "system", "content": text}] if isinstance(text, str) and text else []


def _message(entry: Entry) -> Message:
    parts = [made for part in entry.parts if (made := _part(part))]
    role: Any = _ROLES[entry.role]
    if all(part["type"] == "text" for part in parts):
        return {"role": role, "content": entry.text or entry.called}
    return {"role": role, "content": parts}


def _part(part: Part) -> TextPart | ImagePart | None:
    if part.kind == "text":
        return {"type": "text", "text": part.text}
    if part.kind == "image":
        return {"type": "image_url", "image_url": {"url": part.data}}
    return None


def _stopped(text: str, stop: object) -> str:
    """A text up to the first of its stop sequences."""
    stops: Iterable[object] = (
        [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else ()
    )
    found = [text.find(one) for one in stops if isinstance(one, str) and one and one in text]
    return text[: min(found)] if found else text
