"""Drafts memories of real rows with a real model, for `pages.py` to draw.

    python bench/memories.py --data $PALIMPSEST_DATA --out memories

Reads rows of HotpotQA's `dev_distractor_500`, from the first on, as `quality.py` does: chunks of
the ten paragraphs, drafted by `MemOCR` as rich text, and no answers. Goes on until `--count`
memories are there; a row whose draft failed or came to nothing is passed over. Writes
`memories.jsonl` in the folder `--out`: id, question, memory and its tokens, a line a memory. Calls
are recorded there too: run again, it goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

from palimpsest.errors import PalimpsestError
from palimpsest.models import Model
from palimpsest.readers import MemOCR
from palimpsest.readers.drafting import Scan
from palimpsest.readers.reader import Session
from palimpsest.settings import ModelSettings, open_model, resolve_settings
from palimpsest.sources import Source

Row = dict[str, Any]


def main() -> None:
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    asyncio.run(_write_memories(options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("PALIMPSEST_DATA"))
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--model", default=None, help="as in `palimpsest ask --model`")
    parser.add_argument("--chunk-tokens", type=int, default=1024)
    parser.add_argument("--memory-tokens", type=int, default=192)
    parser.add_argument("--out", type=Path, default=Path("memories"))
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the folder of benchmark rows: --data or PALIMPSEST_DATA")
    options.data = Path(options.data)
    return options


async def _write_memories(options: argparse.Namespace) -> None:
    settings = ModelSettings(name=options.model, record=str(options.out / "calls.sqlite"))
    model = open_model(resolve_settings(settings), on_load=_say)
    reader = MemOCR(
        order="section_first",
        chunk_tokens=options.chunk_tokens,
        memory_tokens=options.memory_tokens,
    )
    try:
        with (options.out / "memories.jsonl").open("w", encoding="utf-8") as file:
            written = 0
            async for row in drafted(_rows(options.data), reader, model):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                file.flush()
                written += 1
                _say(f"{written}/{options.count} {row['tokens']} tokens {row['question']}")
                if written == options.count:
                    break
    finally:
        await model.aclose()


def _rows(data: Path) -> Iterator[Row]:
    with gzip.open(data / "hotpotqa" / "dev_distractor_500.jsonl.gz", "rt") as lines:
        for line in lines:
            yield json.loads(line)


async def drafted(rows: Iterable[Row], reader: MemOCR, model: Model) -> AsyncIterator[Row]:
    """A row of `memories.jsonl` for each that could be drafted."""
    for row in rows:
        try:
            memory, tokens = await _memory(row, reader, model)
        except PalimpsestError as error:
            _say(f"passed over: {error}")
            continue
        if memory:
            yield {
                "id": row["_id"],
                "question": row["question"],
                "memory": memory,
                "tokens": tokens,
            }
        else:
            _say("passed over: nothing was drafted")


async def _memory(row: Row, reader: MemOCR, model: Model) -> tuple[str, int]:
    """The last memory and its tokens; empty where every draft was unusable."""
    paragraphs = (f"{title}\n{''.join(sentences)}" for title, sentences in row["context"])
    source = Source.from_text("\n\n".join(paragraphs))
    reading = await reader.begin(source, row["question"], model)
    await reader.draft(Session(source, model, reading, None), Scan(row["question"]))
    tokens = reading.memories[-1].tokens if reading.memories else 0
    return reading.memory, tokens


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
