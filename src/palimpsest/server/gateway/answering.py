"""A request answered: its source read, and the final turn asked with the memory in its place."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable
from typing import NamedTuple

from palimpsest.memory.reading import Answer, ChunkRead, Header, PageRecord, Reading, Record, Turn
from palimpsest.models.model import Completion, FinishReason, Model, Usage
from palimpsest.readers.answers import parse_answer
from palimpsest.readers.baseline import Baseline
from palimpsest.server.gateway import CLIENTS_OWN
from palimpsest.server.gateway.annotations import annotate
from palimpsest.server.gateway.conversation import Entry, Json
from palimpsest.server.gateway.extension import FIELD
from palimpsest.server.gateway.making import Made, Shelf, purpose_of
from palimpsest.server.gateway.orders import Office, Order
from palimpsest.server.gateway.showing import Shown, show
from palimpsest.server.gateway.streaming import stream_of
from palimpsest.server.gateway.upstream import Answering
from palimpsest.server.metrics import Metrics
from palimpsest.server.tracing import reading_span
from palimpsest.sources import Source

ANSWERING = "answering"
"""Said when all is read."""

Say = Callable[[str], None]
"""Hears how far a reading is, in a line for people."""
Send = Callable[[Json], None]
"""Takes an event of a streamed answer."""
ChunkDone = Callable[[], None]
"""Hears that a chunk is done and kept."""


class Listener(NamedTuple):
    """Who hears of an order being worked on."""

    say: Say
    send: Send
    chunk_done: ChunkDone


class Clerk:
    """Answers orders for one server."""

    def __init__(
        self, office: Office, model: Model, upstream: Answering, metrics: Metrics
    ) -> None:  # fmt: skip
        self._office = office
        self._model = model
        self._upstream = upstream
        self._metrics = metrics

    async def answer(self, order: Order, shelf: Shelf, listener: Listener) -> Json:
        """The whole answer; one that is streamed is sent on the way too.

        Raises `Refused`, `ApiError` or a `PalimpsestError`.
        """
        if order.split is None:
            return await self._direct(order, listener)
        source = await asyncio.to_thread(
            Source.from_documents, order.split.documents, growing=True
        )  # fmt: skip
        purpose = purpose_of(order.reader, order.split.question, order.extension.memory)
        started = time.monotonic()
        progress = _Progress(listener)
        with reading_span(order.reader.name, self._model.name):
            async with shelf.made(
                purpose, source, self._model, caps=order.extension.opened_caps,
                on_begin=progress.begin, on_event=progress.event,
            ) as made:  # fmt: skip
                self._metrics.cache.labels("reading", "hit" if made.taken_over else "miss").inc()
                answer = await self._final(order, made, source, listener)
                status = made.session.reading.status or "failed"
        seconds = time.monotonic() - started
        self._metrics.reading_seconds.labels(order.reader.name, status).observe(seconds)
        return answer

    async def _direct(self, order: Order, listener: Listener) -> Json:
        """The answer to what fits, by a model that nothing can be passed through to."""

        async def finish(body: Json) -> Json:
            return body

        async def nothing(_: str) -> list[Json]:
            return []

        if not order.streamed:
            return await self._upstream.whole(order.dialect, order.body, order.entries)
        last: Json = {}
        stream = stream_of(order.dialect, told_usage=_tells_usage(order.body))
        request = _asking_usage(order, order.body)
        upstream = self._upstream.stream(order.dialect, request, order.entries)
        async for event in stream.events(upstream, nothing, finish):
            last = event
            listener.send(event)
        return stream.body() if hasattr(stream, "body") else last.get("response") or {}

    async def _final(
        self, order: Order, made: Made, source: Source, listener: Listener
    ) -> Json:  # fmt: skip
        assert order.split is not None
        session = made.session
        shown = await show(made.purpose.reader, session, order.split.shown, order.eyes)
        entries = _with_memory(order, shown)
        await self._office.check(order, entries)
        request = order.dialect.request(order.body, entries)
        turn = _Final(order, made, source, shown, request)
        listener.say(ANSWERING)
        if not order.streamed:
            return await turn.finish(
                await self._upstream.whole(order.dialect, request, entries), annotating=True
            )
        stream = stream_of(order.dialect, told_usage=_tells_usage(order.body))
        upstream = self._upstream.stream(order.dialect, _asking_usage(order, request), entries)
        async for event in stream.events(upstream, turn.annotate, turn.finish):
            listener.send(event)
        return turn.whole


class _Final:
    """The final turn of a reading."""

    def __init__(
        self, order: Order, made: Made, source: Source, shown: Shown, request: Json
    ) -> None:
        self._order = order
        self._made = made
        self._source = source
        self._shown = shown
        self._request = request
        self._started = time.monotonic()
        self.whole: Json = {}

    async def annotate(self, text: str) -> list[Json]:
        reader = self._made.purpose.reader
        if not self._order.extension.citations or isinstance(reader, Baseline):
            return []
        reading = self._made.session.reading
        return await asyncio.to_thread(annotate, reading, self._source, text, self._made.name)

    async def finish(self, body: Json, *, annotating: bool = False) -> Json:
        """Records the turn and ends the reading; the answer with its bill."""
        dialect = self._order.dialect
        answers = dialect.answers(body)
        texts = [dialect.text_of(answer) for answer in answers]
        self._record(body, texts)
        if annotating:
            for answer, text in zip(answers, texts, strict=True):
                if found := await self.annotate(text):
                    dialect.annotate(answer, found)
        # The final turn is among the reading's own records by now.
        total = self._made.own.usage
        self.whole = {**body, "usage": dialect.usage(total), FIELD: self._facts(total)}
        return self.whole

    def _record(self, body: Json, texts: list[str]) -> None:
        session = self._made.session
        page = None
        if self._shown.page:
            session.record(self._shown.page)
            page = len(session.reading.pages) - 1
        usage = self._order.dialect.usage_of(body)
        text = "\n\n".join(texts)
        completion = Completion(
            text=text,
            finish_reason=_finish_reason(body),
            usage=usage,
            model=body["model"] if isinstance(body.get("model"), str) else "",
            seconds=time.monotonic() - self._started,
        )
        session.record(
            Turn(
                role="final" if page is None else "read",
                prompt=CLIENTS_OWN,
                request=_request_hash(self._request),
                memory=session.reading.memory_version,
                page=page,
                question=0,
                completion=completion,
            )
        )
        for one in texts[:1]:
            if one.strip():
                boxed = parse_answer(one).boxed
                budget = self._shown.page.budget if self._shown.page else None
                session.record(Answer(question=0, budget=budget, text=one.strip(), boxed=boxed))
        self._made.end()

    def _facts(self, total: Usage) -> Json:
        """What the answer's field tells of the reading."""
        made = self._made
        reading = made.session.reading
        header, own = reading.header, made.own
        version = reading.memory_version
        end = reading.end
        return {
            "reading": made.name,
            "reader": header.reader,
            "status": reading.status,
            "reason": end.reason if end else "",
            "question": header.questions[0],
            "source": {
                "documents": list(header.documents),
                "characters": header.characters,
                "tokens": header.tokens,
                "sha256": header.source_sha256,
            },
            "chunks": {
                "total": len(header.chunks),
                "read": len(reading.done()) - made.taken_over,
                "reused": made.taken_over,
            },
            "reused_reading": made.reused or None,
            "memory": {
                "tokens": reading.memories[version].tokens if version is not None else 0,
                "made_for": list(made.made_for),
                "page": _page_facts(self._shown.page),
            },
            "calls": len(own.turns),
            "billed": {
                "prompt": total.prompt,
                "cached": total.cached,
                "completion": total.completion,
                "reasoning": total.reasoning,
            },
        }


