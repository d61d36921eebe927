"""A memory without a question: what a reader keeps for whatever may be asked later.

A digest is made by any reader that drafts, whose draft prompts are exchanged for ones that ask
for the whole of the text rather than for what helps with a question.
"""

from __future__ import annotations

from dataclasses import replace

from palimpsest.prompts.templates import PromptSet
from palimpsest.readers.drafting import MemoryReader
from palimpsest.readers.reader import PromptedReader
from palimpsest.readers.wrapper import Wrapper

DIGEST_QUESTION = "What does the text say: who, what, when, where and how much?"
"""What stands for the question where a step of a digest must name one."""

_DRAFT_ROLES = {"digest": "draft", "digest_rich": "draft_rich"}


def for_digest(reader: MemoryReader) -> MemoryReader:
    """The same reader, drafting for whatever may be asked later."""
    if isinstance(reader, Wrapper):
        return reader.model_copy(update={"base": for_digest(reader.base)})
    if isinstance(reader, PromptedReader):
        return reader.model_copy(update={"prompts": digest_prompts(reader.prompts)})
    return reader


def digest_prompts(prompts: PromptSet) -> PromptSet:
    """The prompts with the wording of a digest in the place of the drafts'."""
    exchanged = dict(prompts.templates)
    for name, template in prompts.templates.items():
        role, _, order = name.partition(".")
        if role in _DRAFT_ROLES:
            exchanged[f"{_DRAFT_ROLES[role]}.{order}"] = template
    return replace(prompts, templates=exchanged)
