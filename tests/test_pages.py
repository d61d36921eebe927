"""Pages: the promises of `render`, for any text and any budget."""

from __future__ import annotations

import base64
import hashlib
import io
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import palimpsest.pages
from palimpsest.errors import ConfigurationError, InputError
from palimpsest.pages import Page, Style, render

MEMORY = """\
# Question: which engineer rebuilt the light on Skarvholm after the fire?

## <span style="color:#c00000">Most likely answer: Henrietta Osei-Lund</span>

- **Henrietta Osei-Lund** signed the drawings of the second tower on **4 June 1883** (Report 7).
- Her assistant **Tobias Wren** surveyed the rock and kept the diary of the works.
- The first tower was the work of *Matthias Kroll*, **1841**; it burned on 12 November 1881.

## People

| Name | Part in the story | Where trained | Source |
|---|---|---|---|
| Henrietta Osei-Lund | Engineer of the second tower | Polytechnic of Delft | Report 7 |
| Matthias Kroll | Architect of the first tower | self-taught mason | Letter 3 |
| Tobias Wren | Surveyor, diarist | Navy school, Horten | Diary |
| Agnes Pettersson | Keeper at the time of the fire | none | Inquest |

## Order of events
1. **1838** – Three ships are lost on the reef in a single winter; the guild asks for a light.
2. **1841** – Kroll finishes a timber tower of *nineteen metres*; the lamp burns rape oil.
3. **1881** – A chimney fire destroys the tower; keeper **Agnes Pettersson** saves the lens.
4. **1882** – The board rejects two plans as too dear; the third, of 41,500 crowns, is accepted.
5. **1884** – The granite tower is lit on 2 September with the *old lens* in a new lantern.

## Doubtful or contrary
- A travel guide of 1902 names **Edvard Lund** as the builder; he was her husband and supplied
  stone (*see Report 7, page 31*).
- Letter 12 speaks of a <span style="color:blue">second fire in 1890</span>; the log of the station
  has no trace of it, and the writer was in **Lisbon** that year.
- The plaque on the door gives 1885, the year in which the board paid the last bill.

### Background (low priority)
Skarvholm lies nine nautical miles off the coast and is bare rock apart from a strip of turf.
Supplies came every third week, weather allowing, and once the station was cut off for fifty-two
days. The lens was ground in Paris by the firm of **Barbier** and weighs 340 kilograms. After 1931
an electric lamp took its place, and the crew went from four to two. The station has been empty
since **1987**; the tower is listed, and volunteers paint it in summer.

### To check in the next chunks
- Did the board name an overseer besides Osei-Lund?
- Is the diary of Wren complete, or does it break off in 1883 as Report 9 claims?
"""

WORD = st.text(st.characters(categories=("L", "N")), min_size=1, max_size=40)
WORDS = st.lists(WORD, min_size=1, max_size=12)


def in_order(words: list[str]) -> str:
    return "".join("".join(words).split())


def drawn(page: Page) -> str:
    text = "".join(box.text for box in page.boxes if box.style != "marker")
    return "".join(text.replace("•", "").replace("|", "").split())


def assert_well_formed(page: Page, budget: int, cell: int) -> None:
    assert 1 <= page.tokens <= budget
    assert max(page.grid_width, page.grid_height) <= 200 * min(page.grid_width, page.grid_height)
    assert page.image.mode == "RGB"
    assert page.image.size == (cell * page.grid_width, cell * page.grid_height)
    for box in page.boxes:
        assert -1e-6 <= box.x0 <= box.x1 <= page.image.width + 1e-6
        assert -1e-6 <= box.y0 <= box.y1 <= page.image.height + 1e-6


def test_public_names_are_sorted_and_exist() -> None:
    assert sorted(palimpsest.pages.__all__) == palimpsest.pages.__all__
    assert all(hasattr(palimpsest.pages, name) for name in palimpsest.pages.__all__)


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=600), st.integers(1, 2048), st.sampled_from([28, 32]))
def test_any_text_gives_a_page_within_any_budget(text: str, budget: int, cell: int) -> None:
    assert_well_formed(render(text, budget, cell=cell), budget, cell)


@settings(deadline=None, max_examples=40)
@given(
    st.text("#*->_|`[]()!~<>&:\n 1.ab漢ב\t\\", max_size=300),
    st.integers(1, 64),
    st.sampled_from(["shrink", "drop"]),
)
def test_any_markup_gives_a_page(text: str, budget: int, policy: str) -> None:
    page = render(text, budget, style=Style(policy=policy))
    assert_well_formed(page, budget, 28)


