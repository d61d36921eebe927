"""Benchmark files in the making, and what tasks give of them: shared by the tests of tasks."""

import asyncio
import json

from palimpsest.evals.tasks import find_task
from palimpsest.sources import EstimateTokenizer

HOTPOT = {
    "_id": "h1",
    "question": "Where was the author of Anna born?",
    "answer": "Tula",
    "type": "bridge",
    "level": "hard",
    "supporting_facts": [["Author", 0], ["Anna", 0], ["Anna", 9]],
    "context": [["Anna", ["Anna is a novel.", " It is long."]], ["Author", ["He was from Tula."]]],
}


def write(folder, name, rows):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.suffix == ".json"
    text = json.dumps(rows) if whole else "".join(f"{json.dumps(row)}\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    return path


def passages(number, words="Rivers run from hills to the sea and carry sand."):
    return [
        {"title": f"Place {n}", "text": f"Place {n} lies by water. {words}"} for n in range(number)
    ]


def questions(name, data):
    return list(find_task(name).questions(data))


def collect(items):
    async def gather():
        return [item async for item in items]

    return asyncio.run(gather())


def built(name, data, **wanted):
    return collect(find_task(name).items(data, EstimateTokenizer(), **wanted))
