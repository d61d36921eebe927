"""How much of each memory is read, by each method and engine: the tables of `pages.py`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from looks import Engine, Looks, Picture, enlargements
from palimpsest.errors import ConfigurationError
from palimpsest.evals import mean_interval, paired_difference
from palimpsest.models import RapidEyes
from palimpsest.models.tesseract import TesseractEyes
from palimpsest.pages import Style, render
from palimpsest.pages.style import PRESETS
from screenshots import Screenshots, delivered

SAMPLES = ("150", "600", "2000")
BUDGETS = (1024, 256, 64, 16)
STYLES = {
    "shrink": Style(policy="shrink"),
    "drop": Style(policy="drop"),
    "uniform": PRESETS["uniform"],
}
BASELINES = ("served", "full height")
ENGINES = ("PP-OCR", "Tesseract")
EMPHASIS_BUDGETS = (64, 16)
MEASURES = {"words": "Word recall", "emphasis": "Recall of headings and bold text"}

PROTOTYPE = {
    "150": {16: 0.80, 64: 1.0, 256: 1.0, 1024: 1.0},
    "600": {16: 0.01, 64: 0.79, 256: 0.99, 1024: 1.0},
    "2000": {16: 0.00, 64: 0.03, 256: 0.97, 1024: 1.0},
}
"""Word recall by PP-OCR of the prototype's pages, shrunk."""
PROTOTYPE_DROPPED = {("600", 16): 0.20, ("2000", 16): 0.07, ("2000", 64): 0.35}
"""The same where it dropped blocks."""
LEAST_MEAN = {"shrink": 0.71, "drop": 0.76}
TOLERANCE = 0.05
LEAST_EMPHASIS = {("2000", 64): 0.73, ("600", 16): 0.55, ("2000", 16): 0.37}

Scored = dict[str, Any]
"""A picture's text, method, budget, engine, what was read of it, and its sizes."""


def score(
    samples: Mapping[str, str], memories: Mapping[str, str], chromium: str | None, folder: Path
) -> list[Scored]:
    """Draws every memory by every method and reads it with every engine that is there."""
    texts = {**samples, **memories}
    pictures = list(_pictures(texts, chromium))
    engines = _engines()
    looks = Looks(folder, engines)
    looks.look(pictures)
    return [
        _scored(picture, texts[picture.text], engine, looks)
        for picture in pictures
        for engine in engines
    ]


def report(scored: Sequence[Scored]) -> str:
    """Tables in markdown."""
    methods = list(dict.fromkeys(row["method"] for row in scored))
    parts = [
        _sample_table(scored, methods, "words", BUDGETS),
        _sample_table(scored, methods, "emphasis", EMPHASIS_BUDGETS),
        _size_table(scored, methods),
    ]
    drafted = [row for row in scored if row["text"] not in SAMPLES]
    engines = [engine for engine in ENGINES if _found(drafted, "words", engine=engine)]
    for measure in MEASURES:
        parts += [_memory_table(drafted, methods, engine, measure) for engine in engines]
    if engines and set(BASELINES) <= set(methods):
        parts.append(_difference_table(drafted, engines))
    return "\n\n".join(parts)


def _pictures(texts: Mapping[str, str], chromium: str | None) -> Iterator[Picture]:
    for name, markdown in texts.items():
        for method, style in STYLES.items():
            for budget in BUDGETS:
                page = render(markdown, budget, style=style)
                factors = enlargements(page.body_px, few=name not in SAMPLES)
                yield Picture(
                    name, method, budget, page.image, page.tokens, page.body_px, page.dropped,
                    factors,
                )  # fmt: skip
    if chromium:
        yield from _screenshots(texts, chromium)


def _screenshots(texts: Mapping[str, str], chromium: str) -> Iterator[Picture]:
    with Screenshots(chromium) as browser:
        for name, markdown in texts.items():
            for method in BASELINES:
                height = "as_served" if method == "served" else "full_height"
                screenshot = browser.draw(markdown, height)
                for budget in BUDGETS:
                    image, tokens, body_px = delivered(screenshot, budget)
                    factors = enlargements(body_px, few=name not in SAMPLES)
                    yield Picture(name, method, budget, image, tokens, body_px, 0, factors)


def _engines() -> dict[str, Engine]:
    engines: dict[str, Engine] = {"PP-OCR": RapidEyes(), "Tesseract": TesseractEyes()}
    blank = Image.new("RGB", (28, 28), "white")
    for name, engine in list(engines.items()):
        try:
            engine.read_at(blank, 1)
        except ConfigurationError as error:
            _say(f"{name} is left out: {error} ({error.hint})")
            del engines[name]
    return engines


def _scored(picture: Picture, markdown: str, engine: str, looks: Looks) -> Scored:
    return {
        "text": picture.text,
        "method": picture.method,
        "budget": picture.budget,
        "engine": engine,
        **looks.scores(picture, markdown, engine)._asdict(),
        "tokens": picture.tokens,
        "body_px": picture.body_px,
        "dropped": picture.dropped,
    }


def _found(scored: Sequence[Scored], measure: str, **where: object) -> list[float]:
    """The values of a measure, in the order they were taken."""
    return [row[measure] for row in scored if all(row[key] == where[key] for key in where)]


