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
from PIL import Image
from rich.console import Console

import palimpsest
from loopback import Loopback, Reply, Request, chat, failure
from palimpsest.cli import main
from palimpsest.cli.progress import Progress
from palimpsest.memory import Reading, ReadingStore
from palimpsest.models import ScriptedModel

Capture = pytest.CaptureFixture[str]
QUESTION = "Where is the lamp?"
SENTENCES = ("Ada keeps the lamp.", "The lamp is on Gull Rock.", "Nothing happens.")
TEXT = " ".join(" ".join([sentence] * 30) for sentence in SENTENCES)
NOTES = "# Notes\n\nThis is a line that is longer than a terminal is wide, and the lamp of it is: "
CHUNKS = ["--chunk-tokens", "200", "--memory-tokens", "60"]


class Result(NamedTuple):
    code: int
    out: str
    err: str


class Desk:
    """A folder with a text, where the command is run with a server to ask."""

    def __init__(self, folder: Path, server: Loopback, capture: Capture) -> None:
        self.folder = folder
        self.server = server
        self.capture = capture
        self.text = folder / "story.txt"
        self.text.write_text(TEXT)
        self.store = ReadingStore(folder / "readings")

    @property
    def environment(self) -> dict[str, str]:
        (self.folder / "config.toml").touch()
        return {
            "PALIMPSEST_CONFIG": str(self.folder / "config.toml"),
            "PALIMPSEST_READINGS": str(self.store.folder),
            "PALIMPSEST_BASE_URL": self.server.url,
            "PALIMPSEST_MODEL": "served",
            "PALIMPSEST_API_KEY": "key",
            "PALIMPSEST_RETRIES": "0",
            "COLUMNS": "80",
        }

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """The command as a process of its own."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return subprocess.Popen(
            [sys.executable, "-m", "palimpsest", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=kept | self.environment,
        )

    def run(self, *arguments: object, given: str = "") -> Result:
        return finished(self.start(*arguments), given)

    def call(self, *arguments: object) -> Result:
        """The command in this process: the same, without the second that a start takes."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            for name in [*os.environ]:
                if name.startswith(("PALIMPSEST_", "OPENAI_")):
                    patch.delenv(name)
            for name, value in self.environment.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as caught:
                main([str(argument) for argument in arguments])
        captured = self.capture.readouterr()
        return Result(caught.value.code, captured.out, captured.err)

    def ask(self, *arguments: object) -> Result:
        return self.call("ask", self.text, QUESTION, *CHUNKS, *arguments)

    def drafts(self) -> list[str]:
        """The prompts of the drafts that were asked for."""
        asked = [prompt_of(request) for request in self.server.asked("/v1/chat/completions")]
        return [prompt for prompt in asked if is_draft(prompt)]

    def readings(self) -> list[Reading]:
        return [reading for _, reading in self.store]


def finished(process: subprocess.Popen[str], given: str = "") -> Result:
    out, err = process.communicate(given, timeout=30)
    return Result(process.returncode, out, err)


def prompt_of(request: Request) -> str:
    content = request.json["messages"][-1]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


def is_draft(prompt: str) -> bool:
    """Whether a prompt shows the source: the others show the memory alone."""
    return any(sentence in prompt for sentence in SENTENCES)


def reads(request: Request) -> Reply:
    """What a model would say that looks for the lamp."""
    if not request.path.endswith("/chat/completions"):
        return Reply(404, {"error": {"message": "no such thing"}})
    prompt = prompt_of(request)
    if not is_draft(prompt):
        return chat(r"So the answer is \boxed{Gull Rock}.")
    return chat(f"{NOTES}{'Gull Rock' if 'Gull Rock' in prompt else 'not yet'}")


@pytest.fixture
def desk(tmp_path, capsys):
    with Loopback(reads) as server:
        yield Desk(tmp_path, server, capsys)


def test_the_answer_is_all_there_is_on_standard_output(desk):
    result = desk.run("ask", desk.text, QUESTION, *CHUNKS)
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
    assert told["documents"] == [str(desk.text)]
    assert told["calls"] == len(desk.drafts()) + 1
    assert told["usage"]["prompt"] == 7 * told["calls"]
    assert told["answers"] == [{"question": 0, "budget": None, "text": "Gull Rock", "boxed": True}]
    assert Path(told["reading"]).is_dir()
    assert told["memory"] == desk.readings()[0].memory


def test_cited_answer_names_the_sentences_it_comes_from(desk):
    told = json.loads(desk.ask("--cite", "--json").out)["citations"]
    (answer,) = told["answers"]
    assert answer["supported"]
    text = desk.text.read_text()
    spans = [span for part in (*told["answers"], *told["lines"]) for span in part["spans"]]
    assert spans
    assert all(text[span["start"] : span["end"]] == span["quote"] for span in spans)
    shown = desk.ask("--cite").out
    assert shown.startswith("Gull Rock [1]")
    assert f"[1] {desk.text}, characters {spans[0]['start']}-" in shown


def test_standard_input_is_read_with_a_dash_or_with_the_question_alone(desk):
    dash = desk.run("ask", "-", QUESTION, given=SENTENCES[1])
    alone = desk.run("ask", QUESTION, given=SENTENCES[1])
    assert dash.out == alone.out == "Gull Rock\n"
    assert len(desk.drafts()) == 2


