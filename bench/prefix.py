"""How much of their prompts a prefix cache spares rollouts and rereads, by the order of the prompt.

    python bench/prefix.py
    python bench/prefix.py --cache-tokens 500000
    python bench/prefix.py --server http://127.0.0.1:8080 --chunk-tokens 800 --limit 40

Reads the harbour chronicle `--rollouts` times at once with `MemReread`, each with `--rereads`
rereads, with the memory before the section and with the section before the memory, and records
every prompt. No model is asked: each rollout and each sub-question notes other sentences, so that
memories differ, as those of sampled rollouts do.

Then the prompts go, in the order in which they were made, through a prefix cache as vLLM has one:
blocks of 16 tokens, known by all that is before them, the least recently used given up first
where `--cache-tokens` is a limit. Tokens are estimated, and what a chat template adds is left out.

With `--server`, the first `--limit` prompts of each order are sent to a llama.cpp server, an answer
of one token each, and its own counters of cached tokens are printed beside the computed share.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import re
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, get_args

import httpx2

from palimpsest.models import Message, Sampling, ScriptedModel
from palimpsest.models.scripted import texts
from palimpsest.prompts.templates import PromptOrder
from palimpsest.readers import MemAgent
from palimpsest.readers.memreread import MemReread
from palimpsest.sources import Source
from palimpsest.sources.tokens import estimate_tokens

CHRONICLE = Path(__file__).parent.parent / "examples" / "harbour_chronicle.md"
QUESTION = "Which ships came to the harbour, when, and what did they bring?"
BLOCK = 16
ORDERS: tuple[PromptOrder, ...] = get_args(PromptOrder)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


class Share(NamedTuple):
    """Prompt tokens, and how many of them need not be read."""

    prompt: int
    cached: int

    @property
    def of_prompt(self) -> float:
        return self.cached / self.prompt if self.prompt else 0.0

    def __add__(self, other: object) -> Share:
        assert isinstance(other, Share)
        return Share(self.prompt + other.prompt, self.cached + other.cached)


class Prompt(NamedTuple):
    role: str
    text: str


def main() -> None:
    options = _options()
    recorded = {order: asyncio.run(record(order, options)) for order in ORDERS}
    if options.server:
        print(_measured(recorded, options))
        return
    shares = {order: shares_by_role(prompts, options) for order, prompts in recorded.items()}
    print(json.dumps(_plain(shares), indent=1) if options.json else _report(shares, options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rollouts", type=int, default=16)
    parser.add_argument("--rereads", type=int, default=3)
    parser.add_argument("--chunk-tokens", type=int, default=5000)
    parser.add_argument("--memory-tokens", type=int, default=1024)
    parser.add_argument("--cache-tokens", type=int, help="default: no limit")
    parser.add_argument("--server", help="URL of a llama.cpp server")
    parser.add_argument("--limit", type=int, default=40, help="prompts of each order for it")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


async def record(order: PromptOrder, options: argparse.Namespace) -> list[Prompt]:
    """Every prompt of the rollouts, in the order in which a server gets them."""
    source = Source.from_text(CHRONICLE.read_text(encoding="utf-8"))
    model = Wanderer(options.rereads)
    readings = await asyncio.gather(
        *(
            _reader(order, rollout, options).read(source, QUESTION, model)
            for rollout in range(options.rollouts)
        )
    )
    for reading in readings:
        reading.raise_for_status()
    return [Prompt(_role(text), text) for call in model.calls for text in texts(call.messages)]


def _reader(order: PromptOrder, rollout: int, options: argparse.Namespace) -> MemReread:
    base = MemAgent(
        order=order,
        chunk_tokens=options.chunk_tokens,
        memory_tokens=options.memory_tokens,
        temperature=1.0,
        seed=rollout,
    )
    return MemReread(base=base, rereads=options.rereads)


def _role(prompt: str) -> str:
    return "draft" if "Next section:" in prompt else "other"


class Wanderer(ScriptedModel):
    """Notes other sentences in each rollout and for each question, and asks other sub-questions."""

    def __init__(self, rereads: int) -> None:
        super().__init__(self._wander)
        self._rereads = rereads

    def _wander(self, messages: Sequence[Message], sampling: Sampling) -> str:
        prompt = "\n".join(texts(messages))
        chance = random.Random(f"{sampling.seed} {prompt}")
        if "<query>" in prompt:
            return f"<query>What happened in the year {chance.randrange(10**6)}?</query>"
        if "Reply:" in prompt:
            return rf"\boxed{{{chance.randrange(10**6)}}}"
        return self._notes(prompt, chance, sampling)

    def _notes(self, prompt: str, chance: random.Random, sampling: Sampling) -> str:
        """Lines of the notes so far and sentences of the section, in a memory's length."""
        sentences = [line for line in _SENTENCE_END.split(prompt) if "\n" not in line]
        room, notes = int(sampling.max_tokens * 0.6), list[str]()
        for sentence in chance.sample(sentences, len(sentences)):
            room -= int(estimate_tokens(sentence).sum()) + 2
            if room < 0:
                break
            notes.append(f"- {sentence}")
        return "\n".join(notes) or "- nothing"


