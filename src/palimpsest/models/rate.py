"""How fast a model is, so that one can say how long calls will take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np

from palimpsest.errors import InputError
from palimpsest.models.model import Completion, Usage


class Rate(NamedTuple):
    """Tokens a second."""

    prompt: float
    completion: float

    def of(self, usage: Usage) -> float:
        """Seconds of a call, or of calls one after the other; cached tokens take none."""
        read, written = usage.prompt - usage.cached, usage.completion
        return read / self.prompt + written / self.completion

    @classmethod
    def parse(cls, text: str) -> Self:
        """`IN,OUT`, or one number for both."""
        try:
            speeds = [float(part) for part in text.split(",")]
        except ValueError:
            speeds = []
        if len(speeds) not in (1, 2) or not all(speed > 0 for speed in speeds):
            raise InputError(
                f"{text!r} is no rate",
                hint="give tokens a second: prompt and completion as 2000,60, or one number",
            )
        return cls(speeds[0], speeds[-1])

    @classmethod
    def measured(cls, completions: Sequence[Completion]) -> Self | None:
        """The rate that fits calls best, or None if none of them took time."""
        timed = [one for one in completions if one.seconds > 0 and one.usage.prompt]
        if not timed:
            return None
        seconds = np.array([one.seconds for one in timed])
        tokens = np.array(
            [(one.usage.prompt - one.usage.cached, one.usage.completion) for one in timed],
            dtype=float,
        )
        # A long call counts for what it is: what matters is the sum of seconds.
        paces = np.linalg.lstsq(tokens, seconds, rcond=None)[0]
        if np.linalg.matrix_rank(tokens) < 2 or (paces <= 0).any():
            return cls(*([float(tokens.sum() / seconds.sum())] * 2))
        return cls(*(float(1 / pace) for pace in paces))
