"""Who may call the server, how much of it they may have, and what is refused on the way in."""

import asyncio
import contextlib
import hashlib
import threading
import time
from typing import Annotated

import httpx2
import pytest
from fastapi import Depends, Request
from fastapi.testclient import TestClient
from starlette.responses import StreamingResponse

from live_server import Live
from palimpsest.errors import ConfigurationError
from palimpsest.models import ScriptedModel
from palimpsest.server.app import create_app
from palimpsest.server.config import ApiKey, ServerConfig
from palimpsest.server.errors import ApiError
from palimpsest.server.limits import Rate, Slots
from palimpsest.server.security import Caller, caller
from palimpsest.server.state import ServerState

KEYS = {"alice": "pk-alice", "bob": "pk-bob"}


def key(name, **limits):
    digest = hashlib.sha256(KEYS[name].encode()).hexdigest()
    return ApiKey(id=name, sha256=digest, **limits)


def bearer(name):
    return {"Authorization": f"Bearer {KEYS[name]}"}


@pytest.fixture
def served(tmp_path):
    """Makes an app with a route that works, and gives the app and its state."""

    def make(**settings):
        config = ServerConfig(parts=frozenset(), state_folder=tmp_path, **settings)
        state = ServerState(config, model=ScriptedModel([]))
        app = create_app(config, state=state)
        app.state.let_go = threading.Event()

        @app.post("/work")
        async def work(request: Request, by: Annotated[Caller, Depends(caller)]):
            if request.query_params.get("hold"):
                await asyncio.to_thread(app.state.let_go.wait)
            return {"caller": by.id, "bytes": len(await request.body())}

        return app, state

    return make


def client(app):
    return TestClient(app, base_url="http://127.0.0.1")


def error_of(response):
    assert set(response.json()) == {"error"}
    return response.json()["error"]


def test_no_key_and_a_wrong_key_are_refused_in_openais_shape(served):
    app, _ = served(keys=(key("alice"),))
    with client(app) as c:
        for headers in ({}, {"Authorization": "Bearer pk-nobody"}, {"Authorization": "Basic x"}):
            response = c.post("/work", headers=headers)
            assert response.status_code == 401
            assert error_of(response)["code"] == "invalid_api_key"
            assert response.headers["www-authenticate"] == "Bearer"


def test_a_key_names_its_caller_and_an_azure_header_will_do(served):
    app, _ = served(keys=(key("alice"), key("bob")))
    with client(app) as c:
        assert c.post("/work", headers=bearer("bob")).json()["caller"] == "bob"
        assert c.post("/work", headers={"api-key": "pk-alice"}).json()["caller"] == "alice"


def test_what_one_caller_stores_another_does_not_see(served):
    _, state = served(keys=(key("alice"), key("bob")))
    alice, bob = Caller("alice"), Caller("bob")
    assert state.readings(alice).folder != state.readings(bob).folder
    assert state.memories(alice).folder != state.memories(bob).folder
    assert [found.id for found in state.callers()] == ["alice", "bob"]


@pytest.mark.parametrize("name", ["../bob", "a/b", ".", "", "a\\b", "a\x00"])
def test_the_id_of_a_key_cannot_lead_out_of_its_folder(name):
    with pytest.raises(ValueError, match="id"):
        ApiKey(id=name, sha256="0" * 64)


def test_without_keys_the_server_listens_on_loopback_alone(tmp_path):
    for host in ("127.0.0.1", "::1", "localhost", "127.1.2.3"):
        ServerConfig(host=host).check()
    for host in ("0.0.0.0", "::", "192.168.1.4", "server.example"):
        with pytest.raises(ConfigurationError, match="without API keys"):
            create_app(ServerConfig(host=host, state_folder=tmp_path))
    ServerConfig(host="0.0.0.0", keys=(key("alice"),)).check()


