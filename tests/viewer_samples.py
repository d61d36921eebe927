"""Readings and runs made up for the viewer's tests, by the real readers and a scripted model.

python tests/viewer_samples.py FOLDER
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Sequence
from itertools import accumulate
from pathlib import Path

from palimpsest.asking import kept_reading
from palimpsest.datasets.item import Item, Passage
from palimpsest.evals.job import configure
from palimpsest.evals.runner import evaluate
from palimpsest.memory.reading import ChunkRead, End, Header, MemoryVersion, Reading, Span
from palimpsest.memory.store import ReadingStore
from palimpsest.models.model import Completion, Message, Sampling, Usage
from palimpsest.models.scripted import ScriptedModel, texts
from palimpsest.readers.reader import Reader
from palimpsest.readers.registry import build_reader
from palimpsest.sources import open_source
from palimpsest.training.logbook import Line, Logbook
from sample_runs import sample_runs

SCRIPT = "<script>document.title = 'broken into'</script>"
IMAGE = '<img src="http://127.0.0.1:9/x.png" onerror="document.title = \'broken into\'">'
QUESTION = f"Who keeps tower 3? {SCRIPT}"
_NAMES = (
    "Ada Brandt", "Otto Hale", "Mira Voss", "Jon Castell", "Lena Ruhl", "Emil Torp",
    "Ines Falk", "Karl Wend", "Rosa Lind", "Hugo Stern", "Vera Moll", "Theo Grau",
)  # fmt: skip
_FACT = re.compile(r"The keeper of tower \d+ is \w+ \w+\.")
_SKIPPED, _REFUSED = 5, 7
"""Towers whose chunk the gate lets pass by, and whose draft is empty."""
_FILLER = (
    "The tide came in at dusk and the boats lay on their sides in the mud.",
    "A bell was rung at four, and nobody on the quay looked up.",
    "Nets were mended on the wall until the light went.",
)


def write_source(file: Path, *, towers: int = 12, paragraphs: int = 10) -> Path:
    """A text of which each part says who keeps one tower."""
    parts = [f"# The towers of the coast {SCRIPT}\n"]
    for tower in range(towers):
        fact = f"The keeper of tower {tower} is {_NAMES[tower % len(_NAMES)]}."
        filler = [_FILLER[(tower + n) % len(_FILLER)] for n in range(paragraphs)]
        parts.append(" ".join([*filler[: paragraphs // 2], fact, *filler[paragraphs // 2 :]]))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n\n".join(parts), encoding="utf-8")
    return file


def keeper(messages: Sequence[Message], _: Sampling) -> str | Completion:
    """Notes each keeper that a prompt names, and answers from what it is shown."""
    prompt = "\n".join(texts(messages))
    if "boxed" in prompt:
        return r"\boxed{Jon Castell}"
    if "<query>" in prompt:
        return "<query>Who kept tower 4 before the war?</query>"
    latest = max(map(int, re.findall(r"keeper of tower (\d+)", prompt)), default=0)
    if "NOTHING" in prompt:
        return "NOTHING" if latest == _SKIPPED else "NEW"
    if latest == _REFUSED:
        return Completion(text="", usage=Usage(prompt=9))
    lines = "\n".join(f"- {fact}" for fact in dict.fromkeys(_FACT.findall(prompt)))
    return f"# Keepers {IMAGE}\n\n{lines}"


async def read(
    store: ReadingStore, files: Sequence[Path], reader: Reader, question: str = QUESTION
) -> Reading:
    return await kept_reading(store, reader, open_source(files), question, ScriptedModel(keeper))


def write_reading(
    readings: Path, files: Sequence[Path], name: str = "memocr", **settings: object
) -> Reading:
    """A reading in a folder of its own under `readings`."""
    given = {"chunk_tokens": 200, **settings}
    if "memocr" in name:
        given = {"budgets": (256, 64), **given}
    return asyncio.run(read(ReadingStore(readings), files, build_reader(name, given)))


def write_large(folder: Path, *, characters: int = 16_000_000, chunks: int = 800) -> Path:
    """A reading of a source of millions of tokens, with a version of the memory for each chunk;
    made without a model, which would take a while. The source lies beside it."""
    line = "The tide came in at dusk, and the boats lay on their sides in the mud.\n"
    lines = [line] * (characters // len(line))
    each = len(lines) // chunks
    facts = [f"The keeper of tower {chunk} is Ada Brandt." for chunk in range(chunks)]
    for chunk, fact in enumerate(facts):
        lines[chunk * each + each // 2] = f"{fact}\n"
    file = folder / "large.txt"
    folder.mkdir(parents=True)
    file.write_text("".join(lines), encoding="utf-8")
    source = open_source([file])
    sizes = (sum(map(len, lines[n * each : (n + 1) * each])) for n in range(chunks - 1))
    starts = list(accumulate(sizes, initial=0))
    ends = [*starts[1:], len(source.text)]
    header = Header(
        key="large",
        created="2026-01-01T00:00:00+00:00",
        source_sha256=source.sha256,
        documents=(str(file),),
        characters=len(source.text),
        questions=("Who keeps the towers?",),
        reader="memagent",
        settings={},
        model="scripted",
        tokenizer="estimate",
        prompts={},
        chunks=tuple(Span(start, end, 5000) for start, end in zip(starts, ends, strict=True)),
    )
    reading = Reading(header)
    for chunk in range(chunks):
        text = "\n".join(f"- {fact}" for fact in facts[max(0, chunk - 20) : chunk + 1])
        parents = (chunk - 1,) if chunk else ()
        reading.add(MemoryVersion(chunk=chunk, text=text, tokens=300, parents=parents))
        reading.add(ChunkRead(chunk=chunk, memory=chunk))
    reading.add(End(status="answered"))
    (folder / "reading.jsonl").write_text("".join(f"{one}\n" for one in reading.to_lines()))
    return folder


def towers_item(number: int) -> Item:
    """A question about some of the towers; the context is the same for every number."""
    fact = "The keeper of tower {} is {}. "
    return Item(
        task="towers",
        id=f"tower-{number}",
        question=f"Who keeps tower {number}?",
        answers=(_NAMES[number],),
        documents=tuple(
            Passage(title=f"Tower {tower}", text=fact.format(tower, _NAMES[tower]) * 20)
            for tower in range(6)
        ),
    )


def write_evaluation(folder: Path, **options: bool) -> Path:
    """A run of two items with the same context, which is in no file."""

    async def items() -> AsyncIterator[tuple[int | None, Item]]:
        for number in range(2):
            yield None, towers_item(number)

    reader = build_reader("memocr", {"chunk_tokens": 200, "budgets": (256, 64)})
    plan = configure(
        task="towers", data="", name="memocr", reader=reader, model="scripted", metrics=("f1",)
    )
    model = ScriptedModel(keeper)
    asyncio.run(evaluate(items(), reader, model, folder, plan, concurrency=2, **options))
    return folder


def write_training(folder: Path, steps: int = 30) -> Path:
    folder.mkdir(parents=True)
    with Logbook(folder, lines=0) as log:
        for step in range(1, steps + 1):
            values = {"reward/reward": step / steps, "loss/kl": 0.01 / step, "loss/entropy": 1.2}
            log.write(Line(step, "warm_start" if step < 5 else "learning", values))
    (folder / "rollouts").mkdir()
    for step in (10, 20):
        lines = [_rollout(number) for number in range(4)]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "rollouts" / f"step-{step}.jsonl").write_text(text)
    return folder


def _rollout(number: int) -> dict[str, object]:
    said = {
        "role": "draft", "step": 0, "task": "", "text": f"noted {SCRIPT}", "finish": "stop",
        "prompt_tokens": 90, "tokens": 12, "advantage": 0.5, "state_reward": None,
        "trained": True,
    }  # fmt: skip
    return {
        "group": "g1", "number": number, "reward": number / 4, "scores": {"f1": 1.0}, "nodes": 1,
        "answer": f"Jon {IMAGE}", "failure": "", "details": {}, "conversations": [said, said],
    }  # fmt: skip


def write_samples(folder: Path, *, items: int = 10) -> Path:
    """A folder with some of everything."""
    source = write_source(folder / "source" / "coast.txt")
    write_reading(folder / "readings", [source])
    write_reading(folder / "readings", [source], "memreread+gated+memagent", rereads=1)
    sample_runs(folder / "runs", items=items)
    write_training(folder / "training" / "first")
    return folder


if __name__ == "__main__":
    print(write_samples(Path(sys.argv[1]), items=int((sys.argv[2:] or ["10"])[0])))
