"""RULER's thirteen tasks made at 8,192 and 131,072 tokens: size, time, and what answers score.

    python bench/ruler.py ../shared/data [--lengths 8192,131072] [--tokenizer tokenizer.json]

An oracle that gives all answers must score 100 and an empty answer 0; no context may be longer than
asked for, or more than 1% shorter. Exits with 1 where any of it fails.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from palimpsest.datasets.ruler import GENERATORS, Resources, generate
from palimpsest.evals.scoring import score
from palimpsest.sources import EstimateTokenizer, FileTokenizer, Tokenizer, count

LEAST_SHARE = 0.99


class Made(NamedTuple):
    """One item as it came out."""

    name: str
    asked: int
    got: int
    seconds: float
    oracle: float
    empty: float

    @property
    def passed(self) -> bool:
        fits = LEAST_SHARE * self.asked <= self.got <= self.asked
        return fits and self.oracle == 100 and self.empty == 0


async def make(name: str, tokens: int, tokenizer: Tokenizer, resources: Resources) -> Made:
    began = time.perf_counter()
    item = await generate(name, 0, tokens, tokenizer, resources)
    seconds = time.perf_counter() - began
    got = await count(tokenizer, item.source().text)
    oracle, empty = (
        100 * score(item.metric, prediction, item.answers)
        for prediction in (" ".join(item.answers), "")
    )
    return Made(name, tokens, got, seconds, oracle, empty)


def table(rows: list[Made]) -> Table:
    drawn = Table("task", "asked", "got", "%", "seconds", "oracle", "empty", "")
    for row in rows:
        drawn.add_row(
            row.name,
            f"{row.asked:,}",
            f"{row.got:,}",
            f"{100 * row.got / row.asked:.2f}",
            f"{row.seconds:.2f}",
            f"{row.oracle:.0f}",
            f"{row.empty:.0f}",
            "" if row.passed else "FAILED",
        )
    return drawn


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--lengths", default="8192,131072")
    parser.add_argument("--tokenizer", type=Path, help="a tokenizer.json; the estimate without one")
    asked = parser.parse_args()
    tokenizer = FileTokenizer(asked.tokenizer) if asked.tokenizer else EstimateTokenizer()
    resources = Resources.from_folder(asked.data)
    rows = [
        asyncio.run(make(name, int(tokens), tokenizer, resources))
        for tokens in asked.lengths.split(",")
        for name in GENERATORS
    ]
    Console().print(table(rows))
    return 0 if all(row.passed for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
