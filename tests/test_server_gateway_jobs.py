"""What becomes of readings whose client, or whose server, goes away; and whose they are."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from gateways import FACT, QUESTION, Gateway, Scripted, config, story
from loopback import Loopback
from palimpsest.server.config import ApiKey
from palimpsest.server.gateway.jobs import JobJournal, Outcome, request_key

TEXT = f"{story(60)}\n\n{QUESTION}"


def body(*, stream: bool = False, **extension) -> bytes:
    request = {
        "model": "scripted", "max_tokens": 100, "stream": stream,
        "messages": [{"role": "user", "content": TEXT}],
    }  # fmt: skip
    return json.dumps({**request, **({"palimpsest": extension} if extension else {})}).encode()


def post(gateway: Gateway, content: bytes, key: str = "any") -> httpx2.Response:
    with httpx2.Client(timeout=None) as http:
        return http.post(
            f"{gateway.url}/chat/completions", content=content,
            headers={"authorization": f"Bearer {key}"},
        )  # fmt: skip


def leave_after(gateway: Gateway, content: bytes, line: str) -> None:
    """Asks for a stream, and leaves when a line of it begins so."""
    with (
        httpx2.Client(timeout=None) as http,
        http.stream("POST", f"{gateway.url}/chat/completions", content=content) as response,
    ):
        for found in response.iter_lines():
            if found.startswith(line):
                return


def settled(upstream: Loopback, folder: Path) -> bool:
    """Whether no job is left, after some time at most."""
    return upstream.wait_for(lambda: not list(folder.glob("callers/*/jobs/*")), timeout_s=240)


@pytest.fixture
def script() -> Scripted:
    return Scripted(delay_s=0.2)


@pytest.fixture
def upstream(script: Scripted) -> Iterator[Loopback]:
    with Loopback(script) as server:
        yield server


def test_what_was_read_for_a_client_that_left_is_kept(
    upstream: Loopback, script: Scripted, tmp_path: Path
) -> None:
    with Gateway(config(upstream, tmp_path)) as gateway:
        leave_after(gateway, body(stream=True), ": read chunk 2")
        assert settled(upstream, tmp_path)
        left = len(script.drafts)
        assert not script.finals
        facts = post(gateway, body()).json()["palimpsest"]
    assert 3 <= left < facts["chunks"]["total"]
    assert len(script.drafts) == facts["chunks"]["total"]
    assert facts["chunks"]["reused"] == left


def test_a_job_that_is_to_finish_waits_with_its_answer_for_the_same_request(
    upstream: Loopback, script: Scripted, tmp_path: Path
) -> None:
    script.delay_s = 0.05
    with Gateway(config(upstream, tmp_path)) as gateway:
        request = body(stream=True, on_disconnect="finish")
        leave_after(gateway, request, ": read chunk 2")
        assert upstream.wait_for(lambda: len(script.finals) == 1, timeout_s=240)
        answer = post(gateway, request).text
        events = [json.loads(one[6:]) for one in answer.splitlines() if one.startswith("data: {")]
        said = "".join(
            one["choices"][0]["delta"].get("content", "") for one in events if one["choices"]
        )
        assert said == FACT
        assert len(script.finals) == 1
        post(gateway, request)
    assert len(script.finals) == 2


def test_a_cancelled_job_stops_at_once(
    upstream: Loopback, script: Scripted, tmp_path: Path
) -> None:
    with Gateway(config(upstream, tmp_path)) as gateway:
        leave_after(gateway, body(stream=True, on_disconnect="cancel"), ": read chunk 2")
        assert settled(upstream, tmp_path)
    assert len(script.drafts) < 8


def test_a_stopped_server_keeps_its_jobs_and_the_next_one_finishes_them_once(
    upstream: Loopback, script: Scripted, tmp_path: Path
) -> None:
    script.delay_s = 0.5  # so that it is not done within the grace
    with Gateway(config(upstream, tmp_path)) as gateway:
        client = threading.Thread(target=_ignoring_errors, args=(gateway,))
        client.start()
        assert upstream.wait_for(lambda: len(script.drafts) >= 4, timeout_s=240)
    client.join()
    read = len(script.drafts)
    script.delay_s = 0.0
    with Gateway(config(upstream, tmp_path)) as gateway:
        assert upstream.wait_for(lambda: len(script.finals) == 1, timeout_s=240)
        done = post(gateway, body()).json()
    assert done["choices"][0]["message"]["content"] == FACT
    assert len(script.finals) == 1
    total = done["palimpsest"]["chunks"]["total"]
    assert read < total
    assert len(script.drafts) <= total + 1
    assert not list(tmp_path.glob("callers/*/jobs/*"))


def _ignoring_errors(gateway: Gateway) -> None:
    try:
        post(gateway, body())
    except httpx2.HTTPError:
        return


def test_a_killed_process_loses_no_job(
    upstream: Loopback, script: Scripted, tmp_path: Path
) -> None:
    program = (
        "import sys, time; from pathlib import Path; from gateways import *;"
        "from types import SimpleNamespace;"
        "g = Gateway(config(SimpleNamespace(url=sys.argv[1]), Path(sys.argv[2]))).__enter__();"
        "print(g.url, flush=True); time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, upstream.url, str(tmp_path)],
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent,
    )  # fmt: skip
    assert process.stdout
    url = process.stdout.readline().strip()

    def ask() -> None:
        try:
            httpx2.post(f"{url}/chat/completions", content=body(), timeout=None)
        except httpx2.HTTPError:
            return

    client = threading.Thread(target=ask)
    client.start()
    assert upstream.wait_for(lambda: len(script.drafts) >= 4, timeout_s=240)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    client.join()
    script.delay_s = 0.0
    with Gateway(config(upstream, tmp_path)) as gateway:
        done = post(gateway, body()).json()
    assert done["choices"][0]["message"]["content"] == FACT
    assert len(script.finals) == 1
    # The draft that was under way when the process was killed is made again.
    assert len(script.drafts) <= done["palimpsest"]["chunks"]["total"] + 1


def test_readings_and_waiting_answers_are_their_keys_alone(
    upstream: Loopback, script: Scripted, tmp_path: Path
) -> None:
    script.delay_s = 0.0
    keys = tuple(
        ApiKey(id=name, sha256=hashlib.sha256(name.encode()).hexdigest()) for name in ("ann", "bob")
    )
    with Gateway(config(upstream, tmp_path, keys=keys)) as gateway:
        first = post(gateway, body(), "ann").json()["palimpsest"]
        read = len(script.drafts)
        waiting = JobJournal(tmp_path / "callers" / "ann" / "jobs")
        name = waiting.begin("chat", body())
        waiting.answer(name, Outcome(200, {"id": "ann's"}))
    with Gateway(config(upstream, tmp_path, keys=keys)) as gateway:
        second = post(gateway, body(), "bob").json()
        assert second["palimpsest"]["chunks"]["reused"] == 0
        assert len(script.drafts) == 2 * read == 2 * first["chunks"]["total"]
        assert post(gateway, body(), "ann").json() == {"id": "ann's"}
        third = post(gateway, body(), "ann").json()["palimpsest"]
        assert third["chunks"]["read"] == 0
        assert post(gateway, body(), "eve").status_code == 401


def test_the_journal_gives_back_what_was_written_and_nothing_half(tmp_path: Path) -> None:
    journal = JobJournal(tmp_path)
    first = journal.begin("chat", b'{"a":\n1}')
    second = journal.begin("responses", b"{}")
    journal.answer(second, Outcome(200, {"id": "r"}))
    (tmp_path / ".torn.request.part").write_bytes(b"{")
    (tmp_path / "0-torn.request").write_bytes(b"no head")
    left = {entry.name: entry for entry in journal.left()}
    assert set(left) == {first, second}
    assert left[first].body == b'{"a":\n1}'
    assert left[first].key == request_key("chat", b'{"a":\n1}')
    assert left[first].outcome is None
    assert left[second].outcome == Outcome(200, {"id": "r"})
    journal.end(second)
    assert [entry.name for entry in journal.left()] == [first]
