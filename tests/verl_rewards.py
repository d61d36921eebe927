"""Rewards that a model of random weights earns more of within a few steps."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

_CALLS = count(1)
_LATER = 12
"""The call of a process in which something happens: after the first step has begun."""


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


def mortal(completion: str, answers: Sequence[str]) -> float:
    """Kills its process, once in all processes."""
    return moody("die" if _happens("killed") else completion, answers)


def moody_once(completion: str, answers: Sequence[str]) -> float:
    """Raises, once in all processes."""
    return moody("raise" if _happens("raised") else completion, answers)


def _happens(what: str) -> bool:
    """Whether it is time for what no process has done yet."""
    if next(_CALLS) < _LATER:
        return False
    try:
        (Path(os.environ["VERL_TEST_MARKS"]) / what).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
