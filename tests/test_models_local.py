"""With the real embedded model: run with `pytest -m local`."""

from __future__ import annotations

import asyncio
import time
from importlib.util import find_spec
from itertools import pairwise

import pytest

from palimpsest.errors import WindowError
from palimpsest.models import LocalModel, Sampling, user

pytestmark = pytest.mark.local

TEXT = "Ada Lovelace wrote notes.\nNaïve “quotes” and 東京 🙂\n\n  indented\n"


def test_the_embedded_model_answers_cancels_counts_and_knows_its_window():
    if find_spec("xllamacpp") is None:
        pytest.skip("needs the `local` extra")
    asyncio.run(_answers_cancels_counts_and_knows_its_window())


async def _answers_cancels_counts_and_knows_its_window() -> None:
    told: list[str] = []
    model = LocalModel(window=1024, on_load=told.append)
    answer = await model.complete(
        user("What is the capital of France? One word."), Sampling(max_tokens=8)
    )
    assert "Paris" in answer.text
    assert answer.model == model.name
    assert answer.usage.prompt > 0
    assert len(told) == 1
    assert told[0].startswith("loading Qwen2.5-Coder-1.5B-Instruct")

    tokenizer = await model.tokenizer()
    offsets = await tokenizer.offsets(TEXT)
    assert tokenizer.exact
    assert "".join(TEXT[start:end] for start, end in pairwise([*offsets, len(TEXT)])) == TEXT

    with pytest.raises(WindowError, match="1024"):
        await model.complete(user("hello " * 3000), Sampling(max_tokens=8))

    call = asyncio.create_task(
        model.complete(user("Write the numbers from 1 to 300 in words."), Sampling(max_tokens=900))
    )
    await asyncio.sleep(1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    started = time.monotonic()
    await model.complete(user("Say yes."), Sampling(max_tokens=2))
    assert time.monotonic() - started < 15
    await model.aclose()
