"""How much sooner reading side by side is done, and what it costs in tokens.

    python bench/parallel.py
    python bench/parallel.py --fact-tokens 1024     # every memory is full from its first draft on
    python bench/parallel.py --record calls.sqlite  # rates fitted to calls that were recorded

Reads a source of `--tokens` tokens, the harbour chronicle over and over, with `MemAgent` and with
`Parallel` around it, against a simulated server in simulated time. Nothing is measured but the
number and the length of the calls that the readers make; seconds follow from the server's rates:

- It has `--machines`, by default one, and a call goes to the machine that has the fewest.
- In a machine prompts go in one at a time, `--prompt-rate` tokens a second, and hold up all answers
  meanwhile; servers that read prompts piecewise beside the answers do better than this.
- Answers are written side by side, each at `--answer-rate` tokens a second when alone, going down
  to `--full-rate` with `--concurrency` of them in a machine.
- `--delay` seconds go by outside the server on each call. No prompt is cached.

The rates are what a 7B model in 16 bits is about good for on one data-centre GPU, unless `--record`
names a recording (`palimpsest ask --record`): then prompt and answer rate are fitted to it.

A draft notes `--fact-tokens` tokens of its chunk and repeats the memory that it was shown, up to
`--memory-tokens`; a merge repeats what it was shown, up to the same. In a merge nothing is left
out that fits, so its answers are as long as they can be.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import selectors
import sqlite3
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from palimpsest.memory import Reading
from palimpsest.memory.reading import Merged, Role
from palimpsest.models import Completion, Message, Sampling, Usage
from palimpsest.models.scripted import texts
from palimpsest.readers import MemAgent
from palimpsest.readers.parallel import Parallel
from palimpsest.readers.reader import Reader
from palimpsest.sources import EstimateTokenizer, Source, Tokenizer, count

CHRONICLE = Path(__file__).parent.parent / "examples" / "harbour_chronicle.md"
QUESTION = "Which ships came to the harbour, when, and what did they bring?"
_GIVEN = frozenset(
    {"tokens", "chunk_tokens", "memory_tokens", "fact_tokens", "lanes", "fan_in", "concurrency",
     "machines"}
)  # fmt: skip
_NOTE = re.compile(r"^- \d+(?: x)*$", re.MULTILINE)


class Rates(NamedTuple):
    """Tokens a second, and seconds."""

    prompt: float
    answer: float
    full: float
    delay: float


def main() -> None:
    options = _options()
    rates = _rates(options)
    source = asyncio.run(_source(options.tokens))
    base = MemAgent(chunk_tokens=options.chunk_tokens, memory_tokens=options.memory_tokens)
    parallel = Parallel(
        base=base, lanes=options.lanes, fan_in=options.fan_in, concurrency=options.concurrency
    )
    runs = {
        reader.name: _summary(*_timed(reader, source, rates, options))
        for reader in (base, parallel)
    }
    result = _result(runs, rates, options)
    print(json.dumps(result, indent=1) if options.json else _report(result))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--chunk-tokens", type=int, default=5000)
    parser.add_argument("--memory-tokens", type=int, default=1024)
    parser.add_argument("--fact-tokens", type=int, default=48)
    parser.add_argument("--lanes", type=int, default=8)
    parser.add_argument("--fan-in", type=int, default=4)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--machines", type=int, default=1)
    parser.add_argument("--prompt-rate", type=float, default=8000.0)
    parser.add_argument("--answer-rate", type=float, default=60.0)
    parser.add_argument("--full-rate", type=float, help="default: 0.85 of the answer rate")
    parser.add_argument("--delay", type=float, default=0.05)
    parser.add_argument("--record", type=Path, help="SQLite file of recorded calls")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _rates(options: argparse.Namespace) -> Rates:
    prompt, answer = options.prompt_rate, options.answer_rate
    if options.record:
        prompt, answer = fitted_rates(options.record)
    return Rates(prompt, answer, options.full_rate or 0.85 * answer, options.delay)


def fitted_rates(record: Path) -> tuple[float, float]:
    """Prompt and answer tokens a second, by least squares over the calls of a recording."""
    with sqlite3.connect(f"file:{record}?mode=ro", uri=True) as database:
        rows = database.execute("SELECT completion FROM completions").fetchall()
    calls = [Completion.model_validate_json(row) for (row,) in rows]
    calls = [call for call in calls if call.seconds > 0 and call.usage.prompt]
    if len(calls) < 2:
        raise SystemExit(f"{record} holds too few calls to fit rates to")
    tokens = [(call.usage.prompt - call.usage.cached, call.usage.completion) for call in calls]
    seconds = [call.seconds for call in calls]
    per_token, *_ = np.linalg.lstsq(np.array(tokens, float), np.array(seconds), rcond=None)
    if not (per_token > 0).all():
        raise SystemExit(f"the calls in {record} fit no rates: their times do not grow with them")
    return float(1 / per_token[0]), float(1 / per_token[1])


async def _source(tokens: int) -> Source:
    chronicle = CHRONICLE.read_text(encoding="utf-8")
    size = await count(EstimateTokenizer(), chronicle)
    text = chronicle * (tokens // size + 1)
    offsets = await EstimateTokenizer().offsets(text)
    return Source.from_text(text[: offsets[tokens]])


class Machine:
    """One machine that serves a model, in the time of its event loop."""

    def __init__(self, rates: Rates, room: int) -> None:
        self.calls = 0
        """In flight."""
        self._rates = rates
        self._room = room
        self._prompts: deque[tuple[int, _Writing]] = deque()
        self._writing: list[_Writing] = []
        self._asked = asyncio.Event()

    async def answer(self, prompt: int, tokens: int) -> None:
        """Returns once a prompt is read and an answer is written."""
        self.calls += 1
        await asyncio.sleep(self._rates.delay)
        writing = _Writing(tokens, asyncio.get_running_loop().create_future())
        self._prompts.append((prompt, writing))
        self._asked.set()
        await writing.done
        self.calls -= 1

    async def run(self) -> None:
        """Serves until it is cancelled."""
        while True:
            if self._prompts:
                prompt, writing = self._prompts.popleft()
                await asyncio.sleep(prompt / self._rates.prompt)
                self._writing.append(writing)
            elif self._writing:
                await self._write()
            else:
                self._asked.clear()
                await self._asked.wait()

    async def _write(self) -> None:
        """Writes until the first answer is done or a prompt comes in."""
        rate, started = self._rate(), asyncio.get_running_loop().time()
        until_done = min(writing.left for writing in self._writing) / rate
        self._asked.clear()
        try:
            await asyncio.wait_for(self._asked.wait(), until_done)
            written = (asyncio.get_running_loop().time() - started) * rate
        except TimeoutError:
            written = until_done * rate
        for writing in self._writing:
            writing.left -= written
        for writing in [one for one in self._writing if one.left < 1e-6]:
            self._writing.remove(writing)
            writing.done.set_result(None)

    def _rate(self) -> float:
        """Tokens a second of each answer that is being written."""
        others = min(len(self._writing), self._room) - 1
        share = others / (self._room - 1) if self._room > 1 else 0.0
        return self._rates.answer + share * (self._rates.full - self._rates.answer)


class _Writing:
    """An answer that is being written."""

    def __init__(self, tokens: int, done: asyncio.Future[None]) -> None:
        self.left = float(tokens)
        self.done = done


class Scribe:
    """Writes memories of a real one's length, at the pace of machines."""

    name = "scribe"

    def __init__(self, machines: Sequence[Machine], fact_tokens: int, memory_tokens: int) -> None:
        self._machines = machines
        self._fact_tokens = fact_tokens
        self._memory_tokens = memory_tokens
        self._notes = 0
        self._tokenizer = EstimateTokenizer()

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        prompt = "\n".join(texts(messages))
        text = await self._text(prompt)
        usage = Usage(
            prompt=await count(self._tokenizer, prompt),
            completion=await count(self._tokenizer, text),
        )
        started = asyncio.get_running_loop().time()
        idlest = min(self._machines, key=lambda machine: machine.calls)
        await idlest.answer(usage.prompt, usage.completion)
        seconds = asyncio.get_running_loop().time() - started
        return Completion(text=text, usage=usage, seconds=seconds)

    async def tokenizer(self) -> Tokenizer:
        return self._tokenizer

    async def aclose(self) -> None:
        """Nothing is held."""

    async def _text(self, prompt: str) -> str:
        if "Reply:" in prompt:
            return "They are in the notes.\n\\boxed{the Marigold}"
        notes = _NOTE.findall(prompt)
        if "Next section:" in prompt:
            notes.append(await self._note())
        while await count(self._tokenizer, "\n".join(notes)) > self._memory_tokens:
            notes.pop(0)
        return "\n".join(notes)

    async def _note(self) -> str:
        self._notes += 1
        note = f"- {self._notes:05}"
        size = await count(self._tokenizer, f"{note}\n")
        return note + " x" * (min(self._fact_tokens, self._memory_tokens) - size)


