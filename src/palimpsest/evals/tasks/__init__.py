"""Benchmarks by name.

task = find_task("2wiki")
task = find_task("longbench:qasper")
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from palimpsest.errors import ConfigurationError, InputError
from palimpsest.evals.tasks.babilong import BABILong
from palimpsest.evals.tasks.contexts import ContextTask
from palimpsest.evals.tasks.hotpotqa import HotpotQA
from palimpsest.evals.tasks.locomo import LoCoMo
from palimpsest.evals.tasks.longbench import LongBench
from palimpsest.evals.tasks.longbench_v2 import LongBenchV2
from palimpsest.evals.tasks.longmemeval import LongMemEval
from palimpsest.evals.tasks.loogle import LooGLE
from palimpsest.evals.tasks.musique import MuSiQue
from palimpsest.evals.tasks.nq import NaturalQuestions
from palimpsest.evals.tasks.record import Place, Record
from palimpsest.evals.tasks.ruler import Ruler
from palimpsest.evals.tasks.squad import SQuAD
from palimpsest.evals.tasks.task import Task, choose, rank
from palimpsest.evals.tasks.triviaqa import TriviaQA
from palimpsest.evals.tasks.twowiki import TwoWiki

__all__ = [
    "TASKS",
    "ContextTask",
    "Place",
    "Record",
    "Task",
    "choose",
    "find_task",
    "rank",
    "task_of",
]

_ALL: tuple[Task, ...] = (
    HotpotQA(),
    TwoWiki(),
    MuSiQue(),
    NaturalQuestions(),
    TriviaQA(),
    SQuAD(),
    LoCoMo(),
    LongMemEval(),
    LongBench(),
    LongBenchV2(),
    LooGLE(),
    Ruler(),
    BABILong(),
)

TASKS: Mapping[str, Task] = MappingProxyType({task.base: task for task in _ALL})
"""Every task by its name, whole."""

_NAMES = {name.lower(): task for task in _ALL for name in (task.base, *task.aliases)}


def find_task(name: str) -> Task:
    """A task of its own by its name, or by `name:part`; it keeps what it read of its passages.
    Raises `ConfigurationError` for any other name."""
    base, _, part = name.partition(":")
    task = _NAMES.get(base.lower().replace("-", "_"))
    if task is None:
        raise ConfigurationError(f"there is no task {base}", hint=f"one of {', '.join(TASKS)}")
    return task.only(part)


def task_of(path: Path) -> Task:
    """The task to which a file belongs, by the folders it lies in."""
    for task in _ALL:
        if task.owns(path):
            return task
    raise InputError(f"{path} lies in no folder of a task", hint=f"name it {' or '.join(TASKS)}")
