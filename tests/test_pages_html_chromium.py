"""HTML drafts drawn by Chromium. Name one in `PALIMPSEST_CHROMIUM` to run these."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from hostile_html import DRAFT, hostile_drafts, raw_documents, red_picture
from loopback import Loopback
from palimpsest.errors import ConfigurationError, InputError

pytest.importorskip("blitz_py", reason="needs the `html` extra")
pytest.importorskip("playwright", reason="needs the `browser` extra")

from palimpsest.pages.html import ChromiumEngine, HtmlPage, render_html

needs_browser = pytest.mark.skipif(
    not os.environ.get("PALIMPSEST_CHROMIUM"),
    reason="needs the path of a Chromium in PALIMPSEST_CHROMIUM",
)
RED = (255, 0, 0)


@pytest.fixture(scope="module")
def engine():
    with ChromiumEngine(deadline_s=20) as engine:
        yield engine


def is_red(pixels: np.ndarray) -> np.ndarray:
    return np.abs(pixels.astype(int) - RED).sum(axis=2) < 240


def page_or_error(draft: str, engine: ChromiumEngine) -> HtmlPage | InputError:
    try:
        return render_html(draft, 64, engine=engine)
    except InputError as error:
        return error


@needs_browser
@pytest.mark.parametrize("budget", [1, 7, 64, 250, 1024])
@pytest.mark.parametrize("cell", [28, 32])
def test_a_draft_fills_a_page_of_any_budget(engine, budget: int, cell: int) -> None:
    page = render_html(DRAFT, budget, cell=cell, engine=engine)
    assert page.image.size == (cell * page.grid_width, cell * page.grid_height)
    assert 0.7 * budget < page.tokens <= budget or page.scale > 1.7
    inked = np.flatnonzero((np.asarray(page.image) < 200).any(axis=(1, 2)))
    assert inked[-1] > page.image.height - 2 * cell


@needs_browser
def test_nothing_is_cut_off(engine) -> None:
    html = "<p>a line of text</p>" * 20 + '<p style="border: 4px solid #f00">the last line</p>'
    red = is_red(np.asarray(render_html(html, 64, engine=engine).image))
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    assert red.sum(axis=1)[rows[-1]] > 0.5 * red.sum(axis=1).max()
    assert red.sum(axis=0)[columns[-1]] > 0.5 * red.sum(axis=0).max()


@needs_browser
def test_documents_of_several_threads_are_drawn_side_by_side(engine) -> None:
    with ThreadPoolExecutor(4) as pool:
        pages = list(pool.map(lambda _: render_html(DRAFT, 64, engine=engine), range(4)))
    assert all(page == pages[0] for page in pages)


@needs_browser
def test_it_works_inside_an_event_loop(engine) -> None:
    async def drawn() -> int:
        return render_html("<p>Paris", 4, engine=engine).tokens

    assert asyncio.run(drawn()) == 4


@needs_browser
def test_nothing_is_fetched_or_run_even_if_nothing_was_cleaned(tmp_path, engine) -> None:
    with Loopback() as server:
        for name, document in raw_documents(server.root, red_picture(tmp_path)).items():
            with engine.open(document) as canvas:
                canvas.measure(100, 1.0)
                drawn = canvas.draw(100, 100, 1.0)
            # A refresh leads to the blank page of a refused address.
            assert (drawn < 128).any() or name == "refresh", name
            assert not is_red(drawn).any(), name
        assert server.requests == []


@needs_browser
def test_hostile_drafts_end_in_a_page_or_an_error(tmp_path, engine) -> None:
    with Loopback() as server:
        for name, draft in hostile_drafts(server.root, red_picture(tmp_path)).items():
            outcome = page_or_error(draft, engine)
            if isinstance(outcome, HtmlPage):
                assert outcome.tokens <= 64, name
                assert not is_red(np.asarray(outcome.image)).any(), name
            else:
                assert outcome.hint, name
        assert server.requests == []


@needs_browser
def test_a_page_that_takes_too_long_is_given_up_and_the_next_is_drawn() -> None:
    with ChromiumEngine(deadline_s=1.5) as engine:
        html = "<p>a" + "\u0301" * 60_000
        with pytest.raises(InputError, match="longer than"):
            render_html(html, 64, engine=engine)
        assert render_html("<p>Paris", 4, engine=engine).tokens == 4


@needs_browser
def test_a_browser_that_ended_is_started_again(engine) -> None:
    first = render_html("<p>Paris", 4, engine=engine)
    engine.close()
    assert render_html("<p>Paris", 4, engine=engine) == first


def test_the_browser_must_be_named(monkeypatch) -> None:
    monkeypatch.delenv("PALIMPSEST_CHROMIUM", raising=False)
    with pytest.raises(ConfigurationError) as error:
        ChromiumEngine()
    assert "PALIMPSEST_CHROMIUM" in error.value.hint


def test_a_browser_that_is_not_there_is_named_in_the_error(tmp_path: Path) -> None:
    with (
        ChromiumEngine(tmp_path / "chromium") as engine,
        pytest.raises(ConfigurationError, match="does not start"),
    ):
        render_html("<p>Paris", 4, engine=engine)
