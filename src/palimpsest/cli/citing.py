"""Citations as text and as plain data, for every command that shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from palimpsest.memory.citations import Citation, Citations, citations
from palimpsest.memory.reading import Reading
from palimpsest.sources import Source

_QUOTED = 300
"""Characters of a quote that are shown as text; JSON has all of it."""


def cited(reading: Reading, source: Source) -> dict[str, Any]:
    """What `--json` prints of a reading's citations."""
    found = citations(reading, source)
    return {
        "answers": [
            {
                "text": answer.text,
                "question": answer.question,
                "budget": answer.budget,
                "supported": answer.supported,
                "elsewhere": answer.elsewhere,
                "spans": [span._asdict() for span in answer.spans],
            }
            for answer in found.answers
        ],
        "lines": [
            {
                "line": line.line,
                "text": line.text,
                "supported": line.supported,
                "elsewhere": line.elsewhere,
                "label": line.label,
                "given": line.given,
                "spans": [span._asdict() for span in line.spans],
            }
            for line in found.lines
        ],
    }


def cited_text(found: Citations) -> str:
    """Answers and memory with marks, then what the marks stand for."""
    marks: dict[tuple[str, int], int] = {}
    spans: list[Citation] = []
    parts = [
        f"{answer.text} {_marked(answer.spans, answer.supported, answer.elsewhere, marks, spans)}"
        for answer in found.answers
    ]
    if found.lines:
        parts.append("\nmemory:")
    for line in found.lines:
        if line.label and line.supported:
            parts.append(line.text)
            continue
        note = " [noted by hand]" if line.given else ""
        mark = _marked(line.spans, line.supported or line.given, line.elsewhere, marks, spans)
        parts.append(f"{line.text}{note} {mark}".rstrip())
    parts += [""] if spans else []
    parts += [f"[{number}] {located(span)}" for number, span in enumerate(spans, start=1)]
    return "\n".join(parts)


def located(span: Citation) -> str:
    """A citation in one line."""
    quote = " ".join(span.quote.split())
    if len(quote) > _QUOTED:
        quote = quote[: _QUOTED - 1] + "…"
    return f'{span.document}, characters {span.start}-{span.end}: "{quote}"'


def _marked(
    spans: Sequence[Citation], supported: bool, elsewhere: bool, marks: dict[tuple[str, int], int],
    known: list[Citation],
) -> str:  # fmt: skip
    """The numbers of citations, new ones added to those that are known."""
    numbers = []
    for span in spans:
        place = span.document, span.start
        if place not in marks:
            known.append(span)
            marks[place] = len(known)
        numbers.append(marks[place])
    found = "".join(f"[{number}]" for number in sorted(numbers))
    if not supported:
        return f"{found}[unsupported]"
    return f"{found}[elsewhere in the source]" if elsewhere else found
