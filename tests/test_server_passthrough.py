"""What fits is passed through as it came, and what the upstream answers comes back as it was."""

import gzip
import hashlib
import json
import socket
import threading

import httpx2
import pytest
from fastapi import Request

from live_server import Live
from loopback import Loopback, Reply, chat
from palimpsest.server.app import create_app
from palimpsest.server.config import ApiKey, ServerConfig
from palimpsest.server.passthrough import models_routes
from palimpsest.server.state import ServerState
from palimpsest.settings import ModelSettings

BODY = b'{ "model":"m",  "messages":[{"role":"user","content":"\\u00e9 caf\xc3\xa9"}] }\n'


def build(tmp_path, base_url, *, api_key=None, **settings):
    """A server that passes everything at /v1/chat/completions through, and its state."""
    upstream = ModelSettings(name="m", base_url=base_url, api_key=api_key)
    config = ServerConfig(
        parts=frozenset(), state_folder=tmp_path, upstream=upstream, **settings
    )  # fmt: skip
    state = ServerState(config)
    app = create_app(config, state=state)
    app.include_router(models_routes(state))

    @app.post("/v1/chat/completions")
    async def create(request: Request):
        return await state.upstream.forward(request, "/chat/completions", model="m")

    return app, state


@pytest.fixture
def upstream():
    with Loopback() as server:
        yield server


@pytest.fixture
def served(tmp_path, upstream):
    app, state = build(tmp_path, upstream.url)
    with Live(app, state) as server:
        yield server


def post(server, **options):
    return httpx2.post(f"{server.url}/v1/chat/completions", timeout=60, **options)


def test_a_body_reaches_the_upstream_byte_for_byte(served, upstream):
    post(served, content=BODY, headers={"Content-Type": "application/json", "X-Own": "kept"})
    (request,) = upstream.requests
    assert request.body == BODY
    assert request.path == "/v1/chat/completions"
    assert request.headers["x-own"] == "kept"
    assert request.headers["content-length"] == str(len(BODY))


def test_a_query_is_passed_on(served, upstream):
    httpx2.post(f"{served.url}/v1/chat/completions?a=1&a=%2F", content=BODY, timeout=60)
    assert upstream.requests[0].path == "/v1/chat/completions?a=1&a=%2F"


def test_headers_of_the_connection_stay_with_it(served, upstream):
    headers = {
        "Connection": "keep-alive, X-Mine", "X-Mine": "1", "TE": "trailers", "X-Odd": b"caf\xe9",
    }  # fmt: skip
    post(served, content=BODY, headers=headers)
    sent = upstream.requests[0].headers
    assert not {"x-mine", "te", "upgrade"} & set(sent)
    assert sent["x-odd"] == "caf\xe9"
    assert sent["host"] == upstream.root.removeprefix("http://")


def test_an_answer_comes_back_byte_for_byte_with_its_headers(served, upstream):
    body = gzip.compress(b'{"choices": []}')
    headers = {
        "Content-Encoding": "gzip", "X-Request-Id": "theirs", "X-Ratelimit-Left": "7",
        "Content-Type": "application/json",
    }  # fmt: skip
    upstream.replies = [Reply(200, body, headers)]
    with httpx2.stream(
        "POST", f"{served.url}/v1/chat/completions", content=BODY, timeout=60
    ) as answer:
        assert b"".join(answer.iter_raw()) == body
        for name, value in headers.items():
            assert answer.headers.get_list(name) == [value]
        assert len(answer.headers.get_list("date")) == 1


def test_nothing_is_compressed_that_the_client_did_not_ask_for(served, upstream):
    with socket.create_connection(served.address, timeout=60) as bare:
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(BODY)}"
        )
        bare.sendall(head.encode() + b"\r\nConnection: close\r\n\r\n" + BODY)
        while bare.recv(65536):
            pass
    sent = upstream.requests[0].headers
    assert not {"accept-encoding", "user-agent", "accept"} & set(sent)


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503, 529])
def test_errors_of_the_upstream_come_back_as_they_are(served, upstream, status):
    body = {"error": {"message": "theirs", "type": "x", "param": None, "code": None}}
    upstream.replies = [Reply(status, body, {"Retry-After": "17"})]
    answer = post(served, content=BODY)
    assert (answer.status_code, answer.json()) == (status, body)
    assert answer.headers["retry-after"] == "17"
    assert len(upstream.requests) == 1


