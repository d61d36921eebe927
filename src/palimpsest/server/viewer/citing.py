"""Where the lines of a memory and the answers come from, found in the background.

A source of millions of tokens takes a while to be searched, so a request is answered at once with
what is known: nothing yet, or all.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, NamedTuple

from palimpsest.errors import InputError
from palimpsest.memory.citations import Citation, citations
from palimpsest.memory.ledger import origins
from palimpsest.memory.reading import Reading
from palimpsest.sources import Document, Source

_KEPT = 8
_Told = dict[str, Any]


class _Work(NamedTuple):
    future: Future[_Told]
    reading: Reading
    source: Callable[[], Source]


class Citing:
    """Citations of readings, each found once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: OrderedDict[str, Future[_Told]] = OrderedDict()
        self._waiting: SimpleQueue[_Work | None] = SimpleQueue()
        # Nobody waits for it at the end of the process: what it finds is kept nowhere.
        threading.Thread(target=self._work, name="citations", daemon=True).start()

    def citations(self, key: str, reading: Reading, source: Callable[[], Source]) -> _Told:
        """What is known of the reading under `key`: its `state` is working, done or failed."""
        with self._lock:
            if key not in self._found:
                still = Reading(reading.opening, list(reading.records))
                self._found[key] = Future()
                self._waiting.put(_Work(self._found[key], still, source))
            future = self._found[key]
            while len(self._found) > _KEPT:
                self._found.popitem(last=False)[1].cancel()
        if future.cancelled() or not future.done():
            return {"state": "working"}
        error = future.exception()
        return {"state": "failed", "reason": str(error)} if error else future.result()

    def close(self) -> None:
        """Ends it after what it is at."""
        for future in self._found.values():
            future.cancel()
        self._waiting.put(None)

    def _work(self) -> None:
        while work := self._waiting.get():
            if not work.future.set_running_or_notify_cancel():
                continue
            try:
                work.future.set_result(cited(work.reading, work.source))
            except Exception as error:  # told to who asks for it
                work.future.set_exception(error)


def cited(reading: Reading, find: Callable[[], Source]) -> _Told:
    """Each line of the memory that stands with where it came from, and each answer; in places of
    the source's text. Without the source, only the chunks are told."""
    came = {one.line: one for one in origins(reading)}
    try:
        source = find()
    except InputError as error:
        lines = [
            {"line": number, "chunk": one.chunk, "introduced": one.introduced}
            for number, one in came.items()
        ]
        return {"state": "done", "source": False, "why": str(error), "lines": lines, "answers": []}
    found = citations(reading, source)
    places = _Places(source, reading)
    return {
        "state": "done",
        "source": True,
        "lines": [
            {
                "line": one.line,
                "chunk": came[one.line].chunk,
                "introduced": came[one.line].introduced,
                "supported": one.supported,
                "elsewhere": one.elsewhere,
                "label": one.label,
                "given": one.given,
                "spans": [places.told(span) for span in one.spans],
            }
            for one in found.lines
        ],
        "answers": [
            {
                "question": one.question,
                "budget": one.budget,
                "supported": one.supported,
                "elsewhere": one.elsewhere,
                "spans": [places.told(span) for span in one.spans],
            }
            for one in found.answers
        ],
    }


class _Places:
    """From places in documents to places in the source."""

    def __init__(self, source: Source, reading: Reading) -> None:
        self._documents: dict[str, list[Document]] = defaultdict(list)
        for document in source.documents:
            self._documents[document.name].append(document)
        self._chunks = [span.start for span in reading.header.chunks]

    def told(self, span: Citation) -> _Told:
        start = self._document(span).start + span.start
        return {
            "document": span.document,
            "start": start,
            "end": start + span.end - span.start,
            "quote": span.quote,
            "score": round(span.score, 3),
            "chunk": max(0, bisect_right(self._chunks, start) - 1),
        }

    def _document(self, span: Citation) -> Document:
        """The one that has the quote there, among those of the same name."""
        named = self._documents[span.document]
        having = (one for one in named if one.text[span.start : span.end] == span.quote)
        return next(having, named[0])
