"""A fault of verl 0.9.1 that MemOCR's training runs into, put right where it is.

Qwen2.5-VL under verl looks at an empty picture in a pass of text alone, so that GPUs with and
without pictures keep in step. With transformers 5 it takes what the eyes return for a tensor, and
fails; and drafts are text alone. Nothing else of verl's is changed by this package.
"""

from __future__ import annotations

from typing import Any

import torch
from verl.models.transformers import qwen2_vl

_EMPTY = (1, 4, 4)
"""Frames, rows and columns of patches of the picture."""


def mend() -> None:
    """Lets text alone pass through Qwen2-VL and Qwen2.5-VL. A second call does nothing."""
    given = qwen2_vl._get_input_embeds
    if getattr(given, "mended", False):
        return

    def embedded(
        model: Any,  # noqa: ANN401
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        pixel_values_videos: torch.Tensor | None = None,
        *rest: Any,  # noqa: ANN401
        **named: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        if pixel_values is None and pixel_values_videos is None:
            return _of_text(model, input_ids), attention_mask
        return given(
            model, input_ids, attention_mask, pixel_values, pixel_values_videos, *rest, **named
        )

    embedded.mended = True  # type: ignore[attr-defined]
    qwen2_vl._get_input_embeds = embedded


def _of_text(model: Any, input_ids: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
    """The embeddings of text, with a look at an empty picture that adds nothing to them."""
    embeddings: torch.Tensor = model.get_input_embeddings()(input_ids)
    vision = model.config.vision_config
    size = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    frames, rows, columns = _EMPTY
    pixels = embeddings.new_zeros((frames * rows * columns, size))
    grid = torch.tensor([_EMPTY], device=embeddings.device)
    seen: torch.Tensor
    seen, _ = qwen2_vl.unpack_visual_output(model.visual(pixels, grid_thw=grid))
    return embeddings + 0.0 * seen.mean()
