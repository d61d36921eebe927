"""The doctor finds out what servers of different kinds can do."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from dataclasses import dataclass
from typing import Any

import pytest
from PIL import Image

from loopback import Loopback, Reply, Request, chat, failure
from palimpsest.cli import main
from palimpsest.models import OpenAIModel
from palimpsest.models.checkup import Check, Checkup, Need

NEEDS = [Need(reader="memagent", chunk_tokens=5000, other_tokens=2500)]


@dataclass(frozen=True)
class Server:
    """A model's server, as its clients see it."""

    entry: dict[str, Any] | None = None
    """Of the model in the list of models."""
    characters_per_token: float = 4.0
    cell: int | None = 28
    """Pixels a side of a visual token; None refuses pictures."""
    smallest: int = 4
    """Visual tokens that a picture has at least."""
    largest: int = 16384
    reads: bool = True
    thinks: str = ""
    """Put before each answer."""
    limits: bool = True
    tells: bool = True
    """Whether a cut answer is said to be cut."""

    def __call__(self, request: Request) -> Reply:
        if request.path == "/v1/models" and self.entry is not None:
            return Reply(body={"data": [self.entry]})
        if request.path != "/v1/chat/completions":
            return failure(404, "no such thing")
        return self._chat(request.json)

    def _chat(self, asked: dict[str, Any]) -> Reply:
        content = asked["messages"][-1]["content"]
        parts = [{"text": content}] if isinstance(content, str) else content
        pictures = [picture(part) for part in parts if "image_url" in part]
        if pictures and self.cell is None:
            return failure(500, "image input is not supported")
        text = parts[-1]["text"]
        prompt = 5 + round(len(text) / self.characters_per_token)
        prompt += sum(self._visual(image) for image in pictures)
        return self._answered(self._answer(text, pictures), asked["max_tokens"], prompt)

    def _visual(self, image: Image.Image) -> int:
        assert self.cell
        cells = round(image.width / self.cell) * round(image.height / self.cell)
        return 2 + min(max(cells, self.smallest), self.largest)

    def _answer(self, text: str, pictures: list[Image.Image]) -> str:
        if pictures and self.reads:
            return "Lamp." if pictures[0].width == 112 else "Harbour."
        if "numbers from 1" in text:
            return "one, " * 300
        return "5" if "2 + 3" in text else "ready"

    def _answered(self, answer: str, limit: int, prompt: int) -> Reply:
        words = f"{self.thinks}{answer}".split(" ")
        is_cut = self.limits and len(words) > limit
        kept = words[:limit] if is_cut else words
        usage = {"prompt_tokens": prompt, "completion_tokens": len(kept)}
        reason = "length" if is_cut and self.tells else "stop"
        return chat(" ".join(kept), finish_reason=reason, usage=usage)


def picture(part: dict[str, Any]) -> Image.Image:
    data = base64.b64decode(part["image_url"]["url"].split(",")[1])
    return Image.open(io.BytesIO(data))


def check(respond, **options) -> dict[str, Check]:
    async def checks(url: str) -> list[Check]:
        model = OpenAIModel("served", base_url=url, retries=0)
        try:
            return await Checkup(model, needs=NEEDS, **options).run()
        finally:
            await model.aclose()

    with Loopback(respond) as server:
        return {found.name: found for found in asyncio.run(checks(server.url))}


def test_nothing_is_wrong_with_a_good_server():
    heard: list[str] = []
    entry = {"id": "served", "max_model_len": 32768}
    checks = check(Server(entry=entry), on_check=heard.append)
    assert {found.status for found in checks.values()} == {"ok"}
    assert heard == list(checks)
    assert checks["model"].figures["listed"] is True
    assert checks["window"].figures == {"window": 32768, "needed_by_memagent": 7500}
    assert checks["thinking"].figures == {"thinks": False, "leaks": False, "tokens": 0}
    assert checks["limit"].figures == {"finish_reason": "length", "tokens": 16}


@pytest.mark.parametrize(("cell", "small", "large"), [(28, 18, 258), (32, 18, 198)])
def test_the_grid_is_found_from_what_pictures_cost(cell, small, large):
    images = check(Server(cell=cell))["images"]
    assert images.figures["cell_px"] == cell
    assert images.figures["tokens_of_16_cells"] == small
    assert images.figures["tokens_of_256_cells"] == large
    assert images.figures["tokens_per_cell"] == pytest.approx(large / 256, abs=0.001)
    assert images.figures["reads_256_cells"] is True
    assert ("--cell 32" in images.advice) == (cell == 32)


@pytest.mark.parametrize(
    ("server", "finding", "advice"),
    [
        (Server(cell=32, smallest=64), "cost 66 tokens", "fewer than 66 tokens are enlarged"),
        (Server(smallest=256, largest=256), "every picture costs about 258", "no cheaper"),
        (Server(cell=16), "cost 51 tokens", "not exact"),
        (Server(reads=False), "is not read", "--sight"),
        (Server(reads=False, smallest=0, largest=0), "ignored", "--sight"),
        (Server(cell=None), "refused", "--sight"),
    ],
)
def test_what_is_wrong_with_pictures_is_told(server, finding, advice):
    images = check(server)["images"]
    assert images.status == "warn"
    assert finding in images.finding
    assert advice in images.advice


