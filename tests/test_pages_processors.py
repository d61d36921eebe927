"""Pages pass through the models' own image processors as they are: same grid, same pixels.

The processors are those of Hugging Face Transformers, set as in the models' published
`preprocessor_config.json`. Both families have a smallest picture, below which it is enlarged and
costs more tokens than it has cells:

    Qwen2-VL, Qwen2.5-VL   3,136 pixels: 4 cells of 28; concerns budgets of 1 to 3 tokens only
    Qwen3-VL               65,536 pixels: 64 cells of 32

A server that is to read smaller pages needs it set to one cell: `size.shortest_edge` (older
versions: `min_pixels`) of 784 or 1024.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palimpsest.pages import Page, render
from palimpsest.pages.page import MAX_BUDGET

transformers = pytest.importorskip("transformers", reason="needs the `vision` extra")
qwen2_vl = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")

CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]


class Family(NamedTuple):
    """Models that share a processor's settings."""

    cell: int
    smallest: int
    """Pixels below which a picture is enlarged."""
    largest: int
    patch: int
    mean: list[float]
    std: list[float]

    def processor(self, smallest: int | None = None) -> Any:
        return qwen2_vl.Qwen2VLImageProcessorPil(
            size={"shortest_edge": smallest or self.smallest, "longest_edge": self.largest},
            patch_size=self.patch,
            temporal_patch_size=2,
            merge_size=2,
            image_mean=self.mean,
            image_std=self.std,
        )


FAMILIES = {
    "Qwen2.5-VL": Family(28, 3_136, 12_845_056, 14, CLIP_MEAN, CLIP_STD),
    "Qwen3-VL": Family(32, 65_536, 16_777_216, 16, [0.5] * 3, [0.5] * 3),
}

MEMORY = "# The light on Skarvholm\n\n" + "\n".join(
    f"- **Report {number}** names *Osei-Lund* and puts the cost at {number * 731:,} crowns."
    for number in range(90)
)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


def grid(processor: Any, page: Page) -> list[int]:
    """Time, height and width in patches, as the model gets them."""
    found: list[int] = processor(images=[page.image], return_tensors="np")["image_grid_thw"][0]
    return list(found)


@pytest.mark.parametrize("budget", [1, 2, 3, 4, 5, 7, 13, 16, 31, 64, 100, 256, 600, 1_024])
def test_grid_of_the_model_is_the_grid_of_the_page(family: Family, budget: int) -> None:
    page = render(MEMORY, budget, cell=family.cell)
    least = family.cell**2 if page.tokens * family.cell**2 < family.smallest else None
    processor = family.processor(least)
    assert grid(processor, page) == [1, 2 * page.grid_height, 2 * page.grid_width]
    patches = processor.get_number_of_image_patches(page.image.height, page.image.width)
    assert patches / 4 == page.tokens <= budget


def test_largest_page_is_not_reduced(family: Family) -> None:
    page = render(MEMORY * 5, MAX_BUDGET, cell=family.cell)
    assert page.tokens > 1_024
    assert resized(family, page.grid_width, page.grid_height) == page.image.size


def resized(
    family: Family, columns: int, rows: int, smallest: int | None = None
) -> tuple[int, int]:
    """What the processor makes of a page of so many cells."""
    height, width = qwen2_vl.smart_resize(
        rows * family.cell,
        columns * family.cell,
        factor=family.cell,
        min_pixels=smallest or family.smallest,
        max_pixels=family.largest,
    )
    return width, height


@settings(deadline=None)
@given(st.sampled_from(sorted(FAMILIES)), st.integers(1, 1_810), st.integers(1, 1_810))
def test_no_grid_of_any_budget_is_resized(name: str, columns: int, rows: int) -> None:
    family = FAMILIES[name]
    rows = min(rows, 200 * columns, MAX_BUDGET // columns)
    columns = min(columns, 200 * rows)
    one_cell = family.cell**2
    size = (columns * family.cell, rows * family.cell)
    assert resized(family, columns, rows, one_cell) == size
    if columns * rows * one_cell >= family.smallest:
        assert resized(family, columns, rows) == size


def test_smallest_picture_of_each_family_is_as_documented(family: Family) -> None:
    cells = family.smallest // family.cell**2
    assert cells == {28: 4, 32: 64}[family.cell]
    page = render("a", cells - 1, cell=family.cell)
    enlarged = grid(family.processor(), page)
    assert enlarged[1] * enlarged[2] / 4 >= cells > page.tokens
    assert grid(family.processor(family.cell**2), page)[1:] == [
        2 * page.grid_height,
        2 * page.grid_width,
    ]


@pytest.mark.parametrize("budget", [64, 256])
def test_pixels_of_the_model_are_the_pixels_of_the_page(family: Family, budget: int) -> None:
    page = render(
        '# Gull Rock\n\n<span style="color:red">lamp</span>\n' + MEMORY, budget, cell=family.cell
    )
    processor = family.processor(family.cell**2)
    values = processor(images=[page.image], return_tensors="np")["pixel_values"]
    shown = unpatched(values, page, family) * family.std + family.mean
    expected = np.asarray(page.image)
    assert np.array_equal(np.rint(shown * 255), expected)
    assert len(np.unique(expected.reshape(-1, 3), axis=0)) > 100


def unpatched(values: Any, page: Page, family: Family) -> Any:
    """Rows, columns and channels from the patches: four to a cell, each given for two frames."""
    side = family.patch
    patches = values.reshape(page.grid_height, page.grid_width, 2, 2, 3, 2, side, side)
    assert np.array_equal(patches[..., 0, :, :], patches[..., 1, :, :])
    cells = patches[..., 0, :, :].transpose(0, 2, 5, 1, 3, 6, 4)
    return cells.reshape(page.image.height, page.image.width, 3)
