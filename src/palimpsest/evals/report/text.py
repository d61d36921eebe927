"""A report for a terminal, and as Markdown."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable

from palimpsest.evals.report.records import Report
from palimpsest.evals.report.tables import Entry, Table, sections

_LONGEST = 160
"""Characters of an entry; the JSON has all of it."""
_UNBOUND = 10_000
_SPECIAL = re.compile(r"([\\`*{}\[\]#|~$]|(?<!\w)_|_(?!\w))")


def as_text(report: Report, console: Console) -> None:
    """Prints a report."""
    for section in sections(report):
        console.rule(plain(section.title), align="left")
        for note in section.notes:
            console.print(plain(note))
        for table in section.tables:
            console.print()
            console.print(plain(table.title), style="bold")
            rich = _rich(table)
            # A number that is cut tells something else: lines are rather broken by the terminal.
            wide = console.options.update(max_width=_UNBOUND)
            least = Measurement.get(console, wide, rich).minimum
            rich.width = least if least > console.width else None
            console.print(rich, crop=False)
            for note in table.notes:
                console.print(plain(note), style="dim")
        console.print()


def as_markdown(report: Report) -> str:
    """A report as Markdown with tables."""
    lines: list[str] = []
    for section in sections(report):
        lines += [f"## {_escaped(section.title)}", ""]
        lines += [f"- {_escaped(note)}" for note in section.notes]
        for table in section.tables:
            lines += ["", f"### {_escaped(table.title)}", "", *_markdown(table)]
            lines += [f"\n{_escaped(note)}" for note in table.notes]
        lines.append("")
    return "\n".join(lines)


def plain(text: str) -> str:
    """Data on one line, without what a terminal would take for a command."""
    line = "".join(sign if sign.isprintable() else " " for sign in text)
    return " ".join(line.split())


def _short(entry: Entry) -> str:
    text = plain(entry.text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _rich(table: Table) -> RichTable:
    found = RichTable(box=None, pad_edge=False)
    for number, name in enumerate(table.columns):
        numeric = all(row[number].is_number for row in table.rows)
        longest = max(map(cell_len, (name, *(_short(row[number]) for row in table.rows))))
        found.add_column(
            plain(name),
            justify="right" if numeric else "left",
            no_wrap=numeric,
            min_width=longest if numeric else None,
        )
    for row in table.rows:
        found.add_row(*map(_short, row))
    return found


def _markdown(table: Table) -> Iterator[str]:
    yield f"| {' | '.join(_escaped(name) for name in table.columns)} |"
    numeric = [all(row[n].is_number for row in table.rows) for n in range(len(table.columns))]
    yield f"|{'|'.join('---:' if one else '---' for one in numeric)}|"
    for row in table.rows:
        yield f"| {' | '.join(map(_told, row))} |"


def _told(entry: Entry) -> str:
    return entry.text if entry.is_number else _escaped(_short(entry))


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    return html.escape(_SPECIAL.sub(r"\\\1", plain(text)), quote=False)
