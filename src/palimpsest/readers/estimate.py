"""What a reading will take, found by trying it dry: the real reader before a model that is not.

Chunks, prompts and calls are the real ones; only what the model writes is assumed. The estimate
stands between a low one, of short memories and nothing more to read than must be, and a high
one, of memories that are always full and every reread made. Calls that shorten a memory, and what
a model thinks, are in none of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from palimpsest.memory.reading import Reading
from palimpsest.models.dry import DryCall, DryModel
from palimpsest.models.model import Model, Usage
from palimpsest.models.prices import Price
from palimpsest.models.rate import Rate
from palimpsest.readers.assumptions import Assumption, assumed
from palimpsest.readers.reader import Reader
from palimpsest.sources import Source

FILL = 0.25
"""Share of the limit that memories take: what the drafts of the embedded model do on average."""
LOW = Assumption(fill=0.05, answer_tokens=10, reads_more=False)
HIGH = Assumption(fill=1.0, answer_tokens=200, reads_more=True)
_ANSWER_TOKENS = 40


class Bill(BaseModel):
    """What a reading takes under one assumption."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    calls: int
    prompt: int
    """Tokens in."""
    completion: int
    """Tokens out."""
    cost: float | None = None
    """US dollars; None where no price is known."""
    seconds: float | None = None
    """As fast as calls can be made side by side; None where no rate is given."""
    at_once: int = 1
    """The most calls side by side."""


class Estimate(BaseModel):
    """What a reading will take."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    chunks: int
    source_tokens: int
    tokenizer: str
    exact: bool
    """Whether the tokenizer is the model's own; else the true counts are mostly lower."""
    fill: float
    """Assumed share of their limit that memories take."""
    expected: Bill
    low: Bill
    high: Bill


async def estimate(
    reader: Reader,
    source: Source,
    questions: Sequence[str],
    model: Model,
    *,
    fill: float = FILL,
    price: Price | None = None,
    rate: Rate | None = None,
    concurrency: int | None = None,
    reads_out: bool = False,
) -> Estimate:
    """Tries a reading of `source` dry. `model` lends its name and tokenizer and is not asked.

    `concurrency` is the most calls that it takes at once, `reads_out` says that images are read
    out to it by OCR. Raises what the reading would have ended on.
    """
    tokenizer = await model.tokenizer()
    begun = await reader.begin(source, questions, model)
    expected = Assumption(fill=fill, answer_tokens=_ANSWER_TOKENS, reads_more=True)
    bills = []
    for assumption in (expected, LOW, HIGH):
        answers = await assumed(reader, tokenizer, source.text[:_SAMPLE], assumption)
        written = len(await tokenizer.offsets(answers.memory))
        dry = DryModel(model, answers, image_tokens=written if reads_out else 0)
        tried = await reader.read(source, questions, dry, reading=Reading(begun.header))
        tried.raise_for_status()
        at_once = min(dry.most_at_once, concurrency or dry.most_at_once)
        bills.append(_bill(dry.calls, price, rate, at_once))
    return Estimate(
        chunks=len(begun.header.chunks),
        source_tokens=begun.header.tokens,
        tokenizer=tokenizer.name,
        exact=tokenizer.exact,
        fill=fill,
        expected=bills[0],
        low=bills[1],
        high=bills[2],
    )


_SAMPLE = 20_000
"""Characters of the source whose words memories are made of."""


def _bill(
    calls: Sequence[DryCall], price: Price | None, rate: Rate | None, at_once: int
) -> Bill:  # fmt: skip
    usages = [call.usage for call in calls]
    total = sum(usages, Usage())
    return Bill(
        calls=len(calls),
        prompt=total.prompt,
        completion=total.completion,
        cost=sum(map(price.of, usages)) if price else None,
        seconds=rate.of(total) / max(at_once, 1) if rate else None,
        at_once=max(at_once, 1),
    )