def shares_by_role(prompts: Iterable[Prompt], options: argparse.Namespace) -> dict[str, Share]:
    cache = PrefixCache(options.cache_tokens)
    shares: defaultdict[str, Share] = defaultdict(lambda: Share(0, 0))
    for prompt in prompts:
        shares[prompt.role] += cache.take(prompt.text)
    return {**shares, "all": sum(shares.values(), Share(0, 0))}


class PrefixCache:
    """Blocks of tokens that were read, each known by all that is before it."""

    def __init__(self, tokens: int | None = None) -> None:
        """Args:
        tokens: The most that are kept; None for no limit.
        """
        self._blocks: OrderedDict[bytes, None] = OrderedDict()
        self._room = None if tokens is None else tokens // BLOCK

    def take(self, prompt: str) -> Share:
        """Reads a prompt: its tokens, and how many of them were there already."""
        starts = _token_starts(prompt)
        keys = _block_keys(prompt, starts)
        known = next((at for at, key in enumerate(keys) if key not in self._blocks), len(keys))
        # A prompt's end is the first to go: nothing after it can be found without it.
        for key in reversed(keys):
            self._blocks[key] = None
            self._blocks.move_to_end(key)
        while self._room is not None and len(self._blocks) > self._room:
            self._blocks.popitem(last=False)
        return Share(len(starts), known * BLOCK)


def _token_starts(text: str) -> list[int]:
    return [start for start, tokens in enumerate(estimate_tokens(text)) for _ in range(tokens)]


def _block_keys(text: str, starts: Sequence[int]) -> list[bytes]:
    """A key for each full block."""
    running = hashlib.sha256()
    keys = []
    edges = [*starts[::BLOCK], len(text)] if len(starts) % BLOCK == 0 else starts[::BLOCK]
    for start, end in pairwise(edges):
        running.update(text[start:end].encode())
        keys.append(running.digest())
    return keys


def _plain(shares: Mapping[PromptOrder, Mapping[str, Share]]) -> dict[str, Any]:
    return {
        order: {
            role: {**share._asdict(), "share": round(share.of_prompt, 4)}
            for role, share in by_role.items()
        }
        for order, by_role in shares.items()
    }


def _report(shares: Mapping[PromptOrder, Mapping[str, Share]], options: argparse.Namespace) -> str:
    limit = f"{options.cache_tokens:,} tokens" if options.cache_tokens else "no limit"
    rows = [
        f"| {order.replace('_', ' ')} | {by_role['all'].prompt:,} | {by_role['all'].cached:,} |"
        f" {by_role['all'].of_prompt:.1%} | {by_role['draft'].of_prompt:.1%} |"
        for order, by_role in shares.items()
    ]
    return "\n".join(
        [
            f"{options.rollouts} rollouts with {options.rereads} rereads each; blocks of {BLOCK}"
            f" tokens, {limit} to the cache",
            "",
            "| order | prompt tokens | cached | share | of drafts |",
            "|---|---|---|---|---|",
            *rows,
        ]
    )


def _measured(recorded: Mapping[PromptOrder, list[Prompt]], options: argparse.Namespace) -> str:
    lines = [
        "| order | prompts | prompt tokens | cached | share | computed |",
        "|---|---|---|---|---|---|",
    ]
    with httpx2.Client(
        base_url=options.server.rstrip("/").removesuffix("/v1"), timeout=None
    ) as client:
        for order, prompts in recorded.items():
            sent = prompts[: options.limit]
            found = sum((ask(client, prompt.text) for prompt in sent), Share(0, 0))
            computed = shares_by_role(sent, options)["all"]
            lines.append(
                f"| {order.replace('_', ' ')} | {len(sent)} | {found.prompt:,} | {found.cached:,} |"
                f" {found.of_prompt:.1%} | {computed.of_prompt:.1%} |"
            )
    return "\n".join(lines)


def ask(client: httpx2.Client, prompt: str) -> Share:
    """What a llama.cpp server says it had of a prompt."""
    request = {
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": 1,
        "temperature": 0,
        "cache_prompt": True,
    }
    try:
        answer = client.post("/v1/chat/completions", json=request)
        answer.raise_for_status()
    except httpx2.HTTPError as error:
        raise SystemExit(f"{client.base_url}: {error}") from error
    return cached_share(answer.json())


def cached_share(body: Mapping[str, Any]) -> Share:
    """The counters of an answer: llama.cpp's own timings, else the usage in OpenAI's shape."""
    timings, usage = body.get("timings") or {}, body.get("usage") or {}
    if "cache_n" in timings:
        return Share(timings["cache_n"] + timings["prompt_n"], timings["cache_n"])
    details = usage.get("prompt_tokens_details") or {}
    if "cached_tokens" not in details:
        raise SystemExit("the server does not say how many tokens of a prompt were cached")
    return Share(usage["prompt_tokens"], details["cached_tokens"])


if __name__ == "__main__":
    main()
