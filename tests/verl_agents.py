"""Agents that fail in one rollout, each in its own way."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from palimpsest.models.model import Sampling, user
from palimpsest.training.agents import Outcome
from verl_rewards import letters

_SAMPLING = Sampling(max_tokens=8)


class Fragile:
    """Answers twice, but not in one of its rollouts: there it raises, or its process is killed."""

    def __init__(self, how: str, mark: str) -> None:
        self._how = how
        self._mark = Path(mark)

    async def __call__(self, item, recorder):
        draft = await recorder.named("draft").complete(user(item.question), _SAMPLING)
        self._fail_once()
        final = await recorder.named("final").complete(user(draft.text[:4]), _SAMPLING)
        score = letters(final.text, item.answers)
        return Outcome(recorder.conversations(), {"standard": score}, answer=final.text)

    def _fail_once(self):
        try:
            self._mark.touch(exist_ok=False)
        except FileExistsError:
            return
        if self._how == "raise":
            raise RuntimeError("a tool broke")
        os.kill(os.getpid(), signal.SIGKILL)
