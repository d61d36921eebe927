"""What reading with a memory costs in quality, on real questions with a real model.

    python bench/quality.py --data $PALIMPSEST_DATA

Takes the first `--rows` rows of HotpotQA's `dev_distractor_500` and answers each question

- closed book: from the question alone;
- gold: from the supporting paragraphs alone;
- whole: from all ten paragraphs at once;
- memagent: by `MemAgent` over chunks of the ten paragraphs;
- memocr N: by `MemOCR` over the same chunks, its page read at N visual tokens (by OCR eyes where
  the model has none);
- text N: from the first N tokens of MemAgent's memory.

`--only` picks some of these; the texts come with memagent. Prints a markdown table: exact match,
F1 and one-way substring with 95% bootstrap intervals. A row whose answer failed counts as wrong.
Calls are recorded in the folder `--out`, so a run that was stopped goes on; the same record gives
the same table.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from palimpsest.errors import PalimpsestError
from palimpsest.evals import exact_match, f1, mean_interval, paired_difference, substring_match
from palimpsest.memory import Reading
from palimpsest.models import Model, Sampling, user
from palimpsest.prompts import default_prompts
from palimpsest.readers import MemAgent, MemOCR, parse_answer
from palimpsest.settings import ModelSettings, open_model, resolve_settings
from palimpsest.sources import Source, clip

BUDGETS = (512, 256, 64, 16)
GROUPS = ("closed book", "gold", "whole", "memagent", "memocr")
ANSWER = Sampling(max_tokens=128)
CLOSED_BOOK = """
Answer a question from what you know. Reply with the bare answer in a box, like \\boxed{{Bergen}}.

