"""`palimpsest doctor`: what an endpoint can do, and what to do where it cannot."""

from __future__ import annotations

import json
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from palimpsest.cli.app import notes, run_async
from palimpsest.cli.options import ModelOptions
from palimpsest.models import LocalModel, OpenAIModel
from palimpsest.models.checkup import Check, Checkup, Need
from palimpsest.readers import MemAgent, MemOCR
from palimpsest.readers.drafting import DraftingReader
from palimpsest.settings import EMBEDDED, ModelSettings, open_model
from palimpsest.sources import EstimateTokenizer, count

FAILED_EXIT = 4

_MEMORIES = 2.25
"""A draft sees one memory and writes another, which may run a quarter past its limit."""
_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "skipped": "dim"}


def doctor(
    *,
    model: ModelOptions = ModelOptions(),  # noqa: B008
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Check a model and its endpoint: reachable, window, tokenizer, images, thinking.

    Asks about ten short questions. The exit code is 0 when nothing failed, else 4.

    Parameters
    ----------
    as_json
        Print the checks as JSON, with the numbers behind them.
    """
    checks = run_async(_checks(model.settings()))
    if as_json:
        print(json.dumps([check.model_dump() for check in checks], ensure_ascii=False, indent=2))
    else:
        Console(highlight=False).print(_table(checks))
    return FAILED_EXIT if any(check.status == "fail" for check in checks) else 0


async def _checks(settings: ModelSettings) -> list[Check]:
    # Recorded answers would hide what the endpoint does now, and OCR what the model itself sees.
    retries = 1 if settings.retries is None else settings.retries
    changes = {"record": None, "sight": False, "retries": retries}
    plain = settings.model_copy(update=changes)
    opened = open_model(plain, on_load=lambda message: notes.print(message, markup=False))
    is_embedded = isinstance(opened, LocalModel) and settings.name in (None, EMBEDDED)
    try:
        with notes.status("opening the model") as status:
            endpoint = await opened.served() if isinstance(opened, LocalModel) else opened
            assert isinstance(endpoint, OpenAIModel)
            checkup = Checkup(
                endpoint,
                needs=[await _need(reader) for reader in (MemAgent(), MemOCR())],
                eyes=settings.sight if settings.sight is not None else is_embedded,
                on_check=lambda name: status.update(f"checking: {name}"),
                **settings.model_dump(include={"thinking_tokens"}, exclude_none=True),
            )
            return await checkup.run()
    finally:
        await opened.aclose()


async def _need(reader: DraftingReader) -> Need:
    """What the longest request of a reader comes to, by its settings and wording."""
    wording = reader.template(reader.prompt_roles()[0]).text
    prompt_tokens = await count(EstimateTokenizer(), wording)
    return Need(
        reader=reader.name,
        chunk_tokens=reader.chunk_tokens,
        other_tokens=prompt_tokens + int(_MEMORIES * reader.memory_tokens),
    )


def _table(checks: list[Check]) -> Table:
    table = Table("check", "", "finding", box=None, padding=(0, 2, 0, 0))
    for check in checks:
        finding = Text(check.finding)
        if check.advice:
            finding.append(f"\n{check.advice}", style="italic")
        table.add_row(check.name, Text(check.status, style=_COLOURS[check.status]), finding)
    return table
