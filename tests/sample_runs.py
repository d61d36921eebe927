"""Run folders made up for tests: two readers, two lengths, four budgets, two seeds.

python tests/sample_runs.py FOLDER [ITEMS]
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from palimpsest.evals.run import (
    CONFIG_FILE,
    READINGS_FOLDER,
    RESULTS_FILE,
    ItemResult,
    RunConfig,
    Scored,
)
from palimpsest.memory.reading import (
    Answer,
    ChunkRead,
    End,
    Header,
    MemoryVersion,
    PageRecord,
    Reading,
    Span,
    Turn,
)
from palimpsest.models.model import Completion, Usage
from palimpsest.readers import MemAgent, MemOCR

LENGTHS = (8192, 32768)
BUDGETS = (1024, 256, 64, 16)
SEEDS = (0, 1)
METRICS = ("f1", "exact_match", "substring")
REASONS = (
    "the prompt of 8,512 tokens does not fit the window of 8,192",
    '<script>alert("not run")</script> & "quotes" | `ticks` </td></script><!--',
    "\u202eright to left \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 $x_1$ \x1b[31mred",
    "long " * 400,
)
KEEP = {"memagent": (0.78, 0.66, 0.31, 0.12), "memocr": (0.74, 0.72, 0.58, 0.37)}
"""How often each answers well at each budget."""
_PRICE_IN, _PRICE_OUT = 0.2e-6, 0.6e-6


def sample_runs(folder: Path, *, items: int = 20, readings: bool = True) -> list[Path]:
    """Two run folders, the same bytes every time."""
    return [write_run(folder / name, name, items, readings=readings) for name in KEEP]


def write_run(folder: Path, reader: str, items: int, *, readings: bool = True) -> Path:
    folder.mkdir(parents=True)
    (folder / CONFIG_FILE).write_text(config(reader, items).model_dump_json())
    lines = []
    for length in LENGTHS:
        for number in range(items):
            for seed in SEEDS:
                result = made_up(reader, number, length, seed)
                lines.append(result.model_dump_json() + "\n")
                if readings and result.reading:
                    write_reading(folder / READINGS_FOLDER / result.reading, reader, result)
    (folder / RESULTS_FILE).write_text("".join(lines))
    return folder


def config(reader: str, items: int) -> RunConfig:
    built = (MemAgent if reader == "memagent" else MemOCR)(budgets=BUDGETS)
    return RunConfig(
        task="hotpotqa",
        data="data/hotpotqa",
        reader=reader,
        settings=built.settings(),
        prompts=built.fingerprints(),
        model="scripted",
        lengths=LENGTHS,
        budgets=BUDGETS,
        seeds=SEEDS,
        limit=items,
        metrics=METRICS,
    )


def made_up(reader: str, number: int, length: int, seed: int) -> ItemResult:
    rng = random.Random(f"{reader} {number} {length} {seed}")
    hard = random.Random(f"item {number}").random() - 0.5
    status = "answered"
    if rng.random() < 0.08:
        status = "failed"
    elif rng.random() < 0.06:
        status = "partial"
    calls = 0 if status == "failed" else length // 5000 + 1 + len(BUDGETS)
    prompt = calls * 5600 + rng.randrange(900)
    completion = calls * 240 + rng.randrange(90)
    answers = []
    for budget, keep in zip(BUDGETS, KEEP[reader], strict=True):
        chance = keep - hard * 0.6 - (0.1 if length > 10_000 else 0)
        right = status != "failed" and rng.random() < chance
        near = status != "failed" and not right and rng.random() < 0.4
        prediction = f"Gull Rock {number}" if right else f"Rock {number} or so" if near else "no"
        scores = {"f1": float(right) or 0.4 * near, "exact_match": float(right)}
        scores["substring"] = float(right)
        if status == "failed":
            prediction = ""
        answers.append(Scored(budget=budget, prediction=prediction, scores=scores))
    name = f"{reader}-{number}-{length}-{seed}"
    return ItemResult(
        key=name,
        task="hotpotqa",
        id=f"item-{number:03d}",
        category="bridge" if number % 3 else "comparison",
        length=length,
        seed=seed,
        question=f"Where is the lamp of tower {number}? <b>Not bold</b> & \u05e9\u05dc\u05d5\u05dd",
        accepted=(f"Gull Rock {number}", f"the rock {number}"),
        metric="f1",
        status=status,
        reason=REASONS[number % len(REASONS)] if status == "failed" else "",
        error="WindowError" if status == "failed" else "",
        answers=tuple(answers),
        source_tokens=length - rng.randrange(80),
        memory_tokens=None if status == "failed" else 300 + rng.randrange(500),
        chunks=length // 5000 + 1,
        calls=calls,
        prompt=prompt,
        cached=prompt // 5,
        completion=completion,
        seconds=calls * (0.8 + rng.random()),
        cost=None if status == "failed" else prompt * _PRICE_IN + completion * _PRICE_OUT,
        reading="" if status == "failed" else name,
        finished="2026-01-01T00:00:00+00:00",
    )


def evidence(number: int) -> list[str]:
    return [
        f"The keeper of tower {number} is Ada Brandt.",
        f"Her lamp of 1883* stands on # Gull Rock {number}.",
    ]


def memory(number: int) -> str:
    """Two words of five in the headings and bold words are evidence, one of eight in the body."""
    return (
        f"# Gull Weather\n\n- The **Rock path** is long and wet\n"
        f"- tides, boats, nets, sails, herring, weather, keeper, storms of {number}00\n"
    )


def write_reading(folder: Path, reader: str, result: ItemResult) -> None:
    number = int(result.id.removeprefix("item-"))
    built = (MemAgent if reader == "memagent" else MemOCR)(budgets=BUDGETS, seed=result.seed)
    spans = [Span(n * 20_000, (n + 1) * 20_000, 5000) for n in range(result.chunks)]
    header = Header(
        key=result.key,
        created=result.finished,
        source_sha256="0" * 64,
        documents=("one", "two"),
        characters=spans[-1].end,
        questions=(result.question,),
        reader=reader,
        settings=built.settings(),
        model="scripted",
        tokenizer="estimate",
        prompts=built.fingerprints(),
        chunks=tuple(spans),
    )
    reading = Reading(header)
    reading.add(MemoryVersion(chunk=0, text=memory(number), tokens=40))
    for chunk in range(result.chunks):
        reading.add(ChunkRead(chunk=chunk, memory=0))
    for place, scored in enumerate(result.answers):
        assert scored.budget
        if reader == "memocr":
            reading.add(_page(scored.budget))
        shown = min(scored.budget, 800 if reader == "memagent" else scored.budget)
        completion = Completion(text=scored.prediction, usage=Usage(prompt=180 + shown))
        role = "read" if reader == "memocr" else "final"
        page = place if reader == "memocr" else None
        reading.add(
            Turn(role=role, prompt="p", request="r", question=0, page=page, completion=completion)
        )
        reading.add(Answer(question=0, budget=scored.budget, text=scored.prediction, boxed=True))
    reading.add(End(status="answered"))
    folder.mkdir(parents=True)
    (folder / "reading.jsonl").write_text("".join(f"{line}\n" for line in reading.to_lines()))


def _page(budget: int) -> PageRecord:
    return PageRecord(
        memory=0, budget=budget, cell=28, grid_width=4, grid_height=budget // 4, body_px=9.0,
        dropped=0, sha256="0",
    )  # fmt: skip


if __name__ == "__main__":
    made = sample_runs(Path(sys.argv[1]), items=int((sys.argv[2:] or ["20"])[0]))
    print(*made, sep="\n")