Question: {question}
Reply:"""

Row = dict[str, Any]
Predictions = dict[str, str]
Metric = Callable[[str, Sequence[str]], float]


def main() -> None:
    options = _options()
    rows = _rows(options.data, options.rows)
    started = time.monotonic()
    results = asyncio.run(_answer_rows(rows, options))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "predictions.json").write_text(json.dumps(results, indent=1))
    print(_table(results, options.only))
    if {"memagent", "memocr"} <= set(options.only):
        print(_comparison(results))
    print(f"\n{len(results)} rows, {time.monotonic() - started:.0f} s")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("PALIMPSEST_DATA"))
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--model", default=None, help="as in `palimpsest ask --model`")
    parser.add_argument("--chunk-tokens", type=int, default=1024)
    parser.add_argument("--memory-tokens", type=int, default=192)
    parser.add_argument("--cutting", choices=("sentence", "token"), default="sentence")
    parser.add_argument(
        "--order", choices=("memory_first", "section_first"), default="section_first"
    )
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=GROUPS)
    parser.add_argument("--out", type=Path, default=Path("quality"))
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the folder of benchmark rows: --data or PALIMPSEST_DATA")
    return options


def _rows(data: Path, count: int) -> list[Row]:
    with gzip.open(data / "hotpotqa" / "dev_distractor_500.jsonl.gz", "rt") as lines:
        return [json.loads(line) for _, line in zip(range(count), lines, strict=False)]


async def _answer_rows(rows: Sequence[Row], options: argparse.Namespace) -> list[dict[str, Any]]:
    options.out.mkdir(parents=True, exist_ok=True)
    given = ModelSettings(name=options.model, record=str(options.out / "calls.sqlite"))
    model = open_model(resolve_settings(given), on_load=_say)
    try:
        results = []
        for number, row in enumerate(rows, start=1):
            results.append(await _answer_row(row, model, options))
            _say(f"{number}/{len(rows)} {row['question'][:70]}")
        return results
    finally:
        await model.aclose()


async def _answer_row(row: Row, model: Model, options: argparse.Namespace) -> dict[str, Any]:
    gold = {title for title, _ in row["supporting_facts"]}
    paragraphs = [f"{title}\n{''.join(sentences)}" for title, sentences in row["context"]]
    titles = [title for title, _ in row["context"]]
    support = [text for title, text in zip(titles, paragraphs, strict=True) if title in gold]
    whole = "\n\n".join(paragraphs)
    question = row["question"]
    predictions: Predictions = {}
    failures: dict[str, str] = {}

    async def attempt(name: str, work: Callable[[], Awaitable[Predictions]]) -> None:
        if name not in options.only:
            return
        try:
            predictions.update(await work())
        except PalimpsestError as error:
            failures[name] = str(error)

    await attempt("closed book", lambda: _closed_book(question, model))
    await attempt("gold", lambda: _from_notes("gold", question, "\n\n".join(support), model))
    await attempt("whole", lambda: _from_notes("whole", question, whole, model))
    source = Source.from_text(whole)
    await asyncio.gather(
        attempt("memagent", lambda: _memagent(source, question, model, options)),
        attempt("memocr", lambda: _memocr(source, question, model, options)),
    )
    return {"question": question, "answers": [row["answer"]], "predictions": predictions,
            "failures": failures}  # fmt: skip


async def _closed_book(question: str, model: Model) -> Predictions:
    prompt = CLOSED_BOOK.format(question=question)
    return {"closed book": await _answer(prompt, model)}


async def _from_notes(name: str, question: str, notes: str, model: Model) -> Predictions:
    prompt = default_prompts().get("final").fill(question=question, memory=notes)
    return {name: await _answer(prompt, model)}


async def _answer(prompt: str, model: Model) -> str:
    completion = await model.complete(user(prompt), ANSWER)
    return parse_answer(completion.text).text


async def _memagent(
    source: Source, question: str, model: Model, options: argparse.Namespace
) -> Predictions:
    reader = MemAgent(**_settings(options))
    reading = await reader.read(source, question, model)
    reading.raise_for_status()
    predictions = {"memagent": reading.answer}
    for budget in BUDGETS:
        predictions |= await _cut_memory(reading, budget, question, model)
    return predictions


async def _cut_memory(reading: Reading, budget: int, question: str, model: Model) -> Predictions:
    kept = await clip(await model.tokenizer(), reading.memory, budget)
    return await _from_notes(f"text {budget}", question, kept, model)


async def _memocr(
    source: Source, question: str, model: Model, options: argparse.Namespace
) -> Predictions:
    reader = MemOCR(budgets=BUDGETS, **_settings(options))
    reading = await reader.read(source, question, model)
    reading.raise_for_status()
    return {f"memocr {answer.budget}": answer.text for answer in reading.answers}


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "order": options.order,
        "chunk_tokens": options.chunk_tokens,
        "memory_tokens": options.memory_tokens,
        "answer_tokens": ANSWER.max_tokens,
        "cutting": options.cutting,
    }


def _conditions(groups: Sequence[str]) -> list[str]:
    """The rows of the table, in its order."""
    pages = [f"memocr {budget}" for budget in BUDGETS]
    texts = [f"text {budget}" for budget in BUDGETS]
    rows = {group: [group] for group in GROUPS} | {"memocr": pages}
    named = [row for group in GROUPS if group in groups for row in rows[group]]
    return named + (texts if "memagent" in groups else [])


def _scores(results: Sequence[dict[str, Any]], condition: str, metric: Metric) -> list[float]:
    return [
        metric(result["predictions"].get(condition, ""), result["answers"]) for result in results
    ]


def _table(results: Sequence[dict[str, Any]], groups: Sequence[str]) -> str:
    lines = ["| read by | n | failed | exact match | F1 | substring |", "|---|---|---|---|---|---|"]
    for condition in _conditions(groups):
        cells = []
        for metric in (exact_match, f1, substring_match):
            mean, low, high = mean_interval(_scores(results, condition, metric))
            cells.append(f"{mean:.2f} [{low:.2f}, {high:.2f}]")
        failed = sum(condition not in result["predictions"] for result in results)
        lines.append(f"| {condition} | {len(results)} | {failed} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _comparison(results: Sequence[dict[str, Any]]) -> str:
    lines = ["", "| page minus cut text, F1 | difference |", "|---|---|"]
    for budget in BUDGETS:
        page, text = (_scores(results, f"{kind} {budget}", f1) for kind in ("memocr", "text"))
        mean, low, high = paired_difference(page, text)
        lines.append(f"| {budget} tokens | {mean:+.2f} [{low:+.2f}, {high:+.2f}] |")
    return "\n".join(lines)


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
