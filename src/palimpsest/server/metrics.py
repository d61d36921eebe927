"""What the server counts, for Prometheus. Nothing here tells what was asked or answered.

A registry for each server, so that several in one process (tests) do not mix.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from palimpsest.models.model import Usage

CONTENT_TYPE = CONTENT_TYPE_LATEST

spent: ContextVar[dict[str, int] | None] = ContextVar("spent", default=None)
"""What the calls for the request under way took, those of tasks that it started included."""

_REQUEST_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_READING_S = (1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)
_RENDER_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter(
            "requests", "Requests answered.", "route", "method", "status"
        )  # fmt: skip
        self.request_seconds = self._histogram(
            "request_seconds",
            "From a request's head to the end of its answer.",
            _REQUEST_S,
            "route",
        )
        self.refusals = self._counter(
            "refusals", "Requests refused before any work: why.", "reason"
        )  # fmt: skip
        self.cut_off = self._counter("cut_off", "Answers that were not finished: why.", "reason")
        self.reading_seconds = self._histogram(
            "reading_seconds", "Readings, from start to end.", _READING_S, "reader", "status"
        )
        self.calls = self._counter("model_calls", "Calls of the model in readings.", "outcome")
        self.call_seconds = self._histogram(
            "model_call_seconds", "Calls of the model in readings.", _REQUEST_S
        )
        self.tokens = self._counter(
            "tokens", "Tokens of those calls; cached is a part of prompt, reasoning of completion.",
            "kind",
        )  # fmt: skip
        self.passed = self._counter(
            "passthrough", "Requests passed through: the upstream's status, or what went wrong.",
            "outcome",
        )  # fmt: skip
        self.cache = self._counter(
            "cache", "Looked up among what was read or drawn before.", "cache", "result"
        )
        self.renders = self._counter("renders", "Pages sent, by format.", "format")
        self.render_seconds = self._histogram("render_seconds", "Pages drawn.", _RENDER_S)

    def gauge(self, name: str, about: str, value: Callable[[], float]) -> None:
        """A value that is looked up whenever it is asked for."""
        Gauge(f"palimpsest_{name}", about, registry=self.registry).set_function(value)

    def count_call(self, seconds: float, usage: Usage | None) -> None:
        """One call of the model; without usage, a failed one."""
        self.calls.labels("ok" if usage else "failed").inc()
        self.call_seconds.observe(seconds)
        _spend(usage or Usage())
        for kind in ("prompt", "cached", "completion", "reasoning"):
            self.tokens.labels(kind).inc(getattr(usage, kind) if usage else 0)

    def exposition(self) -> bytes:
        """All of it in Prometheus's text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"palimpsest_{name}", about, labels, registry=self.registry)

    def _histogram(
        self, name: str, about: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(
            f"palimpsest_{name}", about, labels, buckets=buckets, registry=self.registry
        )  # fmt: skip


def _spend(usage: Usage) -> None:
    taken = spent.get()
    if taken is None:
        return
    call = {"calls": 1, "tokens_in": usage.prompt, "tokens_out": usage.completion}
    for name, number in call.items():
        taken[name] = taken.get(name, 0) + number