class _Instants(selectors.DefaultSelector):
    """Passes the time until the next timer in no time."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        self.now += max(0.0, timeout or 0.0)
        return super().select(0)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer."""

    def __init__(self) -> None:
        self._instants = _Instants()
        super().__init__(self._instants)

    def time(self) -> float:
        return self._instants.now


def _timed(
    reader: Reader, source: Source, rates: Rates, options: argparse.Namespace
) -> tuple[Reading, float]:
    """A reading, and the seconds that it took in simulated time."""

    async def read() -> tuple[Reading, float]:
        machines = [Machine(rates, options.concurrency) for _ in range(options.machines)]
        serving = [asyncio.create_task(machine.run()) for machine in machines]
        model = Scribe(machines, options.fact_tokens, options.memory_tokens)
        reading = await reader.read(source, QUESTION, model)
        for task in serving:
            task.cancel()
        reading.raise_for_status()
        return reading, asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(read())


def _summary(reading: Reading, seconds: float) -> dict[str, Any]:
    merged = [record for record in reading.records if isinstance(record, Merged)]
    return {
        "seconds": round(seconds, 1),
        "chunks": len(reading.header.chunks),
        "all": _tokens(reading, None),
        "merges": _tokens(reading, "merge"),
        "rounds": max((record.level for record in merged), default=0),
    }


