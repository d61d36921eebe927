"""How much of a memory can be read from its page, and how fast pages are drawn.

    python bench/pages.py --samples SAMPLES --memories memories/memories.jsonl

SAMPLES is a folder with `memory_150.md`, `memory_600.md` and `memory_2000.md`, named after their
tokens; the memories come from `memories.py`. Each is drawn at 1024, 256, 64 and 16 visual tokens:

- shrink, drop: by `render` with that policy;
- uniform: shrunk, all type of one size and weight;
- served: by a browser's screenshot that is cut at the first screen and then shrunk, the baseline;
- full height: the same without the cut.

Without Chromium (`--chromium` or PALIMPSEST_CHROMIUM), Playwright and Python-Markdown the last two
are left out. PP-OCR and Tesseract read each picture several times enlarged (2, 3 and 4 times, from
12 px of type on 1 and 2 times; the drafted memories never 4 times); the best look counts, for every
method alike.
Prints markdown (`--json`: data) and writes `results.json`, the looks and the pictures in the
folder `--out`; a run that was stopped goes on from the looks.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

import recall
import speed
from palimpsest.pages import render
from recall import BUDGETS, SAMPLES, STYLES
from screenshots import Screenshots, delivered, find_chromium

SECTIONS = ("legibility", "speed", "memory", "pictures")
MOST_GROWTH_MB = 10.0
"""What counts as flat."""
GAP_PX = 16
SHOWN_HEIGHT_PX = 900
"""About how tall the pictures are that are shown side by side."""


def main() -> None:
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    chromium = find_chromium(options.chromium)
    if chromium is None:
        _say(
            "the baseline is left out: it needs Chromium (--chromium or PALIMPSEST_CHROMIUM) and "
            "the packages playwright and markdown"
        )
    results: dict[str, Any] = {"chromium": chromium is not None}
    texts: list[str] = []
    for section in options.only:
        started = time.monotonic()
        data, text = _SECTIONS[section](options, chromium)
        results[section] = {**data, "seconds": time.monotonic() - started}
        texts.append(text)
        (options.out / "results.json").write_text(json.dumps(results, indent=1))
    print(json.dumps(results, indent=1) if options.json else "\n\n".join(filter(None, texts)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--samples",
        type=Path,
        required=True,
        help="folder with memory_150.md, memory_600.md and memory_2000.md",
    )
    parser.add_argument("--memories", type=Path, help="memories.jsonl, as memories.py writes it")
    parser.add_argument("--limit", type=int, help="read only so many of the memories")
    parser.add_argument("--chromium", help="path of the baseline's browser")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--variants", type=int, default=60, help="texts timed for each sample")
    parser.add_argument("--pages", type=int, default=5000, help="pages drawn to watch memory")
    parser.add_argument("--picture", type=Path, help="memory to show side by side")
    parser.add_argument("--out", type=Path, default=Path("pages"))
    parser.add_argument("--json", action="store_true", help="print data instead of text")
    return parser.parse_args()


def _samples(options: argparse.Namespace) -> dict[str, str]:
    files = {name: options.samples / f"memory_{name}.md" for name in SAMPLES}
    missing = [str(file) for file in files.values() if not file.is_file()]
    if missing:
        raise SystemExit(f"--samples: there is no {missing[0]}")
    return {name: file.read_text("utf-8") for name, file in files.items()}


def _memories(options: argparse.Namespace) -> dict[str, str]:
    if options.memories is None:
        return {}
    rows = [json.loads(line) for line in options.memories.read_text("utf-8").splitlines()]
    return {row["id"]: row["memory"] for row in rows[: options.limit]}


def legibility(options: argparse.Namespace, chromium: str | None) -> tuple[dict[str, Any], str]:
    folder = options.out / "looks"
    scored = recall.score(_samples(options), _memories(options), chromium, folder)
    checks = recall.floors(scored)
    text = f"{recall.report(scored)}\n\n{recall.check_list(checks)}"
    return {"scores": scored, "floors": checks}, text


def measure_speed(options: argparse.Namespace, chromium: str | None) -> tuple[dict[str, Any], str]:
    samples = _samples(options)
    timed = speed.time_pages(samples, options.variants)
    lines = [f"Parse to pixels, warm, median of {options.variants} varied texts, one thread:", ""]
    lines += [_row(["tokens", "in", "CPU ms", "wall ms", "at most"]), _row(["---"] * 5)]
    for row in timed:
        target = speed.TARGET_MS[row["text"]]
        verdict = f"{target:g} {'pass' if row['cpu_ms'] <= target else 'FAIL'}"
        times = [f"{row['cpu_ms']:.1f}", f"{row['wall_ms']:.1f}", verdict]
        lines.append(_row([row["text"], str(row["budget"]), *times]))
    rate = speed.time_batch(samples)
    lines += ["", f"{rate:.1f} pages a second by {speed.WORKERS} processes, all texts and budgets"]
    data = {"timed": timed, "pages_per_second": rate}
    if chromium:
        one, two = (speed.time_screenshots(samples, chromium, count) for count in (1, 2))
        data |= {"screenshots_per_second": one, "by_two_browsers": two}
        verdict = "pass" if rate / one >= speed.LEAST_RATIO else "FAIL"
        lines.append(f"{one:.2f} screenshots a second by one browser, {two:.2f} by two")
        lines.append(
            f"{verdict}  {rate / one:.0f} times one browser, at least {speed.LEAST_RATIO}; "
            f"{rate / two:.0f} times two"
        )
    return data, "\n".join(lines)


def measure_memory(options: argparse.Namespace, _: str | None) -> tuple[dict[str, Any], str]:
    if not speed.RESIDENT.exists():
        return {}, "memory: not measured, this system has no /proc"
    course = speed.watch_memory(_samples(options), options.pages, max(1, options.pages // 10))
    growth = speed.growth_mb(course, options.pages // 5)
    points = ", ".join(f"{point['pages']}: {point['resident_mb']:.0f}" for point in course)
    verdict = "pass" if growth <= MOST_GROWTH_MB else "FAIL"
    text = f"Resident MB after so many pages: {points}\n"
    text += f"{verdict}  {growth:+.1f} MB after the first fifth, at most {MOST_GROWTH_MB:g}"
    return {"course": course, "growth_mb": growth}, text


def show(options: argparse.Namespace, chromium: str | None) -> tuple[dict[str, Any], str]:
    """Pictures of one memory: as served, full height, and dropped, side by side."""
    if options.picture is None or chromium is None:
        return {}, ""
    markdown = options.picture.read_text("utf-8")
    files = []
    with Screenshots(chromium) as browser:
        screenshots = [browser.draw(markdown, kind) for kind in ("as_served", "full_height")]
    for budget in BUDGETS:
        images = [delivered(screenshot, budget).image for screenshot in screenshots]
        images.append(render(markdown, budget, style=STYLES["drop"]).image)
        path = options.out / f"page_{budget}.png"
        _side_by_side(images).save(path, optimize=True)
        files.append(str(path))
    return {"files": files}, "\n".join(f"picture: {file}" for file in files)


def _side_by_side(images: Sequence[Image.Image]) -> Image.Image:
    """All enlarged by one factor, on grey, so that the eye can compare them."""
    factor = max(1, round(SHOWN_HEIGHT_PX / max(image.height for image in images)))
    sizes = [(image.width * factor, image.height * factor) for image in images]
    width = sum(size[0] for size in sizes) + GAP_PX * (len(images) + 1)
    sheet = Image.new("RGB", (width, max(size[1] for size in sizes) + 2 * GAP_PX), (160, 160, 160))
    left = GAP_PX
    for image, size in zip(images, sizes, strict=True):
        sheet.paste(image.resize(size, Image.Resampling.BICUBIC), (left, GAP_PX))
        left += size[0] + GAP_PX
    return sheet


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


_SECTIONS = {
    "legibility": legibility,
    "speed": measure_speed,
    "memory": measure_memory,
    "pictures": show,
}

if __name__ == "__main__":
    main()