def test_a_web_page_cannot_use_a_server_without_keys(served):
    app, _ = served()
    with client(app) as c:
        strange = c.post("/work", headers={"Origin": "https://evil.example"})
        assert (strange.status_code, error_of(strange)["code"]) == (403, "unknown_origin")
        rebound = c.post("/work", headers={"Host": "evil.example"})
        assert (rebound.status_code, error_of(rebound)["code"]) == (403, "unknown_host")
        assert c.post("/work", headers={"Origin": "null"}).status_code == 403
        own = c.post("/work", headers={"Origin": "http://127.0.0.1"})
        assert own.status_code == 200


def test_an_origin_that_is_named_may_call_and_is_told_so(served):
    app, _ = served(origins=("https://app.example",))
    with client(app) as c:
        answer = c.post("/work", headers={"Origin": "https://app.example"})
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://app.example"


def test_a_body_over_the_limit_is_refused_chunked_or_not(served):
    app, _ = served(max_body_bytes=1024)
    with client(app) as c:
        assert c.post("/work", content=b"x" * 1024).json()["bytes"] == 1024
        for body in (b"x" * 1025, iter([b"x" * 1000, b"x" * 25])):
            response = c.post("/work", content=body)
            assert response.status_code == 413
            assert "larger than 1,024 bytes" in error_of(response)["message"]


def test_who_has_no_key_can_send_little(served):
    app, _ = served(keys=(key("alice"),))
    large = b"x" * (65 << 10)
    with client(app) as c:
        assert c.post("/work", content=large).status_code == 413
        assert c.post("/work", content=large, headers=bearer("alice")).status_code == 200


def test_a_key_has_so_many_requests_a_minute_and_is_told_when_to_come_back(served):
    app, state = served(keys=(key("alice", requests_a_minute=2), key("bob")))
    with client(app) as c:
        statuses = [c.post("/work", headers=bearer("alice")).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        refused = c.post("/work", headers=bearer("alice"))
        assert 1 <= int(refused.headers["retry-after"]) <= 30
        assert error_of(refused)["type"] == "rate_limit_error"
        assert c.post("/work", headers=bearer("bob")).status_code == 200
    assert state.metrics.refusals.labels("limit")._value.get() == 2


def test_a_rate_is_refilled_steadily():
    now = [0.0]
    rate = Rate(60, clock=lambda: now[0])
    assert [rate.take() for _ in range(60)] == [0.0] * 60
    assert rate.take() == pytest.approx(1.0)
    now[0] = 1.0
    assert rate.take() == 0.0
    assert rate.take() == pytest.approx(1.0)


def hold(server, statuses, headers=None):
    """Starts a request that is held until it is let go."""

    def ask():
        response = httpx2.post(f"{server.url}/work?hold=1", headers=headers, timeout=60)
        statuses.append(response.status_code)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def until(condition, timeout_s=30.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.005)


def test_over_the_queue_every_request_is_refused_cleanly_and_none_is_lost(served):
    app, state = served(concurrency=1, queue=2)
    slots, statuses = state.limiter.slots, []
    with Live(app, state) as server:
        held = [hold(server, statuses)]
        until(lambda: slots.working == 1)
        held += [hold(server, statuses) for _ in range(2)]
        until(lambda: slots.waiting == 2)
        for _ in range(3):
            refused = httpx2.post(f"{server.url}/work", timeout=60)
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) >= 1
        app.state.let_go.set()
        for thread in held:
            thread.join()
    assert statuses == [200, 200, 200]
    assert (slots.working, slots.waiting) == (0, 0)


def test_one_key_cannot_take_all_places(served):
    app, state = served(keys=(key("alice", concurrency=1), key("bob")))
    statuses = []
    with Live(app, state) as server:
        held = hold(server, statuses, bearer("alice"))
        until(lambda: state.limiter.slots.working == 1)
        for name, status in (("alice", 429), ("bob", 200)):
            answer = httpx2.post(f"{server.url}/work", headers=bearer(name), timeout=60)
            assert answer.status_code == status
        app.state.let_go.set()
        held.join()
    assert statuses == [200]


