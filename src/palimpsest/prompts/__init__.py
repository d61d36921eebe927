"""Prompt wording as data."""

from palimpsest.prompts.templates import (
    PLACEHOLDERS,
    PromptOrder,
    PromptRole,
    PromptSet,
    Template,
    default_prompts,
    load_prompts,
)

__all__ = [
    "PLACEHOLDERS",
    "PromptOrder",
    "PromptRole",
    "PromptSet",
    "Template",
    "default_prompts",
    "load_prompts",
]
