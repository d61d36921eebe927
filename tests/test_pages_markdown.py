"""What the markdown of a memory becomes: blocks, looks, and nothing lost."""

from __future__ import annotations

import pytest

from palimpsest.pages.block import HARD_BREAK, Block, Look, Rule, Span, Table, Text, text_of
from palimpsest.pages.columns import column_widths
from palimpsest.pages.markdown import MAX_FRAMES, read_markdown
from palimpsest.pages.selection import by_importance
from palimpsest.pages.words import segments

FAMILIES = ("Noto Sans",)


def looks(markdown: str) -> dict[str, Look]:
    (block,) = read_markdown(markdown)
    assert isinstance(block, Text)
    return {span.text.strip(): span.look for span in block.spans if span.text.strip()}


def texts(blocks: tuple[Block, ...]) -> list[str]:
    return [text_of(block) for block in blocks]


def test_known_tags_become_looks() -> None:
    found = looks(
        "<mark>a</mark> <b>b</b> <i>c</i> <s>d</s> <strong>e</strong> <em>f</em> <u>g</u>"
    )
    assert found == {
        "a": Look(mark=True),
        "b": Look(bold=True),
        "c": Look(italic=True),
        "d": Look(strike=True),
        "e": Look(bold=True),
        "f": Look(italic=True),
        "g": Look(underline=True),
    }


@pytest.mark.parametrize(
    "tag",
    [
        '<span style="color:red">',
        "<span style='font-size:9px; color: #ff0000'>",
        '<font color="red">',
        "<FONT COLOR=red>",
        '<span style="color:rgb(255,0,0)">',
    ],
)
def test_colours_are_read(tag: str) -> None:
    assert looks(f"{tag}a")["a"].colour == (255, 0, 0)


def test_markdown_and_tags_combine() -> None:
    found = looks('**a <span style="color:blue">b *c***</span>')
    assert found["b"] == Look(bold=True, colour=(0, 0, 255))
    assert found["c"] == Look(bold=True, italic=True, colour=(0, 0, 255))


def test_colours_too_pale_to_read_are_darkened() -> None:
    colour = looks('<span style="color:white">a</span>')["a"].colour
    assert colour is not None
    assert max(colour) < 180


def test_unknown_colours_and_tags_change_nothing() -> None:
    assert looks('<span style="color:nonsense">a</span>') == {"a": Look()}
    (block,) = read_markdown("<script>alert(1)</script> <img src=x>")
    assert text_of(block) == "<script>alert(1)</script> <img src=x>"


def test_escaped_tags_are_text() -> None:
    (block,) = read_markdown(r"\<mark>a\</mark> &lt;b&gt;")
    assert text_of(block) == "<mark>a</mark> <b>"


def test_tag_left_open_ends_with_its_block() -> None:
    first, second = read_markdown("<mark>a\n\nb")
    assert isinstance(first, Text)
    assert isinstance(second, Text)
    assert first.spans[0].look.mark
    assert not second.spans[0].look.mark


def test_break_tag_ends_the_line() -> None:
    (block,) = read_markdown("a<br>b")
    assert isinstance(block, Text)
    assert [span.text for span in block.spans] == ["a", HARD_BREAK, "b"]


def test_lists_keep_numbers_boxes_and_depth() -> None:
    blocks = read_markdown("9. a\n10. b\n    - c\n      - [x] d\n      - [ ] **e**")
    assert texts(blocks) == ["9. a", "10. b", "• c", "[x] d", "[ ] e"]
    assert [len(block.frames) for block in blocks] == [1, 1, 2, 3, 3]
    assert blocks[0].frames[0].marker == "10."


def test_marker_without_text_of_its_own_is_kept() -> None:
    assert texts(read_markdown("1. - a")) == ["1.", "• a"]
    assert texts(read_markdown("- a\n-\n- b")) == ["• a", "•", "• b"]


