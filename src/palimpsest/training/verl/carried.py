"""The recipe as part of verl's configuration, so that every process of a cluster has it.

palimpsest.recipe = packed(recipe)      # in verl's configuration
recipe = unpacked(config)               # in any of its processes
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from palimpsest.errors import ConfigurationError
from palimpsest.training.recipe import Recipe


def packed(recipe: Recipe) -> str:
    """A recipe as one line of JSON in which verl's configuration finds nothing to replace."""
    return recipe.model_dump_json().replace("$", "\\u0024")


def text_in(config: Mapping[str, Any]) -> str:
    """The recipe in verl's configuration, as it was packed. Raises `ConfigurationError`."""
    part = config.get("palimpsest")
    if not part or not part.get("recipe"):
        raise ConfigurationError(
            "verl's configuration has no palimpsest.recipe",
            hint="start with palimpsest train RECIPE --engine verl, which puts it there",
        )
    return str(part["recipe"])


def unpacked(config: Mapping[str, Any]) -> Recipe:
    """The recipe that is part of verl's configuration. Raises `ConfigurationError`."""
    return Recipe.model_validate_json(text_in(config))
