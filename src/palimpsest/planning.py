"""What a saved memory is for and how it is read: from what was asked for, and back again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from palimpsest.errors import InputError
from palimpsest.memory.reading import utc_now
from palimpsest.memory.saved import Plan, Wording
from palimpsest.models.model import Model
from palimpsest.prompts.templates import PromptSet, Template
from palimpsest.readers.digest import for_digest
from palimpsest.readers.drafting import MemoryReader
from palimpsest.readers.growing import core
from palimpsest.readers.memagent import MemAgent
from palimpsest.readers.reader import Reader
from palimpsest.readers.restoring import restore
from palimpsest.settings import ModelSettings, open_model, resolve_settings

GivenModel = Model | ModelSettings | str | None
"""A model, how to reach one, or its name as in `ModelSettings`; None for the settings in force."""

_PASSING_SETTINGS = {
    "api_key", "threads", "timeout_s", "retries", "concurrency", "record", "record_mode",
}  # fmt: skip
"""Settings of a model that are not kept with a memory: secrets, and what concerns one run."""


def plan_memory(
    *,
    question: str | Sequence[str] | None = None,
    reader: Reader | None = None,
    model: GivenModel = None,
) -> Plan:
    """What `SavedMemory.create` writes down of its arguments."""
    questions = checked_questions(question)
    strategy = _memory_reader(reader or MemAgent())
    if not questions:
        strategy = for_digest(strategy)
    prompts = core(strategy).prompts
    resolved = _resolved(model)
    return Plan(
        created=utc_now(),
        questions=questions,
        reader=strategy.name,
        settings=strategy.settings(),
        empty_memory=prompts.empty_memory,
        prompts={
            name: Wording(id=template.id, text=template.text)
            for name, template in prompts.templates.items()
        },
        model=opened_model(resolved).name,
        model_settings=_kept(resolved) if isinstance(resolved, ModelSettings) else None,
    )


def restored_reader(plan: Plan) -> MemoryReader:
    """The reader with which a memory was planned, in the wording that it had then."""
    templates = {name: Template(one.id, one.text) for name, one in plan.prompts.items()}
    return _memory_reader(
        restore(plan.reader, plan.settings, PromptSet(plan.empty_memory, templates))
    )


def _memory_reader(reader: Reader) -> MemoryReader:
    core(reader)
    assert isinstance(reader, MemoryReader)
    return reader


def checked_questions(question: str | Sequence[str] | None) -> tuple[str, ...]:
    """The questions that were given, if any. Raises `InputError` for an empty one."""
    questions = (question,) if isinstance(question, str) else tuple(question or ())
    if not all(one.strip() for one in questions):
        raise InputError("the question is empty", hint="ask something")
    return questions


def opened_model(model: GivenModel) -> Model:
    """The model that was given, or the one that the settings in force with it describe."""
    resolved = _resolved(model)
    return open_model(resolved) if isinstance(resolved, ModelSettings) else resolved


def _resolved(model: GivenModel) -> Model | ModelSettings:
    if model is None or isinstance(model, str):
        model = ModelSettings(name=model)
    return resolve_settings(model) if isinstance(model, ModelSettings) else model


def _kept(settings: ModelSettings) -> dict[str, Any]:
    return settings.model_dump(exclude=_PASSING_SETTINGS, exclude_none=True)
