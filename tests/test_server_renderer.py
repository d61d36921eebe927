"""The renderer service: what the papers' clients send and get, and what can go wrong."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import json
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path

import httpx2
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from hostile_html import DRAFT, raw_documents, red_picture
from live_server import Live
from loopback import Loopback
from palimpsest.models import ScriptedModel
from palimpsest.pages import PRESETS, Style, render
from palimpsest.pages.html import render_html
from palimpsest.server.app import create_app
from palimpsest.server.config import ApiKey, ServerConfig
from palimpsest.server.errors import ApiError
from palimpsest.server.renderer.limits import RendererLimits
from palimpsest.server.renderer.order import Drawn, Order
from palimpsest.server.renderer.renderer import DrawnCache, Found, Renderer
from palimpsest.server.renderer.requests import StyleFields
from palimpsest.server.renderer.routes import routes
from palimpsest.server.state import ServerState
from test_pages_hostile import CASES, FETCHING

MEMORY = "# Keeper of the light\n\n- **Ada Holm**, from 1883\n- her *diary*, lost in 1902"
PATIENT = RendererLimits(wait_s=300, draw_s=300, start_s=300, batch_s=300)
"""For machines on which everything takes long."""


def app_with(folder, limits=PATIENT, **settings):
    config = ServerConfig(parts=frozenset(), state_folder=folder, render_workers=2, **settings)
    state = ServerState(config, model=ScriptedModel([]))
    app = create_app(config, state=state)
    app.include_router(routes(state, limits))
    return app, state


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    app, _ = app_with(tmp_path_factory.mktemp("state"))
    with TestClient(app, base_url="http://127.0.0.1") as made:
        yield made


def picture(data):
    return Image.open(io.BytesIO(data))


def message_of(response):
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error["message"]


def test_a_request_of_the_papers_client_gets_their_headers_and_at_most_512_tokens(client):
    response = client.post("/render", json={"content": MEMORY * 40, "format": "png"})
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/png"
    assert re.fullmatch(r"\d+\.\d{3}", response.headers["x-processing-time"])
    assert response.headers["x-image-size"] == str(len(response.content))
    columns, rows = map(int, response.headers["x-grid"].split("x"))
    assert picture(response.content).size == (columns * 28, rows * 28)
    assert response.headers["x-visual-tokens"] == str(columns * rows)
    assert 400 < columns * rows <= 512


def test_png_is_the_default_and_the_pixels_are_those_of_the_library(client):
    asked = {"content": MEMORY, "budget": 16, "cell": 32, "style": "plain"}
    response = client.post("/render", json=asked)
    assert response.content == render(MEMORY, 16, cell=32, style=PRESETS["plain"]).png()


def test_jpeg_has_the_same_size_and_says_what_it_is(client):
    response = client.post("/render", json={"content": MEMORY, "format": "jpeg", "budget": 64})
    assert response.headers["content-type"] == "image/jpeg"
    drawn = picture(response.content)
    assert drawn.format == "JPEG"
    assert drawn.size == render(MEMORY, 64).image.size


def test_style_fields_are_put_over_a_preset(client):
    looks = {"preset": "drop", "columns": 1, "ink": [200, 0, 0], "heading_scales": [2, 1.5, 1]}
    response = client.post("/render", json={"content": MEMORY, "budget": 16, "style": looks})
    style = replace(
        PRESETS["drop"], columns=1, ink=(200, 0, 0), heading_scales=(2.0, 1.5, 1.0)
    )  # fmt: skip
    assert response.content == render(MEMORY, 16, style=style).png()


def test_every_field_of_a_style_but_its_fonts_can_be_asked_for():
    assert set(StyleFields.model_fields) == {f.name for f in fields(Style)} - {"families"} | {
        "preset"
    }


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"content": ""}, "blank"),
        ({"content": " \n\t"}, "blank"),
        ({"content": MEMORY, "format": "gif"}, "png or jpeg"),
        ({"content": MEMORY, "style": "fancy"}, "uniform"),
        ({"content": MEMORY, "style": {"floor_px": 100, "cap_px": 10}}, "floor_px"),
        ({"content": DRAFT, "kind": "html", "style": "plain"}, "leave it out"),
        ({"content": "a\n\n" * 9_000}, "blocks"),
    ],
)
def test_what_makes_no_page_is_refused_with_400(client, asked, said):
    response = client.post("/render", json=asked)
    assert response.status_code == 400
    assert said in message_of(response)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"format": "png"},
        {"content": None},
        {"content": MEMORY, "buget": 64},
        {"content": MEMORY, "budget": 0},
        {"content": MEMORY, "budget": 16_385},
        {"content": MEMORY, "budget": "64"},
        {"content": MEMORY, "budget": True},
        {"content": MEMORY, "boxes": 1},
        {"content": MEMORY, "cell": 30},
        {"content": MEMORY, "kind": "latex"},
        {"content": MEMORY, "style": {"colums": 2}},
        {"content": MEMORY, "style": {"ink": [0, 0, 256]}},
    ],
)
def test_missing_unknown_and_wrong_fields_are_refused_with_422(client, asked):
    response = client.post("/render", json=asked)
    assert response.status_code == 422
    assert message_of(response)


@pytest.mark.parametrize(
    "body",
    [
        '{"content": "a", "style": {"line_height": NaN}}',
        '{"content": "a", "style": {"line_height": 1e999}}',
        '{"content": "a", "budget": ' + "9" * 5_000 + "}",
        '{"content": "a", "\\ud800": 1}',
        '{"content": "a", "format": "\\ud800"}',
        '{"content": "a", "style": {"preset": "\\ud800"}}',
        '{"content": ',
        "[" * 50_000,
        '{"content": "\udcff"}'.encode("utf-8", "surrogateescape"),
    ],
)
def test_json_that_is_odd_or_none_is_no_fault_of_the_server(client, body):
    headers = {"Content-Type": "application/json"}
    response = client.post("/render", content=body, headers=headers)
    assert response.status_code in (400, 422)
    assert message_of(response)


def test_content_over_the_limit_is_refused_with_413(client):
    response = client.post("/render", json={"content": "a" * 65_537})
    assert response.status_code == 413
    assert "65,536" in message_of(response)


def test_boxes_come_with_the_image_as_json(client):
    content = f"{MEMORY}\n\nno font has \u0378"
    response = client.post("/render", json={"content": content, "budget": 32, "boxes": True})
    told = response.json()
    page = render(content, 32)
    assert base64.b64decode(told["image"]) == page.png()
    assert told["grid"] == [page.grid_width, page.grid_height]
    assert told["tokens"] == page.tokens
    assert told["body_px"] == page.body_px
    assert told["dropped"] == 0
    assert told["boxes"] == [json.loads(json.dumps(box._asdict())) for box in page.boxes]
    assert told["sizes"] == page.sizes
    assert told["missing"] == "\u0378"
    assert told["missing_scripts"] == ["Zyyy"]
    assert response.headers["x-image-size"] == str(len(page.png()))


def test_html_is_drawn_when_asked_for_and_where_the_papers_width_is_given(client):
    expected = render_html(DRAFT, 64).png()
    for asked in ({"kind": "html"}, {"width": 800}, {"kind": "html", "width": 300}):
        response = client.post("/render", json={"content": DRAFT, "budget": 64, **asked})
        assert response.status_code == 200
        assert response.content == expected
    as_markdown = {"content": DRAFT, "budget": 64, "kind": "markdown", "width": 800}
    assert client.post("/render", json=as_markdown).content == render(DRAFT, 64).png()
    told = client.post("/render", json={"content": DRAFT, "kind": "html", "boxes": True}).json()
    assert told["boxes"] is None
    assert told["tokens"] == told["grid"][0] * told["grid"][1] <= 512


def test_the_same_page_has_the_same_etag_and_is_drawn_once(client):
    asked = {"content": f"{MEMORY} once", "budget": 16}
    first, second = (client.post("/render", json=asked) for _ in range(2))
    assert first.headers["x-cache"] == "miss"
    assert second.headers["x-cache"] == "hit"
    assert first.content == second.content
    assert first.headers["etag"] == second.headers["etag"]
    jpeg = client.post("/render", json={**asked, "format": "jpeg"})
    assert jpeg.headers["etag"] != first.headers["etag"]


def test_who_has_the_page_gets_412_without_it(client):
    asked = {"content": MEMORY, "budget": 8}
    etag = client.post("/render", json=asked).headers["etag"]
    for header in (etag, f'"x", W/{etag}'):
        response = client.post("/render", json=asked, headers={"If-None-Match": header})
        assert response.status_code == 412
        assert response.headers["etag"] == etag
    other = client.post("/render", json={**asked, "budget": 9}, headers={"If-None-Match": etag})
    assert other.status_code == 200


def test_a_batch_has_a_page_or_an_error_in_every_place(client):
    pages = [
        {"content": MEMORY, "budget": 8},
        {"content": " "},
        {"content": MEMORY, "budget": 16, "format": "jpeg", "boxes": True},
        {"content": "a" * 65_537},
        {"content": "a\n\n" * 9_000},
        {"content": MEMORY, "budget": 8},
    ]
    response = client.post("/render/batch", json={"pages": pages})
    assert response.status_code == 200
    assert re.fullmatch(r"\d+\.\d{3}", response.headers["x-processing-time"])
    told = response.json()["pages"]
    assert [one.get("status") for one in told] == [None, 400, None, 413, 400, None]
    assert base64.b64decode(told[0]["image"]) == render(MEMORY, 8).png()
    assert "boxes" not in told[0]
    assert picture(base64.b64decode(told[2]["image"])).format == "JPEG"
    assert told[2]["boxes"]
    assert told[5] == told[0]
    assert "blank" in told[1]["error"]["message"]


def test_a_batch_is_limited_in_pages_and_in_visual_tokens(client):
    small = {"content": "a", "budget": 1}
    large = {"content": "a", "budget": 16_384}
    for pages, status in [([small] * 257, 413), ([large] * 5, 413), ([], 422)]:
        response = client.post("/render/batch", json={"pages": pages})
        assert response.status_code == status
        assert message_of(response)


def test_a_server_with_keys_draws_for_nobody_else(tmp_path):
    key = ApiKey(id="alice", sha256=hashlib.sha256(b"pk-alice").hexdigest())
    app, _ = app_with(tmp_path, keys=(key,))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        for path, asked in [
            ("/render", {"content": MEMORY}),
            ("/render/batch", {"pages": [{"content": MEMORY}]}),
        ]:
            assert client.post(path, json=asked).status_code == 401
            headers = {"Authorization": "Bearer pk-alice"}
            assert client.post(path, json=asked, headers=headers).status_code == 200


def test_the_description_names_images_and_fields(client):
    told = client.get("/openapi.json").json()
    answers = told["paths"]["/render"]["post"]["responses"]
    assert set(answers["200"]["content"]) == {"image/png", "image/jpeg", "application/json"}
    asked = told["components"]["schemas"]["RenderRequest"]
    assert asked["required"] == ["content"]
    assert asked["properties"]["format"]["enum"] == ["png", "jpeg"]


def test_hostile_memories_over_http_are_drawn_in_full_or_refused_and_fetch_nothing(tmp_path):
    app, state = app_with(tmp_path)
    with Loopback() as listener, Live(app, state) as server, httpx2.Client(timeout=600) as client:

        def draw(content, **asked):
            # httpx's own JSON is UTF-8, which has no lone surrogates; ASCII has their escapes.
            body = json.dumps({"content": content, "budget": 64, "boxes": True, **asked})
            headers = {"Content-Type": "application/json"}
            return client.post(f"{server.url}/render", content=body, headers=headers)

        with ThreadPoolExecutor(4) as threads:
            replies = dict(
                zip(CASES, threads.map(lambda case: draw(case.memory), CASES.values()), strict=True)
            )
            fetching = draw(FETCHING.format(url=listener.root))
            documents = raw_documents(listener.root, red_picture(tmp_path))
            drafts = list(threads.map(lambda html: draw(html, kind="html"), documents.values()))
        assert listener.requests == []
    for name, reply in replies.items():
        drawn = CASES[name].drawn
        if drawn is None:
            assert reply.status_code in (400, 413), name
            assert message_of(reply)
            continue
        assert reply.status_code == 200, (name, reply.text[:300])
        seen = "".join("".join(box["text"] for box in reply.json()["boxes"]).split())
        assert {letter: seen.count(letter) for letter in drawn} == drawn, name
        assert reply.json()["tokens"] <= 64
    assert fetching.status_code == 200
    assert "root:" not in "".join(box["text"] for box in fetching.json()["boxes"])
    for name, reply in zip(documents, drafts, strict=True):
        assert reply.status_code == 200, (name, reply.text[:300])
        pixels = picture(base64.b64decode(reply.json()["image"])).convert("RGB")
        assert (255, 0, 0) not in {colour for _, colour in pixels.getcolors(1 << 24)}, name


def in_renderer(limits, scenario):
    """What a scenario gives, run with a renderer of its own."""

    async def run():
        renderer = Renderer(limits, workers=1)
        await renderer.start()
        try:
            return await scenario(renderer)
        finally:
            await renderer.close()

    return asyncio.run(run())


@pytest.fixture(scope="module")
def studio():
    """Runs scenarios, each under limits of its own, with a renderer of one worker for all."""
    with asyncio.Runner() as runner:
        renderer = Renderer(PATIENT, workers=1)
        runner.run(renderer.start())

        def run(scenario, **limits):
            renderer.cache = DrawnCache(1 << 20)
            set_limits(renderer, **limits)
            return runner.run(scenario(renderer))

        yield run
        runner.run(renderer.close())


def set_limits(renderer, **limits):
    for one in (renderer, renderer.pool, *renderer.pool.workers):
        one.limits = replace(PATIENT, **limits)


async def ready(renderer):
    """The process id of the worker, started."""
    await renderer.pool.warm()
    pid = renderer.pool.workers[0].pid
    assert pid
    return pid


async def refused(work):
    with pytest.raises(ApiError) as caught:
        await work
    return caught.value


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def environment_of(pid):
    return Path(f"/proc/{pid}/environ").read_bytes()


def test_a_worker_that_dies_costs_one_503_and_is_replaced(studio):
    async def scenario(renderer):
        pid = await ready(renderer)
        os.kill(pid, signal.SIGSTOP)
        drawing = asyncio.create_task(renderer.draw(Order(MEMORY)))
        await asyncio.sleep(0.1)
        os.kill(pid, signal.SIGKILL)
        error = await refused(drawing)
        again = await renderer.draw(Order(MEMORY))
        return error, again, pid, renderer.pool.workers[0].pid

    error, again, before, after = studio(scenario)
    assert error.status == 503
    assert error.headers["Retry-After"]
    assert again.drawn.image == render(MEMORY, 512).png()
    assert after != before
    assert not is_running(before)


def test_a_worker_that_was_killed_while_idle_costs_one_page_at_most(studio):
    async def scenario(renderer):
        os.kill(await ready(renderer), signal.SIGKILL)
        with contextlib.suppress(ApiError):
            await renderer.draw(Order(MEMORY))
        return await renderer.draw(Order(MEMORY))

    assert studio(scenario).drawn.tokens


def test_a_page_that_takes_too_long_costs_one_504_and_its_worker(studio):
    async def scenario(renderer):
        pid = await ready(renderer)
        os.kill(pid, signal.SIGSTOP)
        error = await refused(renderer.draw(Order(MEMORY)))
        set_limits(renderer)
        return error, await renderer.draw(Order(MEMORY)), pid

    error, again, before = studio(scenario, draw_s=0.2)
    assert error.status == 504
    assert again.drawn.tokens
    assert not is_running(before)


def test_a_worker_that_needs_too_much_memory_ends_alone():
    small = replace(PATIENT, worker_bytes=1200 << 20)
    order = Order("word " * 6_000, budget=16_384, cell=128, style=Style(cap_px=128.0))

    async def scenario(renderer):
        await ready(renderer)
        error = await refused(renderer.draw(order))
        again = await renderer.draw(Order(MEMORY))
        return error, again, renderer.pool.workers[0].pid

    error, again, pid = in_renderer(small, scenario)
    assert error.status == 503
    assert again.drawn.tokens
    assert not is_running(pid)


def test_what_comes_on_top_of_the_queue_is_refused_with_429_and_the_rest_is_drawn(studio):
    async def scenario(renderer):
        pid = await ready(renderer)
        os.kill(pid, signal.SIGSTOP)

        async def request(content):
            with renderer.admitted():
                return await renderer.draw(Order(content))

        waiting = [asyncio.create_task(request(content)) for content in ("one", "two")]
        await asyncio.sleep(0.1)
        error = await refused(request("three"))
        os.kill(pid, signal.SIGCONT)
        return error, await asyncio.gather(*waiting), await request("three")

    error, drawn, later = studio(scenario, queue=2)
    assert error.status == 429
    assert int(error.headers["Retry-After"]) >= 1
    assert all(found.drawn.tokens for found in [*drawn, later])


def test_who_waits_too_long_for_a_worker_is_refused_with_429(studio):
    async def scenario(renderer):
        pid = await ready(renderer)
        os.kill(pid, signal.SIGSTOP)
        first = asyncio.create_task(renderer.draw(Order("one")))
        await asyncio.sleep(0.05)
        error = await refused(renderer.draw(Order("two")))
        os.kill(pid, signal.SIGCONT)
        return error, await first

    error, first = studio(scenario, wait_s=0.1)
    assert error.status == 429
    assert first.drawn.tokens


def test_a_page_that_several_want_at_once_is_drawn_once_and_a_leaver_takes_it_from_nobody(studio):
    async def scenario(renderer):
        pid = await ready(renderer)
        os.kill(pid, signal.SIGSTOP)
        asked = [asyncio.create_task(renderer.draw(Order(MEMORY))) for _ in range(4)]
        await asyncio.sleep(0.05)
        asked[0].cancel()
        os.kill(pid, signal.SIGCONT)
        return await asyncio.gather(*asked, return_exceptions=True)

    left, *found = studio(scenario)
    assert isinstance(left, asyncio.CancelledError)
    assert len({id(one.drawn) for one in found}) == 1
    assert all(one.cached for one in found)


def test_a_batch_that_takes_too_long_says_which_pages_are_missing(studio):
    async def scenario(renderer):
        pid = await ready(renderer)
        done = Order("done")
        await renderer.draw(done)
        os.kill(pid, signal.SIGSTOP)
        outcomes = await renderer.draw_all([done, Order("one"), Order("two")])
        os.kill(pid, signal.SIGCONT)
        return outcomes

    first, *late = studio(scenario, batch_s=0.3)
    assert isinstance(first, Found)
    assert [error.status for error in late] == [504, 504]


def test_nothing_of_the_servers_environment_reaches_a_worker(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")

    async def scenario(renderer):
        return environment_of(await ready(renderer))

    assert b"sk-secret" not in in_renderer(PATIENT, scenario)


def test_the_cache_keeps_what_was_used_last_up_to_its_bytes():
    def page(size):
        return Drawn(b"", {}, size, 0.0)

    cache = DrawnCache(100)
    for name in "abc":
        cache.put(name, page(40))
    assert cache.get("a") is None
    assert cache.get("b")
    cache.put("d", page(40))
    assert cache.get("c") is None
    assert cache.get("b")
    cache.put("e", page(1000))
    assert cache.get("e") is None
    assert cache.held_bytes == 0
    cache.put("f", page(30))
    cache.put("f", page(30))
    assert cache.held_bytes == 30


def test_an_order_survives_its_line_and_everything_in_it_decides_its_key():
    order = Order("\ud800 a\nb", budget=16, style=Style(ink=(1, 2, 3)), boxes=True)
    assert Order.from_line(order.to_line()) == order
    others = [
        replace(order, content="b"),
        replace(order, budget=17),
        replace(order, cell=32),
        replace(order, style=Style()),
        replace(order, format="jpeg"),
        replace(order, boxes=False),
        replace(order, kind="html"),
    ]
    assert len({one.key for one in [order, *others]}) == 8
