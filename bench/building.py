"""How long is a long context in the making, and is it the same every time?

    python bench/building.py --data DATA --lengths 128k,1m,4m

Builds one HotpotQA item at each length out of the Wikipedia passages in the folder of benchmark
rows (and, for what is longer than those, of its books), each time in a process of its own with
another hash seed, loading included. The tokenizer is a byte-level BPE that is trained on part of
the passages, unless `--tokenizer FILE` names another. Prints seconds, peak memory and the hash of
the source; ends with 1 if two processes do not give the same bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

from palimpsest.datasets.building import build_context
from palimpsest.datasets.distractors import read_passages
from palimpsest.datasets.files import read_rows
from palimpsest.datasets.item import Item, Passage
from palimpsest.datasets.lengths import length_label, parse_length, parse_lengths
from palimpsest.datasets.pool import Pool
from palimpsest.sources import FileTokenizer

PASSAGES = (
    "hotpotqa/pool500_passages.jsonl.gz",
    "hotpotqa/fullwiki_passages.jsonl.gz",
    "nq/wiki_passages.jsonl.gz",
    "musique/wiki_passages.jsonl.gz",
    "2wikimultihopqa/pool_passages_6119.jsonl.gz",
)
BOOKS = "haystack/gutenberg_*.txt.gz"
BOOKS_FROM = parse_length("3m")
"""Tokens from which the Wikipedia passages alone may not do."""
SEEDS = ("0", "1")
VOCABULARY = 16_000
TRAINED_ON = 8_000


def main() -> int:
    options = _options()
    if options.worker:
        print(json.dumps(asyncio.run(_built(options))))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = options.tokenizer or _trained(options.data, Path(folder) / "tokenizer.json")
        return max(_compare(options.data, tokenizer, one) for one in parse_lengths(options.lengths))


def _compare(data: Path, tokenizer: Path, tokens: int) -> int:
    found = [_in_a_process(data, tokenizer, tokens, seed) for seed in SEEDS]
    for one in found:
        print(
            f"{length_label(tokens)}: {one['tokens']:,} tokens in {one['documents']:,} documents, "
            f"{one['seconds']:.1f} s ({one['busy']:.1f} s of processor), "
            f"peak {one['peak_mb']:,.0f} MB, sha256 {one['sha256'][:16]}"
        )
    same = len({one["sha256"] for one in found}) == 1
    print("the same bytes" if same else "DIFFERENT bytes")
    return int(not same)


def _in_a_process(data: Path, tokenizer: Path, tokens: int, seed: str) -> dict[str, Any]:
    given = ["--data", str(data), "--tokenizer", str(tokenizer), "--lengths", str(tokens)]
    done = subprocess.run(
        [sys.executable, __file__, "--worker", *given],
        env={**os.environ, "PYTHONHASHSEED": seed},
        stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def _built(options: argparse.Namespace) -> dict[str, object]:
    started, busy = time.monotonic(), time.process_time()
    tokens = parse_length(options.lengths)
    pool = Pool(read_passages(_files(options.data, tokens)))
    tokenizer = FileTokenizer(options.tokenizer)
    item = await build_context(_item(options.data), pool, tokenizer, tokens=tokens)
    seconds, busy = time.monotonic() - started, time.process_time() - busy
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    text = item.source().text
    return {
        "seconds": seconds,
        "busy": busy,
        "peak_mb": peak_kb / 1024,
        "tokens": len(await tokenizer.offsets(text)),
        "documents": len(item.documents),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }


def _files(data: Path, tokens: int) -> list[Path]:
    books = sorted(data.glob(BOOKS)) if tokens > BOOKS_FROM else []
    return [*(data / name for name in PASSAGES if (data / name).exists()), *books]


def _item(data: Path) -> Item:
    row = next(iter(read_rows(data / "hotpotqa/dev_distractor_500.jsonl.gz")))
    titles = {title for title, _ in row["supporting_facts"]}
    documents = [Passage(title=title, text="".join(text)) for title, text in row["context"]]
    return Item(
        task="hotpotqa",
        id=row["_id"],
        question=row["question"],
        answers=(row["answer"],),
        documents=tuple(documents),
        gold=tuple(place for place, one in enumerate(documents) if one.title in titles),
    )


def _trained(data: Path, path: Path) -> Path:
    """A byte-level BPE of ordinary English, as exact as any for what is measured here."""
    from tokenizers import ByteLevelBPETokenizer

    trained = ByteLevelBPETokenizer()
    texts = (f"# {one.title}\n\n{one.text}\n\n" for one in read_passages(_files(data, 0)))
    trained.train_from_iterator(
        islice(texts, TRAINED_ON), vocab_size=VOCABULARY, show_progress=False
    )
    trained.save(str(path))
    return path


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("PALIMPSEST_DATA"))
    parser.add_argument("--lengths", default="128k,1m")
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.data is None:
        parser.error("--data or PALIMPSEST_DATA names the folder of benchmark rows")
    return options


if __name__ == "__main__":
    sys.exit(main())