def _sample_table(
    scored: Sequence[Scored], methods: Sequence[str], measure: str, budgets: Sequence[int]
) -> str:
    lines = [f"{MEASURES[measure]}, PP-OCR / Tesseract:", "", _row(["tokens", "in", *methods])]
    lines.append(_row(["---"] * (len(methods) + 2)))
    for name in SAMPLES:
        for budget in budgets:
            cells = [
                _pair(scored, measure, method=method, text=name, budget=budget)
                for method in methods
            ]
            lines.append(_row([name, str(budget), *cells]))
    means = [_pair(_of_samples(scored, budgets), measure, method=method) for method in methods]
    lines.append(_row(["mean", "", *means]))
    return "\n".join(lines)


def _of_samples(scored: Sequence[Scored], budgets: Sequence[int]) -> list[Scored]:
    return [row for row in scored if row["text"] in SAMPLES and row["budget"] in budgets]


def _pair(scored: Sequence[Scored], measure: str, **where: object) -> str:
    """The mean by each engine; a dash for one that is missing."""
    values = (_found(scored, measure, engine=engine, **where) for engine in ENGINES)
    return " / ".join(f"{sum(found) / len(found):.2f}" if found else "-" for found in values)


def _size_table(scored: Sequence[Scored], methods: Sequence[str]) -> str:
    lines = ["Body type in px, tokens used, blocks dropped:", "", _row(["tokens", "in", *methods])]
    lines.append(_row(["---"] * (len(methods) + 2)))
    for name in SAMPLES:
        for budget in BUDGETS:
            cells = []
            for method in methods:
                where = {"method": method, "text": name, "budget": budget}
                px, tokens, dropped = (
                    _found(scored, measure, **where)[0]
                    for measure in ("body_px", "tokens", "dropped")
                )
                cells.append(f"{px:.1f}, {tokens}" + (f", {dropped}" if dropped else ""))
            lines.append(_row([name, str(budget), *cells]))
    return "\n".join(lines)


def _memory_table(
    drafted: Sequence[Scored], methods: Sequence[str], engine: str, measure: str
) -> str:
    lines = [f"{MEASURES[measure]} of {_count(drafted)} drafted memories, {engine}:", ""]
    lines += [_row(["in", *methods]), _row(["---"] * (len(methods) + 1))]
    for budget in BUDGETS:
        cells = []
        for method in methods:
            values = _found(drafted, measure, engine=engine, method=method, budget=budget)
            cells.append("{:.2f} [{:.2f}, {:.2f}]".format(*mean_interval(values)))
        lines.append(_row([str(budget), *cells]))
    return "\n".join(lines)


def _difference_table(drafted: Sequence[Scored], engines: Sequence[str]) -> str:
    pairs = [(ours, theirs) for ours in ("shrink", "drop") for theirs in BASELINES]
    heads = [f"{ours} - {theirs}" for ours, theirs in pairs]
    lines = [f"Word recall, differences over the same {_count(drafted)} memories:", ""]
    lines += [_row(["in", "by", *heads]), _row(["---"] * (len(heads) + 2))]
    for budget in BUDGETS:
        for engine in engines:
            cells = []
            for pair in pairs:
                ours, theirs = (
                    _found(drafted, "words", engine=engine, method=method, budget=budget)
                    for method in pair
                )
                cells.append("{:+.2f} [{:+.2f}, {:+.2f}]".format(*paired_difference(ours, theirs)))
            lines.append(_row([str(budget), engine, *cells]))
    return "\n".join(lines)


def floors(scored: Sequence[Scored]) -> list[dict[str, Any]]:
    """What the prototype reached, and whether it is reached here, by PP-OCR."""
    read = [row for row in _of_samples(scored, BUDGETS) if row["engine"] == "PP-OCR"]
    checks = []
    for policy, least in LEAST_MEAN.items():
        cells = [row for row in read if row["method"] == policy]
        if not cells:
            continue
        mean = sum(row["words"] for row in cells) / len(cells)
        checks.append(_check(f"{policy}: mean of {len(cells)} cells", mean, least))
        for row in cells:
            cell = row["text"], row["budget"]
            reached = PROTOTYPE[row["text"]][row["budget"]]
            if policy == "drop":
                reached = PROTOTYPE_DROPPED.get(cell, reached)
            name = f"{policy}: {row['text']} in {row['budget']}"
            checks.append(_check(name, row["words"], max(0.0, reached - TOLERANCE)))
            if policy == "drop" and cell in LEAST_EMPHASIS:
                name = f"headings and bold, {name}"
                checks.append(_check(name, row["emphasis"], LEAST_EMPHASIS[cell]))
    return checks


def _check(name: str, value: float, least: float) -> dict[str, Any]:
    return {"name": name, "value": value, "least": least, "passed": value >= least}


def check_list(checks: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(
        f"{'pass' if check['passed'] else 'FAIL'}  {check['name']}: {check['value']:.3f}, "
        f"at least {check['least']:.2f}"
        for check in checks
    )


def _count(drafted: Sequence[Scored]) -> int:
    return len({row["text"] for row in drafted})


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
