"""What the pages bench is made of: its baseline, its looks and its tables."""

from __future__ import annotations

import asyncio
import re
import sys
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from palimpsest.errors import TransientError
from palimpsest.models import Sampling, ScriptedModel
from palimpsest.readers import MemOCR

sys.path.append(str(Path(__file__).parent.parent / "bench"))
looks, memories, recall, screenshots, speed = map(
    import_module, ("looks", "memories", "recall", "screenshots", "speed")
)

FIRST_SCREEN = Image.new("RGB", (1152, 656), "white")
TEXT = '# The **old** tower\n\nA <span style="color:red">light</span> for ships and 14 men.\n' * 9


@pytest.mark.parametrize(
    ("budget", "size"),
    [(1024, (1152, 656)), (512, (839, 478)), (256, (593, 338)), (64, (296, 169)), (16, (147, 84))],
)
def test_the_client_shrinks_a_screenshot_to_the_area_of_the_budget(budget, size):
    assert screenshots.shrink(FIRST_SCREEN, budget).size == size


@pytest.mark.parametrize(("budget", "tokens"), [(1024, 943), (256, 252), (64, 66), (16, 15)])
def test_the_server_rounds_to_cells_and_may_exceed_the_budget(budget, tokens):
    assert screenshots.delivered(FIRST_SCREEN, budget).tokens == tokens


def test_a_small_screenshot_is_not_enlarged():
    delivered = screenshots.delivered(Image.new("RGB", (140, 112), "white"), 256)
    assert (delivered.image.size, delivered.body_px) == ((140, 112), 16.0)


@given(st.integers(10, 2000), st.integers(10, 4000), st.sampled_from([16, 64, 256, 1024]))
def test_what_is_delivered_is_whole_cells(width, height, budget):
    delivered = screenshots.delivered(Image.new("L", (width, height)), budget)
    sides = delivered.image.size
    assert all(side % 28 == 0 for side in sides)
    assert delivered.tokens == sides[0] * sides[1] // 784


def test_no_chromium_is_found_where_there_is_none():
    assert screenshots.find_chromium("/nowhere/chromium") is None


def test_a_variant_alters_some_words_and_nothing_else():
    altered = speed.variant(TEXT, 1)
    assert altered == speed.variant(TEXT, 1)
    assert altered != speed.variant(TEXT, 2)
    assert len(altered) == len(TEXT)
    assert altered.count('<span style="color:red">') == 9
    assert re.sub(r"[A-Za-z]", "", altered) == re.sub(r"[A-Za-z]", "", TEXT)
    pairs = zip(altered.split(), TEXT.split(), strict=True)
    assert 0.02 < sum(one != other for one, other in pairs) / len(TEXT.split()) < 0.25


def test_growth_counts_from_the_page_it_is_told():
    course = [{"pages": page, "resident_mb": mb} for page, mb in ((1, 50), (2, 90), (3, 91))]
    assert speed.growth_mb(course, 2) == 1
    assert speed.growth_mb(course, 4) == 0


class Counting:
    def __init__(self) -> None:
        self.looked = 0

    def read_at(self, image: Image.Image, factor: int) -> str:
        self.looked += 1
        return "old tower" if factor == 2 else "tower"


def picture(text: str, method: str, budget: int) -> object:
    image = Image.new("RGB", (28, 28), "white")
    return looks.Picture(text, method, budget, image, 1, 5.0, 0, (2, 3))


def test_a_picture_is_looked_at_once_even_in_another_run(tmp_path):
    engine = Counting()
    for _ in range(2):
        looks.Looks(tmp_path, {"counting": engine}).look([picture("150", "shrink", 16)] * 2)
    assert engine.looked == 2


def test_the_best_look_counts(tmp_path):
    seen = looks.Looks(tmp_path, {"counting": Counting()})
    scores = seen.scores(picture("150", "shrink", 16), "# Old tower\n\n**light**", "counting")
    assert scores.words == pytest.approx(2 / 3)
    assert (scores.headings, scores.bold) == (1.0, 0.0)


class Broken:
    def read_at(self, image: Image.Image, factor: int) -> str:
        raise OSError("the disk is full")


def test_a_failing_engine_ends_the_run(tmp_path):
    with pytest.raises(OSError, match="disk"):
        looks.Looks(tmp_path, {"broken": Broken()}).look([picture("150", "shrink", 16)])


def scored(words: float, emphasis: float) -> list[dict[str, object]]:
    sizes = {"tokens": 9, "body_px": 7.0, "dropped": 0}
    return [
        {"text": text, "method": method, "budget": budget, "engine": engine, "words": words,
         "headings": emphasis, "bold": emphasis, "emphasis": emphasis, **sizes}
        for text in (*recall.SAMPLES, "row 1", "row 2")
        for method in (*recall.STYLES, *recall.BASELINES)
        for budget in recall.BUDGETS
        for engine in recall.ENGINES
    ]  # fmt: skip


def test_all_floors_are_passed_by_a_page_that_is_read_whole_and_failed_by_one_that_is_not():
    passed = recall.floors(scored(1.0, 1.0))
    assert len(passed) == 2 + 24 + 3
    assert all(check["passed"] for check in passed)
    failed = {check["name"] for check in recall.floors(scored(0.5, 0.3)) if not check["passed"]}
    assert "shrink: mean of 12 cells" in failed
    assert "drop: 150 in 16" in failed
    assert "headings and bold, drop: 2000 in 16" in failed
    assert "shrink: 600 in 16" not in failed


def test_the_report_has_every_method_and_both_readings():
    printed = recall.report(scored(0.5, 0.25))
    assert "| 2000 | 64 | 0.50 / 0.50 |" in printed
    assert "2 drafted memories, Tesseract" in printed
    assert "| 16 | PP-OCR | +0.00 [+0.00, +0.00] |" in printed


def test_memories_are_drafted_from_rows_and_rows_that_fail_are_passed_over():
    def answer(messages: list[dict[str, object]], sampling: Sampling) -> str:
        if "hopeless" in str(messages):
            raise TransientError("busy")
        return "" if "mute" in str(messages) else "# Tower\n\n- built in 1841"

    async def draft() -> list[dict[str, object]]:
        reader = MemOCR(memory_tokens=50)
        return [row async for row in memories.drafted(rows, reader, ScriptedModel(answer))]

    rows = [
        {"_id": name, "question": f"{name}?", "context": [["Tower", ["It was built.", " So."]]]}
        for name in ("who", "hopeless", "mute", "when")
    ]
    drafted = asyncio.run(draft())
    assert [row["id"] for row in drafted] == ["who", "when"]
    assert drafted[0]["memory"] == "# Tower\n\n- built in 1841"
    assert drafted[0]["tokens"] > 5


def test_without_a_browser_the_report_has_no_baseline():
    ours = [row for row in scored(0.5, 0.25) if row["method"] in recall.STYLES]
    assert "served" not in recall.report(ours)
