"""What a training step takes, in time and memory, by how its conversations go through the model.

    python bench/train_step.py
    python bench/train_step.py --device cuda --shape qwen2.5-0.5b --dtype bfloat16 --lora
    python bench/train_step.py --device cuda --shape qwen2.5-1.5b --dtype bfloat16 --full

One update of reinforcement on the conversations of `--readings` readings, as MemAgent makes them of
sources of some 28,000 tokens: six drafts, which see the memory and a section of 5,000 tokens (the
last a shorter one) and write 200 to 1,000, and an answer of 50 to 400 from the memory alone. Tokens
and weights are random, and the rate of learning is 0, so that every update is the same. There is no
reference model. Nothing is downloaded: the shapes are those of the models of that name.

The same update is made in these ways, one after the other, `--rounds` times:

- by length: as the package does, rows of like length together, `--tokens` tokens at most;
- in order: rows together as they come, padded to the longest among them, `--tokens` at most;
- to 9,100: each row padded to `--pad-to` tokens, as the papers' trainers hold them;

with scores over the vocabulary at the answers' tokens only, some at a time and again in the
backward pass, or with scores at every token at once.

On a processor lengths are divided by `--scale`, by default 8. Seconds are processor time there, on
which other programs count for little, and peak memory is the resident memory of the process; on a
GPU they are of the clock, and what PyTorch allocated.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import math
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from palimpsest.training.batching import Batch, collate, micro_batches, trained_tokens
from palimpsest.training.logprobs import Scores, scored, token_entropy, token_logprobs
from palimpsest.training.lora import LoRA
from palimpsest.training.loss import Clip, policy_terms, token_mean
from palimpsest.training.policy import Policy
from palimpsest.training.rollout import Conversation

SECTION = 5000
SECTIONS = 6
AROUND = 150
"""Tokens of the question and of what the prompt says around it."""
DRAFT = (200, 1000)
ANSWER = (50, 400)


class Shape(NamedTuple):
    """A model of the family Qwen2, whose scores share the weights of its embeddings."""

    width: int
    layers: int
    heads: int
    key_heads: int
    between: int
    vocabulary: int


SHAPES = {
    "tiny": Shape(32, 1, 2, 1, 64, 512),
    "narrow": Shape(64, 2, 2, 1, 192, 151_936),
    "small": Shape(256, 4, 4, 2, 768, 151_936),
    "qwen2.5-0.5b": Shape(896, 24, 14, 2, 4864, 151_936),
    "qwen2.5-1.5b": Shape(1536, 28, 12, 2, 8960, 151_936),
}


class Way(NamedTuple):
    """How the conversations of an update go through the model."""

    rows: Literal["by length", "in order", "padded"]
    scores: Literal["answers", "everywhere"]


WAYS = (
    Way("by length", "answers"),
    Way("in order", "answers"),
    Way("padded", "answers"),
    Way("by length", "everywhere"),
    Way("padded", "everywhere"),
)
PLAIN = Way("padded", "everywhere")
DRAWS = {2: 20, 16: 20, 256: 3}
"""How often so many readings are drawn for `--padding`."""


class Took(NamedTuple):
    """What an update took."""

    seconds: float
    peak_bytes: float
    """The most that was held at a time, the model and its optimiser included."""
    loss: float


DID_NOT_FIT = Took(math.nan, math.inf, math.nan)


@dataclass(frozen=True)
class Load:
    """What the model is to learn from."""

    conversations: list[Conversation]
    pad_to: int
    tokens: int
    """Most in one pass."""

    def groups(self, way: Way) -> list[tuple[int, ...]]:
        """The conversations that go through the model together."""
        if way.rows == "by length":
            return [one.members for one in micro_batches(self.conversations, tokens=self.tokens)]
        lengths = [self.pad_to] * len(self.conversations)
        if way.rows == "in order":
            lengths = [_length(one) for one in self.conversations]
        groups: list[tuple[int, ...]] = [()]
        for place in range(len(lengths)):
            more = (*groups[-1], place)
            if groups[-1] and len(more) * max(lengths[one] for one in more) > self.tokens:
                groups.append((place,))
            else:
                groups[-1] = more
        return groups

    def through(self, way: Way) -> int:
        """Tokens that go through the model, padding included."""
        return sum(len(group) * self.width(way, group) for group in self.groups(way))

    def width(self, way: Way, group: Sequence[int]) -> int:
        if way.rows == "padded":
            return self.pad_to
        return max(_length(self.conversations[member]) for member in group)

    @property
    def real(self) -> int:
        return sum(map(_length, self.conversations))


def main() -> None:
    options = _options()
    if options.padding:
        print(padding(options))
        return
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    shape = SHAPES[options.shape]
    policy = policy_of(shape, options)
    optimiser = torch.optim.AdamW(policy.trained().values(), lr=0.0)
    load = load_of(options, shape.vocabulary)
    update(policy, optimiser, load, WAYS[0])
    held = _held(policy.device)
    took: dict[Way, list[Took]] = {way: [] for way in WAYS}
    for number in range(options.rounds):
        for way in WAYS:
            one = measured(policy, optimiser, load, way)
            took[way].append(one)
            _say(
                f"round {number + 1}, {way.rows}, {way.scores}: "
                f"{one.seconds:.2f} s, {_gigabytes(one.peak_bytes)} GB"
            )
    result = told(options, policy, load, took) | {"held_bytes": held}
    print(json.dumps(result, indent=2) if options.json else shown(result))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    trained = parser.add_mutually_exclusive_group()
    trained.add_argument("--lora", action="store_true", help="train adapters of rank 16")
    trained.add_argument("--full", action="store_true", help="train all weights (the default)")
    parser.add_argument("--checkpointing", action=argparse.BooleanOptionalAction, default=None,
                        help="of the layers; by default on a GPU")  # fmt: skip
    parser.add_argument("--scale", type=int, help="lengths are divided by it")
    parser.add_argument("--readings", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pad-to", type=int, default=9100, help="before --scale")
    parser.add_argument("--tokens", type=int, default=16_384, help="in one pass, before --scale")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--padding", action="store_true", help="tell that alone, at full length")
    options = parser.parse_args()
    on_processor = options.device == "cpu"
    if options.scale is None:
        options.scale = 8 if on_processor else 1
    if options.checkpointing is None:
        options.checkpointing = not on_processor
    return options


def padding(options: argparse.Namespace) -> str:
    """By the readings in an update, the share of what goes through the model that is padding."""
    ways = [way for way in WAYS if way.scores == "answers"]
    vocabulary = SHAPES[options.shape].vocabulary
    lines = [f"| readings | {' | '.join(way.rows for way in ways)} |", "|---" * 4 + "|"]
    for readings, draws in DRAWS.items():
        loads = [
            load_of(argparse.Namespace(**vars(options) | {"seed": seed, "readings": readings,
                                                          "scale": 1}), vocabulary)
            for seed in range(draws)
        ]  # fmt: skip
        shares = [[1 - load.real / load.through(way) for load in loads] for way in ways]
        cells = [_spread(own, ".1%") for own in shares]
        lines.append(f"| {readings} | {' | '.join(cells)} |")
    return "\n".join(lines)


def policy_of(shape: Shape, options: argparse.Namespace) -> Policy:
    tokenizer = tokenizer_of(shape.vocabulary)
    with torch.device(options.device):
        module = Qwen2ForCausalLM(config_of(shape))
    return Policy(
        module,
        tokenizer,
        lora=LoRA() if options.lora else None,
        dtype=options.dtype,
        device=options.device,
        gradient_checkpointing=options.checkpointing,
    )


def config_of(shape: Shape) -> Qwen2Config:
    return Qwen2Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.between,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        max_position_embeddings=32_768,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=1,
    )


def tokenizer_of(vocabulary: int) -> PreTrainedTokenizerFast:
    """Names for all tokens that the model has scores for, so that none is out of reach."""
    names = {"<end>": 0, "<pad>": 1} | {f"t{number}": number for number in range(2, vocabulary)}
    backend = Tokenizer(models.WordLevel(names, unk_token="<pad>"))
    fast: Any = PreTrainedTokenizerFast
    tokenizer: PreTrainedTokenizerFast = fast(
        tokenizer_object=backend, eos_token="<end>", pad_token="<pad>"
    )
    return tokenizer


def load_of(options: argparse.Namespace, vocabulary: int) -> Load:
    generator = np.random.default_rng(options.seed)
    conversations = [
        conversation(max(1, prompt // options.scale), max(1, answer // options.scale),
                     vocabulary, generator)
        for _ in range(options.readings)
        for prompt, answer in lengths(generator)
    ]  # fmt: skip
    return Load(conversations, options.pad_to // options.scale, options.tokens // options.scale)


def lengths(generator: np.random.Generator) -> Iterator[tuple[int, int]]:
    """Prompt and answer of each conversation of a reading."""
    memory = 0
    for number in range(SECTIONS):
        last = number == SECTIONS - 1
        section = int(generator.integers(SECTION // 10, SECTION)) if last else SECTION
        draft = int(generator.integers(*DRAFT, endpoint=True))
        yield AROUND + memory + section, draft
        memory = draft
    yield AROUND + memory, int(generator.integers(*ANSWER, endpoint=True))


def conversation(
    prompt: int, answer: int, vocabulary: int, generator: np.random.Generator
) -> Conversation:
    ids = generator.integers(2, vocabulary, prompt + answer).tolist()
    return Conversation(
        role="draft",
        prompt_ids=tuple(ids[:prompt]),
        response_ids=tuple(ids[prompt:]),
        logprobs=(-math.log(vocabulary),) * answer,
        mask=(True,) * answer,
    )


def update(policy: Policy, optimiser: torch.optim.Optimizer, load: Load, way: Way) -> float:
    """One step of the optimiser; its loss."""
    total = trained_tokens(load.conversations)
    advantages = [1.0 if place % 2 else -1.0 for place in range(len(load.conversations))]
    value = 0.0
    for group in load.groups(way):
        batch = collate(load.conversations, group, None, device=policy.device)
        batch = widened(batch, load.width(way, group))
        scores = everywhere(policy, batch) if way.scores == "everywhere" else scored(policy, batch)
        terms = policy_terms(scores.logprobs, batch.old, batch.spread(advantages), Clip())
        loss = token_mean(terms.loss, total)
        loss.backward()  # type: ignore[no-untyped-call]
        value += loss.item()
    torch.nn.utils.clip_grad_norm_(policy.trained().values(), 1.0)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return value


def widened(batch: Batch, width: int) -> Batch:
    """The batch with every row padded to a width."""
    inputs = {
        name: torch.nn.functional.pad(values, (0, width - values.shape[-1]))
        for name, values in batch.inputs.items()
    }
    return replace(batch, inputs=inputs)


def everywhere(policy: Policy, batch: Batch) -> Scores:
    """As `scored`, from scores at every token of every row."""
    logits = policy.logits(policy.states(batch.inputs).hidden)[batch.rows, batch.columns]
    return Scores(token_logprobs(logits, batch.targets), token_entropy(logits.detach()))


def measured(policy: Policy, optimiser: torch.optim.Optimizer, load: Load, way: Way) -> Took:
    device = policy.device
    _forget_peak(device)
    begun = _clock(device)
    try:
        loss = update(policy, optimiser, load, way)
    except torch.OutOfMemoryError:
        optimiser.zero_grad(set_to_none=True)
        return DID_NOT_FIT
    return Took(_clock(device) - begun, _peak(device), loss)


def _clock(device: torch.device) -> float:
    if device.type != "cuda":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def _forget_peak(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    else:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return _resident("VmHWM")


def _held(device: torch.device) -> int:
    _forget_peak(device)
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else _resident("VmRSS")


def _resident(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"this system does not say {name} of a process")


def told(
    options: argparse.Namespace, policy: Policy, load: Load, took: dict[Way, list[Took]]
) -> dict[str, Any]:
    everything = sum(weights.numel() for weights in policy.module.parameters())
    head = policy.vocabulary * SHAPES[options.shape].width
    losses = [one.loss for many in took.values() for one in many if not math.isnan(one.loss)]
    return {
        "settings": vars(options),
        "parameters": {"layers": everything - head, "head": head},
        "conversations": len(load.conversations),
        "tokens": load.real,
        "trained_tokens": trained_tokens(load.conversations),
        "longest": max(map(_length, load.conversations)),
        "loss_spread": max(losses) - min(losses),
        "ways": [_told_of(way, load, took) for way in WAYS],
    }


def _told_of(way: Way, load: Load, took: dict[Way, list[Took]]) -> dict[str, Any]:
    mine, plain = took[way], took[PLAIN]
    return {
        "rows": way.rows,
        "scores": way.scores,
        "passes": len(load.groups(way)),
        "padding": 1 - load.real / load.through(way),
        "seconds": [one.seconds for one in mine],
        "tokens_a_second": [load.real / one.seconds for one in mine],
        "times_as_fast": [
            other.seconds / one.seconds for one, other in zip(mine, plain, strict=True)
        ],
        "peak_bytes": [one.peak_bytes for one in mine],
    }


def shown(result: dict[str, Any]) -> str:
    settings, parameters = result["settings"], result["parameters"]
    trains = "adapters" if settings["lora"] else "all weights"
    lines = [
        f"{settings['shape']}: {parameters['layers'] / 1e6:,.1f}M parameters in the layers, "
        f"{parameters['head'] / 1e6:,.1f}M in the head; {trains}, {settings['dtype']}, "
        f"{settings['device']}",
        f"{result['conversations']} conversations, {result['tokens']:,} tokens, of which "
        f"{result['trained_tokens']:,} are learnt from; lengths divided by {settings['scale']}; "
        f"{settings['rounds']} rounds",
        f"held before the step: {_gigabytes(result['held_bytes'])} GB; "
        f"the losses differ by at most {result['loss_spread']:.1e}",
        "",
        "| rows | scores at | passes | padding | seconds | tokens/s | times as fast | peak GB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for way in result["ways"]:
        rows = way["rows"]
        if rows == "padded":
            rows = f"to {settings['pad_to'] // settings['scale']:,}"
        scores = "answers" if way["scores"] == "answers" else "every token"
        lines.append(
            f"| {rows} | {scores} | {way['passes']} | {way['padding']:.1%} | "
            f"{_spread(way['seconds'], '.2f')} | {_spread(way['tokens_a_second'], ',.0f')} | "
            f"{_spread(way['times_as_fast'], '.2f')} | {_gigabytes(max(way['peak_bytes']))} |"
        )
    return "\n".join(lines)


def _spread(values: Sequence[float], form: str) -> str:
    """The median, and the least and the most."""
    if any(map(math.isnan, values)):
        return "-"
    least, most = min(values), max(values)
    return f"{statistics.median(values):{form}} [{least:{form}}, {most:{form}}]"


def _gigabytes(count: float) -> str:
    return "does not fit" if math.isinf(count) else f"{count / 1e9:.2f}"


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _length(one: Conversation) -> int:
    return len(one.prompt_ids) + len(one.response_ids)


if __name__ == "__main__":
    main()