def test_a_redirect_is_not_followed(served, upstream):
    upstream.replies = [Reply(307, "", {"Location": "http://127.0.0.1:1/elsewhere"})]
    answer = post(served, content=BODY, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, "http://127.0.0.1:1/elsewhere")


def test_a_clients_key_is_the_upstreams_where_nobody_else_has_one(served, upstream):
    post(served, content=BODY, headers={"Authorization": "Bearer theirs"})
    assert upstream.requests[0].headers["authorization"] == "Bearer theirs"


def test_a_key_of_this_server_never_reaches_the_upstream(tmp_path, upstream):
    key = ApiKey(id="alice", sha256=hashlib.sha256(b"pk-alice").hexdigest())
    for api_key, expected in ((None, None), ("sk-upstream", "Bearer sk-upstream")):
        app, state = build(tmp_path, upstream.url, api_key=api_key, keys=(key,))
        with Live(app, state) as server:
            post(server, content=BODY, headers={"Authorization": "Bearer pk-alice"})
            post(server, content=BODY, headers={"api-key": "pk-alice"})
        for request in upstream.requests[-2:]:
            assert request.headers.get("authorization") == expected
            assert "pk-alice" not in str(dict(request.headers))


class Piecewise:
    """An upstream that sends an answer piece by piece, each when it is told to."""

    def __init__(self):
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/v1"
        self.connection = None

    def accept(self):
        self.connection, _ = self._listening.accept()
        self.connection.settimeout(60)
        received = b""
        while BODY not in received:
            received += self.connection.recv(65536)

    def start(self):
        self.connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )

    def send(self, piece):
        self.connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")

    def end(self):
        self.connection.sendall(b"0\r\n\r\n")

    def close(self):
        for opened in (self.connection, self._listening):
            if opened:
                opened.close()


@pytest.fixture
def piecewise():
    upstream = Piecewise()
    yield upstream
    upstream.close()


def test_pieces_of_a_stream_come_as_they_are_sent(tmp_path, piecewise):
    app, state = build(tmp_path, piecewise.url)
    pieces = [b'data: {"n": 1}\n\n', b"data: cut in the", b" middle\n\ndata: [DONE]\n\n"]
    accepting = threading.Thread(target=lambda: (piecewise.accept(), piecewise.start()))
    accepting.start()
    url = "{}/v1/chat/completions"
    with (
        Live(app, state) as server,
        httpx2.stream("POST", url.format(server.url), content=BODY, timeout=60) as answer,
    ):
        accepting.join()
        received = answer.iter_raw()
        for piece in pieces:
            piecewise.send(piece)
            assert next(received) == piece
        piecewise.end()
        assert list(received) == []


def test_an_answer_that_the_upstream_cuts_off_is_not_given_as_whole(tmp_path, piecewise):
    app, state = build(tmp_path, piecewise.url)
    accepting = threading.Thread(target=lambda: (piecewise.accept(), piecewise.start()))
    accepting.start()
    with (
        Live(app, state) as server,
        httpx2.stream(
            "POST", f"{server.url}/v1/chat/completions", content=BODY, timeout=60
        ) as answer,
    ):
        accepting.join()
        piecewise.send(b"data: 1\n\n")
        received = answer.iter_raw()
        next(received)
        piecewise.close()
        with pytest.raises(httpx2.RemoteProtocolError):
            list(received)
    assert state.metrics.passed.labels("upstream_cut")._value.get() == 1


@pytest.mark.parametrize("started", [False, True])
def test_a_client_that_leaves_closes_the_upstreams_connection(tmp_path, piecewise, started):
    app, state = build(tmp_path, piecewise.url)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(BODY)}"
    with Live(app, state) as server:
        with server.connect() as client:
            client.sendall(head.encode() + b"\r\n\r\n" + BODY)
            piecewise.accept()
            if started:
                piecewise.start()
                piecewise.send(b"data: 1\n\n")
                assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert piecewise.connection.recv(1) == b"", "the upstream's connection is still open"
    assert state.metrics.passed.labels("client_gone")._value.get() == 1


