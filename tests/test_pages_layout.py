"""Strips, columns, compact setting, and what is left out: the parts a fit is made of."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palimpsest.errors import InputError
from palimpsest.pages import PRESETS, Style, render, render_pages
from palimpsest.pages.block import text_of
from palimpsest.pages.compact import compact, compact_style
from palimpsest.pages.layout import extent, lay_out, measure, needed_width
from palimpsest.pages.markdown import read_markdown
from palimpsest.pages.selection import beginnings, by_importance, shortened
from palimpsest.pages.strip import side_by_side, slices

WORDS = st.lists(
    st.sampled_from(["a", "in", "reef", "lantern", "Skarvholm", "1883", "“no”", "x-ray"]),
    min_size=1,
)
SHAPES = st.sampled_from(
    [
        "# {}",
        "### {}",
        "{}",
        "- {}",
        "1. {}",
        "> {}",
        "- a\n  - {}",
        "```\n{}\n```",
        "| {} | b |\n|---|---|\n| c | d |",
        "**{}** and more of it",
        "---",
    ]
)
MEMORIES = st.lists(
    st.builds(lambda shape, words: shape.format(" ".join(words)), SHAPES, WORDS), min_size=1
).map("\n\n".join)
STYLE = Style()


def measured(markdown: str, style: Style = STYLE):
    return [measure(block, style) for block in read_markdown(markdown)]


@settings(deadline=None, max_examples=200)
@given(MEMORIES, st.floats(1, 60))
def test_extent_is_that_of_the_layout(markdown: str, width: float) -> None:
    blocks = measured(markdown)
    flow, expected = lay_out(blocks, width, STYLE), extent(blocks, width, STYLE)
    assert expected.height == pytest.approx(flow.height)
    assert (expected.broken, expected.overflows) == (flow.broken, flow.overflows)


@settings(deadline=None, max_examples=100)
@given(MEMORIES, st.floats(4, 30))
def test_slices_cover_the_strip_and_side_by_side_loses_no_line(
    markdown: str, height: float
) -> None:
    blocks = measured(markdown)
    flow = lay_out(blocks, max(map(needed_width, blocks)) + 5, STYLE)
    parts = slices(flow, height)
    if parts is None:
        return
    assert parts[0].top == 0
    assert parts[-1].bottom == flow.height
    assert all(part.bottom - part.top <= height + 1e-6 for part in parts)
    assert all(above.bottom <= below.top + 0.2 for above, below in pairwise(parts))
    page = side_by_side(flow, parts, 1.0)
    assert len(page.lines) == len(flow.lines)
    assert page.height <= height + 1e-6
    assert all(0 <= line.x <= page.width for line in page.lines)
    assert all(-1e-6 <= bar.y0 <= bar.y1 <= page.height + 1e-6 for bar in page.bars)


def test_heading_goes_to_the_next_column_with_its_text() -> None:
    flow = lay_out(measured("one\n\ntwo\n\n### Heading\n\nbelow"), 20, STYLE)
    heading = next(line for line in flow.lines if line.role == "h3")
    parts = slices(flow, heading.y + 1.5)
    assert parts is not None
    assert parts[1].top == pytest.approx(heading.y)


def test_columns_make_room_for_larger_type_where_lines_are_short() -> None:
    memory = "\n".join(f"- {number}: {word}" for number, word in enumerate(["pilot", "ferry"] * 60))
    one, two = (render(memory, 64, style=Style(columns=count, compact=False)) for count in (1, 2))
    assert two.body_px > one.body_px * 1.1
    assert len({round(box.x0) for box in two.boxes if box.style == "marker"}) == 2


def test_columns_are_read_one_after_the_other() -> None:
    memory = "\n\n".join(f"Entry {number}" for number in range(90))
    page = render(memory, 64, style=Style(columns=3))
    assert page.text.split("\n") == [f"Entry {number}" for number in range(90)]


CAPTAINS = ["Amsel", "Brand", "Crane", "Dorn", "Eider", "Falk", "Gans", "Heron", "Ibis", "Jay"]
YEAR = """## Year {year}
- **Captain {name}** landed {year} barrels of oil and left for the north
- the quay was repaired by the guild after the storm of that winter