def test_who_leaves_the_queue_is_not_worked_for(served):
    app, state = served(concurrency=1, queue=2)
    slots, statuses = state.limiter.slots, []
    with Live(app, state) as server:
        held = hold(server, statuses)
        until(lambda: slots.working == 1)
        with server.connect() as leaving:
            leaving.sendall(b"POST /work HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n")
            until(lambda: slots.waiting == 1)
        until(lambda: slots.waiting == 0)
        app.state.let_go.set()
        held.join()
    assert (slots.working, slots.waiting) == (0, 0)


def test_a_cancelled_wait_neither_takes_nor_loses_a_place():
    async def scenario():
        slots = Slots(1, 2)
        assert slots.take_free()
        waiting = [asyncio.create_task(slots.take_in_turn()) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(ApiError):
            slots.refuse_if_full()
        with slots.held():
            waiting[0].cancel()
            await asyncio.sleep(0)
        await waiting[1]
        with slots.held():
            assert (slots.working, slots.waiting) == (1, 0)
        assert slots.working == 0

    asyncio.run(scenario())


def test_a_place_handed_over_at_the_moment_of_leaving_goes_to_the_next():
    async def scenario():
        slots = Slots(1, 2)
        assert slots.take_free()
        first, second = (asyncio.create_task(slots.take_in_turn()) for _ in range(2))
        await asyncio.sleep(0)
        with slots.held():
            pass
        first.cancel()
        await second
        with pytest.raises(asyncio.CancelledError):
            await first
        assert slots.working == 1

    asyncio.run(scenario())


def read_all(connection):
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def test_a_slow_head_is_timed_out(served):
    app, state = served(header_timeout_s=0.3)
    with Live(app, state) as server:
        with server.connect() as silent:
            assert read_all(silent) == b""
        with server.connect() as slow:
            slow.sendall(b"POST /work HTTP/1.1\r\nHost: 127")
            assert read_all(slow).startswith(b"HTTP/1.1 408 ")


def test_a_slow_head_on_a_kept_connection_is_timed_out_too(served):
    app, state = served(header_timeout_s=2.0)
    whole = b"POST /work HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"
    with Live(app, state) as server, server.connect() as kept:
        kept.sendall(whole)
        assert kept.recv(65536).startswith(b"HTTP/1.1 200 ")
        kept.sendall(b"POST /work HT")
        assert b"HTTP/1.1 408 " in read_all(kept)


def test_a_slow_body_is_timed_out_and_holds_no_place(served):
    app, state = served(body_timeout_s=0.3)
    head = b"POST /work HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n"
    with Live(app, state) as server, server.connect() as slow:
        slow.sendall(head + b"x")
        answer = read_all(slow)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"came too slowly" in answer
        assert state.limiter.slots.working == 0


def test_a_client_that_reads_nothing_is_cut_off(served):
    app, state = served(send_timeout_s=0.3)

    @app.get("/endless")
    async def endless():
        async def pieces():
            while True:
                yield b"x" * 65536

        return StreamingResponse(pieces())

    cut_off = state.metrics.cut_off.labels("slow_reader")._value
    with Live(app, state) as server, server.connect() as idle:
        idle.sendall(b"GET /endless HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        until(lambda: cut_off.get() == 1)


def test_every_answer_has_the_security_headers(served):
    app, _ = served()
    with client(app) as c:
        for response in (c.get("/healthz"), c.get("/nothing"), c.post("/work")):
            assert response.headers["x-content-type-options"] == "nosniff"
            assert response.headers["x-frame-options"] == "DENY"
            assert "default-src 'none'" in response.headers["content-security-policy"]
            assert "server" not in response.headers


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"], ids=["that never ends", "that is whole"])
def test_a_head_that_is_too_large_is_refused(served, end):
    app, _ = served()
    with Live(app, app.state.server) as server, server.connect() as greedy:
        greedy.sendall(b"POST /work HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Large: ")
        with contextlib.suppress(OSError):
            greedy.sendall(b"x" * (1 << 20) + end)
        with contextlib.suppress(ConnectionResetError):
            assert not read_all(greedy).startswith(b"HTTP/1.1 200 ")
