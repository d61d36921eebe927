"""Setting a server up, watching it, and stopping it."""

import asyncio
import hashlib
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx2
import pytest
from cyclopts import App

from live_server import Live
from palimpsest.cli.options import ModelOptions
from palimpsest.cli.readers import ReaderOptions
from palimpsest.cli.serve import LimitOptions, ServerOptions, _given, key, serve
from palimpsest.errors import ConfigurationError, InputError, TransientError
from palimpsest.models import Sampling, ScriptedModel
from palimpsest.models.model import user
from palimpsest.readers import MemOCR
from palimpsest.server import logs
from palimpsest.server.app import create_app
from palimpsest.server.config import ServerConfig, load_keys, resolve_config
from palimpsest.server.state import ServerState

SECRET = "the text of a user"


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path):
    file = tmp_path / "serve.toml"
    file.write_text(
        'port = 1\nqueue = 1\nconcurrency = 1\norigins = ["https://a.example"]\n'
        '[upstream]\nbase_url = "http://file/v1"\nname = "file"\n'
        '[reader]\nname = "memagent"\nsettings = { memory_tokens = 300 }\n'
    )
    environment = {
        "PALIMPSEST_SERVE_CONFIG": str(file),
        "PALIMPSEST_SERVE_PORT": "2",
        "PALIMPSEST_SERVE_QUEUE": "2",
        "PALIMPSEST_SERVE_PARTS": "gateway, renderer",
    }
    given = {"port": 3, "upstream": {"name": "flag"}}
    config = resolve_config(given, environment=environment)
    assert (config.port, config.queue, config.concurrency) == (3, 2, 1)
    assert (config.upstream.name, config.upstream.base_url) == ("flag", "http://file/v1")
    assert config.parts == {"gateway", "renderer"}
    assert config.origins == ("https://a.example",)
    assert config.reader.build().memory_tokens == 300


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("port = 'x'", "port"),
        ("prot = 1", "prot"),
        ("[reader]\nname = 'nobody'", "nobody"),
        ("[reader]\nname = 'memocr'\nsettings = { budgets = ['x'] }", "budgets"),
        ("host = '0.0.0.0'", "without API keys"),
        ("port = ", "serve.toml"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, text, message):
    file = tmp_path / "serve.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        resolve_config({}, file=file, environment={})


def test_a_made_key_is_in_the_file_by_its_hash_alone(tmp_path, capsys):
    key("alice")
    printed = capsys.readouterr()
    made = printed.err.strip().rsplit(" ", 1)[1]
    file = tmp_path / "keys.toml"
    file.write_text(printed.out + "requests_a_minute = 60\n")
    (entry,) = load_keys(file)
    assert entry.id == "alice"
    assert entry.sha256 == hashlib.sha256(made.encode()).hexdigest()
    assert entry.requests_a_minute == 60
    assert made not in file.read_text()
    with pytest.raises(InputError):
        key("../alice")


@pytest.mark.parametrize(
    "text", ["", "[alice]\n", "[alice]\nsha256 = 'pk-the-key-itself'\n", "alice = 'pk'\n"]
)
def test_a_keys_file_that_cannot_be_used_is_refused_without_showing_keys(tmp_path, text):
    file = tmp_path / "keys.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as raised:
        load_keys(file)
    assert "pk-the-key-itself" not in str(raised.value)


def test_two_clients_cannot_share_a_key(tmp_path):
    file = tmp_path / "keys.toml"
    digest = "0" * 64
    file.write_text(f'[a]\nsha256 = "{digest}"\n[b]\nsha256 = "{digest}"\n')
    with pytest.raises(ConfigurationError, match="same key"):
        resolve_config({"keys_file": file}, environment={})


def test_the_command_line_is_told_in_the_words_of_the_configuration():
    given = _given(
        ServerOptions(port=0, part=["gateway"], keys=Path("k"), state=Path("s")),
        LimitOptions(max_body=0.5, at_once=9, grace=1.5),
        ReaderOptions(budget=[256]),
        ModelOptions(model="m"),
        "http://127.0.0.1:8000/v1",
    )
    keys = given.pop("keys_file")
    config = resolve_config(given, environment={})
    assert keys == Path("k")
    assert (config.port, config.parts, config.max_body_bytes) == (0, {"gateway"}, 1 << 19)
    assert (config.concurrency, config.grace_s) == (9, 1.5)
    assert config.upstream.base_url == "http://127.0.0.1:8000/v1"
    assert config.reader.build() == MemOCR(budgets=(256,))


