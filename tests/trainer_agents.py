"""Agents for tests of the trainer, small enough for a model of random weights."""

from __future__ import annotations

import asyncio
import base64
import io
import math
import os
import signal
from pathlib import Path

from PIL import Image

from palimpsest.datasets.item import Item
from palimpsest.models.model import Sampling, user
from palimpsest.training.agents import Outcome
from palimpsest.training.recorder import Recorder
from palimpsest.training.rollout import Conversation

TOKENS = 6
SAMPLING = Sampling(max_tokens=TOKENS, temperature=1.0)


def letters_share(text: str) -> float:
    """How much of an answer are small letters: what random weights find by chance."""
    return sum(letter.islower() and letter.isascii() for letter in text) / max(1, len(text))


async def letters(item: Item, recorder: Recorder) -> Outcome:
    """Two independent conversations, one after the other."""
    first = await recorder.named("draft").complete(user(item.question), SAMPLING)
    second = await recorder.named("final").complete(user("go on"), SAMPLING)
    score = (letters_share(first.text) + letters_share(second.text)) / 2
    return Outcome(recorder.conversations(), {"standard": score}, answer=second.text)


async def deadly(item: Item, recorder: Recorder) -> Outcome:
    """As `letters`, until the file says that the process is to be killed in the middle."""
    if _counted_down():
        os.kill(os.getpid(), signal.SIGKILL)
    return await letters(item, recorder)


def _counted_down() -> bool:
    countdown = Path(os.environ["COUNTDOWN"])
    left = int(countdown.read_text()) - 1
    countdown.write_text(str(left))
    return not left


async def odd(item: Item, recorder: Recorder) -> Outcome:
    """Of each group one rollout without a reward, one without a word, one that fails and one cut
    off."""
    number = int(recorder._number)
    completion = await recorder.complete(user(item.question), SAMPLING)
    kept = recorder.conversations()
    if number == 0:
        return Outcome(kept, {"standard": math.nan})
    if number == 1:
        return Outcome((Conversation("turn", kept[0].prompt_ids, (), (), ()),), {"standard": 0.5})
    if number == 2:
        raise ValueError("the tool broke")
    return Outcome(kept, {"standard": 0.5 + 0.5 * letters_share(completion.text)})


async def same(item: Item, recorder: Recorder) -> Outcome:
    await recorder.complete(user(item.question), SAMPLING)
    return Outcome(recorder.conversations(), {"standard": 1.0})


async def half_same(item: Item, recorder: Recorder) -> Outcome:
    """Groups of which every other one teaches nothing."""
    completion = await recorder.complete(user(item.question), SAMPLING)
    dull = int(item.id.rpartition("-")[2]) % 2
    return Outcome(
        recorder.conversations(), {"standard": 1.0 if dull else letters_share(completion.text)}
    )


async def many(item: Item, recorder: Recorder) -> Outcome:
    """More conversations in one rollout than in another."""
    for number in range(1 + 3 * int(recorder._number)):
        await recorder.named("draft").complete(user(f"{item.question} {number}"), SAMPLING)
    return Outcome(recorder.conversations(), {"standard": float(recorder._number)})


async def broken(item: Item, recorder: Recorder) -> Outcome:
    raise OSError("the disk is full")


async def slow(item: Item, recorder: Recorder) -> Outcome:
    """Waits for ever once a file is there."""
    if os.path.exists(os.environ["COUNTDOWN"]):  # noqa: ASYNC240
        await asyncio.sleep(3600)
    return await letters(item, recorder)


async def looks(item: Item, recorder: Recorder) -> Outcome:
    """A text, and then a picture of two cells."""
    text = await recorder.named("draft").complete(user(item.question), SAMPLING)
    file = io.BytesIO()
    Image.new("RGB", (56, 28), (200, 30, 30)).save(file, "PNG")
    url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    seen = await recorder.named("read").complete(user("what is it?", url), SAMPLING)
    return Outcome(recorder.conversations(), {"standard": letters_share(text.text + seen.text)})


def scaled(factor: float):
    """An agent with a setting."""

    async def agent(item: Item, recorder: Recorder) -> Outcome:
        outcome = await letters(item, recorder)
        return Outcome(outcome.conversations, {"standard": factor * outcome.scores["standard"]})

    return agent
