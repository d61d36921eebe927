"""Spans by OpenTelemetry's conventions for generative AI; without its SDK they cost nothing.

Nothing that was asked or answered goes into a span: models, settings, tokens, times, failures.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

from opentelemetry import propagate, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from palimpsest.models.model import Completion, Message, Model, Sampling
from palimpsest.server.metrics import Metrics
from palimpsest.sources.tokens import Tokenizer

_tracer = trace.get_tracer("palimpsest.server")
"""Asks whatever provider the process has by the time a span starts."""


class ObservedModel:
    """Passes every call on, counts it and gives it a span."""

    def __init__(self, model: Model, metrics: Metrics, base_url: str | None = None) -> None:
        self._model = model
        self._metrics = metrics
        self._server = _address(base_url)

    @property
    def name(self) -> str:
        return self._model.name

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        started = time.monotonic()
        completion: Completion | None = None
        with _chat_span(self.name, sampling, self._server) as span:
            try:
                completion = await self._model.complete(messages, sampling)
            finally:
                seconds = time.monotonic() - started
                self._metrics.count_call(seconds, completion.usage if completion else None)
            _tell_completion(span, completion)
        return completion

    async def tokenizer(self) -> Tokenizer:
        return await self._model.tokenizer()

    async def aclose(self) -> None:
        await self._model.aclose()


@contextmanager
def _chat_span(model: str, sampling: Sampling, server: Mapping[str, str | int]) -> Iterator[Span]:
    attributes: dict[str, str | int | float] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": model,
        "gen_ai.request.max_tokens": sampling.max_tokens,
        "gen_ai.request.temperature": sampling.temperature,
        **server,
    }
    with _span(f"chat {model}", SpanKind.CLIENT, attributes) as span:
        yield span


def _tell_completion(span: Span, completion: Completion) -> None:
    span.set_attribute("gen_ai.response.model", completion.model)
    span.set_attribute("gen_ai.response.finish_reasons", [completion.finish_reason])
    span.set_attribute("gen_ai.usage.input_tokens", completion.usage.prompt)
    span.set_attribute("gen_ai.usage.output_tokens", completion.usage.completion)
    span.set_attribute("gen_ai.usage.cache_read.input_tokens", completion.usage.cached)
    span.set_attribute("gen_ai.usage.reasoning.output_tokens", completion.usage.reasoning)


@contextmanager
def reading_span(reader: str, model: str) -> Iterator[Span]:
    """Around one reading; the spans of its calls are below it."""
    attributes: dict[str, str | int | float] = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": reader,
        "gen_ai.provider.name": "palimpsest",
        "gen_ai.request.model": model,
    }
    with _span(f"invoke_agent {reader}", SpanKind.INTERNAL, attributes) as span:
        yield span


@contextmanager
def request_span(method: str, headers: Mapping[str, str]) -> Iterator[Span]:
    """Around one request to this server, below the client's own span if it names one."""
    attributes = {"http.request.method": method}
    with _span(method, SpanKind.SERVER, attributes, headers) as span:
        yield span


def tell_response(span: Span, method: str, route: str, status: int) -> None:
    """Names a request's span by its route, and gives it the status."""
    span.update_name(f"{method} {route}" if route else method)
    span.set_attribute("http.route", route)
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_attribute("error.type", str(status))
        span.set_status(Status(StatusCode.ERROR))


@contextmanager
def passed_span(model: str, base_url: str) -> Iterator[Span]:
    """Around a request that is passed through, up to the head of its answer."""
    attributes: dict[str, str | int | float] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        **_address(base_url),
    }
    if model:
        attributes["gen_ai.request.model"] = model
    with _span(f"chat {model}".strip(), SpanKind.CLIENT, attributes) as span:
        yield span


def tell_passed(span: Span, status: int) -> None:
    """Gives such a span the upstream's status."""
    span.set_attribute("http.response.status_code", status)
    if status >= 400:
        span.set_attribute("error.type", str(status))
        span.set_status(Status(StatusCode.ERROR))


def outgoing_headers() -> dict[str, str]:
    """What tells an upstream which span it is called from; nothing where there is none."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier


@contextmanager
def _span(
    name: str,
    kind: SpanKind,
    attributes: Mapping[str, str | int | float],
    headers: Mapping[str, str] | None = None,
) -> Iterator[Span]:
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        yield trace.INVALID_SPAN
        return
    # Not `record_exception`: the text of an exception may quote what was asked.
    context = propagate.extract(headers) if headers else None
    with _tracer.start_as_current_span(
        name, context, kind, dict(attributes), record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except BaseException as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(Status(StatusCode.ERROR))
            raise


def _address(base_url: str | None) -> dict[str, str | int]:
    parts = urlsplit(base_url or "")
    if not parts.hostname:
        return {}
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return {"server.address": parts.hostname, "server.port": port}
