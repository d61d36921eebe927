"""Where chunks end, and what that cuts in two.

    python bench/cutting.py --data $PALIMPSEST_DATA

Cuts the paragraphs of HotpotQA rows at exact token windows and at sentence ends, and counts the
supporting sentences that lie whole in one chunk. No model is called. A fact that is cut in two
reaches the model as two halves in two prompts.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from palimpsest.evals import mean_interval
from palimpsest.sources import Chunk, Cutting, EstimateTokenizer, FileTokenizer, Tokenizer, cut


def main() -> None:
    options = _options()
    tokenizer = FileTokenizer(options.tokenizer) if options.tokenizer else EstimateTokenizer()
    rows = _rows(options.data, options.rows)
    print("| cutting | chunk tokens | supporting sentences | whole | interval | chunks |")
    print("|---|---|---|---|---|---|")
    for size in options.chunk_tokens:
        for how in get_args(Cutting):
            print(asyncio.run(_line(rows, tokenizer, size, how)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("PALIMPSEST_DATA"))
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--chunk-tokens", type=int, nargs="+", default=[1024])
    parser.add_argument("--tokenizer", help="tokenizer.json to count with instead of the estimate")
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the folder of benchmark rows: --data or PALIMPSEST_DATA")
    return options


def _rows(data: Path, count: int) -> list[dict[str, Any]]:
    with gzip.open(data / "hotpotqa" / "dev_distractor_500.jsonl.gz", "rt") as lines:
        return [json.loads(line) for _, line in zip(range(count), lines, strict=False)]


async def _line(
    rows: Sequence[dict[str, Any]], tokenizer: Tokenizer, size: int, how: Cutting
) -> str:
    whole: list[float] = []
    chunks = 0
    for row in rows:
        text, sentences = _text(row)
        pieces = cut(text, await tokenizer.offsets(text), size, how)
        chunks += len(pieces)
        whole += [float(_is_whole(pieces, start, end)) for start, end in sentences]
    mean, low, high = mean_interval(whole)
    return f"| {how} | {size} | {len(whole)} | {mean:.3f} | {low:.3f} to {high:.3f} | {chunks} |"


def _text(row: dict[str, Any]) -> tuple[str, list[tuple[int, int]]]:
    """A row's paragraphs as one text, and where its supporting sentences lie in it."""
    support = {(title, number) for title, number in row["supporting_facts"]}
    text, spans = "", []
    for title, sentences in row["context"]:
        text += f"{title}\n"
        for number, sentence in enumerate(sentences):
            if (title, number) in support:
                lead = len(sentence) - len(sentence.lstrip())
                spans.append((len(text) + lead, len(text) + len(sentence.rstrip())))
            text += sentence
        text += "\n\n"
    return text, spans


def _is_whole(chunks: Sequence[Chunk], start: int, end: int) -> bool:
    return any(chunk.start <= start and end <= chunk.end for chunk in chunks)


if __name__ == "__main__":
    main()
