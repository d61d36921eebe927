"""HTML drafts: the promises of `render_html`, for any draft and any budget."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostile_html import DRAFT, hostile_drafts, raw_documents, red_picture
from loopback import Loopback
from palimpsest.errors import ConfigurationError, InputError

pytest.importorskip("blitz_py", reason="needs the `html` extra")
pytest.importorskip("nh3", reason="needs the `html` extra")

from palimpsest.pages.html import BlitzEngine, HtmlPage, render_html
from palimpsest.pages.html.clean import clean

BODY = DRAFT.split("```html\n")[1].split("\n```")[0]
RED, BLUE = (255, 0, 0), (0, 0, 255)
MARKUP = """\
<p> <b class=x> </b> <table> <tr> <td> </table> <ul> <li> </ul> <h1> </h1> &lt; <pre> word <br>
<div style='display:flex;gap:9px'> </div> <!-- --> <style>p{color:red} </style> <a href=x> <i> </i>
\u6f22\u5b57 \u05d0\u05d1"""
TRAPS = """\
<script>
</script>
<style>
</style>
<img src=http://x onerror=y>
<svg>
<image href=//x>
<p style=background:url(http://x)>
<p style='color:red;x:\\75rl(//x)'>
}
{
@import '//x';
<a href=javascript:x>
<iframe src=//x>
<!--
-->
<link href=//x>
<base href=//x>
<math>
<template>
<object data=//x>
"
'
>
word
<textarea>
<noscript>
<title>"""
MARKED = """\
<table><tr><td>left<td>middle of the table<td style="background: #00f; color: #00f">right</table>
<ul><li>one<li>two<ol><li>three<li>four</ol></ul>{filling}
<p style="border: 4px solid #f00">the last line</p>"""


@pytest.fixture(scope="module")
def engine():
    with BlitzEngine() as engine:
        yield engine


def assert_well_formed(page: HtmlPage, budget: int, cell: int) -> None:
    assert 1 <= page.tokens <= budget
    assert max(page.grid_width, page.grid_height) <= 200 * min(page.grid_width, page.grid_height)
    assert page.image.mode == "RGB"
    assert page.image.size == (cell * page.grid_width, cell * page.grid_height)
    assert 0 < page.scale <= 1.75


def where(page: HtmlPage, colour: tuple[int, int, int]) -> np.ndarray:
    """Which pixels are nearly of a colour."""
    pixels = np.asarray(page.image).astype(int)
    return np.abs(pixels - colour).sum(axis=2) < 240


def page_or_error(draft: str, engine: BlitzEngine) -> HtmlPage | InputError:
    try:
        return render_html(draft, 64, engine=engine)
    except InputError as error:
        return error


def python(program: str) -> str:
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    return done.stdout.strip()


@settings(deadline=None, max_examples=15)
@given(st.text(max_size=300), st.integers(1, 2048), st.sampled_from([28, 32]))
def test_any_text_gives_a_page_within_any_budget(text: str, budget: int, cell: int) -> None:
    assert_well_formed(render_html(text, budget, cell=cell), budget, cell)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 2048), st.sampled_from([28, 32]))
def test_a_draft_gives_a_page_within_any_budget(budget: int, cell: int) -> None:
    assert_well_formed(render_html(DRAFT, budget, cell=cell), budget, cell)


@settings(deadline=None, max_examples=15)
@given(
    st.lists(st.sampled_from(MARKUP.split()), max_size=60),
    st.integers(1, 200),
)
def test_any_markup_gives_a_page(pieces: list[str], budget: int) -> None:
    assert_well_formed(render_html(" ".join(pieces), budget), budget, 28)


@pytest.mark.parametrize("budget", [16, 150, 2000])
@pytest.mark.parametrize("lines", [0, 40])
def test_the_right_edge_and_the_last_line_are_on_the_page(budget: int, lines: int) -> None:
    filling = "<p>a line of the filling that may be broken</p>" * lines
    page = render_html(MARKED.format(filling=filling), budget)
    red, blue = where(page, RED), where(page, BLUE)
    rows = np.flatnonzero(red.any(axis=1))
    across = red.sum(axis=1)
    assert across[rows[-1]] > 0.5 * across.max(), "the lower border is cut off"
    columns = np.flatnonzero(red.any(axis=0))
    down = red.sum(axis=0)
    assert down[columns[-1]] > 0.5 * down.max(), "the right border is cut off"
    assert blue.any()
    assert not blue[:, -1].any()


@pytest.mark.parametrize(
    "items", ["<ul><li>x", "<ol><li>x", "<ol start=98><li>x", "<ol start=123456><li>x"]
)
def test_markers_of_lists_are_on_the_page(items: str) -> None:
    style = "<style>* { margin: 0; padding: 0 } ul, ol { padding-left: 0; margin: 0 }</style>"
    dark = np.asarray(render_html(style + items, 64).image) < 128
    assert not dark[:, 0].any()
    assert np.flatnonzero(np.diff(dark.any(axis=(0, 2)).astype(int))).size > 2


def test_a_word_is_not_broken_by_a_narrow_page() -> None:
    page = render_html('<p><span style="background: #f00; color: #f00">Skarvholmlight</span>', 4)
    assert np.flatnonzero(np.diff(where(page, RED).any(axis=1))).size == 2


@pytest.mark.parametrize("budget", [64, 1024])
def test_the_page_is_filled(budget: int) -> None:
    page = render_html(f"{BODY}{BODY}{BODY}", budget)
    assert page.tokens > 0.9 * budget
    inked = np.flatnonzero((np.asarray(page.image) < 128).any(axis=(1, 2)))
    assert inked[-1] > page.image.height - 28 - 28


def test_a_short_draft_gets_few_cells() -> None:
    page = render_html("<p>Paris</p>", 1024)
    assert page.tokens <= 6
    assert page.scale == pytest.approx(1.75, rel=0.02)


@pytest.mark.parametrize("blank", ["", "  \n", "```html\n```", "<p></p>", "<script>x</script>"])
@pytest.mark.parametrize("budget", [1, 4, 100])
def test_a_blank_draft_is_a_blank_page(blank: str, budget: int) -> None:
    page = render_html(blank, budget)
    assert_well_formed(page, budget, 28)
    assert page.tokens == min(budget, 4)
    assert np.all(np.asarray(page.image) == 255)


@pytest.mark.parametrize(
    "draft",
    [
        pytest.param(BODY, id="no fence"),
        pytest.param(f"```html\n{BODY}\n```", id="fence"),
        pytest.param(f"I think.\n\n```HTML \n{BODY}\n```\nDone.", id="words around"),
        pytest.param(f"```html\n{BODY}", id="unclosed"),
        pytest.param(f"```html\n{BODY}```", id="closed on the last line"),
        pytest.param(f"```\n{BODY}\n```", id="bare fence"),
        pytest.param(f"```html\r\n{BODY}\r\n```".replace("\n", "\r\n"), id="carriage returns"),
    ],
)
def test_a_fence_makes_no_difference(draft: str) -> None:
    assert render_html(draft, 64) == render_html(DRAFT, 64)


def test_text_without_markup_keeps_its_lines() -> None:
    text = "No previous memory\n1 < 2"
    html = '<div style="white-space: pre-wrap">No previous memory\n1 &lt; 2</div>'
    assert render_html(text, 64) == render_html(html, 64)
    assert render_html(text, 64) != render_html(text.replace("\n", " "), 64)


@pytest.mark.parametrize(
    ("html", "colour"),
    [
        ("<p style='color: red'>word</p>", RED),
        ("<style>.key b { color: #f00 }</style><p class=key><b>word</b></p>", RED),
        ("<style>#key { background-color: rgb(255, 0, 0) }</style><p id=key>word</p>", RED),
        ("<style>:root { --key: #f00 } p { color: var(--key) }</style><p>word</p>", RED),
        ("<style>:root { --key: red }</style><p style='background: var(--key)'>word</p>", RED),
        ("<font color=blue>word</font>", BLUE),
        ("<p style='background: linear-gradient(red, red)'>word</p>", RED),
        ("<table><tr><td bgcolor=blue>word</table>", BLUE),
    ],
)
def test_looks_are_kept(html: str, colour: tuple[int, int, int]) -> None:
    assert where(render_html(html, 16), colour).any()


@pytest.mark.parametrize(
    "style",
    [
        "display: none",
        "visibility: hidden",
        "opacity: 0",
        "position: absolute; left: -999px",
        "margin-left: -999px",
        "text-indent: -999px",
        "font-size: 0",
        "line-height: 0",
        "height: 0; overflow: hidden",
        "transform: scale(0)",
        "color: transparent",
        "width: 1px; overflow: hidden",
    ],
)
def test_no_style_hides_text(style: str) -> None:
    shown = render_html(f'<p style="{style}">Skarvholm</p>', 64)
    assert shown == render_html("<p>Skarvholm</p>", 64)


def test_a_picture_is_replaced_by_its_words() -> None:
    html = "<p>See <img src=map.png alt='a map of <b>the reef</b> & shore'>.</p>"
    words = "<p>See a map of  b the reef /b  &amp; shore.</p>"
    assert render_html(html, 64) == render_html(words, 64)


def test_pages_are_the_same_in_other_threads_processes_and_workers(engine) -> None:
    first = render_html(DRAFT, 256, engine=engine)
    engine.close()
    assert render_html(DRAFT, 256, engine=engine).png() == first.png()
    with ThreadPoolExecutor(3) as pool:
        assert all(page == first for page in pool.map(lambda _: render_html(DRAFT, 256), range(3)))
    program = f"""if True:
        from palimpsest.pages.html import render_html
        print(render_html({DRAFT!r}, 256).sha256)"""
    assert python(program) == first.sha256


def test_the_base_brings_no_html_engine() -> None:
    program = "import sys, palimpsest, palimpsest.pages; print(' '.join(sys.modules))"
    loaded = set(python(program).split())
    assert loaded.isdisjoint({"palimpsest.pages.html", "blitz_py", "nh3", "tinycss2", "playwright"})


@pytest.mark.parametrize(
    ("budget", "cell"), [(0, 28), (-1, 28), (16_385, 28), (64, 0), (64, 7), (64, 65)]
)
def test_numbers_that_make_no_page_are_refused(budget: int, cell: int) -> None:
    with pytest.raises(InputError) as error:
        render_html("<p>a", budget, cell=cell)
    assert error.value.hint


def test_a_missing_font_package_is_named() -> None:
    with pytest.raises(ConfigurationError) as error:
        BlitzEngine(families=("No Such Family",))
    assert error.value.hint == "pip install fontpkg-no-such-family"


def test_hostile_drafts_end_in_a_page_or_an_error_in_time(tmp_path) -> None:
    with Loopback() as server, BlitzEngine(deadline_s=5) as engine:
        for name, draft in hostile_drafts(server.root, red_picture(tmp_path)).items():
            started = time.monotonic()
            outcome = page_or_error(draft, engine)
            if isinstance(outcome, HtmlPage):
                assert_well_formed(outcome, 64, 28)
                assert not where(outcome, RED).any(), name
            else:
                assert outcome.hint, name
            assert time.monotonic() - started < 30, name
        assert server.requests == []


def test_the_engine_itself_fetches_nothing(tmp_path, engine) -> None:
    with Loopback() as server:
        for name, document in raw_documents(server.root, red_picture(tmp_path)).items():
            with engine.open(document) as canvas:
                canvas.measure(100, 1.0)
                drawn = canvas.draw(100, 100, 1.0).astype(int)
            assert (drawn < 128).any(), name
            assert not (np.abs(drawn - RED).sum(axis=2) < 240).any(), name
        assert server.requests == []


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from(TRAPS.splitlines()), max_size=30))
def test_nothing_that_fetches_or_runs_is_left(pieces: list[str]) -> None:
    document = clean("".join(pieces) + "<p>end")
    tags = "".join(part.split(">")[0] for part in document.split("<")[1:] if ">" in part)
    for forbidden in ("//", "url", "src", "href", "script", "onerror", "import", "data="):
        assert forbidden not in tags.replace("data-id=", "")
    sheets = "".join(part.split("</style>")[0] for part in document.split("<style>")[1:])
    for forbidden in ("//", "url", "@import", "<"):
        assert forbidden not in sheets


def test_a_page_that_takes_too_long_is_given_up_and_the_next_is_drawn() -> None:
    slow = '<div style="display:flex">' * 90 + "x " * 20_000
    with BlitzEngine(deadline_s=3) as engine:
        started = time.monotonic()
        with pytest.raises(InputError, match="longer than 3 s") as error:
            render_html(slow, 2000, engine=engine)
        assert time.monotonic() - started < 30
        assert error.value.hint
        assert render_html("<p>Paris", 4, engine=engine) == render_html("<p>Paris", 4)


def test_a_worker_out_of_memory_is_replaced() -> None:
    with BlitzEngine(memory_mb=600) as engine:
        with engine.open("<body><p>a</body>") as canvas, pytest.raises(InputError) as error:
            canvas.draw(4000, 4000, 4.0)
        assert error.value.hint
        assert render_html("<p>Paris", 4, engine=engine) == render_html("<p>Paris", 4)