def _tokens(reading: Reading, role: Role | None) -> dict[str, int]:
    turns = [turn for turn in reading.turns if role in (None, turn.role)]
    usage = sum((turn.completion.usage for turn in turns), Usage())
    return {"calls": len(turns), "prompt": usage.prompt, "completion": usage.completion}


def _result(
    runs: dict[str, dict[str, Any]], rates: Rates, options: argparse.Namespace
) -> dict[str, Any]:  # fmt: skip
    serial, parallel = runs["memagent"], runs["parallel"]
    totals = [run["all"]["prompt"] + run["all"]["completion"] for run in (serial, parallel)]
    given = {name: value for name, value in vars(options).items() if name in _GIVEN}
    return {
        "settings": {**given, **rates._asdict(), "record": str(options.record or "")},
        "runs": runs,
        "times_faster": round(serial["seconds"] / parallel["seconds"], 2),
        "tokens_over_serial": round(totals[1] / totals[0] - 1, 4),
    }


def _report(result: dict[str, Any]) -> str:
    settings, runs = result["settings"], result["runs"]
    basis = f"fitted to {settings['record']}" if settings["record"] else "assumed"
    merges, rounds = runs["parallel"]["merges"], runs["parallel"]["rounds"]
    rows = [
        f"| {name} | {run['all']['calls']} | {run['all']['prompt']:,} |"
        f" {run['all']['completion']:,} | {run['seconds']:,.0f} |"
        for name, run in runs.items()
    ]
    return "\n".join(
        [
            f"{settings['tokens']:,} tokens in {runs['memagent']['chunks']} chunks;"
            f" {settings['lanes']} lanes, {settings['concurrency']} calls in flight",
            f"rates {basis}, for each of {settings['machines']} machines:"
            f" {settings['prompt']:,.0f} prompt tokens a second,"
            f" {settings['answer']:.0f} answer tokens a second alone and {settings['full']:.0f}"
            f" with {settings['concurrency']} at once, {settings['delay']:g} s a call elsewhere;"
            f" {settings['fact_tokens']} tokens noted a chunk",
            "",
            "| reader | calls | tokens in | tokens out | seconds |",
            "|---|---|---|---|---|",
            *rows,
            "",
            f"merges: {merges['calls']} in {rounds} rounds, {merges['prompt']:,} tokens in and"
            f" {merges['completion']:,} out, counted above",
            f"parallel is {result['times_faster']:.1f} times as fast, and takes"
            f" {abs(result['tokens_over_serial']):.1%}"
            f" {'more' if result['tokens_over_serial'] > 0 else 'fewer'} tokens in all",
        ]
    )


if __name__ == "__main__":
    main()
