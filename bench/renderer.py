"""How many pages a second the renderer service gives, how long the slowest wait, what it holds.

    python bench/renderer.py

Starts a server with the renderer alone and `--workers` processes, and asks it, as the papers'
client does, for pages of different memories of some 1,200 characters: at 1, 8 and 20 clients, for
`--seconds` each. Then 2,000 requests at 8 clients, while the resident memory of the server and
its workers is watched; their cache is small, so that it is full soon. THEIRS are measurements of
the papers' Markdown renderer on two cores.

Prints markdown, or data with `--json`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import httpx2

CLIENTS = (1, 8, 20)


class Figures(NamedTuple):
    """Pages a second and quantiles of the time to an answer, in seconds."""

    rate: float
    p50: float
    p95: float


THEIRS = {1: Figures(2.0, 0.48, 0.68), 8: Figures(1.7, 3.2, 13.6), 20: Figures(1.2, 6.7, 33.3)}

MOST_GROWTH_MB = 10.0
"""What counts as flat."""
_SAMPLES = 10
_CACHE_BYTES = 4 << 20
_START_S = 300.0
_PROGRAM = """
import sys
from pathlib import Path
from palimpsest.server.config import ServerConfig
from palimpsest.server.serving import serve
serve(
    ServerConfig(
        port=0, parts=frozenset({"renderer"}), state_folder=Path(sys.argv[1]),
        render_workers=int(sys.argv[2]), page_cache_bytes=int(sys.argv[3]), log_level="error",
    ),
    on_listening=lambda url: print(url, flush=True),
)
"""
_LINES = (
    "# Which engineer rebuilt the light on Skarvholm?",
    "## Confirmed",
    "- **Henrietta Osei-Lund** signed the drawings on 4 June 1883 (Report 7)",
    "- Her assistant *Tobias Wren* surveyed the rock; shelf mark `W-1883/7`",
    "- The first tower, by Matthias Kroll, burned on 12 November 1881",
    "## Doubtful",
    "A guide of 1902 names her husband, without a source.",
)
_WORDS = (
    "tower", "lamp", "keeper", "granite", "diary", "inquest", "survey", "harbour", "letter",
    "winter", "glass", "oil",
)  # fmt: skip


class Run(NamedTuple):
    """What so many clients saw."""

    clients: int
    pages: int
    seconds: float
    waits: list[float]
    failures: int

    @property
    def rate(self) -> float:
        return self.pages / self.seconds

    def quantile(self, percent: int) -> float:
        return statistics.quantiles(self.waits, n=100, method="inclusive")[percent - 1]


def main() -> None:
    options = _options()
    told: dict[str, Any] = {"workers": options.workers}
    with tempfile.TemporaryDirectory() as folder, _server(folder, options.workers) as server:
        numbers = count()
        asyncio.run(_load(server.url, 2, numbers, pages=8 * options.workers))
        runs = [
            asyncio.run(_load(server.url, clients, numbers, seconds=options.seconds))
            for clients in options.clients
        ]
        told["speed"] = [_facts(run) for run in runs]
        told["memory"] = _watched(server, numbers, options.requests)
    print(json.dumps(told, indent=1) if options.json else _text(told))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument("--seconds", type=float, default=30.0, help="for each number of clients")
    parser.add_argument("--requests", type=int, default=2000, help="while memory is watched")
    parser.add_argument("--workers", type=int, default=2, help="processes that draw")
    parser.add_argument("--json", action="store_true", help="print data instead of text")
    return parser.parse_args()


class Server(NamedTuple):
    url: str
    pid: int


@contextmanager
def _server(folder: str, workers: int) -> Iterator[Server]:
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, folder, str(workers), str(_CACHE_BYTES)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        url = process.stdout.readline().strip()
        if not url:
            raise SystemExit("the server did not start")
        yield Server(url, process.pid)
    finally:
        process.terminate()
        process.wait()


def _memory(number: int) -> str:
    """A memory that no other number has, of about 1,200 characters."""
    chance = random.Random(number)
    lines = list(_LINES)
    while sum(map(len, lines)) < 1_150:
        words = " ".join(chance.choice(_WORDS) for _ in range(8))
        lines.append(f"- {words} {chance.randrange(10**6)}")
    return "\n".join(lines)


async def _load(
    url: str, clients: int, numbers: Iterator[int], *, seconds: float = 0.0, pages: int = 0
) -> Run:
    """Asks with so many clients for so long, or for so many pages."""
    waits: list[float] = []
    failures = 0
    left = iter(range(pages)) if pages else count()
    until = time.monotonic() + seconds

    async def one() -> None:
        nonlocal failures
        async with httpx2.AsyncClient(base_url=url, timeout=_START_S) as client:
            for _ in left:
                if not pages and time.monotonic() >= until:
                    return
                asked = {"content": _memory(next(numbers)), "format": "png"}
                started = time.perf_counter()
                reply = await client.post("/render", json=asked)
                waits.append(time.perf_counter() - started)
                failures += reply.status_code != 200

    started = time.monotonic()
    await asyncio.gather(*(one() for _ in range(clients)))
    return Run(clients, len(waits) - failures, time.monotonic() - started, waits, failures)


def _watched(server: Server, numbers: Iterator[int], requests: int) -> dict[str, Any]:
    """Resident memory of all processes, sampled evenly over the requests."""
    held = []
    for _ in range(_SAMPLES):
        asyncio.run(_load(server.url, 8, numbers, pages=requests // _SAMPLES))
        held.append(_resident_mb(server.pid))
    # The first samples fill the cache and warm the fonts.
    settled = held[_SAMPLES // 5 :]
    growth = settled[-1] - settled[0]
    return {
        "requests": requests,
        "resident_mb": held,
        "growth_mb": growth,
        "flat": growth <= MOST_GROWTH_MB,
    }


def _resident_mb(pid: int) -> float:
    """Of a process and all below it."""
    status = Path(f"/proc/{pid}/status").read_text()
    own = int(status.split("VmRSS:")[1].split()[0]) / 1024
    children = Path(f"/proc/{pid}/task").glob("*/children")
    below = [int(child) for tasks in children for child in tasks.read_text().split()]
    return own + sum(map(_resident_mb, below))


def _facts(run: Run) -> dict[str, Any]:
    return {
        "clients": run.clients,
        "pages": run.pages,
        "failures": run.failures,
        "rate": run.rate,
        **{f"p{percent}_s": run.quantile(percent) for percent in (50, 95, 99)},
    }


def _text(told: dict[str, Any]) -> str:
    heads = ("clients", "pages/s", "theirs", "p50 ms", "theirs", "p95 ms", "theirs", "p99 ms")
    lines = [_row(heads), _row(["---"] * len(heads))]
    for run in told["speed"]:
        theirs = THEIRS.get(run["clients"])
        rate, p50, p95 = (
            [f"{theirs.rate:g}", f"{1000 * theirs.p50:.0f}", f"{1000 * theirs.p95:.0f}"]
            if theirs
            else ["", "", ""]
        )
        ours = [f"{1000 * run[f'p{percent}_s']:.1f}" for percent in (50, 95, 99)]
        cells = [run["clients"], f"{run['rate']:.1f}", rate, ours[0], p50, ours[1], p95, ours[2]]
        lines.append(_row(map(str, cells)))
    failures = sum(run["failures"] for run in told["speed"])
    memory = told["memory"]
    verdict = "flat" if memory["flat"] else "NOT flat"
    lines += [
        "",
        f"{failures} failures; {told['workers']} workers.",
        f"Resident memory over {memory['requests']:,} requests: "
        f"{memory['resident_mb'][0]:.0f} MB, then {max(memory['resident_mb']):.0f} MB at most, "
        f"{memory['growth_mb']:+.1f} MB once settled: {verdict}.",
    ]
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
