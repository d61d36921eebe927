"""`palimpsest history`, `blame` and `lost`: how a memory came to be, and what it lost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from palimpsest.cli.app import notes
from palimpsest.cli.citing import located
from palimpsest.cli.stored import open_stored, source_of
from palimpsest.errors import InputError
from palimpsest.memory.citations import LineCitation, Passage, citations, passages
from palimpsest.memory.ledger import Origin, Step, Trace, holding_line, ledger, origins, traces
from palimpsest.memory.reading import Reading
from palimpsest.memory.words import words_of
from palimpsest.sources import Source

_SHOWN = 3
"""Passages that `lost` shows as text."""
_STYLES = {"added": "green", "removed": "red", "kept": "dim"}
_SIGNS = {"added": "+", "removed": "-", "kept": " "}

AsJSON = Annotated[bool, Parameter(name="--json", negative=())]
Sources = Annotated[list[Path], Parameter(name="--source", negative=())]


def history(
    name: str,
    *,
    readings: Path | None = None,
    kept: Annotated[bool, Parameter(negative=())] = False,
    as_json: AsJSON = False,
) -> None:
    """Show what each chunk, merge and integration did to the memory of a reading.

    Parameters
    ----------
    name
        The start of a reading's name, or the path of its folder.
    readings
        Folder in which readings are kept.
    kept
        Show the lines that stayed as they were, too.
    as_json
        Print as JSON; chunks count from 0 there.
    """
    reading = open_stored(name, readings).reading
    steps = ledger(reading)
    if as_json:
        _dump([_step_data(step) for step in steps])
        return
    out = _out()
    if reading.header.replay_of:
        out.print(Text(f"a replay of {reading.header.replay_of}"))
    for step in steps:
        _print_step(out, step, reading, kept=kept)


def blame(
    name: str, *, readings: Path | None = None, source: Sources = [], as_json: AsJSON = False  # noqa: B006
) -> None:  # fmt: skip
    """Show where each line of a reading's memory comes from: version, chunk and source.

    Parameters
    ----------
    name
        The start of a reading's name, or the path of its folder.
    readings
        Folder in which readings are kept.
    source
        What was read, where it is no longer found: with it, sentences are named, not chunks.
    as_json
        Print as JSON; chunks count from 0 there.
    """
    stored = open_stored(name, readings)
    reading = stored.reading
    found = source_of(stored, source, _note)
    cited = {line.line: line for line in citations(reading, found).lines} if found else {}
    rows = [_blamed(reading, one, cited.get(one.line)) for one in origins(reading)]
    if as_json:
        _dump(rows)
        return
    out = _out()
    for row in rows:
        out.print(
            Text(f"v{row['introduced']}", "cyan"), Text(_came(row)), Text(row["text"], "bold")
        )
        for span in row["spans"]:
            out.print(Text(f"    {span['document']} {span['start']}-{span['end']}", "dim"))
    if not rows:
        _note("the reading has no memory")


def lost(
    name: str,
    fact: str,
    *,
    readings: Path | None = None,
    source: Sources = [],  # noqa: B006
    as_json: AsJSON = False,
) -> None:
    """Tell in which rewrite a fact came into the memory and went out of it.

    Reworded lines count as holding it. A fact that was in no memory is looked for in the source.

    Parameters
    ----------
    name
        The start of a reading's name, or the path of its folder.
    fact
        Words to look for.
    readings
        Folder in which readings are kept.
    source
        What was read, where it is no longer found.
    as_json
        Print as JSON; chunks count from 0 there.
    """
    if not words_of(fact).all:
        raise InputError("the fact has no words", hint='palimpsest lost READING "some words"')
    stored = open_stored(name, readings)
    reading = stored.reading
    found = traces(reading, fact)
    origin = None if found else source_of(stored, source, _note)
    standing = holding_line(reading.memory, fact)
    stood = passages(reading, origin, fact) if origin else []
    if as_json:
        _dump(_lost_data(fact, found, standing, stood))
        return
    for trace in found:
        _print_trace(trace, reading)
    if found:
        print(f"it stands in the final memory: {standing}" if standing
              else "it is not in the final memory")  # fmt: skip
    else:
        _print_never_noted(stood, origin)


def _print_step(out: Console, step: Step, reading: Reading, *, kept: bool) -> None:
    facts = [f"{step.tokens} tokens", f"{step.calls} call{'' if step.calls == 1 else 's'}"]
    facts += [f"skipped: {step.skipped}"] if step.skipped else []
    facts += [] if step.changed else ["no change"]
    version = "" if step.version is None else f" v{step.version}"
    out.print(Text(f"{_where(step, reading)}{version}: {', '.join(facts)}", "bold"))
    for guard in step.guards:
        out.print(Text(f"  ! {guard.guard}: {guard.detail}", "yellow"))
    for change in step.changes:
        if change.kind == "changed":
            out.print(Text(f"  - {change.before}", "red"))
            out.print(Text(f"  + {change.text}", "green"))
        elif (kept or change.kind != "kept") and change.text.strip():
            out.print(Text(f"  {_SIGNS[change.kind]} {change.text}", _STYLES[change.kind]))


def _where(step: Step, reading: Reading) -> str:
    scan = f"reread {step.reread}, " if step.reread else ""
    total = len(reading.header.chunks)
    match step.kind:
        case "chunk":
            return f"{scan}chunk {_counted(step.chunk)} of {total}"
        case "merge":
            return f"{scan}merge"
        case "integration":
            return f"{scan}integration"
        case "notes":
            return "notes by hand"
        case "discarded" if step.chunk is None:
            return f"{scan}discarded"
        case "discarded":
            return f"{scan}chunk {_counted(step.chunk)} of {total}, cut short and discarded"


def _counted(chunk: int | None) -> int:
    """A chunk as people count."""
    return 0 if chunk is None else chunk + 1


def _step_data(step: Step) -> dict[str, Any]:
    return {
        "kind": step.kind,
        "chunk": step.chunk,
        "reread": step.reread,
        "version": step.version,
        "before": step.before,
        "tokens": step.tokens,
        "calls": step.calls,
        "usage": step.usage.model_dump(),
        "skipped": step.skipped,
        "guards": [guard.model_dump(exclude={"kind"}) for guard in step.guards],
        "changes": [change._asdict() for change in step.changes],
    }


def _blamed(reading: Reading, origin: Origin, cited: LineCitation | None) -> dict[str, Any]:
    """One line of the memory with where it comes from."""
    return {
        "line": origin.line,
        "text": origin.text,
        "introduced": origin.introduced,
        "changed": origin.changed,
        "chunk": origin.chunk,
        "chunks": sorted(origin.chunks),
        "spans": _spans(reading, origin, cited),
        "supported": cited.supported if cited else None,
        "elsewhere": cited.elsewhere if cited else None,
        "label": cited.label if cited else None,
    }


def _spans(reading: Reading, origin: Origin, cited: LineCitation | None) -> list[dict[str, Any]]:
    """Sentences where the source is at hand, else the chunk."""
    if cited:
        return [span._asdict() for span in cited.spans]
    documents = reading.header.documents
    if origin.chunk is None:
        return []
    chunk = reading.header.chunks[origin.chunk]
    name = documents[0] if len(documents) == 1 else "the whole source"
    return [{"document": name, "start": chunk.start, "end": chunk.end}]


def _came(row: dict[str, Any]) -> str:
    chunk = "no chunk" if row["chunk"] is None else f"chunk {_counted(row['chunk'])}"
    changed = f", reworded in v{row['changed']}" if row["changed"] != row["introduced"] else ""
    unsupported = ", unsupported" if row["supported"] is False else ""
    elsewhere = ", found elsewhere" if row["elsewhere"] else ""
    return f"{chunk}{changed}{unsupported}{elsewhere}:"


def _print_trace(trace: Trace, reading: Reading) -> None:
    print(f"{trace.kind} in {_where(trace.step, reading)} (v{trace.step.version}): {trace.line}")
    if trace.instead:
        print(f"  instead: {trace.instead}")
    for guard in trace.step.guards if trace.kind == "lost" else ():
        print(f"  guard {guard.guard}: {guard.detail}")


def _print_never_noted(stood: Sequence[Passage], source: Source | None) -> None:
    if source is None:
        print("it was never noted")
        return
    if not stood:
        print("it was never noted, and does not stand in the source")
        return
    for passage in stood[:_SHOWN]:
        print(f"it stood in chunk {_counted(passage.chunk)} and was never noted")
        print(f"  {located(passage.citation)}")
    if len(stood) > _SHOWN:
        print(f"and in {len(stood) - _SHOWN} further places")


def _lost_data(
    fact: str, found: Sequence[Trace], standing: str, stood: Sequence[Passage]
) -> dict[str, Any]:
    return {
        "fact": fact,
        "noted": bool(found),
        "stands": standing,
        "events": [
            {
                "event": trace.kind,
                "step": trace.step.kind,
                "chunk": trace.step.chunk,
                "reread": trace.step.reread,
                "version": trace.step.version,
                "line": trace.line,
                "instead": trace.instead,
                "guards": [guard.model_dump(exclude={"kind"}) for guard in trace.step.guards],
            }
            for trace in found
        ],
        "passages": [{"chunk": one.chunk, **one.citation._asdict()} for one in stood],
    }


def _note(message: str) -> None:
    notes.print(message, markup=False)


def _dump(data: object) -> None:
    print(json.dumps(data, ensure_ascii=False, indent=2))


def _out() -> Console:
    return Console(highlight=False, soft_wrap=True)