@settings(deadline=None, max_examples=60)
@given(st.data(), st.integers(1, 300))
def test_shrinking_draws_every_word_in_order(data: st.DataObject, budget: int) -> None:
    expected: list[str] = []
    blocks: list[str] = []
    for _ in range(data.draw(st.integers(1, 8))):
        words = data.draw(WORDS)
        expected += words
        shape = data.draw(st.sampled_from(["# {}", "{}", "- **{}**", "> {}", "| {} |\n|---|"]))
        blocks.append(shape.format(" ".join(words)))
    page = render("\n\n".join(blocks), budget)
    assert_well_formed(page, budget, 28)
    assert page.dropped == 0
    assert drawn(page) == in_order(expected)


def test_word_longer_than_any_line_is_broken_not_cut() -> None:
    word = "pneumono" * 400
    page = render(word, 16)
    assert_well_formed(page, 16, 28)
    assert drawn(page) == word
    assert len(page.boxes) > 1


def test_memory_of_600_tokens_is_legible_in_64_cells() -> None:
    page = render(MEMORY, 64)
    assert page.body_px >= 4.5
    assert 58 <= page.tokens <= 64
    assert page.text.startswith("Question: which engineer")


def test_page_is_full() -> None:
    page = render(MEMORY, 256)
    assert max(box.y1 for box in page.boxes) > page.image.height * 0.95


