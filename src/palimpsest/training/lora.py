"""Low-rank adapters (LoRA, arXiv 2106.09685), so that a model of billions fits one GPU."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from palimpsest.errors import ConfigurationError

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

INSTALL = 'pip install "palimpsest-memory[train]"'

LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Every linear layer of a language model's blocks."""


@dataclass(frozen=True)
class LoRA:
    """Which layers get adapters, and how large. Eyes are left as they are.

    There is no dropout: the probabilities of the sampler and of the update must agree.
    """

    rank: int = 16
    alpha: float = 32.0
    """The adapters' output is scaled by alpha / rank."""
    layers: tuple[str, ...] = LAYERS


def with_adapters(module: PreTrainedModel, lora: LoRA) -> PeftModel:
    """The model with fresh adapters, which change nothing yet, and all else frozen."""
    peft = _peft()
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=0.0,
        target_modules=rf"(?!.*\bvisual\b).*\.({'|'.join(lora.layers)})",
    )
    with _no_word_of_names():
        model: PeftModel = peft.get_peft_model(module, config)
    return model


def with_saved_adapters(module: PreTrainedModel, folder: str) -> PeftModel:
    """The model with the adapters that were saved in a folder, to be trained further."""
    peft = _peft()
    with _no_word_of_names():
        model: PeftModel = peft.PeftModel.from_pretrained(module, folder, is_trainable=True)
    return model


@contextmanager
def _no_word_of_names() -> Iterator[None]:
    # peft 0.21 asks transformers 5.23 for a property by the name it had before.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        yield


def _peft() -> ModuleType:
    try:
        return import_module("peft")
    except ImportError as error:
        raise ConfigurationError(
            "adapters need peft, which is not installed", hint=INSTALL
        ) from error
