"""What a recipe can ask for and verl does not do: said before a run, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from palimpsest.errors import ConfigurationError
from palimpsest.training.recipe import Recipe, SamplingPart


class Note(NamedTuple):
    """A key of the recipe that verl does not hold to."""

    key: str
    text: str


def notes(recipe: Recipe) -> tuple[Note, ...]:
    """What the recipe asks for and verl does not do, or does otherwise."""
    return tuple(Note(key, text) for key, (asks, text) in _UNHELD.items() if asks(recipe))


def refuse(recipe: Recipe) -> None:
    """Raises `ConfigurationError` for what verl cannot do and a run cannot go without."""
    for key, (asks, message, hint) in _REFUSED.items():
        if asks(recipe):
            raise ConfigurationError(f"verl: {key}: {message}", hint=hint)


_DEFAULT = SamplingPart()

_UNHELD: dict[str, tuple[Callable[[Recipe], bool], str]] = {
    "model.threads": (
        lambda recipe: recipe.model.threads is not None,
        "Ray gives each worker its processors",
    ),
    "sampling.concurrency": (
        lambda recipe: recipe.sampling.concurrency != _DEFAULT.concurrency,
        "all of a step's rollouts are under way at once; cluster.server_sequences bounds a server",
    ),
    "sampling.top_p": (
        lambda recipe: (
            recipe.sampling.top_p < 1
            and recipe.sampling.temperature != 1
            and recipe.loss.old == "sampler"
        ),
        "servers give probabilities of the cut distribution, and updates compare them with those "
        "of the whole one; loss.old=recomputed does not",
    ),
    "sampling.batch_tokens": (
        lambda recipe: recipe.sampling.batch_tokens != _DEFAULT.batch_tokens,
        "servers make batches of their own; cluster.server_tokens bounds them",
    ),
    "checkpoints.keep": (
        lambda recipe: recipe.evaluation.every > 0,
        "the last ones stay, and the best by the held-out score does not stay besides",
    ),
    "log.rollouts": (
        lambda recipe: recipe.log.rollouts == "tokens",
        "verl writes them as text, from which no warm start can learn",
    ),
    "log.curves": (
        lambda recipe: recipe.log.curves,
        "verl draws none; palimpsest view and TensorBoard show the log",
    ),
}

_REFUSED: dict[str, tuple[Callable[[Recipe], bool], str, str]] = {
    "model.tiny": (
        lambda recipe: recipe.model.tiny is not None,
        "models are loaded from folders",
        "give model.folder; a tiny model can be saved into one",
    ),
    "model.device": (
        lambda recipe: recipe.model.device is not None,
        "Ray places workers on the GPUs of the cluster",
        "leave it out, and say in [cluster] how many there are",
    ),
    "model.lora.alpha": (
        lambda recipe: bool(recipe.model.lora and recipe.model.lora.alpha % 1),
        "it must be a whole number",
        "set model.lora.alpha=32",
    ),
    "optimiser.schedule": (
        lambda recipe: recipe.optimiser.schedule == "linear",
        "the learning rate stays or falls as a cosine",
        "set optimiser.schedule=cosine or constant",
    ),
    "warm_start": (
        lambda recipe: recipe.warm_start is not None,
        "imitation is the embedded engine's",
        "train with steps=0 there, and give what comes out as model.folder",
    ),
    "early_stop": (
        lambda recipe: bool(recipe.early_stop.patience or recipe.early_stop.target is not None),
        "a run ends at its last step",
        "set steps, and stop it with Ctrl-C; --resume goes on",
    ),
    "steps": (lambda recipe: not recipe.steps, "there are none", "set steps=400"),
    "batch.updates": (
        lambda recipe: recipe.batch.updates > recipe.batch.prompts * recipe.batch.rollouts,
        "there are more than rollouts",
        "lower it, or raise batch.prompts",
    ),
}

UNHELD = tuple(_UNHELD)
"""Keys of which `notes` may have something to say."""
REFUSED = tuple(_REFUSED)
"""Keys that `refuse` looks at."""
