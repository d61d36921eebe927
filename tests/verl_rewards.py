"""Rewards that a model of random weights earns more of within a few steps."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence


def letters(completion: str, answers: Sequence[str]) -> float:
    """The share of the characters that are small letters."""
    return sum("a" <= one <= "z" for one in completion) / max(1, len(completion))


def moody(completion: str, answers: Sequence[str]) -> float:
    """Does what it is told to."""
    match completion:
        case "raise":
            raise ValueError("no reward for that")
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "sleep":
            time.sleep(600)
        case "nan":
            return float("nan")
    return letters(completion, answers)
