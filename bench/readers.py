"""What each reader gets right on two-hop questions, and what it costs, with a real model.

    python bench/readers.py --data $PALIMPSEST_DATA

Takes the first `--rows` questions, half of them bridge questions of HotpotQA's `dev_distractor_500`
and half compositional ones of 2WikiMultihopQA's `dev_500`, whose ten paragraphs make at least three
chunks. All have the same chunks, memory limit, answer prompt and sampling; pages are read by
OCR eyes where the model has none. Prints a markdown table: exact match, F1 and one-way substring
with 95% bootstrap intervals, calls, tokens and seconds a question, and the same as multiples of
MemAgent's; then each reader's paired difference in F1 from MemAgent. A failed reading counts as
wrong and its cost counts too. Calls are recorded in the folder `--out`, so a run that was stopped
goes on; seconds are those of the first time.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from palimpsest.evals import exact_match, f1, mean_interval, paired_difference, substring_match
from palimpsest.memory import Reading
from palimpsest.models import Model
from palimpsest.readers import (
    ClosedBook,
    FullContext,
    Gated,
    MemAgent,
    MemOCR,
    MemReread,
    Parallel,
    Reader,
    ReMemR1,
    Retrieval,
)
from palimpsest.settings import ModelSettings, open_model, resolve_settings
from palimpsest.sources import Source

LEAST_CHUNKS = 3
ANSWER_TOKENS = 128
FILES = (
    ("hotpotqa/dev_distractor_500.jsonl.gz", "bridge"),
    ("2wikimultihopqa/dev_500.jsonl.gz", "compositional"),
)
METRICS = (exact_match, f1, substring_match)

Row = dict[str, Any]


def main() -> None:
    options = _options()
    results = asyncio.run(_read_rows(options))
    (options.out / "results.json").write_text(json.dumps(results, indent=1))
    print(json.dumps(results) if options.json else _table(results, options.only))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("PALIMPSEST_DATA"))
    parser.add_argument("--rows", type=int, default=30)
    parser.add_argument("--model", default=None, help="as in `palimpsest ask --model`")
    parser.add_argument("--chunk-tokens", type=int, default=512)
    parser.add_argument("--memory-tokens", type=int, default=160)
    parser.add_argument("--budget", type=int, default=256, help="visual tokens of MemOCR's page")
    parser.add_argument("--window", type=int, default=1024, help="tokens of full and retrieval")
    parser.add_argument("--only", nargs="+", choices=READERS, default=list(READERS))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("readers"))
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the folder of benchmark rows: --data or PALIMPSEST_DATA")
    options.out.mkdir(parents=True, exist_ok=True)
    return options


def _drafting(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "order": "section_first",
        "chunk_tokens": options.chunk_tokens,
        "memory_tokens": options.memory_tokens,
        "answer_tokens": ANSWER_TOKENS,
    }


def _memagent(options: argparse.Namespace) -> MemAgent:
    return MemAgent(**_drafting(options))


def _memocr(options: argparse.Namespace) -> MemOCR:
    return MemOCR(budgets=(options.budget,), **_drafting(options))


READERS: dict[str, Callable[[argparse.Namespace], Reader]] = {
    "closed": lambda _: ClosedBook(answer_tokens=ANSWER_TOKENS),
    "retrieval": lambda options: Retrieval(
        memory_tokens=options.window, answer_tokens=ANSWER_TOKENS
    ),
    "full": lambda options: FullContext(context_tokens=options.window, answer_tokens=ANSWER_TOKENS),
    "memagent": _memagent,
    "memocr": _memocr,
    "rememr1": lambda options: ReMemR1(**_drafting(options)),
    "gated": lambda options: Gated(base=_memagent(options)),
    "parallel": lambda options: Parallel(base=_memagent(options)),
    "memreread": lambda options: MemReread(base=_memagent(options)),
    "memreread+memocr": lambda options: MemReread(base=_memocr(options)),
}


async def _read_rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    given = ModelSettings(name=options.model, record=str(options.out / "calls.sqlite"))
    model = open_model(resolve_settings(given), on_load=_say)
    try:
        rows = await _rows(options, model)
        results = []
        for number, row in enumerate(rows, start=1):
            for name in options.only:
                results.append(await _read(row, name, READERS[name](options), model))
            _say(f"{number}/{len(rows)} {row['question'][:70]}")
        return results
    finally:
        await model.aclose()


async def _rows(options: argparse.Namespace, model: Model) -> list[Row]:
    tokenizer = await model.tokenizer()
    cutter = _memagent(options)
    chosen: list[Row] = []
    for place, (file, kind) in enumerate(FILES):
        wanted = options.rows // 2 + (options.rows % 2 if place == 0 else 0)
        found: list[Row] = []
        for row in _of_kind(options.data / file, kind):
            text = _text(row)
            if len(cutter.cut(text, await tokenizer.offsets(text))) >= LEAST_CHUNKS:
                found.append(row)
            if len(found) == wanted:
                break
        chosen += islice(found, wanted)
    return chosen


def _of_kind(path: Path, kind: str) -> Iterator[Row]:
    with gzip.open(path, "rt") as lines:
        yield from (row for row in map(json.loads, lines) if row["type"] == kind)


def _text(row: Row) -> str:
    return "\n\n".join(f"{title}\n{''.join(sentences)}" for title, sentences in row["context"])


async def _read(row: Row, name: str, reader: Reader, model: Model) -> dict[str, Any]:
    reading = await reader.read(Source.from_text(_text(row)), row["question"], model)
    return {
        "id": row["_id"],
        "reader": name,
        "prediction": reading.answer,
        "answers": [row["answer"]],
        "failure": reading.end.reason if reading.end else "",
        **_cost(reading),
    }


def _cost(reading: Reading) -> dict[str, float]:
    return {
        "calls": len(reading.turns),
        "prompt tokens": reading.usage.prompt,
        "completion tokens": reading.usage.completion,
        "seconds": reading.model_seconds,
    }


COSTS = ("calls", "prompt tokens", "completion tokens", "seconds")


def _table(results: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    header = ["reader", "n", "failed", "exact match", "F1", "substring", *COSTS]
    lines = [_line(header), _line(["---"] * len(header))]
    for name in names:
        own = [result for result in results if result["reader"] == name]
        scores = [_interval(_scores(own, metric)) for metric in METRICS]
        costs = [_multiple(results, own, cost) for cost in COSTS]
        failed = sum(bool(result["failure"]) for result in own)
        lines.append(_line([name, str(len(own)), str(failed), *scores, *costs]))
    base = [result for result in results if result["reader"] == "memagent"]
    if base:
        lines += ["", _line(["reader", "F1 minus MemAgent's"]), _line(["---", "---"])]
    for name in names if base else ():
        own = [result for result in results if result["reader"] == name]
        mean, low, high = paired_difference(_scores(own, f1), _scores(base, f1))
        if name != "memagent":
            lines.append(_line([name, f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"]))
    return "\n".join(lines)


def _scores(
    results: Sequence[dict[str, Any]], metric: Callable[[str, Sequence[str]], float]
) -> list[float]:
    return [metric(result["prediction"], result["answers"]) for result in results]


def _interval(scores: Sequence[float]) -> str:
    mean, low, high = mean_interval(scores)
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def _multiple(results: Sequence[dict[str, Any]], own: Sequence[dict[str, Any]], cost: str) -> str:
    """The mean a question, and how many times MemAgent's that is."""
    mean = sum(result[cost] for result in own) / len(own)
    base = [result[cost] for result in results if result["reader"] == "memagent"]
    times = f" ({mean / (sum(base) / len(base)):.2f}x)" if base and sum(base) else ""
    return f"{mean:,.1f}{times}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
