"""What the package itself costs: a long source read by MemAgent with a scripted model.

    python bench/overhead.py --data $PALIMPSEST_DATA

Builds a source of `--tokens` tokens from the shared passage pools, reads it with a model that
answers at once, and prints the package's own seconds as a share of what the same calls would
take at `--call-seconds` each, and the peak memory of the process.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import resource
import tempfile
import time
from pathlib import Path

from palimpsest.memory import Reading, ReadingStore
from palimpsest.models import ScriptedModel
from palimpsest.readers import MemAgent
from palimpsest.sources import EstimateTokenizer, FileTokenizer, Source, Tokenizer

POOLS = (
    "hotpotqa/pool500_passages",
    "hotpotqa/fullwiki_passages",
    "2wikimultihopqa/pool_passages_6119",
    "musique/wiki_passages",
)
MEMORY = "The notes so far: a name, a date and a place that may matter. " * 45


def main() -> None:
    options = _options()
    tokenizer = FileTokenizer(options.tokenizer) if options.tokenizer else EstimateTokenizer()
    source = asyncio.run(_source(options.data, options.tokens, tokenizer))
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        reading = asyncio.run(_read(source, tokenizer, ReadingStore(Path(folder))))
        own = time.monotonic() - started
    waited = len(reading.turns) * options.call_seconds
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    header = reading.header
    print(
        f"source: {header.tokens:,} tokens ({header.tokenizer}), {header.characters:,} characters"
    )
    print(f"calls: {len(reading.turns)}, at {options.call_seconds:g} s each {waited:.0f} s")
    print(f"own time: {own:.2f} s, {own / waited:.2%} of that")
    print(f"peak memory: {peak:.0f} MB")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("PALIMPSEST_DATA"))
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--call-seconds", type=float, default=1.0)
    parser.add_argument("--tokenizer", help="tokenizer.json to count with instead of the estimate")
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the folder of benchmark rows: --data or PALIMPSEST_DATA")
    return options


async def _source(data: Path, tokens: int, tokenizer: Tokenizer) -> Source:
    """Passages of the pools, in order, until they are this many tokens."""
    texts: list[str] = []
    for pool in POOLS:
        with gzip.open(data / f"{pool}.jsonl.gz", "rt") as lines:
            texts += [f"{row['title']}\n{row['text']}" for row in map(json.loads, lines)]
    text = "\n\n".join(texts)
    offsets = await tokenizer.offsets(text)
    if len(offsets) < tokens:
        raise SystemExit(f"the pools hold only {len(offsets):,} tokens")
    return Source.from_text(text[: offsets[tokens]] if len(offsets) > tokens else text)


async def _read(source: Source, tokenizer: Tokenizer, store: ReadingStore) -> Reading:
    model = _Instant(tokenizer)
    reader = MemAgent()
    reading = await reader.begin(source, "What matters?", model)
    with store.create(reading) as journal:
        await reader.read(source, "What matters?", model, reading=reading, on_event=journal.write)
    reading.raise_for_status()
    return reading


class _Instant(ScriptedModel):
    """Answers at once, with a memory of a real one's size."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__(lambda messages, sampling: MEMORY)
        self._counting = tokenizer

    async def tokenizer(self) -> Tokenizer:
        return self._counting


if __name__ == "__main__":
    main()