def test_type_grows_with_the_budget() -> None:
    sizes = [render(MEMORY, budget).body_px for budget in (4, 16, 64, 256, 1024)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_larger_cells_carry_larger_type() -> None:
    assert render(MEMORY, 64, cell=32).body_px > render(MEMORY, 64, cell=28).body_px


def test_headings_are_larger_than_body_and_body_than_nothing() -> None:
    sizes = render(MEMORY, 128).sizes
    assert sizes["h1"] > sizes["h2"] > sizes["h3"] > sizes["body"] > 0
    assert sizes["h1"] == pytest.approx(1.5 * sizes["body"])


def test_short_memory_takes_fewer_cells_at_the_largest_type() -> None:
    page = render("The answer is **Paris**.", 1024)
    assert page.body_px == 28
    assert page.tokens < 40


def test_blank_memory_is_a_blank_page() -> None:
    page = render(" \n\n\t", 64)
    assert page.tokens == 4
    assert page.boxes == ()
    assert page.image.getcolors() == [(56 * 56, (255, 255, 255))]


@pytest.mark.parametrize("budget", [1, 2, 3, 5, 7])
def test_tiny_budgets_hold_everything(budget: int) -> None:
    page = render(MEMORY, budget)
    assert_well_formed(page, budget, 28)
    assert "Osei-Lund" in page.text
    assert "Report9claims?" in drawn(page)


def test_boxes_name_the_source_line() -> None:
    page = render("# Title\n\non\nto\n\n- item\n\n| a |\n|---|\n| b |\n\n```\ncode\n```\n", 64)
    lines = {box.text: box.line for box in page.boxes}
    assert lines == {
        "Title": 0,
        "on to": 2,
        "•": 5,
        "item": 5,
        "a": 7,
        "b": 9,
        "code": 12,
    }


def test_boxes_hold_the_ink_of_their_words() -> None:
    page = render("Hxg\n\n# Ångström gjpqy", 64)
    for box in page.boxes:
        edges = (int(box.x0), int(box.y0), int(box.x1) + 1, int(box.y1) + 1)
        darkest, _ = page.image.convert("L").crop(edges).getextrema()
        assert darkest < 30


def test_text_keeps_clear_of_the_edges() -> None:
    page = render("\n\n".join(["*fÅgjfW*"] * 6), 24)
    frame = page.image.convert("L")
    width, height = frame.size
    sides = [(0, 0, 1, height), (width - 1, 0, width, height)]
    ends = [(0, 0, width, 1), (0, height - 1, width, height)]
    for edge in (*sides, *ends):
        assert frame.crop(edge).getextrema()[0] > 120


def test_same_input_gives_the_same_page() -> None:
    first, second = render(MEMORY, 64), render(MEMORY, 64)
    assert first == second
    assert first.png() == second.png()
    assert first.boxes == second.boxes
    assert render(MEMORY, 65).sha256 != first.sha256 or render(MEMORY, 65) == first


RENDER_AND_WATCH = """
import hashlib, sys
from palimpsest.pages import render
memory = sys.stdin.buffer.read().decode()
digest = hashlib.sha256(render(memory, 64).png()).hexdigest()
seen = []
sys.addaudithook(lambda event, args: seen.append(event))
render(memory + "![x](file:///etc/passwd) ![y](http://localhost/) <img src='/etc/passwd'>", 64)
forbidden = ("open", "socket", "subprocess", "os.system", "exec", "import")
print(digest, sorted(event for event in set(seen) if event.startswith(forbidden)))
"""


def test_other_processes_give_the_same_bytes_and_read_nothing_else() -> None:
    expected = hashlib.sha256(render(MEMORY, 64).png()).hexdigest()
    for _ in range(2):
        run = subprocess.run(
            [sys.executable, "-c", RENDER_AND_WATCH],
            input=MEMORY.encode(),
            capture_output=True,
            check=True,
        )
        assert run.stdout.decode().strip() == f"{expected} []"


RENDER_AFTER_OTHERS = """
import sys
from palimpsest.pages import Style, render

for px in map(float, sys.argv[1:]):
    page = render("illicit filling will tilt little lilies; fifty fill it still " * 3, 256,
                  style=Style(floor_px=1.0, cap_px=px, columns=1))
    assert page.body_px == px
print(page.sha256)
"""


def test_what_was_drawn_before_does_not_show_in_a_page() -> None:
    def last(*sizes: str) -> str:
        command = [sys.executable, "-c", RENDER_AFTER_OTHERS, *sizes]
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout

    # At 5 px glyphs are drawn twice as large as shown, which is the size they have at 10 px.
    assert last("10") == last("5", "10")
    assert last("5") == last("10", "5")


def test_data_url_is_the_png() -> None:
    page = render(MEMORY, 16)
    kind, _, data = page.data_url().partition(",")
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.tobytes() == page.image.tobytes()


def test_dropping_keeps_headings_and_reaches_the_floor() -> None:
    shrunk = render(MEMORY, 24)
    page = render(MEMORY, 24, style=Style(policy="drop"))
    assert shrunk.dropped == 0
    assert shrunk.body_px < 4.6 <= page.body_px
    assert page.dropped > 0
    for heading in ("Question:", "Most likely answer", "People", "Order of events", "To check"):
        assert heading in page.text
    assert "nautical" not in page.text


def test_dropping_keeps_all_where_all_is_legible() -> None:
    page = render(MEMORY, 256, style=Style(policy="drop"))
    assert page.dropped == 0
    assert page == render(MEMORY, 256)


def test_dropping_keeps_at_least_one_block() -> None:
    page = render(MEMORY, 1, style=Style(policy="drop"))
    assert page.text.startswith("Question:")


@pytest.mark.parametrize(
    "memory",
    [
        pytest.param("a" * 65_537, id="characters"),
        pytest.param("a\n\n" * 9_000, id="blocks"),
        pytest.param("|a|b|\n|-|-|\n" + "|c|d|\n" * 4_500, id="cells"),
        pytest.param("- " * 100 + "a", id="nesting"),
        pytest.param("> " * 100 + "a", id="quotes"),
    ],
)
def test_memory_too_large_to_lay_out_is_refused_with_a_hint(memory: str) -> None:
    with pytest.raises(InputError) as caught:
        render(memory, 64)
    assert caught.value.hint


@pytest.mark.parametrize(("budget", "cell"), [(0, 28), (-1, 28), (16_385, 28), (64, 0), (64, 999)])
def test_impossible_sizes_are_refused(budget: int, cell: int) -> None:
    with pytest.raises(InputError):
        render("a", budget, cell=cell)


def test_style_refuses_an_empty_range_of_sizes() -> None:
    with pytest.raises(InputError):
        Style(floor_px=30)


def test_family_that_is_not_installed_is_named() -> None:
    with pytest.raises(ConfigurationError, match="No Such Sans") as caught:
        render("a", 4, style=Style(families=("Noto Sans", "No Such Sans")))
    assert caught.value.hint == "pip install fontpkg-no-such-sans"


def test_second_family_draws_what_the_first_lacks() -> None:
    arrow = render("a → b", 16)
    box = render("a → b", 16, style=Style(families=("Noto Sans",)))
    assert arrow.sha256 != box.sha256
    assert render("a b", 16) == render("a b", 16, style=Style(families=("Noto Sans",)))