def test_an_upstream_that_is_not_there_is_a_502(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    app, state = build(tmp_path, f"http://127.0.0.1:{port}/v1")
    with Live(app, state) as server:
        answer = post(server, content=BODY)
        assert answer.status_code == 502
        assert answer.json()["error"]["code"] == "upstream_unreachable"
        assert str(port) not in answer.text
        ready = httpx2.get(f"{server.url}/readyz", timeout=60)
        assert ready.status_code == 503
        assert ready.json()["problems"] == {"upstream": "the upstream cannot be reached"}


def test_a_slow_upstream_is_a_504(tmp_path, upstream):
    settings = ModelSettings(name="m", base_url=upstream.url, timeout_s=0.2)
    config = ServerConfig(parts=frozenset(), state_folder=tmp_path, upstream=settings)
    state = ServerState(config)
    app = create_app(config, state=state)

    @app.post("/v1/chat/completions")
    async def create(request: Request):
        return await state.upstream.forward(request, "/chat/completions")

    upstream.replies = [chat("late", delay_s=30)]
    with Live(app, state) as server:
        answer = post(server, content=BODY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "upstream_timeout")


def test_the_list_of_models_is_the_upstreams_and_our_own(served, upstream):
    listed = {"object": "list", "data": [{"id": "m", "object": "model", "max_model_len": 32768}]}
    upstream.routes["/v1/models"] = Reply(200, listed)
    upstream.routes["/v1/models/org/m"] = Reply(200, {"id": "org/m"})
    answer = httpx2.get(f"{served.url}/v1/models", timeout=60).json()
    assert [entry["id"] for entry in answer["data"]] == ["m", "palimpsest"]
    assert answer["data"][0]["max_model_len"] == 32768
    own = httpx2.get(f"{served.url}/v1/models/palimpsest", timeout=60).json()
    assert (own["id"], own["owned_by"]) == ("palimpsest", "palimpsest")
    theirs = httpx2.get(f"{served.url}/v1/models/org/m", timeout=60)
    assert json.loads(theirs.content) == {"id": "org/m"}


@pytest.mark.parametrize(
    "model",
    ["../files", "%2e%2e/files", "..%2ffiles", "org/%2E%2E/%2e%2e/files", "./m", "org//m", ""],
)
def test_the_name_of_a_model_leads_to_no_other_path(served, upstream, model):
    with socket.create_connection(served.address, timeout=60) as bare:
        head = f"GET /v1/models/{model} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        bare.sendall(head.encode())
        assert bare.recv(65536).startswith(b"HTTP/1.1 404 ")
    assert upstream.requests == []


def test_a_path_that_is_no_path_of_http_reaches_it_quoted(tmp_path, upstream):
    app, state = build(tmp_path, f"{upstream.root}/mod\u00e8les v1/?x=1")
    with Live(app, state) as server:
        post(server, content=BODY)
    assert upstream.requests[0].path == "/mod%C3%A8les%20v1/chat/completions?x=1"


def test_the_name_in_an_upstreams_address_is_shown_to_it(tmp_path, upstream):
    app, state = build(tmp_path, upstream.url.replace("//", "//me:se%40cret@"))
    with Live(app, state) as server:
        post(server, content=BODY, headers={"Authorization": "Bearer x"})
    (request,) = upstream.requests
    assert request.headers["authorization"] == "Basic bWU6c2VAY3JldA=="
    assert request.headers["host"] == upstream.root.removeprefix("http://")


def test_azure_gets_its_version_and_its_key(tmp_path, upstream):
    app, state = build(
        tmp_path, f"{upstream.root}/openai/deployments/d?api-version=2024-10-21", api_key="k"
    )
    with Live(app, state) as server:
        post(server, content=BODY, headers={"Authorization": "Bearer x"})
    (request,) = upstream.requests
    assert request.path == "/openai/deployments/d/chat/completions?api-version=2024-10-21"
    assert request.headers["api-key"] == "k"
    assert "authorization" not in request.headers
