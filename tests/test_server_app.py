"""The application: its health, its description, and how whatever goes wrong is told."""

import asyncio
import logging
from typing import Annotated

import httpx2
import pytest
from fastapi import Depends
from fastapi.testclient import TestClient
from pydantic import BaseModel
from starlette.responses import StreamingResponse

from live_server import Live
from palimpsest import errors
from palimpsest.models import ScriptedModel
from palimpsest.server.app import create_app
from palimpsest.server.config import ApiKey, ServerConfig
from palimpsest.server.errors import ERROR_RESPONSES, api_error
from palimpsest.server.security import Caller, caller
from palimpsest.server.state import ServerState

SECRET = "the text of a user"


class Asked(BaseModel):
    number: int


@pytest.fixture
def made(tmp_path):
    """The application without parts, with routes that go wrong, and its state."""
    config = ServerConfig(parts=frozenset(), state_folder=tmp_path / "state")
    state = ServerState(config, model=ScriptedModel(["yes"]))
    app = create_app(config, state=state)

    @app.get("/fault")
    async def fault():
        raise RuntimeError(SECRET)

    @app.get("/half")
    async def half():
        async def pieces():
            yield b"half of an answer"
            raise RuntimeError(SECRET)

        return StreamingResponse(pieces())

    @app.get("/refuse/{kind}")
    async def refuse(kind: str):
        raise getattr(errors, kind)("this failed", hint="do that")

    @app.post("/v1/typed")
    @app.post("/typed")
    async def typed(body: Asked, by: Annotated[Caller, Depends(caller)]):
        return {"number": body.number}

    return app, state


@pytest.fixture
def client(made):
    with TestClient(made[0], base_url="http://127.0.0.1") as client:
        yield client


def test_health_says_that_the_process_lives(client):
    assert client.get("/healthz").json()["status"] == "ok"


def test_readiness_says_what_is_against_it(made, client):
    _, state = made
    assert client.get("/readyz").json() == {"ready": True, "problems": {}}
    state.folder.chmod(0o500)
    state.folder.rename(state.folder.with_name("gone"))
    state.folder.write_text("a file where the folder was")
    unready = client.get("/readyz")
    assert (unready.status_code, set(unready.json()["problems"])) == (503, {"state"})
    state.begin_stopping()
    assert "server" in client.get("/readyz").json()["problems"]


def test_a_state_folder_that_cannot_be_made_is_told_at_the_start(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.ConfigurationError, match="cannot hold the server's state"):
        ServerState(ServerConfig(state_folder=tmp_path / "file" / "state"))


def test_metrics_are_prometheus_text(client):
    client.get("/healthz")
    client.get("/no/such/path/1")
    client.get("/no/such/path/2")
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    line = 'palimpsest_requests_total{method="GET",route="%s",status="%s"} %s'
    assert line % ("/healthz", 200, "1.0") in answer.text
    assert line % ("unmatched", 404, "2.0") in answer.text
    assert "palimpsest_queue_depth 0.0" in answer.text


def test_the_description_declares_errors_and_loads_no_page(client, tmp_path):
    assert client.get("/docs").status_code == 404
    assert client.get("/redoc").status_code == 404
    described = client.get("/openapi.json").json()
    assert described["paths"]["/readyz"]["get"]["responses"].keys() >= {"200", "503"}
    metrics = described["paths"]["/metrics"]["get"]
    assert metrics["responses"].keys() >= {"401", "429", "default"}
    assert "security" not in metrics
    key = ApiKey(id="alice", sha256="0" * 64)
    config = ServerConfig(parts=frozenset(), state_folder=tmp_path / "keyed", keys=(key,))
    keyed = create_app(config, model=ScriptedModel([])).openapi()["paths"]
    assert keyed["/metrics"]["get"]["security"] == [{"HTTPBearer": []}]


def test_every_route_may_declare_errors_in_one_shape():
    assert {str(status) for status in ERROR_RESPONSES} >= {"400", "401", "413", "429", "default"}


def test_each_error_of_the_package_has_its_status():
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.PalimpsestError)
    ]
    statuses = {}
    for kind in kinds:
        made = kind("f", "m") if kind is errors.SourceError else kind("m")
        statuses[kind.__name__] = api_error(made).status
    assert statuses == {
        "PalimpsestError": 500,
        "InputError": 400,
        "SourceError": 400,
        "ConfigurationError": 500,
        "PromptError": 500,
        "CapReached": 400,
        "ModelError": 502,
        "EndpointError": 502,
        "AuthError": 502,
        "UnknownModelError": 404,
        "WindowError": 400,
        "RefusedError": 400,
        "TransientError": 503,
        "ReadingError": 404,
    }


def test_an_error_of_the_package_reaches_the_client_with_its_hint(client):
    answer = client.get("/refuse/WindowError")
    assert answer.status_code == 400
    assert answer.json() == {
        "error": {
            "message": "this failed (do that)",
            "type": "invalid_request_error",
            "param": None,
            "code": "context_length_exceeded",
        }
    }
    assert client.get("/refuse/TransientError").headers["retry-after"] == "5"


def test_what_is_wrong_with_the_server_is_not_told_to_clients(client):
    for kind in ("ConfigurationError", "ReadingError"):
        assert "this failed" not in client.get(f"/refuse/{kind}").text


def test_a_body_that_cannot_be_used_is_told_in_openais_shape(client):
    for path, status in (("/v1/typed", 400), ("/typed", 422)):
        missing = client.post(path, json={})
        assert missing.status_code == status
        assert missing.json()["error"]["param"] == "number"
        broken = client.post(path, content=b"{", headers={"Content-Type": "application/json"})
        assert broken.status_code == status
        assert broken.json()["error"]["type"] == "invalid_request_error"


def test_a_fault_says_nothing_of_itself_but_where_to_look(client, caplog):
    with caplog.at_level(logging.ERROR, "palimpsest.server"):
        answer = client.get("/fault", headers={"X-Request-Id": "mine-1"})
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "server_error"
    assert "mine-1" in answer.text
    assert SECRET not in answer.text
    assert answer.headers["x-request-id"] == "mine-1"
    assert any(record.getMessage() == "fault" for record in caplog.records)


def test_a_fault_in_the_middle_of_an_answer_never_looks_like_its_end(made):
    app, state = made
    with Live(app, state) as server, pytest.raises(httpx2.RemoteProtocolError):
        httpx2.get(f"{server.url}/half", timeout=60)
    assert state.metrics.cut_off.labels("fault")._value.get() == 1


def test_a_request_that_takes_too_long_is_ended(tmp_path):
    config = ServerConfig(parts=frozenset(), state_folder=tmp_path, timeout_s=0.2)
    app = create_app(config, model=ScriptedModel([]))

    @app.get("/long")
    async def long():
        await asyncio.sleep(60)

    with TestClient(app, base_url="http://127.0.0.1") as client:
        answer = client.get("/long")
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")


def test_parts_that_are_off_are_not_there(client):
    for path in ("/v1/chat/completions", "/v1/responses", "/render"):
        assert client.post(path, json={}).status_code == 404
