"""What each sentence of an answer rests on, as annotations in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from palimpsest.memory.citations import Citation, citations
from palimpsest.memory.reading import Answer, Reading
from palimpsest.memory.sentences import sentence_spans
from palimpsest.server.gateway.conversation import Json
from palimpsest.sources import Source

MOST_SENTENCES = 64
"""Of one answer; what comes behind is not looked up."""
MOST_SPANS = 3
"""For one sentence of an answer, the best first."""
SCHEME = "palimpsest"


def annotate(reading: Reading, source: Source, text: str, name: str) -> list[Json]:
    """The sentences of the source behind each sentence of an answer.

    `name` is the reading's. An annotation is OpenAI's `url_citation`, with the document, the
    characters of its text, and the quote beside OpenAI's own fields.
    """
    spans = list(sentence_spans(text))[:MOST_SENTENCES]
    if not spans or not reading.memory:
        return []
    # Told apart by their budgets, since a question has one answer under each.
    said: list[Answer] = [
        Answer(question=0, budget=number, text=text[start:end], boxed=False)
        for number, (start, end) in enumerate(spans)
    ]
    kept = [record for record in reading.records if not isinstance(record, Answer)]
    cited = citations(Reading(reading.opening, [*kept, *said]), source)
    return [
        _annotation(name, span, citation)
        for answer, span in zip(cited.answers, spans, strict=True)
        for citation in _best(answer.spans)
    ]


def _best(spans: Sequence[Citation]) -> list[Citation]:
    return sorted(spans, key=lambda span: -span.score)[:MOST_SPANS]


def _annotation(name: str, span: tuple[int, int], citation: Citation) -> Json:
    place = f"{SCHEME}:{name}/{quote(citation.document, safe='')}"
    return {
        "start_index": span[0],
        "end_index": span[1],
        "title": citation.document,
        "url": f"{place}#char={citation.start},{citation.end}",
        "document": citation.document,
        "start": citation.start,
        "end": citation.end,
        "quote": citation.quote,
    }
