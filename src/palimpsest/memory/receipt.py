"""What a reading took: calls, tokens, money and time, all derived from its record.

receipt = receipt_of(reading, listed_price(reading.header.model))
print(receipt)  # 7 calls, 31,402 tokens in, 1,204 out, $0.0054, 12.3 s of model time
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from palimpsest import errors
from palimpsest.memory.reading import Reading, Turn
from palimpsest.models.meter import Totals
from palimpsest.models.prices import Price


class Receipt(BaseModel):
    """The bill of one reading."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    totals: Totals
    """Over all turns. A failure is a refused turn, or the call that ended the reading."""
    by_role: dict[str, Totals]
    """The same for each role that had a turn."""
    cost: float | None
    """US dollars; None where no price is known."""
    price: str
    """Where the price is from; empty where none is known."""
    wall_seconds: float | None
    """That passed, where somebody held the watch."""
    guards: dict[str, int]
    """How often each guard kept the memory from harm."""

    def __str__(self) -> str:
        """One line for people."""
        return ", ".join(_parts(self))


def receipt_of(
    reading: Reading, price: Price | None = None, wall_seconds: float | None = None
) -> Receipt:
    """The receipt of a reading, ended or not."""
    turns = reading.turns
    roles = list(dict.fromkeys(turn.role for turn in turns))
    # A turn that failed is none, so the reading's end is all that tells of it.
    failed = Totals(calls=1, failures=1) if _ended_by_call(reading) else Totals()
    return Receipt(
        totals=_totals(turns) + failed,
        by_role={role: _totals([turn for turn in turns if turn.role == role]) for role in roles},
        cost=sum((price.of(turn.completion.usage) for turn in turns), 0.0) if price else None,
        price=price.source if price else "",
        wall_seconds=wall_seconds,
        guards=dict(Counter(guard.guard for guard in reading.guards)),
    )


def _ended_by_call(reading: Reading) -> bool:
    kind = getattr(errors, reading.end.error, None) if reading.end else None
    return isinstance(kind, type) and issubclass(kind, errors.ModelError)


def _totals(turns: Sequence[Turn]) -> Totals:
    return sum(
        (
            Totals(
                calls=1,
                failures=int(turn.completion.finish_reason == "refused"),
                usage=turn.completion.usage,
                seconds=turn.completion.seconds,
            )
            for turn in turns
        ),
        Totals(),
    )


def _parts(receipt: Receipt) -> list[str]:
    totals, usage = receipt.totals, receipt.totals.usage
    cached = f" ({usage.cached:,} cached)" if usage.cached else ""
    reasoning = f" ({usage.reasoning:,} thinking)" if usage.reasoning else ""
    parts = [
        _counted(totals.calls, "call"),
        f"{usage.prompt:,} tokens in{cached}",
        f"{usage.completion:,} out{reasoning}",
        "no price known" if receipt.cost is None else money(receipt.cost),
        f"{totals.seconds:.1f} s of model time",
    ]
    if receipt.wall_seconds is not None:
        parts.append(f"{receipt.wall_seconds:.1f} s passed")
    if totals.failures:
        parts.append(_counted(totals.failures, "failure"))
    if receipt.guards:
        parts.append(_counted(sum(receipt.guards.values()), "guard event"))
    return parts


def money(dollars: float) -> str:
    """Dollars to the cent, or to three digits where that is finer."""
    return f"${dollars:,.2f}" if dollars >= 1 or dollars == 0 else f"${dollars:.3g}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
