"""Clients as they are installed, asked for more than the upstream's window holds.

LangChain's and LlamaIndex's need packages, and versions of OpenAI's own client, that the rest of
the tests do not, so they run by an interpreter of their own, which `PALIMPSEST_CLIENTS` names:

    python -m venv .venv-clients
    .venv-clients/bin/pip install -r tests/client_scripts/requirements.txt
    PALIMPSEST_CLIENTS=.venv-clients/bin/python pytest tests/test_server_clients.py

`PALIMPSEST_NODE_CLIENT` names the folder of Node's package `openai` (`npm pack openai`, unpacked).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from client_scripts.ask import NOT_INSTALLED
from gateways import FACT, QUESTION, Gateway, Scripted, config, story
from loopback import Loopback
from palimpsest.server.config import ReaderChoice
from palimpsest.sources.tokens import estimate_tokens

HERE = Path(__file__).parent / "client_scripts"
MODEL = "gpt-4o-mini"
"""LlamaIndex's class wants a name that it knows."""
TOKENS = 60_000
WINDOW = 8192
OTHERS = os.environ.get("PALIMPSEST_CLIENTS")
NODE_CLIENT = os.environ.get("PALIMPSEST_NODE_CLIENT")


@pytest.fixture(scope="module")
def script() -> Scripted:
    return Scripted()


@pytest.fixture(scope="module")
def gateway(script: Scripted, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("state")
    with Loopback(script) as upstream:
        settings = config(upstream, folder, upstream_window=WINDOW, reader=ReaderChoice())
        with Gateway(settings) as server:
            yield server


@pytest.fixture(scope="module")
def message(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a message of 60,000 tokens and more."""
    text = f"{story(1000)}\n\n{QUESTION}"
    assert estimate_tokens(text).sum() > TOKENS
    file = tmp_path_factory.mktemp("message") / "message.txt"
    file.write_text(text, encoding="utf-8")
    return file


def told(command: Sequence[str | Path]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == NOT_INSTALLED and OTHERS is None:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def assert_read(answer: dict[str, Any], script: Scripted) -> None:
    assert script.drafts
    # LlamaIndex sends a temperature, for which the script says what it would note: a list.
    assert answer["whole"].removeprefix("- ") == FACT
    assert answer["streamed"].removeprefix("- ") == FACT
    assert answer["pieces"] > 1


@pytest.mark.parametrize("client", ["openai", "openai-responses", "langchain", "llama-index"])
def test_a_python_client_is_answered(
    gateway: Gateway, script: Scripted, message: Path, client: str
) -> None:
    python = sys.executable if client.startswith("openai") else OTHERS or sys.executable
    answer = told([python, HERE / "ask.py", client, gateway.url, MODEL, message])
    assert_read(answer, script)


@pytest.mark.skipif(
    not (NODE_CLIENT and shutil.which("node")), reason="needs node and PALIMPSEST_NODE_CLIENT"
)
def test_openais_client_for_node_is_answered(
    gateway: Gateway, script: Scripted, message: Path
) -> None:
    answer = told(["node", HERE / "ask.mjs", str(NODE_CLIENT), gateway.url, MODEL, message])
    assert_read(answer, script)
    assert_read(answer["responses"], script)


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
@pytest.mark.parametrize("streamed", [False, True])
def test_curl_is_answered(gateway: Gateway, message: Path, tmp_path: Path, streamed: bool) -> None:
    asked = {"model": MODEL, "stream": streamed}
    body = {**asked, "messages": [{"role": "user", "content": message.read_text("utf-8")}]}
    file = tmp_path / "body.json"
    file.write_text(json.dumps(body), encoding="utf-8")
    command = [
        "curl", "-sSN", f"{gateway.url}/chat/completions",
        "-H", "Content-Type: application/json", "--data-binary", f"@{file}",
    ]  # fmt: skip
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if not streamed:
        assert json.loads(said)["choices"][0]["message"]["content"] == FACT
        return
    events = [json.loads(line[6:]) for line in said.splitlines() if line.startswith("data: {")]
    deltas = [choice["delta"] for event in events for choice in event["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == FACT
    assert said.rstrip().endswith("data: [DONE]")
