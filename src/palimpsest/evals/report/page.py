"""A report as one page that needs nothing else: no request leaves it, and no text of a model or of
a data set is read as markup.

Its only script is known by its hash to the page's content security policy, so that nothing else
would run even if it came in.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
from collections.abc import Iterator, Mapping
from importlib.resources import files

from palimpsest.evals.report.costs import answering_tokens
from palimpsest.evals.report.lines import against_budget, against_cost, against_length
from palimpsest.evals.report.plots import SERIES, curve_svgs, scatter_svgs
from palimpsest.evals.report.records import Report, RunSummary
from palimpsest.evals.report.summary import score_of
from palimpsest.evals.report.tables import MEMORIES, Entry, Section, Table, sections
from palimpsest.evals.report.text import plain
from palimpsest.evals.run import ItemResult, Run

_TEXT_CHARACTERS = 1000
"""Of a question, an answer or a reason on the page; results.jsonl has all of it."""
_CELL_CHARACTERS = 300
_ACCEPTED = 12
"""Accepted answers on the page."""


def as_page(report: Report, runs: Mapping[str, Run]) -> str:
    """The page of a report of these runs. Raises `ConfigurationError` without matplotlib."""
    script = _asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    found = list(sections(report))
    return "".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
            f"style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; "
            "form-action 'none'\">\n",
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            '<meta name="referrer" content="no-referrer">\n',
            f"<title>{html.escape(_title(report))}</title>\n<style>\n{_asset('page.css')}</style>\n",
            f"</head>\n<body>\n<h1>{html.escape(_title(report))}</h1>\n",
            _navigation(found),
            "".join(_plots(report, runs)),
            *(_section(number, section) for number, section in enumerate(found)),
            _ITEMS,
            f'<script type="application/json" id="data">{_data(runs, report)}</script>\n',
            f"<script>{script}</script>\n</body>\n</html>\n",
        )
    )


_ITEMS = """<h2 id="items">Readings</h2>
<noscript><p class="note">The list needs scripts; results.jsonl of each run has all of it.</p>\
</noscript>
<form id="filters" class="filters" hidden>
<label>show <select name="show"><option value="">all</option><option value="wrong">wrong</option>\
<option value="right">right</option><option value="failed">failed</option>\
<option value="capped">capped</option></select></label>
<label>run <select name="run"><option value="">all</option></select></label>
<label>length <select name="length"><option value="">all</option></select></label>
<label>budget <select name="budget"><option value="">all</option></select></label>
<label>text <input name="text" type="search" autocomplete="off"></label>
</form>
<div class="pager"><button type="button" id="previous">Previous</button>\
<span id="place" aria-live="polite"></span><button type="button" id="next">Next</button></div>
<div id="list"></div>
"""


def _title(report: Report) -> str:
    tasks = dict.fromkeys(run.task for run in report.runs)
    return f"Palimpsest: {', '.join(tasks)}"


def _navigation(found: list[Section]) -> str:
    links = (
        f'<a href="#section-{number}">{_escaped(section.title)}</a>'
        for number, section in enumerate(found)
    )
    return f'<nav>{" ".join(links)} <a href="#items">Readings</a></nav>\n'


def _plots(report: Report, runs: Mapping[str, Run]) -> Iterator[str]:
    read = [run for run in report.runs if run.cells]
    if not read:
        return
    yield _legend(read)
    panels = against_budget(read, answering_tokens(runs))
    if any(point.x for panel in panels for line in panel.lines for point in line.points):
        yield _figure("Scores against budget", curve_svgs(panels, "budget"))
    if _lengths(read) > 1:
        yield _figure("Scores against length", curve_svgs(against_length(read), "length"))
    yield _figure("Scores against what a reading took", scatter_svgs(against_cost(read), "cost"))


def _legend(runs: list[RunSummary]) -> str:
    entries = (
        f'<li><span style="color: var(--series-{number % SERIES + 1})">{_SIGNS[run.memory]}</span> '
        f"<bdi>{_escaped(run.label)}</bdi> ({MEMORIES[run.memory]})</li>"
        for number, run in enumerate(runs)
    )
    return f'<ul class="legend">{"".join(entries)}</ul>\n'


_SIGNS = {"text": "-■-", "visual": "—●—", "none": "·◆·"}


def _lengths(runs: list[RunSummary]) -> int:
    return max(len({cell.length for cell in run.cells}) for run in runs)


def _figure(caption: str, svgs: list[str]) -> str:
    return (
        f'<figure aria-label="{caption}"><figcaption>{caption}</figcaption>\n'
        f'<div class="panels">{"".join(svgs)}</div></figure>\n'
    )


def _section(number: int, section: Section) -> str:
    notes = "".join(f'<p class="note">{_escaped(note)}</p>\n' for note in section.notes)
    tables = "".join(map(_table, section.tables))
    return f'<h2 id="section-{number}">{_escaped(section.title)}</h2>\n{notes}{tables}'


def _table(table: Table) -> str:
    columns = range(len(table.columns))
    numeric = [all(row[column].is_number for row in table.rows) for column in columns]
    kinds = [' class="number"' if one else "" for one in numeric]
    heads = "".join(
        f'<th scope="col"{kind}>{_escaped(name)}</th>'
        for kind, name in zip(kinds, table.columns, strict=True)
    )
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>\n" for row in table.rows)
    notes = "".join(f'<p class="note">{_escaped(note)}</p>\n' for note in table.notes)
    sortable = ' class="sortable"' if table.columns[0] else ""
    return (
        f"<h3>{_escaped(table.title)}</h3>\n"
        f'<div class="wide" tabindex="0"><table{sortable}><thead><tr>{heads}</tr></thead>\n'
        f"<tbody>\n{rows}</tbody></table></div>\n{notes}"
    )


def _cell(entry: Entry) -> str:
    if isinstance(entry.value, str):
        text = _escaped(_cut(plain(entry.text), _CELL_CHARACTERS))
        return f'<td class="data" dir="auto">{text}</td>'
    value = "inf" if math.isinf(entry.value) else repr(float(entry.value))
    return f'<td class="number" data-value="{value}">{_escaped(entry.text)}</td>'


def _data(runs: Mapping[str, Run], report: Report) -> str:
    """The readings as JSON that cannot end the element it stands in."""
    told = {
        "runs": list(runs),
        "items": [
            _item(number, result, summary.headline, run.config.budgets)
            for number, (run, summary) in enumerate(zip(runs.values(), report.runs, strict=True))
            for result in run.results
        ],
    }
    text = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text.encode("utf-8", "replace").decode()


def _item(
    run: int, result: ItemResult, headline: str, budgets: tuple[int | None, ...]
) -> dict[str, object]:
    predictions = {answer.budget: answer.prediction for answer in result.answers}
    return {
        "run": run,
        "id": result.id,
        "category": result.category,
        "length": result.length,
        "seed": result.seed,
        "status": result.status,
        "reason": _shown(result.reason),
        "question": _shown(result.question),
        "accepted": [_shown(answer) for answer in result.accepted[:_ACCEPTED]],
        "metric": result.metric,
        "answers": [
            {
                "budget": budget,
                "prediction": _shown(predictions.get(budget, "")),
                "score": score_of(result, budget, headline) or 0.0,
            }
            for budget in budgets
        ],
    }


def _shown(text: str) -> str:
    """A text with its lines, without what would turn or hide the text around it."""
    return _cut("".join(sign if sign.isprintable() or sign == "\n" else " " for sign in text))


def _cut(text: str, characters: int = _TEXT_CHARACTERS) -> str:
    return text if len(text) <= characters else f"{text[: characters - 1]}…"


def _escaped(text: str) -> str:
    return html.escape(text).encode("utf-8", "replace").decode()


def _asset(name: str) -> str:
    return (files("palimpsest.evals.report") / name).read_text(encoding="utf-8")
