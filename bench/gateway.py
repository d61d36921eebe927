"""What the gateway adds to its upstream under load, what it refuses, and what a kill leaves of it.

    python bench/gateway.py

A scripted upstream (bench/scripted_upstream.py) and the gateway are processes of their own, the
clients tasks of this one. Each client asks, waits for the whole answer, thinks for a time drawn
from an exponential distribution (mean `--think`) and asks again: a closed loop, whose offered load
is clients / (think + delay). Every fourth request is streamed. An answer is a hash of the request's
body, so one that is crossed with another's, or whose body was changed on the way, is found.

1. Straight to the upstream for `--straight` seconds, then through the gateway for `--seconds`: the
   difference of the 99th percentiles, processor time a request, resident memory.
2. A gateway with `--places` places and as long a queue: who does not fit is refused with a clean
   429 and comes back after its `Retry-After`.
3. `--readings` requests that have to be read, beside clients that are passed through; the gateway
   is killed (SIGKILL) in the middle and started again on the same folder, and all ask again.

Prints markdown, or data with `--json`; the exit code is 1 if any requirement is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from scripted_upstream import expected, question, source_line

P99_MS = 50.0
FLAT_MB = 8.0
"""The most that resident memory may grow from the middle of the load to its end."""
_START_S = 120.0
_LINES = 700
"""Of the source of a reading."""
_HERE = Path(__file__).parent
_GATEWAY = """
import sys
from pathlib import Path
from palimpsest.server.config import ReaderChoice, ServerConfig
from palimpsest.server.serving import serve
from palimpsest.settings import ModelSettings
upstream, port, folder, places = sys.argv[1:]
serve(
    ServerConfig(
        port=int(port), parts=frozenset({"gateway"}), state_folder=Path(folder),
        upstream=ModelSettings(base_url=upstream, name="m"), upstream_window=8192,
        reader=ReaderChoice(name="memagent", settings={"chunk_tokens": 1500}),
        concurrency=int(places), queue=int(places),
    ),
    on_listening=lambda url: print(url, flush=True),
)
"""


class Process(NamedTuple):
    """A server that was started here."""

    url: str
    process: subprocess.Popen[str]

    @property
    def cpu_s(self) -> float:
        """Processor time so far, its own and the system's for it."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def resident_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


@contextmanager
def started(*command: str, log: Path) -> Iterator[Process]:
    """A process that prints its URL first; ended at the end."""
    with log.open("a") as errors:
        process = subprocess.Popen(
            [sys.executable, *command], stdout=subprocess.PIPE, stderr=errors, text=True
        )
        try:
            assert process.stdout
            there, _, _ = select.select([process.stdout], [], [], _START_S)
            url = process.stdout.readline().strip() if there else ""
            if not url:
                raise SystemExit(f"a server did not start: {log.read_text()[-500:]}")
            yield Process(url, process)
        finally:
            process.kill()
            process.wait()


class Gateways:
    """Starts gateways before one upstream."""

    def __init__(self, upstream: Process, folder: Path) -> None:
        self._upstream = upstream
        self._folder = folder

    def start(self, name: str, *, places: int = 256, port: int = 0) -> Any:  # noqa: ANN401
        """One with a state folder of its own; the same name has the same folder."""
        log = self._folder / f"{name}.log"
        arguments = (self._upstream.url, str(port), str(self._folder / name), str(places))
        return started("-c", _GATEWAY, *arguments, log=log)


class Reply(NamedTuple):
    """An answer, whole."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The words of a completion, streamed or not."""
        if "event-stream" not in self.headers.get("content-type", ""):
            return str(json.loads(self.body)["choices"][0]["message"]["content"])
        data = [line[6:] for line in self.body.decode().splitlines() if line.startswith("data: {")]
        return "".join(json.loads(one)["choices"][0]["delta"]["content"] for one in data)

    @property
    def is_clean_refusal(self) -> bool:
        """Whether it is a 429 as docs/serving.md promises."""
        wait = self.headers.get("retry-after", "")
        error = json.loads(self.body)["error"]
        return wait.isdecimal() and int(wait) >= 1 and error["code"] == "rate_limit_exceeded"


class Client:
    """One client with one kept connection. Lighter than a library's, as it shares the machine."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname, parts.port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._streams:
            self._streams[1].close()

    async def ask(self, body: bytes, path: str = "/v1/chat/completions") -> Reply:
        """Raises `OSError` or `EOFError` where no whole answer comes."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
        reader, writer = self._streams
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        try:
            writer.write(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            return await self._reply(reader)
        except (OSError, EOFError):
            writer.close()
            self._streams = None
            raise

    async def _reply(self, reader: asyncio.StreamReader) -> Reply:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines if line)
        }
        if headers.get("transfer-encoding") == "chunked":
            body = b"".join([piece async for piece in _chunks(reader)])
        else:
            body = await reader.readexactly(int(headers["content-length"]))
        return Reply(int(first.split(" ")[1]), headers, body)