def test_several_files_are_one_source(desk):
    other = desk.folder / "other.md"
    other.write_text("# Lamps\n\nA lamp was lit.")
    result = desk.call("ask", desk.text, other, QUESTION, "--json")
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
    "bad setting": (3, ["--window", "5"], BROKEN, ("command line: window", "correct")),
    "idle flag": (3, ["--reader", "closed", "--budget", "64"], BROKEN, ("--budget", "memocr")),
    "bad prompts": (3, ["--prompts", "bad.toml"], BROKEN, ("{question}", "placeholders")),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_has_its_exit_code_and_says_what_to_do(desk, name):
    code, arguments, reply, said = FAILURES[name]
    desk.server.routes |= {"/v1/chat/completions": reply, "/v1/models": SERVED}
    (desk.folder / "bad.toml").write_text('id = "mine"\n[final]\ntext = "{memory}"\n')
    files = [] if name == "no such file" else [desk.text]
    result = desk.call("ask", *files, *arguments, QUESTION)
    assert result.code == code, result
    assert result.out == ""
    assert "error: " in result.err
    assert "Traceback" not in result.err
    assert all(word in result.err for word in said), result.err


def test_debug_shows_where_it_failed(desk):
    plain = desk.run("ask", "missing.txt", QUESTION)
    debug = desk.call("ask", "missing.txt", QUESTION, "--debug")
    assert plain.code == debug.code == 2
    assert "Traceback" not in plain.err
    assert "Traceback" in debug.err
    assert plain.err in debug.err


class Stall:
    """Answers as `reads` does, until so many drafts were answered; the next one hangs."""

    def __init__(self, drafts: int) -> None:
        self.drafts = drafts
        self.seen = 0

    def __call__(self, request: Request) -> Reply:
        reply = reads(request)
        if not request.path.endswith("/chat/completions"):
            return reply
        self.seen += 1
        return Reply(body=reply.body, delay_s=60) if self.seen == self.drafts + 1 else reply


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_stopped_reading_goes_on_from_its_last_finished_chunk(tmp_path, capsys, stop, code):
    stall = Stall(1)
    with Loopback(stall) as server:
        desk = Desk(tmp_path, server, capsys)
        process = desk.start("ask", desk.text, QUESTION, *CHUNKS)
        assert server.wait_for(lambda: stall.seen == 2, 20)
        stopped_at = time.monotonic()
        process.send_signal(stop)
        result = finished(process)
        assert time.monotonic() - stopped_at < 2
        assert result.code == code
        assert "Traceback" not in result.err
        assert ("the same command goes on" in result.err) == (stop == signal.SIGINT)
        assert desk.readings()[0].next_chunk == 1

        asked = len(desk.drafts())
        again = desk.ask()
        assert "going on after chunk 1" in again.err
        resumed_drafts = desk.drafts()[asked:]

        asked = len(desk.drafts())
        whole = desk.ask("--fresh")
        assert again.out == whole.out == "Gull Rock\n"
        assert resumed_drafts == desk.drafts()[asked + 1 :], "the first chunk is not read again"
        resumed, unbroken = desk.readings()
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
        "--record",
        "calls.sqlite",
        "--record-mode",
        "replay",
        "--base-url",
        refused_url(),
        "--fresh",
    )
    assert replayed.code == 0, replayed.err
    assert recorded.out == replayed.out == "Gull Rock\n"
    assert desk.readings()[0].memories == desk.readings()[1].memories


def test_a_terminal_sees_chunks_tokens_and_the_memory_so_far(tmp_path):
    screen = io.StringIO()
    model = ScriptedModel(["first notes", "second notes", "third notes", r"\boxed{Gull Rock}"])
    with Progress(Console(file=screen, force_terminal=True, width=100), quiet=False) as progress:
        reading = palimpsest.ask(
            palimpsest.Source.from_text(TEXT),
            QUESTION,
            model=model,
            reader=palimpsest.MemAgent(chunk_tokens=200, memory_tokens=60),
            readings=tmp_path,
            on_start=progress.start,
            on_event=progress.event,
        )
    assert len(reading.header.chunks) == 3
    seen = re.sub("\x1b\\[[^A-Za-z]*[A-Za-z]", "", screen.getvalue())
    for part in ("third notes", "3/3", f"{reading.usage.prompt:,} in"):
        assert part in seen


def test_a_reader_of_the_output_may_leave_early(desk):
    process = desk.start("show", "--json")
    assert process.stdout
    process.stdout.close()
    process.stdout = None
    result = finished(process)
    assert (result.code, result.err) == (0, "")


def test_show_lists_shows_and_draws(desk):
    desk.ask()
    name = next(iter(desk.store))[0]
    listed, shown = desk.call("show"), desk.call("show", name[:6])
    assert name in listed.out
    for part in (QUESTION, "A: Gull Rock", NOTES, "status: answered"):
        assert part in shown.out
    drawn = desk.call("show", name, "--page", "out.png", "--budget", 64, "--json")
    assert json.loads(drawn.out)["answer"] == "Gull Rock"
    with Image.open(desk.folder / "out.png") as image:
        assert (image.width % 28, image.height % 28) == (0, 0)
        assert cells(image) <= 64
    assert desk.call("show", "zzz").code == 2