@pytest.mark.parametrize("opening", ["<think>", ""])
def test_thinking_that_leaks_is_found(opening):
    thinking = check(Server(thinks=f"{opening}two and three is five</think>"))["thinking"]
    assert thinking.status == "warn"
    assert thinking.figures == {"thinks": True, "leaks": True, "tokens": 5}
    assert "reasoning parser" in thinking.advice


def test_thinking_that_is_kept_apart_is_counted():
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 80,
        "completion_tokens_details": {"reasoning_tokens": 77},
    }
    thinking = check(lambda _: chat("5", reasoning_content="hm", usage=usage))["thinking"]
    assert thinking.status == "ok"
    assert thinking.figures == {"thinks": True, "leaks": False, "tokens": 77}


def test_a_window_that_is_too_small_is_told_with_the_chunk_that_fits():
    window = check(Server(entry={"id": "served", "context_length": 4096}))["window"]
    assert window.status == "warn"
    assert "--chunk-tokens 1500" in window.advice
    tiny = check(Server(entry={"id": "served", "context_length": 2048}))["window"]
    assert "too small for memagent" in tiny.advice


def test_a_window_is_read_from_the_properties_of_llama_cpp():
    def respond(request: Request) -> Reply:
        if request.path == "/props":
            return Reply(body={"default_generation_settings": {"n_ctx": 16384}})
        return Server()(request)

    assert check(respond)["window"].figures["window"] == 16384
    assert check(Server())["window"].status == "skipped"


@pytest.mark.parametrize(
    ("server", "status", "finding"),
    [
        (Server(tells=False), "warn", "does not say so"),
        (Server(limits=False), "warn", "not kept: 301 of 16"),
    ],
)
def test_a_limit_that_is_not_kept_or_not_told_is_found(server, status, finding):
    limit = check(server)["limit"]
    assert limit.status == status
    assert finding in limit.finding


def test_an_estimate_is_compared_with_what_the_server_counts():
    above = check(Server(characters_per_token=4))["tokenizer"]
    assert above.status == "ok"
    assert above.figures["exact"] is False
    below = check(Server(characters_per_token=1))["tokenizer"]
    assert below.status == "warn"
    assert "--tokenizer" in below.advice


def test_a_tokenizer_of_the_server_is_exact():
    def respond(request: Request) -> Reply:
        if request.path == "/tokenize":
            pieces = list(request.json["content"].encode())
            return Reply(body={"tokens": [{"piece": [byte]} for byte in pieces]})
        return Server(characters_per_token=1)(request)

    tokenizer = check(respond)["tokenizer"]
    assert tokenizer.figures["exact"] is True
    assert tokenizer.status == "ok"


@pytest.mark.parametrize(
    ("reply", "failed"),
    [
        (failure(401, "no"), "reachable"),
        (Reply(404, "<html>"), "reachable"),
        (failure(404, "model not found", code="model_not_found"), "model"),
    ],
)
def test_the_first_failure_is_told_and_the_rest_is_skipped(reply, failed):
    checks = list(check(lambda _: reply).values())
    names = [found.name for found in checks]
    assert [found.name for found in checks if found.status == "fail"] == [failed]
    rest = checks[names.index(failed) + 1 :]
    assert {found.status for found in rest} == {"skipped"}
    assert checks[names.index(failed)].advice


@pytest.fixture
def at_server(monkeypatch, tmp_path):
    """Points the settings at a URL and at nothing of the user's."""
    (tmp_path / "config.toml").touch()
    monkeypatch.setenv("PALIMPSEST_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("PALIMPSEST_RETRIES", "0")
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "PALIMPSEST_MODEL", "PALIMPSEST_SIGHT"):
        monkeypatch.delenv(name, raising=False)
    return lambda server: ["--base-url", server.url, "--model", "served"]


def test_the_command_prints_the_checks_and_ends_well(at_server, capsys):
    respond = Server(entry={"id": "served", "max_model_len": 32768})
    with Loopback(respond) as server, pytest.raises(SystemExit) as caught:
        main(["doctor", *at_server(server), "--json"])
    checks = json.loads(capsys.readouterr().out)
    assert caught.value.code == 0
    assert [found["status"] for found in checks] == ["ok"] * 7
    needed = checks[3]["figures"]
    assert 7304 < needed["needed_by_memagent"] < 8192
    assert needed["needed_by_memocr"] > needed["needed_by_memagent"]


def test_the_command_fails_with_its_own_code(at_server, capsys):
    with Loopback(lambda _: failure(401, "bad key")) as server, pytest.raises(SystemExit) as caught:
        main(["doctor", *at_server(server)])
    captured = capsys.readouterr()
    assert caught.value.code == 4
    assert "refused the API key" in captured.out
    assert captured.err == ""