DEPLOY = Path(__file__).parent.parent / "deploy"
GATEWAY = (DEPLOY / "compose.yaml").read_text().split("  gateway:")[1]
UNIT = (DEPLOY / "palimpsest.service").read_text().split("ExecStart=")[1]


@pytest.mark.parametrize(
    "options",
    [
        re.findall(r"^      - (--.*)", GATEWAY, re.MULTILINE),
        UNIT.split("\n#")[0].replace("\\\n", " ").split()[2:],
    ],
    ids=["compose", "systemd"],
)
def test_the_examples_of_deployment_give_options_that_there_are(options):
    app = App()
    app.command(serve)
    _, bound, _ = app.parse_args(["serve", *options], exit_on_error=False, print_error=False)
    assert bound.arguments["server"].keys
    assert bound.arguments["limits"].grace == 45


def test_calls_of_the_model_are_counted(tmp_path):
    model = ScriptedModel(["an answer", TransientError("down")])
    state = ServerState(ServerConfig(state_folder=tmp_path), model=model)

    async def ask():
        await state.model.complete(user("a question"), Sampling(max_tokens=5))
        with pytest.raises(TransientError):
            await state.model.complete(user("a question"), Sampling(max_tokens=5))

    asyncio.run(ask())
    shown = state.metrics.exposition().decode()
    assert 'palimpsest_model_calls_total{outcome="ok"} 1.0' in shown
    assert 'palimpsest_model_calls_total{outcome="failed"} 1.0' in shown
    assert state.metrics.tokens.labels("prompt")._value.get() > 0


def test_spans_follow_the_conventions_and_hold_no_content(tmp_path):
    pytest.importorskip("opentelemetry.sdk", reason="needs the OpenTelemetry SDK")
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    model = ScriptedModel([SECRET, TransientError(SECRET)], name="m")
    state = ServerState(ServerConfig(state_folder=tmp_path), model=model)

    async def ask():
        await state.model.complete(user(SECRET), Sampling(max_tokens=5))
        with pytest.raises(TransientError):
            await state.model.complete(user(SECRET), Sampling(max_tokens=5))

    asyncio.run(ask())
    answered, failed = exporter.get_finished_spans()
    assert answered.name == "chat m"
    attributes = answered.attributes
    assert attributes["gen_ai.operation.name"] == "chat"
    assert attributes["gen_ai.request.model"] == "m"
    assert attributes["gen_ai.request.max_tokens"] == 5
    assert attributes["gen_ai.usage.input_tokens"] > 0
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert failed.attributes["error.type"] == "TransientError"
    assert not failed.status.is_ok
    assert SECRET not in answered.to_json() + failed.to_json()


