"""The model families that can be trained, and all in which they differ.

    Qwen2, Qwen2.5     text
    Qwen3              text
    Qwen2.5-VL         text and images, cells of 28 px
    Qwen3-VL           text and images, cells of 32 px

A cell is what one visual token sees: 2 by 2 patches. Sizes are read from the model's own
configuration, so that small models of a family may have other cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from palimpsest.errors import ConfigurationError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

_TEXT = {"qwen2": "Qwen2", "qwen3": "Qwen3"}
_VISION = {"qwen2_5_vl": ("Qwen2.5-VL", _CLIP), "qwen3_vl": ("Qwen3-VL", _HALF)}

FAMILIES = (*_TEXT, *_VISION)
"""The `model_type` of each, as `config.json` has it."""


@dataclass(frozen=True)
class Eyes:
    """How a family sees: what becomes of an image on its way into the model."""

    patch_px: int
    merge: int
    """Patches along each side of a cell."""
    frames: int
    """Each image is repeated this often, as if it were a film."""
    mean: tuple[float, ...]
    """Taken from each colour, at 0 to 1, before it is divided by `deviation`."""
    deviation: tuple[float, ...]
    placeholder: int
    """The token that stands for one cell in a prompt."""

    @property
    def cell_px(self) -> int:
        """Side of the square of pixels behind one visual token."""
        return self.patch_px * self.merge


@dataclass(frozen=True)
class Family:
    """A model's family, with the sizes of the model at hand."""

    name: str
    window: int
    """Most tokens of prompt and answer together."""
    eyes: Eyes | None = None
    """None for a family that reads text only."""


def family_of(config: PreTrainedConfig) -> Family:
    """The family of a model. Raises `ConfigurationError` for one that cannot be trained."""
    kind = config.model_type
    if kind in _TEXT:
        return Family(_TEXT[kind], config.max_position_embeddings)
    if kind in _VISION:
        name, (mean, deviation) = _VISION[kind]
        eyes = _eyes(config, mean, deviation)
        return Family(name, config.text_config.max_position_embeddings, eyes)
    known = [*_TEXT.values(), *(name for name, _ in _VISION.values())]
    raise ConfigurationError(
        f"models of the type {kind!r} cannot be trained here",
        hint=f"The families that can: {', '.join(known)}.",
    )


def _eyes(config: Any, mean: tuple[float, ...], deviation: tuple[float, ...]) -> Eyes:  # noqa: ANN401
    vision = config.vision_config
    return Eyes(
        patch_px=vision.patch_size,
        merge=vision.spatial_merge_size,
        frames=vision.temporal_patch_size,
        mean=mean,
        deviation=deviation,
        placeholder=config.image_token_id,
    )