async def _chunks(reader: asyncio.StreamReader) -> Any:  # noqa: ANN401
    while size := int(await reader.readuntil(b"\r\n"), 16):
        yield (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)


class Load:
    """What the clients of one load saw."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        """Seconds to each right answer, those of the first seconds left out."""
        self.seen: Counter[str] = Counter()
        """`right`, `crossed` (another text than the request's), `lost`, `refused`, `unclean`."""
        self.seconds = 0.0

    @property
    def answers(self) -> int:
        return self.seen["right"]

    def quantile_ms(self, percent: int) -> float:
        if len(self.waits) < 2:
            return math.nan
        return 1000 * statistics.quantiles(self.waits, n=100, method="inclusive")[percent - 1]

    def take(self, body: bytes, reply: Reply | None, wait_s: float | None) -> None:
        if reply is None:
            self.seen["lost"] += 1
        elif reply.status == 429:
            self.seen["refused" if reply.is_clean_refusal else "unclean"] += 1
        elif reply.status != 200:
            self.seen[f"status {reply.status}"] += 1
        elif reply.text != expected(body):
            self.seen["crossed"] += 1
        else:
            self.seen["right"] += 1
            if wait_s is not None:
                self.waits.append(wait_s)

    @property
    def wrong(self) -> dict[str, int]:
        """All that must not happen."""
        return {kind: n for kind, n in self.seen.items() if kind not in ("right", "refused")}


def request(client: int, number: int, characters: int) -> bytes:
    """What one client asks, different from all that is asked."""
    said = f"client {client}, request {number}: "
    text = said + "what does the keeper write of the oil? " * (characters // 39)
    body = {"model": "m", "messages": [{"role": "user", "content": text[:characters]}]}
    return json.dumps(
        body | ({"stream": True} if number % 4 == 3 else {}), separators=(",", ":")
    ).encode()


async def load(
    url: str, options: argparse.Namespace, *, seconds: float, think_s: float, clients: int
) -> Load:
    """Has so many clients ask for so long, and waits for their last answers."""
    seen = Load()
    began = time.monotonic()

    async def one(client: int) -> None:
        chance = random.Random(client)
        await asyncio.sleep(options.warm * chance.random() if think_s else 0.0)
        async with Client(url) as connection:
            for number in count():
                if time.monotonic() - began >= seconds:
                    return
                body = request(client, number, options.characters)
                sent = time.perf_counter()
                reply = await _asked(connection, body)
                wait_s = time.perf_counter() - sent
                late = time.monotonic() - began > options.warm
                seen.take(body, reply, wait_s if late else None)
                refused = reply is not None and reply.status == 429
                pause_s = float(reply.headers["retry-after"]) if reply and refused else 0.0
                await asyncio.sleep(pause_s or think_s * chance.expovariate(1.0))

    await asyncio.gather(*(one(client) for client in range(clients)))
    seen.seconds = time.monotonic() - began
    return seen


async def _asked(connection: Client, body: bytes) -> Reply | None:
    try:
        return await connection.ask(body)
    except (OSError, EOFError):
        await asyncio.sleep(0.2)
        return None


def passed_through(upstream: Process, gateways: Gateways, options: argparse.Namespace) -> Any:  # noqa: ANN401
    """The first part."""
    sizes = {"think_s": options.think, "clients": options.clients}
    straight_cpu_s = upstream.cpu_s
    straight = asyncio.run(load(upstream.url, options, seconds=options.straight, **sizes))
    straight_cpu_s = upstream.cpu_s - straight_cpu_s
    with gateways.start("passing") as gateway:
        asyncio.run(load(gateway.url, options, seconds=1.0, think_s=0.2, clients=20))
        before_s = gateway.cpu_s
        held, through = asyncio.run(_watched(gateway, options, sizes))
        cpu_s = gateway.cpu_s - before_s
    return {
        "clients": options.clients,
        "delay_s": options.delay,
        "think_s": options.think,
        "offered_a_second": options.clients / (options.think + options.delay),
        "straight": _facts(straight, straight_cpu_s),
        "gateway": _facts(through, cpu_s),
        "overhead_ms": {
            f"p{percent}": through.quantile_ms(percent) - straight.quantile_ms(percent)
            for percent in (50, 95, 99)
        },
        "resident_mb": {"start": held[0], "middle": held[len(held) // 2], "end": held[-1]},
    }


async def _watched(
    gateway: Process, options: argparse.Namespace, sizes: dict[str, Any]
) -> tuple[list[float], Load]:
    """The load through the gateway, and what the gateway held of memory each second of it."""
    held: list[float] = []

    async def watch() -> None:
        while True:
            held.append(gateway.resident_mb)
            await asyncio.sleep(1.0)

    watching = asyncio.create_task(watch())
    try:
        return held, await load(gateway.url, options, seconds=options.seconds, **sizes)
    finally:
        held.append(gateway.resident_mb)
        watching.cancel()


def _facts(load: Load, cpu_s: float) -> dict[str, Any]:
    return {
        "answers": load.answers,
        "a_second": load.answers / load.seconds,
        "wrong": load.wrong,
        "cpu_ms_a_request": 1000 * cpu_s / max(1, load.seen.total()),
        **{f"p{percent}_ms": load.quantile_ms(percent) for percent in (50, 95, 99)},
        "max_ms": 1000 * max(load.waits, default=math.nan),
    }


def refused(gateways: Gateways, options: argparse.Namespace) -> dict[str, Any]:
    """The second part."""
    with gateways.start("refusing", places=options.places) as gateway:
        seen = asyncio.run(
            load(gateway.url, options, seconds=options.flood, think_s=0.0, clients=options.clients)
        )
    return {
        "places": options.places,
        "answers": seen.answers,
        "refused": seen.seen["refused"],
        "wrong": seen.wrong,
    }


def killed(upstream: Process, gateways: Gateways, options: argparse.Namespace) -> dict[str, Any]:
    """The third part."""
    with gateways.start("killed") as gateway:
        port = urlsplit(gateway.url).port
        assert port
        return asyncio.run(_killed(upstream, gateway, gateways, port, options))


async def _killed(
    upstream: Process, gateway: Process, gateways: Gateways, port: int, options: argparse.Namespace
) -> dict[str, Any]:
    readings = [asyncio.create_task(_read(gateway.url, n)) for n in range(options.readings)]
    until = options.kill_load
    sizes = {"seconds": until, "think_s": options.think, "clients": options.clients // 4}
    passing = asyncio.create_task(load(gateway.url, options, **sizes))
    while len(_drafted(await _told(upstream))) < 2 * options.readings:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    gateway.process.send_signal(signal.SIGKILL)
    gateway.process.wait()
    at = time.time()
    drafted = _drafted(await _told(upstream))
    with gateways.start("killed", port=port):
        answers = await asyncio.gather(*readings)
        passed = await passing
    return {
        "readings": options.readings,
        "answered_once": sum(number == 1 for number in answers),
        "chunks_before": len(drafted),
        "seconds_after": time.time() - at,
        **_repeated(await _told(upstream), at),
        "passed": passed.answers,
        "passed_cut_off": passed.seen["lost"],
        "passed_wrong": {kind: n for kind, n in passed.wrong.items() if kind != "lost"},
    }


async def _read(url: str, number: int) -> int:
    """Asks what has to be read until it is answered; the number of answers that came, or 0 where
    one was not this reading's own."""
    text = "\n".join(source_line(number, line) for line in range(_LINES))
    message = {"role": "user", "content": f"{text}\n\n{question(number)}"}
    body = json.dumps({"model": "m", "messages": [message]}).encode()
    answers = 0
    async with Client(url) as client:
        while not answers:
            reply = await _asked(client, body)
            if reply and reply.status == 200:
                told = json.loads(reply.body)["palimpsest"]
                if told["status"] != "answered" or not reply.text:
                    return 0
                answers += 1
            elif reply:
                await asyncio.sleep(0.2)
    return answers


async def _told(upstream: Process) -> list[dict[str, Any]]:
    async with Client(upstream.url) as client:
        asked: list[dict[str, Any]] = json.loads((await client.ask(b"", "/asked")).body)
        return asked


def _drafted(asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The chunks that were drafted."""
    return [one for one in asked if one["line"] is not None and one["answered"]]


def _repeated(asked: list[dict[str, Any]], killed_at: float) -> dict[str, Any]:
    """What was asked of the upstream more than once. Of each reading that may be the prompt that
    was under way at the kill, the last one before it: the others were on the disk by then."""
    before = sorted(
        (one for one in asked if one["at"][0] < killed_at), key=lambda one: one["at"][0]
    )
    under_way = {one["reading"]: one["line"] for one in before}
    twice = [one for one in asked if len(one["at"]) > 1]
    allowed = [
        one
        for one in twice
        if len(one["at"]) == 2
        and one["at"][0] < killed_at < one["at"][1]
        and under_way[one["reading"]] == one["line"]
    ]
    return {
        "prompts": len(asked),
        "asked_again": len(twice),
        "of_them_under_way": len(allowed),
        "final_turns_twice": sum(one["line"] is None for one in twice),
    }


def misses(told: dict[str, Any]) -> list[str]:
    """The requirements that were missed."""
    passing, flood, kill = told["passed_through"], told["refused"], told["killed"]
    held = passing["resident_mb"]
    grown = held["end"] - held["middle"]
    found = {
        f"answers went wrong: {passing['gateway']['wrong']}": passing["gateway"]["wrong"],
        f"p99 overhead of {P99_MS:g} ms or more": not passing["overhead_ms"]["p99"] < P99_MS,
        f"memory grew by {grown:.1f} MB in the second half": grown > FLAT_MB,
        f"refusals are not clean: {flood['wrong']}": flood["wrong"],
        "nobody was refused": not flood["refused"],
        "a reading was not answered": kill["answered_once"] < kill["readings"],
        "a finished chunk was read again": kill["asked_again"] > kill["of_them_under_way"],
        f"answers beside went wrong: {kill['passed_wrong']}": kill["passed_wrong"],
    }
    return [miss for miss, is_so in found.items() if is_so]


def _text(told: dict[str, Any]) -> str:
    passing, flood, kill = told["passed_through"], told["refused"], told["killed"]
    held, over = passing["resident_mb"], passing["overhead_ms"]
    lines = [
        f"{passing['clients']} clients, upstream {1000 * passing['delay_s']:g} ms, thinking "
        f"{passing['think_s']:g} s on average: {passing['offered_a_second']:.0f} requests a second "
        "offered.",
        "",
        "| | answers | a second | p50 ms | p95 ms | p99 ms | max ms | CPU ms a request | wrong |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in ("straight", "gateway"):
        facts = passing[name]
        numbers = [
            f"{facts[key]:.1f}" for key in ("a_second", "p50_ms", "p95_ms", "p99_ms", "max_ms")
        ]
        cells = [name, f"{facts['answers']:,}", *numbers, f"{facts['cpu_ms_a_request']:.2f}"]
        lines.append(f"| {' | '.join(cells)} | {facts['wrong'] or 0} |")
    lines += [
        "",
        f"Overhead: {over['p50']:.1f} ms at the median, {over['p95']:.1f} at p95, "
        f"{over['p99']:.1f} at p99. Resident memory of the gateway: {held['start']:.1f} MB, in the "
        f"middle {held['middle']:.1f}, at the end {held['end']:.1f}.",
        "",
        f"{flood['places']} places and as many in the queue: {flood['answers']:,} answers, "
        f"{flood['refused']:,} clean refusals, wrong: {flood['wrong'] or 0}.",
        "",
        f"Killed with {kill['chunks_before']} chunks of {kill['readings']} readings drafted: "
        f"{kill['answered_once']} answered once, {kill['seconds_after']:.0f} s later; of "
        f"{kill['prompts']} prompts {kill['asked_again']} asked again, {kill['of_them_under_way']} "
        f"of them under way at the kill. Beside them {kill['passed']:,} passed through, "
        f"{kill['passed_cut_off']} cut off by the kill or refused a connection, wrong: "
        f"{kill['passed_wrong'] or 0}.",
        "",
        *[f"MISSED: {miss}" for miss in misses(told)],
    ]
    return "\n".join(lines).rstrip()


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        delays = ("--delay", str(options.delay), "--draft", str(options.draft))
        scripted = (str(_HERE / "scripted_upstream.py"), *delays)
        with started(*scripted, log=folder / "upstream.log") as upstream:
            gateways = Gateways(upstream, folder)
            told = {
                "passed_through": passed_through(upstream, gateways, options),
                "refused": refused(gateways, options),
                "killed": killed(upstream, gateways, options),
            }
    print(json.dumps(told | {"missed": misses(told)}, indent=1) if options.json else _text(told))
    return 1 if misses(told) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0, help="through the gateway")
    parser.add_argument("--straight", type=float, default=20.0, help="seconds without it")
    parser.add_argument("--flood", type=float, default=10.0, help="seconds of the second part")
    parser.add_argument("--kill-load", type=float, default=15.0, help="seconds of the third part")
    parser.add_argument("--delay", type=float, default=0.2, help="seconds the upstream takes")
    parser.add_argument("--draft", type=float, default=0.5, help="the same for readings")
    parser.add_argument("--think", type=float, default=1.0, help="mean seconds between requests")
    parser.add_argument("--warm", type=float, default=3.0, help="seconds until times count")
    parser.add_argument("--characters", type=int, default=2000, help="of a request's text")
    parser.add_argument("--places", type=int, default=32)
    parser.add_argument("--readings", type=int, default=8)
    parser.add_argument("--json", action="store_true", help="print data instead of text")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