class _Progress:
    """Tells of a reading in lines for people."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def begin(self, reading: Reading, name: str, taken_over: int) -> None:
        header = reading.header
        known = f", {taken_over} of them known" if taken_over else ""
        chunks = len(header.chunks)
        self._listener.say(f"reading {name}: {header.tokens} tokens, {chunks} chunks{known}")

    def event(self, reading: Reading, part: Header | Record) -> None:
        if isinstance(part, ChunkRead):
            where = f"reread {part.reread}: " if part.reread else ""
            total = len(reading.header.chunks)
            done = len(reading.done(part.reread))
            self._listener.say(f"{where}read chunk {done} of {total}")
            self._listener.chunk_done()


def _with_memory(order: Order, shown: Shown) -> list[Entry]:
    assert order.split is not None
    entries = list(order.split.entries)
    at = order.split.at
    entries[at] = entries[at].with_parts([*shown.parts, *entries[at].parts])
    return entries


def _asking_usage(order: Order, request: Json) -> Json:
    """A streamed request that asks for the usage, which chat completions else leave out."""
    if order.dialect.name != "chat":
        return request
    options = request.get("stream_options")
    given = options if isinstance(options, dict) else {}
    return {**request, "stream_options": {**given, "include_usage": True}}


def _tells_usage(body: Json) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def _finish_reason(body: Json) -> FinishReason:
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else {}
    reason = first.get("finish_reason") if isinstance(first, dict) else None
    if reason == "length" or body.get("status") == "incomplete":
        return "length"
    return "refused" if reason == "content_filter" else "stop"


def _request_hash(request: Json) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def _page_facts(page: PageRecord | None) -> Json | None:
    if page is None:
        return None
    grid = [page.grid_width, page.grid_height]
    return {"budget": page.budget, "grid": grid, "sha256": page.sha256}
