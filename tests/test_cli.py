"""The command as people run it: a process of its own, against a server on this machine."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from loopback import Loopback, Reply, Request, chat, failure
from PIL import Image

from palimpsest.memory import Reading, ReadingStore

QUESTION = "Where is the lamp?"
TEXT = "Ada keeps the lamp. " * 30 + "The lamp is on Gull Rock. " * 30 + "Nothing happens. " * 30
CHUNKS = ["--chunk-tokens", "200", "--memory-tokens", "60"]


class Result(NamedTuple):
    code: int
    out: str
    err: str


class Desk:
    """A folder with a text, where the command is run with a server to ask."""

    def __init__(self, folder: Path, server: Loopback) -> None:
        self.folder = folder
        self.server = server
        self.text = folder / "story.txt"
        self.text.write_text(TEXT)
        self.store = ReadingStore(folder / "readings")

    def start(self, *arguments: object, **environment: str) -> subprocess.Popen[str]:
        base = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        settings = {
            "PALIMPSEST_CONFIG": str(self.folder / "config.toml"),
            "PALIMPSEST_READINGS": str(self.store.folder),
            "PALIMPSEST_BASE_URL": self.server.url,
            "PALIMPSEST_MODEL": "served",
            "PALIMPSEST_API_KEY": "key",
            "PALIMPSEST_RETRIES": "0",
            "COLUMNS": "200",
        }
        (self.folder / "config.toml").touch()
        return subprocess.Popen(
            [sys.executable, "-m", "palimpsest", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=base | settings | environment,
        )

    def run(self, *arguments: object, given: str = "", **environment: str) -> Result:
        return finished(self.start(*arguments, **environment), given)

    def ask(self, *arguments: object, **environment: str) -> Result:
        return self.run("ask", self.text, QUESTION, *CHUNKS, *arguments, **environment)

    def drafts(self) -> list[str]:
        """The prompts of the drafts that were asked for."""
        asked = [prompt_of(request) for request in self.server.asked("/v1/chat/completions")]
        return [prompt for prompt in asked if "<section>" in prompt]

    def readings(self) -> list[Reading]:
        return [reading for _, reading in self.store]


def finished(process: subprocess.Popen[str], given: str = "") -> Result:
    out, err = process.communicate(given, timeout=30)
    return Result(process.returncode, out, err)


def prompt_of(request: Request) -> str:
    content = request.json["messages"][-1]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


def reads(request: Request) -> Reply:
    """What a model would say that notes the number of words it was shown."""
    if not request.path.endswith("/chat/completions"):
        return Reply(404, {"error": {"message": "no such thing"}})
    prompt = prompt_of(request)
    if "<section>" not in prompt:
        return chat(r"So the answer is \boxed{Gull Rock}.")
    return chat(f"# Notes\n\n- the lamp: {'Gull Rock' if 'Gull Rock' in prompt else 'unknown'}")


@pytest.fixture
def desk(tmp_path):
    with Loopback(reads) as server:
        yield Desk(tmp_path, server)


def test_the_answer_is_all_there_is_on_standard_output(desk):
    result = desk.ask()
    assert result.code == 0, result.err
    assert result.out == "Gull Rock\n"
    chunks = len(desk.drafts())
    assert chunks >= 3
    assert f"in {chunks} chunks" in result.err
    assert len(re.findall(r"^chunk \d+: memory \d+ tokens", result.err, re.MULTILINE)) == chunks
    assert desk.server.requests[-1].headers["authorization"] == "Bearer key"


def test_json_holds_the_answer_and_what_it_cost(desk):
    result = desk.ask("--json", "--quiet")
    told = json.loads(result.out)
    assert result.err == ""
    assert told["answer"] == "Gull Rock"
    assert told["status"] == "answered"
    assert told["documents"] == ["story.txt"] or told["documents"] == [str(desk.text)]
    assert told["calls"] == len(desk.drafts()) + 1
    assert told["usage"]["prompt"] == 7 * told["calls"]
    assert told["answers"] == [{"question": 0, "budget": None, "text": "Gull Rock", "boxed": True}]
    assert Path(told["reading"]).is_dir()
    assert told["memory"] == desk.readings()[0].memory


def test_standard_input_is_read_with_a_dash_or_with_the_question_alone(desk):
    dash = desk.run("ask", "-", QUESTION, given="Ada has it.")
    alone = desk.run("ask", QUESTION, given="Ada has it.")
    assert dash.out == alone.out == "Gull Rock\n"
    assert all("Ada has it." in draft for draft in desk.drafts())


def test_several_files_are_one_source(desk):
    other = desk.folder / "other.md"
    other.write_text("# Lamps\n\nA lamp was lit.")
    result = desk.run("ask", desk.text, other, QUESTION, "--json")
    assert len(json.loads(result.out)["documents"]) == 2
    assert "A lamp was lit." in desk.drafts()[-1]


def test_two_budgets_draft_once_and_answer_twice(desk):
    result = desk.ask("--reader", "memocr", "--budget", 64, "--budget", 16)
    assert result.code == 0, result.err
    assert result.out == "[64 tokens] Gull Rock\n[16 tokens] Gull Rock\n"
    assert len(desk.drafts()) == len(desk.readings()[0].header.chunks)
    for request, budget in zip(desk.server.requests[-2:], (64, 16), strict=True):
        assert cells_of(request.json["messages"][0]["content"][0]) <= budget


def cells_of(part: Mapping[str, Any]) -> float:
    data = base64.b64decode(part["image_url"]["url"].split(",")[1])
    return cells(Image.open(io.BytesIO(data)))


def cells(image: Image.Image) -> float:
    return image.width / 28 * (image.height / 28)


def refused_url() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


BROKEN = Reply(body={"choices": []}, cut_at=5)
SERVED = Reply(body={"data": [{"id": "qwen"}, {"id": "llama"}]})
NO_KEY = failure(401, "Incorrect API key provided: key")
NO_MODEL = failure(404, "The model `served` does not exist.", code="model_not_found")
NO_ROOM = failure(400, "This model's maximum context length is 512 tokens. You asked for 900.")
FAILURES: dict[str, tuple[int, Sequence[str], Reply, tuple[str, str]]] = {
    "wrong URL": (4, ["--base-url", refused_url()], BROKEN, ("nothing answers", "running")),
    "no endpoint": (4, [], Reply(404, "<html>Not here</html>"), ("no chat completions", "URL")),
    "wrong key": (4, [], NO_KEY, ("refused the API key", "Check the key")),
    "unknown model": (4, [], NO_MODEL, ("has no model 'served'", "qwen, llama")),
    "window": (4, [], NO_ROOM, ("does not fit the window", "smaller chunks")),
    "dropped": (5, [], BROKEN, ("lost", "try again")),
    "overload": (5, [], failure(503, "busy"), ("503: busy", "try again")),
    "no such file": (2, ["missing.txt"], BROKEN, ("missing.txt: no such file", "path")),
    "bad flag": (2, ["--chunks", "3"], BROKEN, ("--chunks", "--help")),
    "bad value": (3, ["--top-p", "7"], BROKEN, ("--top-p", "correct")),
    "idle flag": (3, ["--reader", "memagent", "--budget", "64"], BROKEN, ("--budget", "memocr")),
    "bad prompts": (3, ["--prompts", "bad.toml"], BROKEN, ("{question}", "placeholders")),
}


def test_each_failure_has_its_exit_code_and_says_what_to_do(tmp_path):
    """All at once, as most of the time of a short command goes into starting it."""
    servers: list[Loopback] = []
    processes: dict[str, subprocess.Popen[str]] = {}
    try:
        for number, (name, (_, arguments, reply, _)) in enumerate(FAILURES.items()):
            server = Loopback(lambda _, reply=reply: reply)
            servers.append(server.__enter__())
            server.routes["/v1/models"] = SERVED
            folder = tmp_path / str(number)
            folder.mkdir()
            desk = Desk(folder, server)
            (folder / "bad.toml").write_text('id = "mine"\n[final]\ntext = "{memory}"\n')
            files = [] if name == "no such file" else [desk.text]
            processes[name] = desk.start("ask", *files, *arguments, QUESTION)
        results = {name: finished(process) for name, process in processes.items()}
    finally:
        for server in servers:
            server.__exit__()
    for name, (code, _, _, said) in FAILURES.items():
        result = results[name]
        assert result.code == code, (name, result)
        assert result.out == "", name
        assert "error: " in result.err, name
        assert "Traceback" not in result.err, name
        assert all(word in result.err for word in said), (name, result.err)


def test_debug_shows_where_it_failed(desk):
    result = desk.run("ask", "missing.txt", QUESTION, "--debug")
    assert result.code == 2
    assert "Traceback" in result.err
    assert "error: missing.txt" in result.err


class Stall:
    """Answers as `reads` does, until so many drafts were answered; the next one hangs."""

    def __init__(self, drafts: int) -> None:
        self.drafts = drafts
        self.seen = 0

    def __call__(self, request: Request) -> Reply:
        if request.path.endswith("/chat/completions"):
            self.seen += 1
        reply = reads(request)
        return Reply(body=reply.body, delay_s=60) if self.seen == self.drafts + 1 else reply


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_stopped_reading_goes_on_from_its_last_finished_chunk(tmp_path, stop, code):
    stall = Stall(2)
    with Loopback(stall) as server:
        desk = Desk(tmp_path, server)
        process = desk.start("ask", desk.text, QUESTION, *CHUNKS)
        assert server.wait_for(lambda: stall.seen == 3, 20)
        stopped = time.monotonic()
        process.send_signal(stop)
        result = finished(process)
        assert time.monotonic() - stopped < 2
        assert result.code == code
        assert "Traceback" not in result.err
        assert desk.readings()[0].next_chunk == 2
        before = desk.drafts()

        again = desk.ask()
        assert again.out == "Gull Rock\n"
        assert "going on after chunk 2" in again.err
        after = desk.drafts()[len(before) :]
        assert after[0] == before[2], "the draft in flight is asked for again"

        whole = desk.ask("--fresh")
        assert whole.out == again.out
        resumed, unbroken = desk.readings()
        assert after[1:] == desk.drafts()[-len(after) + 1 :], "and then only those that are left"
        assert len(after) == len(unbroken.header.chunks) - 2
        assert resumed.memories == unbroken.memories
        assert resumed.answers == unbroken.answers


def test_interrupting_work_that_cannot_be_cancelled_ends_the_process_all_the_same():
    program = (
        "import asyncio, time; from palimpsest.cli.app import run_async;"
        "print('begun', flush=True); run_async(asyncio.to_thread(time.sleep, 30))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.wait(3) == 130
    assert "goes on" in finished(process).err


def test_a_recorded_run_is_replayed_without_the_server(desk):
    recorded = desk.ask("--record", "calls.sqlite")
    replayed = desk.ask(
        "--record", "calls.sqlite", "--record-mode", "replay", "--base-url", refused_url(), "--fresh"
    )
    assert replayed.code == 0, replayed.err
    assert recorded.out == replayed.out == "Gull Rock\n"
    assert desk.readings()[0].memories == desk.readings()[1].memories


def test_show_lists_shows_and_draws(desk):
    desk.ask()
    name = next(iter(desk.store))[0]
    listed, shown = desk.run("show"), desk.run("show", name[:6])
    assert name in listed.out
    assert "1 readings" in listed.err or "1 reading" in listed.err
    for part in (QUESTION, "Gull Rock", "# Notes", "status: answered"):
        assert part in shown.out
    drawn = desk.run("show", name, "--page", "out.png", "--budget", 64, "--json")
    assert json.loads(drawn.out)["answer"] == "Gull Rock"
    with Image.open(desk.folder / "out.png") as image:
        assert (image.width % 28, image.height % 28) == (0, 0)
        assert cells(image) <= 64
    assert desk.run("show", "zzz").code == 2
