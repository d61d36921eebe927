"""The OpenAPI document against the server: whatever it allows or forbids, nothing fails.

The whole check, with every boundary of every field, is `python bench/contract.py`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from gateways import FACT, Gateway, config
from palimpsest.models import ScriptedModel

CASES = 6
"""Random requests an operation, of each kind: valid and not."""
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance,unsupported_method"
)

SETTINGS = """
[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 504]
"""
"""A page that a slow machine has no time for is no fault."""


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A server that answers by itself."""
    settings = config(
        None, tmp_path_factory.mktemp("inside"), upstream_window=8192,
        parts=frozenset({"gateway", "renderer"}), render_workers=1,
    )  # fmt: skip
    with Gateway(settings, model=ScriptedModel(lambda *_: f"- {FACT}")) as server:
        yield server


@pytest.fixture(scope="module")
def passing(inside: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway in front of it."""
    with Gateway(config(inside, tmp_path_factory.mktemp("passing"))) as server:
        yield server


def run_schemathesis(server: Gateway, folder: Path, *options: str) -> str:
    """Its report, after it found nothing."""
    pytest.importorskip("schemathesis")
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{server.root}/openapi.json",
        "--checks", CHECKS, "--phases", "examples,fuzzing", "--max-examples", str(CASES),
        "--seed", "8", "--continue-on-failure", "--suppress-health-check", "all",
        "--request-timeout", "60", "--generation-database", "none", "--no-color", *options,
    ]  # fmt: skip
    (folder / "schemathesis.toml").write_text(SETTINGS, encoding="utf-8")
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def cases_of(report: str) -> int:
    found = re.search(r"([\d,]+) generated", report)
    assert found, report
    return int(found[1].replace(",", ""))


def test_no_request_makes_a_server_fail(inside: Gateway, tmp_path: Path) -> None:
    assert cases_of(run_schemathesis(inside, tmp_path)) > 5 * CASES


def test_no_request_makes_a_gateway_before_an_endpoint_fail(
    passing: Gateway, tmp_path: Path
) -> None:
    report = run_schemathesis(passing, tmp_path, "--include-path-regex", "^/v1/")
    assert cases_of(report) > 3 * CASES


def test_the_documents_example_is_answered(passing: Gateway) -> None:
    with httpx2.Client(timeout=None) as http:
        document = http.get(f"{passing.root}/openapi.json").json()
        for path in ("/v1/chat/completions", "/v1/responses"):
            body = document["paths"][path]["post"]["requestBody"]
            example = body["content"]["application/json"]["example"]
            answer = http.post(f"{passing.root}{path}", json=example)
            assert answer.status_code == 200
            assert "object" in answer.json()


HALF = '{"model": "scripted", "messages": [{"role": "user", "content": "\\ud83d who?"}]%s}'
READ = ', "palimpsest": {"when": "always", "source": "\\ude00 The lamp.", "question": "\\ud83d?"}'


@pytest.mark.parametrize("extension", ["", READ])
def test_half_of_a_character_is_read_as_a_replacement(passing: Gateway, extension: str) -> None:
    with httpx2.Client(timeout=None) as http:
        answer = http.post(
            f"{passing.url}/chat/completions", content=(HALF % extension).encode(),
            headers={"content-type": "application/json"},
        )  # fmt: skip
    assert answer.status_code == 200
    assert FACT in answer.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"stream": [True]}, "stream"),
        ({"palimpsest": {"when": "always", "source": "x", "caps": {"cost": 1.0}}}, "caps.cost"),
        ({"palimpsest": {"source": "x", "reader": "none"}}, "reader"),
    ],
)
def test_what_cannot_be_done_is_the_requests_fault(
    passing: Gateway, fields: dict[str, object], said: str
) -> None:
    body = {
        "model": "palimpsest", "messages": [{"role": "user", "content": "Who?"}],
        "palimpsest": {"when": "always", "source": "The lamp."}, **fields,
    }  # fmt: skip
    with httpx2.Client(timeout=None) as http:
        answer = http.post(f"{passing.url}/chat/completions", json=body)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


def test_errors_name_no_address_of_the_upstream(tmp_path: Path) -> None:
    settings = config(None, tmp_path)
    address = settings.upstream.model_copy(update={"base_url": "http://127.0.0.1:9/v1"})
    body = {
        "model": "palimpsest", "messages": [{"role": "user", "content": "Who?"}],
        "palimpsest": {"when": "always", "source": "The lamp."},
    }  # fmt: skip
    with (
        Gateway(settings.model_copy(update={"upstream": address})) as server,
        httpx2.Client(timeout=None) as http,
    ):
        answer = http.post(f"{server.url}/chat/completions", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (502, "upstream_unreachable")
    assert "127.0.0.1" not in error["message"]


def posted(server: Gateway, path: str, body: bytes) -> httpx2.Response:
    with httpx2.Client(timeout=None) as http:
        return http.post(
            f"{server.root}{path}", content=body, headers={"content-type": "application/json"}
        )  # fmt: skip


ASKED = '{"model": "palimpsest", "messages": [{"role": "user", "content": %s}], "x": %s}'


@pytest.mark.parametrize("odd", ["NaN", "-Infinity", "1e999", "[" * 300 + "]" * 300])
def test_what_json_has_not_or_is_too_deep_is_refused(passing: Gateway, odd: str) -> None:
    answer = posted(passing, "/v1/chat/completions", (ASKED % ('"Who?"', odd)).encode())
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_json"


@pytest.mark.parametrize("data", ["data:image/png;base64,\\u00e9", "data:image/x;base64,eHg="])
def test_pictures_that_are_none_are_no_fault(passing: Gateway, data: str) -> None:
    picture = f'[{{"type": "image_url", "image_url": {{"url": "{data}"}}}}]'
    answer = posted(passing, "/v1/chat/completions", (ASKED % (picture, "1")).encode())
    assert answer.status_code < 500


@pytest.mark.parametrize(
    "body",
    [
        '{"content": "\\ud83d half", "boxes": true}',
        '{"content": "a", "style": "\\ud83d"}',
        '{"content": "a", "\\ud83d": 1}',
        '{"content": "a", "format": "\\ud83d"}',
    ],
)
def test_half_of_a_character_is_no_fault_of_the_renderers(inside: Gateway, body: str) -> None:
    answer = posted(inside, "/render", body.encode())
    assert answer.status_code in (200, 400, 422)
    assert answer.json()
