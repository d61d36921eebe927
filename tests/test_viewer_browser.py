"""The viewer's page in a real Chromium: that of `PALIMPSEST_CHROMIUM`, or the machine's."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the `serve` extra")
pytest.importorskip("playwright", reason="needs the `browser` extra")

from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from palimpsest.models.scripted import ScriptedModel
from palimpsest.server.app import create_app
from palimpsest.server.serving import Server, listen, url_of
from palimpsest.server.state import ServerState
from palimpsest.server.viewer.viewing import ViewerConfig
from palimpsest.settings import ModelSettings
from sample_runs import write_run
from viewer_samples import (
    IMAGE,
    QUESTION,
    keeper,
    write_evaluation,
    write_large,
    write_samples,
)

CHROMIUM = os.environ.get("PALIMPSEST_CHROMIUM") or shutil.which("chromium")
PATIENCE_MS = int(os.environ.get("PALIMPSEST_BROWSER_PATIENCE_S", "20")) * 1000
pytestmark = pytest.mark.skipif(
    not CHROMIUM, reason="needs a Chromium, or its path in PALIMPSEST_CHROMIUM"
)
DESKTOP = {"width": 1360, "height": 900}
PHONE = {"width": 390, "height": 844}


@contextmanager
def running(config: ViewerConfig) -> Iterator[str]:
    """A server in a thread; its URL."""
    state = ServerState(config, model=ScriptedModel(keeper, latency_s=0.02))
    server = Server(create_app(config, state=state), state)
    with listen(config) as listening:
        thread = threading.Thread(
            target=lambda: asyncio.run(server.serve(sockets=[listening])), daemon=True
        )
        thread.start()
        yield url_of(listening)
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> Path:
    folder = write_samples(tmp_path_factory.mktemp("shown"), items=10)
    write_run(folder / "runs" / "large", "memocr", 1000, readings=False)
    write_large(folder / "large")
    write_evaluation(folder / "runs" / "kept")
    return folder


@pytest.fixture(scope="module")
def url(shown, tmp_path_factory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("state")
    config = ViewerConfig(
        shown=(shown,),
        state_folder=folder,
        readings=folder / "asked",
        upstream=ModelSettings(name="scripted"),
    )
    with running(config) as url:
        yield url


@pytest.fixture(scope="module")
def browser(url) -> Iterator[Browser]:
    """Started after all else: no event loop can be run beside its own."""
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=CHROMIUM, chromium_sandbox=False, timeout=6 * PATIENCE_MS
        )
        yield chromium
        chromium.close()


@contextmanager
def tab(browser: Browser, url: str, size: dict[str, int], **options: str) -> Iterator[Page]:
    """A page that may load from the server alone, and must not complain."""
    context = browser.new_context(viewport=size, reduced_motion="reduce", **options)
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    page = context.new_page()
    complaints: list[str] = []
    strange: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    def watch(request) -> None:
        if not request.url.startswith((url, "data:")):
            strange.append(request.url)

    page.on("console", hear)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", watch)
    yield page
    assert page.title() != "broken into"
    assert strange == []
    assert complaints == []
    context.close()


@pytest.fixture
def desktop(browser, url) -> Iterator[Page]:
    with tab(browser, url, DESKTOP) as page:
        page.goto(f"{url}/viewer/")
        yield page


def open_reading(page: Page, reader: str) -> None:
    readings = page.locator("section.group", has_text="Readings")
    readings.locator("a.card", has_text=f"·{reader}·").first.click()
    expect(page.locator(".strip").first).to_be_visible()


def no_sideways_scrolling(page: Page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_everything_is_listed_and_filtered(desktop):
    expect(desktop.locator("a.card")).to_have_count(8)
    desktop.keyboard.press("/")
    desktop.keyboard.type("training")
    expect(desktop.locator("a.card")).to_have_count(1)


def test_texts_of_sources_and_models_are_shown_as_texts(desktop):
    open_reading(desktop, "memocr")
    expect(desktop.locator("h1.question")).to_have_text(QUESTION)
    expect(desktop.locator(".line .text").first).to_have_text(f"# Keepers {IMAGE}")
    desktop.get_by_role("tab", name="Calls").click()
    desktop.locator(".turns summary").first.click()
    expect(desktop.locator("pre.said").first).to_contain_text("<script>")
    assert desktop.locator("main script, main img[src^=http]").count() == 0
    assert desktop.title() != "broken into"


def test_a_script_that_came_in_could_make_no_markup(browser, url):
    page = browser.new_page()
    page.goto(f"{url}/viewer/")
    refused = page.evaluate(
        """() => { try { document.body.innerHTML = "<b>x</b>"; return false; }
                   catch (error) { return error instanceof TypeError; } }"""
    )
    assert refused
    page.close()


def test_the_timeline_is_walked_with_the_keyboard(desktop):
    open_reading(desktop, "memreread")
    expect(desktop.locator(".strip").first.locator(".cell")).to_have_count(12)
    expect(desktop.locator(".scans .scans .scan-title")).to_contain_text("Who kept tower 4")
    assert desktop.locator(".cell.skipped[data-step]").count() >= 1
    assert desktop.locator(".cell.guarded").count() >= 1
    desktop.keyboard.press("g")
    expect(desktop.locator(".step-head h2")).to_contain_text("chunk 1")
    desktop.keyboard.press("j")
    expect(desktop.locator(".step-head h2")).to_contain_text("chunk 2")
    expect(desktop.locator(".line.added .text")).to_have_count(1)
    expect(desktop.locator(".line.added .text")).to_have_text(
        "- The keeper of tower 1 is Otto Hale."
    )
    desktop.keyboard.press("k")
    expect(desktop.locator(".step-head h2")).to_contain_text("chunk 1")
    desktop.locator(".cell.guarded").first.click()
    expect(desktop.locator(".step-head .guard")).to_contain_text("empty")
    desktop.keyboard.press("?")
    expect(desktop.locator("#help")).to_contain_text("next step")
    desktop.keyboard.press("Escape")
    expect(desktop.locator("#help")).to_be_hidden()


def test_the_page_is_drawn_again_as_the_budget_is_moved(desktop):
    open_reading(desktop, "memocr")
    desktop.keyboard.press("p")
    frame = desktop.locator(".frame")
    expect(frame).to_have_attribute("data-budget", "256")
    before = desktop.locator(".frame img").get_attribute("src")
    desktop.get_by_label("Budget in visual tokens").focus()
    for _ in range(4):
        desktop.keyboard.press("ArrowLeft")
    expect(frame).to_have_attribute("data-budget", "64")
    assert desktop.locator(".frame img").get_attribute("src") != before
    expect(desktop.locator("output.budget")).to_have_text("64 tokens")


def test_a_line_on_the_page_lights_up_with_its_passage(desktop):
    open_reading(desktop, "memocr")
    expect(desktop.locator("mark.passage").first).to_be_attached()
    desktop.keyboard.press("p")
    box = desktop.locator('.boxes rect[data-line="5"]').first
    expect(box).to_be_visible()
    height = "document.documentElement.scrollHeight"
    before = desktop.evaluate(height)
    box.hover()
    expect(box).to_have_class("lit")
    assert desktop.evaluate(height) == before, "the page moves under the pointer"
    expect(desktop.locator(".page-line .quote")).to_contain_text("The keeper of tower 3")
    expect(desktop.locator("mark.passage.lit")).to_have_text(
        "The keeper of tower 3 is Jon Castell."
    )
    expect(desktop.locator("mark.passage.lit")).to_be_in_viewport()


def test_an_answer_leads_to_its_place_in_the_source(desktop):
    open_reading(desktop, "memocr")
    desktop.locator(".answer .cite").first.click()
    lit = desktop.locator("mark.passage.lit")
    expect(lit).to_have_text("The keeper of tower 3 is Jon Castell.")
    expect(lit).to_be_in_viewport()
    desktop.keyboard.press("Escape")
    expect(desktop.locator("mark.passage.lit")).to_have_count(0)


def test_a_source_of_four_million_tokens_scrolls(desktop):
    open_reading(desktop, "memagent")
    expect(desktop.locator(".strip .cell")).to_have_count(800)
    pane = desktop.locator(".source-scroll")
    expect(desktop.locator(".block").first).to_contain_text("tide")
    assert desktop.locator(".block").count() < 40
    pane.evaluate("one => { one.scrollTop = one.scrollHeight / 2; }")
    expect(desktop.locator(".source-title")).to_contain_text(re.compile(r"character [78],\d"))
    desktop.get_by_label("Search the source").fill("keeper of tower")
    desktop.keyboard.press("Enter")
    expect(desktop.locator("mark.hit")).to_be_in_viewport()
    desktop.keyboard.press("Enter")
    expect(desktop.locator(".hits")).to_contain_text("2 of")
    expect(desktop.locator("mark.hit")).to_be_in_viewport()
    assert desktop.locator(".block").count() < 60


def test_a_run_of_a_thousand_items_is_sorted_filtered_and_paged(desktop):
    desktop.locator("a.card", has_text="runs/large").click()
    rows = desktop.locator("tr.item")
    expect(rows).to_have_count(100)
    expect(desktop.locator(".told")).to_have_text("4,000 of 4,000")
    expect(rows.first).to_contain_text("Where is the lamp of tower 0? <b>Not bold</b>")
    desktop.get_by_role("button", name="wrong").click()
    expect(desktop.locator(".told")).not_to_have_text("4,000 of 4,000")
    desktop.get_by_label("budget").select_option("16")
    desktop.locator(".sort", has_text="cost").click()
    expect(desktop.locator("th[aria-sort=ascending]")).to_contain_text("cost")
    desktop.get_by_role("button", name="after").click()
    expect(desktop.locator(".pages")).to_contain_text("101–200")
    rows.first.get_by_role("button").click()
    expect(desktop.locator(".item-detail")).to_contain_text("Accepted")
    expect(desktop.locator("svg.plot").first).to_be_visible()
    assert desktop.locator("polyline.line").count() >= 2


def test_an_item_opens_its_reading(desktop):
    desktop.locator("a.card", has_text="runs/memocr").click()
    desktop.locator("tr.item.answered").first.get_by_role("button").click()
    desktop.get_by_role("link", name="Open the reading").click()
    expect(desktop.locator("h1.question")).to_contain_text("<b>Not bold</b>")
    expect(desktop.locator(".source")).to_contain_text("not at hand")


def test_a_citation_of_an_evaluation_leads_into_its_context(desktop):
    desktop.locator("a.card", has_text="runs/kept").click()
    desktop.locator("tr.item").first.get_by_role("button").click()
    desktop.get_by_role("link", name="Open the reading").click()
    desktop.locator(".memory .cite:not(.chunk)").first.click()
    expect(desktop.locator("mark.lit").first).to_be_in_viewport(ratio=0.9)
    expect(desktop.locator("mark.lit").first).to_contain_text("The keeper of tower")


def test_a_training_run_has_curves_and_rollouts(desktop):
    desktop.locator("a.card", has_text="training/first").click()
    expect(desktop.locator("svg.plot").first).to_be_visible()
    desktop.get_by_label("Step").select_option("step/20")
    desktop.locator(".turns summary").first.click()
    expect(desktop.locator(".turn-body").first).to_contain_text("<script>")


def test_a_dropped_file_is_asked_and_watched(desktop, shown):
    desktop.get_by_role("link", name="Ask a file").click()
    desktop.set_input_files("input[type=file]", shown / "source" / "coast.txt")
    expect(desktop.locator(".files")).to_contain_text("coast.txt")
    desktop.get_by_label("Question").fill("Who keeps tower 3?")
    desktop.get_by_role("button", name="Ask", exact=True).click()
    expect(desktop.locator(".answer-text")).to_have_text("Jon Castell")
    desktop.get_by_role("link", name="open the reading").click()
    expect(desktop.locator(".status.answered")).to_be_visible()


def test_it_is_read_on_a_phone(browser, url):
    with tab(browser, url, PHONE) as page:
        page.goto(f"{url}/viewer/")
        assert no_sideways_scrolling(page)
        open_reading(page, "memocr")
        assert no_sideways_scrolling(page)
        expect(page.locator(".source")).to_be_hidden()
        expect(page.locator(".answer .cite").first).to_be_visible()
        page.locator(".answer .cite").first.click()
        expect(page.locator("mark.passage.lit")).to_be_in_viewport(ratio=0.9)
        page.goto(f"{url}/viewer/")
        page.locator("a.card", has_text="runs/large").click()
        expect(page.locator("tr.item")).to_have_count(100)
        expect(page.locator("svg.plot").first).to_be_visible()
        assert no_sideways_scrolling(page)


def test_it_is_light_or_dark_as_one_likes(browser, url):
    with tab(browser, url, DESKTOP, color_scheme="dark") as page:
        page.goto(f"{url}/viewer/")
        background = "getComputedStyle(document.documentElement).backgroundColor"
        dark = page.evaluate(background)
        page.get_by_label("Light or dark").click()
        assert page.evaluate(background) != dark
        page.reload()
        assert page.evaluate(background) != dark
