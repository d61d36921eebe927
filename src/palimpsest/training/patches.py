"""Images and their tokens: patches of pixels, cells in a prompt, places in the text.

Follows the Qwen2-VL scheme (arXiv 2409.12191, section 2.1), which Qwen2.5-VL and Qwen3-VL keep for
single images. Nothing is resized: an image whose sides are no multiples of the cell is refused.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import PIL.Image

from palimpsest.errors import RefusedError
from palimpsest.training.families import Eyes


class Cells(NamedTuple):
    """The grid of visual tokens of one image."""

    height: int
    width: int

    @property
    def tokens(self) -> int:
        return self.height * self.width


class Patches(NamedTuple):
    """One image as the model takes it."""

    values: npt.NDArray[np.float32]
    """A row for each patch: cell by cell, and within a cell row by row."""
    grid: tuple[int, int, int]
    """Frames, rows and columns of patches."""


def cells_of(png: bytes, eyes: Eyes) -> Cells:
    """The grid of an image. Raises `RefusedError` for one that does not lie on the cells."""
    with PIL.Image.open(io.BytesIO(png)) as image:
        width, height = image.size
    if width % eyes.cell_px or height % eyes.cell_px:
        raise RefusedError(
            f"an image of {width} x {height} pixels does not lie on cells of {eyes.cell_px}",
            hint=f"Draw it with both sides multiples of {eyes.cell_px} (render's `cell`).",
        )
    return Cells(height // eyes.cell_px, width // eyes.cell_px)


def patches_of(png: bytes, eyes: Eyes) -> Patches:
    """The pixels of an image, normalised and cut into patches."""
    cells = cells_of(png, eyes)
    with PIL.Image.open(io.BytesIO(png)) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=np.float32) / np.float32(255)
    mean, deviation = np.array([eyes.mean, eyes.deviation], dtype=np.float32)
    pixels = (pixels - mean) / deviation
    side, merge = eyes.patch_px, eyes.merge
    cut = pixels.reshape(cells.height, merge, side, cells.width, merge, side, 3)
    # Cells, patches within the cell, colours, pixels within the patch.
    ordered = cut.transpose(0, 3, 1, 4, 6, 2, 5)
    frames = np.repeat(ordered[:, :, :, :, :, None], eyes.frames, axis=5)
    grid = (1, cells.height * merge, cells.width * merge)
    return Patches(frames.reshape(grid[1] * grid[2], -1), grid)


def expanded(ids: Iterable[int], cells: Sequence[Cells], eyes: Eyes) -> list[int]:
    """Token ids with each image's placeholder repeated for each of its cells."""
    grids = iter(cells)
    whole: list[int] = []
    for token in ids:
        whole += [token] * (next(grids).tokens if token == eyes.placeholder else 1)
    return whole


def positions_of(
    ids: Sequence[int], cells: Sequence[Cells], eyes: Eyes | None
) -> npt.NDArray[np.int64]:
    """Place of each token in time, height and width, of shape (3, tokens).

    Text moves along all three at once. An image stands still in time and spans its grid in height
    and width; what follows it begins past its longer side. Raises `ValueError` where placeholders
    and images do not match.
    """
    tokens = np.asarray(ids, dtype=np.int64)
    places = np.empty((3, len(tokens)), dtype=np.int64)
    held = tokens == eyes.placeholder if eyes else np.zeros(len(tokens), dtype=bool)
    if held.sum() != sum(grid.tokens for grid in cells):
        raise ValueError(
            f"{held.sum()} image placeholders for {[tuple(grid) for grid in cells]} cells"
        )
    index, place = 0, 0
    for grid in cells:
        begin = index + int(held[index:].argmax())
        end = begin + grid.tokens
        if not held[begin:end].all():
            raise ValueError(f"the placeholders of an image of {tuple(grid)} cells are parted")
        places[:, index:begin] = place + np.arange(begin - index)
        place += begin - index
        rows, columns = np.indices(grid).reshape(2, -1)
        places[:, begin:end] = place + np.stack([np.zeros_like(rows), rows, columns])
        place += max(grid)
        index = end
    places[:, index:] = place + np.arange(len(tokens) - index)
    return places
