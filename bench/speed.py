"""How fast pages are drawn, and in how much memory: the speed part of `pages.py`."""

from __future__ import annotations

import os
import random
import re
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from palimpsest.pages import render
from palimpsest.pages.batch import render_many
from screenshots import pages_per_second as screenshots_per_second

BUDGETS = (64, 256)
TARGET_MS = {"150": 3.0, "600": 10.0, "2000": 25.0}
LEAST_RATIO = 60
ALTERED = 0.12
WARM_UP = 5
WORKERS = 2
SCREENSHOTS = 36
BATCH = 3000
RESIDENT = Path("/proc/self/statm")

_TAG_OR_WORD = re.compile(r"<[^>]*>|[^\W\d_]{2,}")


def variant(markdown: str, seed: int) -> str:
    """The memory with about an eighth of its words made up anew, letter by letter, so that
    nothing kept from another page helps too much."""
    choice = random.Random(seed)

    def altered(match: re.Match[str]) -> str:
        word = match[0]
        if word.startswith("<") or choice.random() >= ALTERED:
            return word
        letters = "".join(choice.choices("abcdefghijklmnopqrstuvwxyz", k=len(word)))
        return letters.capitalize() if word[0].isupper() else letters

    return _TAG_OR_WORD.sub(altered, markdown)


def time_pages(samples: Mapping[str, str], variants: int) -> list[dict[str, Any]]:
    """Medians of parse to pixels in this thread, warm, over varied texts."""
    return [
        {"text": name, "budget": budget, **_medians(text, budget, variants)}
        for name, text in samples.items()
        for budget in BUDGETS
    ]


def _medians(markdown: str, budget: int, variants: int) -> dict[str, float]:
    texts = [variant(markdown, seed) for seed in range(variants + WARM_UP)]
    for text in texts[:WARM_UP]:
        render(text, budget)
    processor, wall = [], []
    for text in texts[WARM_UP:]:
        began, used = time.perf_counter(), time.process_time()
        render(text, budget)
        processor.append((time.process_time() - used) * 1000)
        wall.append((time.perf_counter() - began) * 1000)
    return {"cpu_ms": statistics.median(processor), "wall_ms": statistics.median(wall)}


def time_batch(samples: Mapping[str, str]) -> float:
    """Pages a second of two processes on the mix of texts and budgets, once they are warm."""
    per_text = len(BUDGETS)
    skipped = BATCH // 5
    began = 0.0
    texts = list(_mix(samples, BATCH // per_text))
    for number, page in enumerate(render_many(texts, BUDGETS, workers=WORKERS)):
        if isinstance(page, Exception):
            raise page
        if number == skipped:
            began = time.perf_counter()
    return (BATCH - skipped - 1) / (time.perf_counter() - began)


def time_screenshots(samples: Mapping[str, str], chromium: str, browsers: int) -> float:
    """The same for the baseline, whose published client takes 0.8 workers a core: one on two."""
    texts = _mix(samples, SCREENSHOTS // len(BUDGETS))
    jobs = [(text, budget) for text in texts for budget in BUDGETS]
    random.Random(0).shuffle(jobs)
    return screenshots_per_second(chromium, jobs, browsers)


def _mix(samples: Mapping[str, str], count: int) -> Iterator[str]:
    texts = list(samples.values())
    for seed in range(count):
        yield variant(texts[seed % len(texts)], 1000 + seed)


def watch_memory(samples: Mapping[str, str], pages: int, every: int) -> list[dict[str, float]]:
    """Resident megabytes as pages are drawn, all of different texts."""
    course = []
    for number, text in enumerate(_mix(samples, pages), start=1):
        render(text, BUDGETS[number // len(samples) % len(BUDGETS)])
        if number % every == 0:
            course.append({"pages": number, "resident_mb": _resident_mb()})
    return course


def growth_mb(course: Sequence[Mapping[str, float]], start: int) -> float:
    """From the page `start`, when everything that is kept has been made, to the end."""
    settled = [point["resident_mb"] for point in course if point["pages"] >= start]
    return settled[-1] - settled[0] if settled else 0.0


def _resident_mb() -> float:
    pages = int(RESIDENT.read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