| Ship | Cargo |
|---|---|
| Petrel {year} | rope |
| Osprey {year} | salt |
"""
LONG = "# Harbour log\n" + "\n".join(
    YEAR.format(year=1801 + number, name=name) for number, name in enumerate(2 * CAPTAINS)
)


def test_lists_and_tables_run_in_only_where_type_would_be_too_small() -> None:
    small, large = render(LONG, 32), render(LONG, 1024)
    assert large.body_px > STYLE.floor_px
    assert "•" not in [box.text.strip() for box in small.boxes]
    assert any(" | " in box.text for box in small.boxes)
    assert sum(box.text == "•" for box in large.boxes) == 40
    assert not any("|" in box.text for box in large.boxes)


def test_compact_setting_allows_larger_type() -> None:
    plain = render(LONG, 32, style=Style(compact=False))
    assert render(LONG, 32).body_px > plain.body_px * 1.1


def test_compact_setting_keeps_every_word_in_order() -> None:
    style = compact_style(STYLE)
    flow = lay_out(compact(measured(LONG), style), 30, style)
    drawn = [line.segment.text(line.first, line.last) for line in flow.lines]
    words = " ".join(drawn).replace("|", " ").replace("•", " ").split()
    expected = " ".join(text_of(block) for block in read_markdown(LONG)).replace("•", " ").split()
    assert words == expected


def test_headings_keep_their_weight_when_all_shrinks() -> None:
    small, large = render(LONG, 16), render(LONG, 1024)
    for role in ("h1", "h2"):
        assert small.sizes[role] / small.body_px == pytest.approx(large.sizes[role] / large.body_px)


def test_headings_then_emphasis_then_the_rest_is_kept() -> None:
    blocks = read_markdown("## A\n\nplain words\n\n- **bold** among other words\n\n## B\n\nmore")
    steps = [(text_of(step.block), step.whole) for step in by_importance(blocks)]
    assert steps == [
        ("A", True),
        ("B", True),
        ("• bold", False),
        ("• bold among other words", True),
        ("plain words", True),
        ("more", True),
    ]


def test_shortened_block_shows_what_was_emphasised_and_where_something_is_missing() -> None:
    (block,) = read_markdown("The **engineer** of the tower was **Osei-Lund**, as Report 7 says.")
    short = shortened(block)
    assert short is not None
    assert text_of(short) == "engineer … Osei-Lund"


@pytest.mark.parametrize(
    "markdown", ["no emphasis at all", "**all of it**", "**nearly all of** it"]
)
def test_block_that_would_hardly_be_shorter_is_not_shortened(markdown: str) -> None:
    (block,) = read_markdown(markdown)
    assert shortened(block) is None


def test_shortened_table_keeps_header_and_rows_with_emphasis() -> None:
    (block,) = read_markdown("| a | b |\n|---|---|\n| 1 | 2 |\n| **3** | 4 |\n| 5 | 6 |\n")
    short = shortened(block)
    assert short is not None
    assert text_of(short) == "a b\n3 4"


def test_dropping_keeps_the_beginning_of_prose() -> None:
    words = " ".join(f"word{number}" for number in range(3000))
    page = render(words, 64, style=Style(policy="drop"))
    assert page.body_px >= STYLE.floor_px * 0.98
    assert (page.dropped, page.shortened) == (0, 1)
    assert page.text.startswith("word0 word1 ")
    assert page.text.endswith(" …")
    assert len(page.text) > 1000


@pytest.mark.parametrize("size", [100, 280, 290, 3000, 65_000])
def test_beginnings_grow_and_stay_well_under_the_whole(size: int) -> None:
    (block,) = read_markdown("x" * size)
    lengths = [len(text_of(part)) for part in beginnings(block)]
    assert lengths == sorted(lengths)
    assert all(length < 0.75 * size for length in lengths)
    assert bool(lengths) == (size > 285)


def test_dropping_keeps_type_legible_and_says_what_is_gone() -> None:
    page = render(LONG, 32, style=Style(policy="drop"))
    assert page.body_px >= STYLE.floor_px * 0.98
    assert page.dropped > 0
    assert page.shortened > 0
    for year in range(1801, 1821):
        assert f"Year {year}" in page.text
    assert "Captain Amsel" in page.text


def test_nothing_is_dropped_where_everything_is_legible() -> None:
    page = render(LONG, 1024, style=Style(policy="drop"))
    assert (page.dropped, page.shortened) == (0, 0)
    assert page == render(LONG, 1024)


def test_continued_pages_hold_everything_at_the_legible_size() -> None:
    pages = render_pages(LONG, 64)
    assert len(pages) > 1
    assert all(page.tokens <= 64 for page in pages)
    assert all(page.body_px >= STYLE.floor_px for page in pages)
    assert len({page.body_px for page in pages}) == 1
    drawn = " ".join(page.text for page in pages).split()
    assert drawn == " ".join(text_of(block) for block in read_markdown(LONG)).split()


def test_memory_that_is_legible_on_one_page_is_not_continued() -> None:
    assert render_pages(LONG, 1024) == (render(LONG, 1024),)
    assert len(render_pages("", 64)) == 1


@pytest.mark.parametrize("budget", [1, 2, 7])
def test_continuing_on_tiny_pages_gives_pages_within_the_budget(budget: int) -> None:
    assert all(page.tokens <= budget for page in render_pages(LONG[:400], budget))


def test_every_line_knows_the_size_of_its_type() -> None:
    page = render(LONG, 256)
    assert {box.style for box in page.boxes} >= {"h1", "h2", "table"}
    assert all(box.px == pytest.approx(page.sizes[box.style]) for box in page.boxes)


def test_uniform_preset_sets_everything_alike() -> None:
    page = render(
        "# Heading\n\n**bold** and <mark>marked</mark> text", 64, style=PRESETS["uniform"]
    )
    assert page.sizes["h1"] == page.body_px
    plain = render("Heading\n\nbold and marked text", 64, style=PRESETS["uniform"])
    assert page.image.tobytes() == plain.image.tobytes()


@pytest.mark.parametrize("columns", [0, 9])
def test_impossible_columns_are_refused(columns: int) -> None:
    with pytest.raises(InputError, match="columns"):
        Style(columns=columns)