def test_deep_nesting_is_flattened() -> None:
    blocks = read_markdown("- " * 12 + "a")
    assert max(len(block.frames) for block in blocks) == MAX_FRAMES
    assert texts(blocks)[-1] == "• a"


def test_cells_beyond_the_header_are_kept() -> None:
    (table,) = read_markdown("| a | b |\n|---|---|\n| c | d | **e** |\n| f |")
    assert isinstance(table, Table)
    assert [len(row) for row in table.rows] == [3, 3, 3]
    assert text_of(table) == "a b\nc d e\nf"
    assert table.rows[1][2] == (Span("e", Look(bold=True), 2),)


def test_what_looks_like_a_link_definition_is_kept() -> None:
    assert texts(read_markdown("[Doc 12]: Solheim")) == ["[Doc 12]: Solheim"]


def test_code_keeps_its_lines_and_spaces() -> None:
    (block,) = read_markdown("```python\nif a:\n    b\n```")
    assert isinstance(block, Text)
    assert [(span.text, span.line) for span in block.spans if span.text != HARD_BREAK] == [
        ("if a:", 1),
        ("    b", 2),
    ]


def test_rules_and_quotes_are_blocks() -> None:
    rule, quote = read_markdown("---\n\n> a")
    assert isinstance(rule, Rule)
    assert isinstance(quote, Text)
    assert quote.role == "quote"


def test_importance_is_headings_then_sections_then_emphasis() -> None:
    blocks = read_markdown("# a\n\nb\n\n## c\n\nd\n\n**e**\n\n### f\n\n**g**\n\nh\n")
    order = [text_of(step.block) for step in by_importance(blocks) if step.whole]
    assert order == ["a", "c", "f", "b", "e", "d", "g", "h"]


def test_lines_are_filled_and_never_too_wide() -> None:
    (segment,) = segments([Span("one two three four five six seven", Look(), 0)], families=FAMILIES)
    wrapped = segment.wrap(6.0)
    starts = [0, *wrapped.ends]
    lines = [segment.text(first, last) for first, last in zip(starts, wrapped.ends, strict=False)]
    assert " ".join(lines) == "one two three four five six seven"
    for first, last in zip(starts, wrapped.ends, strict=False):
        assert segment.ends[last - 1] - segment.starts[first] <= 6.0


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("word", ["word"]),
        ("two\u00a0words", ["two\u00a0words"]),
        ("2001–2008", ["2001–", "2008"]),
        ("-5", ["-5"]),
        ("漢字。", ["漢", "字。"]),
        ("「漢字」", ["「漢", "字」"]),
        ("ab漢cd", ["ab", "漢", "cd"]),
    ],
)
def test_words_break_where_their_script_allows(text: str, pieces: list[str]) -> None:
    (segment,) = segments([Span(text, Look(), 0)], families=FAMILIES)
    assert [piece.text for piece in segment.pieces] == pieces


def test_right_to_left_word_breaks_in_reading_order() -> None:
    word = "המשוררתהאלמונית"
    (segment,) = segments([Span(word, Look(), 0)], families=FAMILIES)
    wrapped = segment.wrap(segment.width / 3)
    assert wrapped.broken == 1
    assert "".join(piece.text for piece in wrapped.segment.pieces) == word
    assert wrapped.segment.widest <= segment.width / 3


def test_columns_take_their_natural_width_where_there_is_room() -> None:
    assert column_widths([3.0, 5.0], [1.0, 2.0], 10.0) == [3.0, 5.0]


def test_columns_share_what_their_longest_words_leave() -> None:
    widths = column_widths([3.0, 20.0], [2.0, 4.0], 10.0)
    assert sum(widths) == pytest.approx(10.0)
    assert widths[0] >= 2.0
    assert widths[1] >= 4.0


def test_columns_of_short_words_are_not_squeezed_by_a_long_one() -> None:
    assert column_widths([1.0, 50.0], [1.0, 50.0], 10.0) == [1.0, 9.0]