@pytest.fixture
def logged():
    """What the server logs, as the lines that it writes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonLines())
    logger = logging.getLogger("palimpsest.server")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger.removeHandler(handler)
    logger.setLevel(before)


@pytest.fixture
def made(tmp_path):
    """Makes an application with routes that are waited for, and its state."""

    def make(**settings):
        config = ServerConfig(parts=frozenset(), state_folder=tmp_path, **settings)
        state = ServerState(config, model=ScriptedModel([SECRET]))
        app = create_app(config, state=state)
        app.state.begun, app.state.let_go = threading.Event(), threading.Event()

        @app.post("/held/{name}")
        async def held(name: str):
            app.state.begun.set()
            await asyncio.to_thread(app.state.let_go.wait, 60)
            return {"name": name}

        @app.post("/long")
        async def long():
            app.state.begun.set()
            await asyncio.sleep(600)

        @app.post("/asks")
        async def asks():
            await asyncio.create_task(state.model.complete(user(SECRET), Sampling(max_tokens=5)))

        @app.post("/fault")
        async def fault():
            raise RuntimeError(SECRET)

        return app, state

    return make


def test_a_request_is_one_line_without_what_was_asked(made, logged):
    app, state = made()
    app.state.let_go.set()
    with Live(app, state) as server:
        httpx2.post(
            f"{server.url}/held/{SECRET}?q={SECRET}", content=SECRET,
            headers={"X-Request-Id": "r1"}, timeout=60,
        )  # fmt: skip
        httpx2.post(f"{server.url}/fault", content=SECRET, timeout=60)
        httpx2.post(f"{server.url}/asks", timeout=60)
    request, fault, after, asked = logged()
    assert request["event"] == "request"
    assert (request["request"], request["method"], request["status"]) == ("r1", "POST", 200)
    assert request["route"] == "/held/{name}"
    assert request["ms"] >= 0
    assert (fault["error"], after["status"]) == ("RuntimeError", 500)
    assert "test_server_operations.py" in fault["at"][-1]
    assert (asked["calls"], asked["tokens_in"] > 0, asked["tokens_out"] > 0) == (1, True, True)
    assert SECRET not in json.dumps(logged())


def in_thread(call):
    """Runs a call beside, and gives its result when it is joined."""
    results = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()

    def join():
        thread.join(60)
        return results[0]

    return join


def test_what_is_under_way_is_finished_within_the_grace(made):
    app, state = made(grace_s=60)
    done = []

    async def background():
        await asyncio.to_thread(app.state.let_go.wait, 60)
        done.append("background")

    async def start():
        state.spawn(background())

    state.at_start(start)
    with Live(app, state) as server:
        answer = in_thread(lambda: httpx2.post(f"{server.url}/held/a", timeout=60))
        assert app.state.begun.wait(60)
        server.signal()
        asyncio.run(asyncio.wait_for(_until(state.stopping.is_set), 60))
        app.state.let_go.set()
        assert answer().json() == {"name": "a"}
        server.join()
    assert done == ["background"]
    assert state.cut_off == 0


def test_what_is_not_finished_within_the_grace_is_cut_off_with_a_clean_503(made):
    app, state = made(grace_s=0.3)
    ended = []

    async def background():
        try:
            await asyncio.sleep(600)
        finally:
            ended.append("persisted")

    async def start():
        state.spawn(background())

    async def closing():
        ended.append("closed")

    state.at_start(start)
    state.at_stop(closing)
    with Live(app, state) as server:
        answer = in_thread(lambda: httpx2.post(f"{server.url}/long", timeout=60))
        assert app.state.begun.wait(60)
        server.signal()
        refused = answer()
        server.join()
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "server_stopping"
    assert refused.headers["retry-after"] == "5"
    assert ended == ["persisted", "closed"]
    assert state.cut_off == 2


def test_a_second_signal_ends_the_grace(made):
    app, state = made(grace_s=600)
    ended = []

    async def closing():
        ended.append("closed")

    def ask(url):
        try:
            return httpx2.post(f"{url}/long", timeout=60).status_code
        except httpx2.RemoteProtocolError:
            return 503

    state.at_stop(closing)
    with Live(app, state) as server:
        answer = in_thread(lambda: ask(server.url))
        assert app.state.begun.wait(60)
        server.signal()
        server.signal()
        server.join()
        assert answer() == 503
    assert ended == ["closed"]
    assert state.cut_off == 1


async def _until(condition):
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.005)


SERVE = """
import sys
from palimpsest.models import ScriptedModel
from palimpsest.server.config import ServerConfig
from palimpsest.server.serving import serve
config = ServerConfig(port=0, parts=frozenset(), state_folder=sys.argv[1])
sys.exit(serve(config, model=ScriptedModel([]), on_listening=lambda url: print(url, flush=True)))
"""


def test_a_process_stops_at_a_signal_with_exit_code_0_and_json_logs(tmp_path):
    command = [sys.executable, "-W", "error", "-c", SERVE, str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as process:
        url = process.stdout.readline().strip()
        assert httpx2.get(f"{url}/readyz", timeout=60).json()["ready"]
        process.send_signal(signal.SIGTERM)
        _, written = process.communicate(timeout=120)
    assert process.returncode == 0
    lines = [json.loads(line) for line in written.splitlines()]
    assert all(line["level"] == "info" for line in lines)


def test_a_port_that_is_taken_is_told(tmp_path):
    from palimpsest.server.serving import listen

    with listen(ServerConfig(port=0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1:{port}"):
            listen(ServerConfig(port=port))
