"""How many pages a second the renderer service gives, how long the slowest wait, what it holds.

    python bench/renderer.py

Starts a server with the renderer alone and `--workers` processes, and asks it, as the papers'
client does, for pages of different memories of some 1,200 characters: at 1, 8 and 20 clients, for
`--seconds` each. Then 2,000 requests at 8 clients, while the resident memory of the server and
its workers is watched; their cache is small, so that it is full soon. THEIRS are measurements of
the papers' Markdown renderer on two cores.

Prints markdown, or data with `--json`. Takes three minutes, and never more than `--most`: on a
machine so busy that the workers do not start within their minute each page fails only after it,
and nothing would be measured but that.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import select
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
_START_S = 120.0
"""Until the server listens, and from then until the first page, which waits for the workers."""
_ANSWER_S = 100.0
"""More than the server itself lets a page take, all its waits together."""
_STOP_S = 40.0
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
    seconds: float
    waits: list[float]
    """Seconds to each page."""
    failures: int

    @property
    def rate(self) -> float:
        return len(self.waits) / self.seconds

    def quantile(self, percent: int) -> float:
        if len(self.waits) < 2:
            return math.nan
        return statistics.quantiles(self.waits, n=100, method="inclusive")[percent - 1]


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as folder, _server(folder, options.workers) as server:
        try:
            told = asyncio.run(asyncio.wait_for(_measured(server, options), options.most))
        except TimeoutError:
            raise SystemExit(f"not done after {options.most:g} s: the machine is busy") from None
    print(json.dumps(told, indent=1) if options.json else _text(told))


async def _measured(server: Server, options: argparse.Namespace) -> dict[str, Any]:
    numbers = count()
    await _drawing(server.url, numbers)
    await _load(server.url, 2, numbers, pages=8 * options.workers)
    runs = [
        await _load(server.url, clients, numbers, seconds=options.seconds)
        for clients in options.clients
    ]
    return {
        "workers": options.workers,
        "speed": [_facts(run) for run in runs],
        "memory": await _watched(server, numbers, options.requests),
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument("--seconds", type=float, default=30.0, help="for each number of clients")
    parser.add_argument("--requests", type=int, default=2000, help="while memory is watched")
    parser.add_argument("--workers", type=int, default=2, help="processes that draw")
    parser.add_argument("--most", type=float, default=290.0, help="seconds until it gives up")
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
        there, _, _ = select.select([process.stdout], [], [], _START_S)
        url = process.stdout.readline().strip() if there else ""
        if not url:
            raise SystemExit("the server did not start")
        yield Server(url, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise SystemExit("the server did not stop at a signal") from None


def _memory(number: int) -> str:
    """A memory that no other number has, of about 1,200 characters."""
    chance = random.Random(number)
    lines = list(_LINES)
    while sum(map(len, lines)) < 1_150:
        words = " ".join(chance.choice(_WORDS) for _ in range(8))
        lines.append(f"- {words} {chance.randrange(10**6)}")
    return "\n".join(lines)


async def _drawing(url: str, numbers: Iterator[int]) -> None:
    """Waits until pages are drawn."""
    until = time.monotonic() + _START_S
    async with httpx2.AsyncClient(base_url=url, timeout=_ANSWER_S) as client:
        while (reply := await _ask(client, numbers)).status_code != 200:
            if time.monotonic() > until:
                raise SystemExit(f"no page after {_START_S:g} s: {reply.text}")
            await asyncio.sleep(1.0)


async def _ask(client: httpx2.AsyncClient, numbers: Iterator[int]) -> httpx2.Response:
    return await client.post("/render", json={"content": _memory(next(numbers)), "format": "png"})


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
        async with httpx2.AsyncClient(base_url=url, timeout=_ANSWER_S) as client:
            for _ in left:
                if not pages and time.monotonic() >= until:
                    return
                started = time.perf_counter()
                reply = await _ask(client, numbers)
                if reply.status_code == 200:
                    waits.append(time.perf_counter() - started)
                    continue
                failures += 1
                await asyncio.sleep(float(reply.headers.get("retry-after", 1)))

    started = time.monotonic()
    await asyncio.gather(*(one() for _ in range(clients)))
    return Run(clients, time.monotonic() - started, waits, failures)


async def _watched(server: Server, numbers: Iterator[int], requests: int) -> dict[str, Any]:
    """Resident memory of all processes, sampled evenly over the requests."""
    held = []
    failures = 0
    for _ in range(_SAMPLES):
        run = await _load(server.url, 8, numbers, pages=requests // _SAMPLES)
        failures += run.failures
        held.append(_resident_mb(server.pid))
    # The first samples fill the cache and warm the fonts.
    settled = held[_SAMPLES // 5 :]
    growth = settled[-1] - settled[0]
    return {
        "requests": requests,
        "failures": failures,
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
        "pages": len(run.waits),
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
    memory = told["memory"]
    failures = sum(part["failures"] for part in (*told["speed"], memory))
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
