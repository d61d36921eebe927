"""`palimpsest memory` and lists of questions, as people use them."""

from __future__ import annotations

import json
import signal

import pytest

from loopback import Loopback, Reply, chat, failure
from palimpsest.remembering import SavedMemory
from test_cli import (
    CHUNKS,
    QUESTION,
    Desk,
    Stall,
    finished,
    is_draft,
    prompt_of,
    reads,
    refused_url,
)

SECOND = "Nothing happens. Gull Rock has a second lamp. " * 40


@pytest.fixture
def desk(tmp_path, capsys):
    with Loopback(reads) as server:
        yield Desk(tmp_path, server, capsys)


def memories(desk):
    return desk.folder / "memories"


def call(desk, *arguments, process=False):
    run = desk.run if process else desk.call
    where = () if "--help" in arguments else ("--memories", memories(desk))
    return run("memory", *arguments, *where)


def make(desk, *arguments):
    return call(desk, "new", "lamps", desk.text, "--question", QUESTION, *CHUNKS, *arguments)


def second(desk):
    path = desk.folder / "second.txt"
    path.write_text(SECOND)
    return path


def test_a_memory_is_made_given_more_asked_shown_and_removed(desk):
    made = make(desk)
    assert made.code == 0, made.err
    assert made.out == "lamps: 1 added, 0 skipped, 1 documents\n"
    read = len(desk.drafts())

    appended = call(desk, "append", "lamps", second(desk), desk.text, process=True)
    assert appended.code == 0, appended.err
    assert appended.out == "lamps: 1 added, 1 skipped, 2 documents\n"
    assert f"{desk.text}: there already, skipped" in appended.err
    new = desk.drafts()[read:]
    assert new
    assert all("second lamp" in draft for draft in new)

    asked = call(desk, "ask", "lamps", "Where else?")
    assert (asked.code, asked.out) == (0, "Gull Rock\n")
    own = json.loads(call(desk, "ask", "lamps", "--json").out)
    assert (own["answer"], own["questions"]) == ("Gull Rock", [QUESTION])

    shown = call(desk, "show", "lamps")
    for part in (QUESTION, "second.txt", "Where else?", "A: Gull Rock", "calls"):
        assert part in shown.out
    assert "lamps" in call(desk, "show").out

    assert call(desk, "remove", "lamps").code == 0
    assert call(desk, "show", "lamps").code == 2
    assert list(memories(desk).iterdir()) == []


def test_json_tells_what_became_of_the_files_and_all_that_is_known(desk):
    made = json.loads(make(desk, "--json", "--quiet").out)
    assert [document["name"] for document in made["added"]] == [str(desk.text)]
    assert (made["skipped"], made["pending"]) == ([], [])
    desk.text.write_text(SECOND)
    changed = call(desk, "append", "lamps", desk.text, "--json")
    assert "changed, version 2" in changed.err
    assert json.loads(changed.out)["added"][0]["version"] == 2
    call(desk, "note", "lamps", "- lit at nine")
    call(desk, "ask", "lamps")
    told = json.loads(call(desk, "show", "lamps", "--json").out)
    assert told == json.loads(call(desk, "show", "--json").out)[0]
    assert told["memory"].startswith("- lit at nine\n")
    assert [document["pending"] for document in told["documents"]] == [False, False]
    assert told["asked"][0]["question"] == QUESTION
    assert told["receipt"]["totals"]["calls"] == len(desk.drafts()) + 1
    assert told["settings"]["chunk_tokens"] == 200
    assert "key" not in json.dumps(told["settings"])


def test_without_waiting_nothing_is_read_until_the_next_append(desk):
    made = make(desk, "--no-wait")
    assert desk.server.requests == []
    assert "1 of 1 documents are pending" in made.err
    asked = call(desk, "ask", "lamps")
    assert asked.code == 2
    assert "nothing in it yet" in asked.err
    done = call(desk, "append", "lamps")
    assert done.code == 0, done.err
    assert "pending" not in done.err
    assert len(desk.drafts()) >= 3


def test_a_digest_answers_what_it_is_asked(desk):
    made = call(desk, "new", "lamps", desk.text, *CHUNKS)
    assert made.code == 0, made.err
    assert "any question about it" in desk.drafts()[0]
    assert call(desk, "ask", "lamps").code == 2
    assert call(desk, "ask", "lamps", QUESTION).out == "Gull Rock\n"
    assert "a digest" in call(desk, "show").out


def test_a_memory_goes_on_with_the_model_and_the_reader_it_was_made_with(desk):
    make(desk, "--reader", "gated+memocr", "--budget", 64)
    saved = SavedMemory.open("lamps", memories=memories(desk))
    assert saved.plan.reader == "gated"
    assert saved.plan.model_settings is not None
    assert saved.plan.model_settings["name"] == "served"
    other = call(desk, "ask", "lamps", "--model", "another")
    assert other.out == "Gull Rock\n"
    assert "made with served; another goes on" in other.err
    assert desk.server.requests[-1].json["model"] == "another"
    lost = call(desk, "ask", "lamps", "--base-url", refused_url())
    assert lost.code == 4


def test_new_refuses_a_name_that_is_taken(desk):
    make(desk)
    again = make(desk)
    assert again.code == 2
    assert "memory append lamps" in again.err


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_the_same_command_goes_on_with_a_memory_that_was_stopped(tmp_path, capsys, stop):
    stall = Stall(1)
    with Loopback(stall) as server:
        desk = Desk(tmp_path, server, capsys)
        arguments = ("lamps", desk.text, "--question", QUESTION, *CHUNKS)
        process = desk.start("memory", "new", *arguments, "--memories", memories(desk))
        assert server.wait_for(lambda: stall.seen == 2, 20)
        process.send_signal(stop)
        finished(process)
        asked = len(desk.drafts())
        other = call(desk, "new", *arguments, "--order", "section_first")
        assert other.code == 2
        again = make(desk)
        assert again.code == 0, again.err
        assert "going on after chunk 1" in again.err
        reading = SavedMemory.open("lamps", memories=memories(desk)).reading
        assert reading is not None
        assert len(desk.drafts()) - asked == len(reading.header.chunks) - 1


def test_a_failing_server_keeps_the_files_and_has_its_exit_code(desk):
    desk.server.routes["/v1/chat/completions"] = failure(503, "busy")
    made = make(desk)
    assert made.code == 5
    desk.server.routes.clear()
    assert call(desk, "append", "lamps").code == 0
    assert call(desk, "ask", "lamps").out == "Gull Rock\n"


def test_questions_of_a_file_share_one_reading(desk):
    path = desk.folder / "questions.txt"
    path.write_text(f"{QUESTION}\n\nWho keeps it?\n")
    result = desk.call("ask", desk.text, "--questions", path, *CHUNKS)
    assert result.code == 0, result.err
    assert result.out == f"Q: {QUESTION}\nA: Gull Rock\nQ: Who keeps it?\nA: Gull Rock\n"
    assert len(desk.drafts()) == len(desk.readings()[0].header.chunks)
    assert desk.readings()[0].header.questions == (QUESTION, "Who keeps it?")


def test_rows_of_questions_are_answered_as_a_list_and_gone_on_with(desk):
    path = desk.folder / "questions.jsonl"
    rows = [{"question": QUESTION, "answers": ["Gull Rock"]}, {"question": "Who keeps it?"}]
    path.write_text("\n".join(map(json.dumps, rows)))

    def second_answer_fails(request) -> Reply:
        if not request.path.endswith("/chat/completions") or is_draft(prompt_of(request)):
            return reads(request)
        asked = prompt_of(request).splitlines()[-2]
        return reads(request) if QUESTION in asked else failure(503, "busy")

    with Loopback(second_answer_fails) as server:
        url = server.url
        stopped = desk.call(
            "ask", desk.text, "--questions", path, *CHUNKS, "--base-url", url
        )  # fmt: skip
        assert stopped.code == 5, stopped.err
    result = desk.call("ask", desk.text, "--questions", path, *CHUNKS, "--json")
    assert json.loads(result.out) == [
        {"question": row["question"], "answer": "Gull Rock", "budget": None, "boxed": True}
        for row in rows
    ]
    assert len(desk.server.requests) == 1, "only the answer that was missing is asked for"


@pytest.mark.parametrize(
    ("name", "content"),
    [("none.txt", "\n"), ("bad.jsonl", '{"q": 1}'), ("torn.jsonl", "{"), ("missing.txt", None)],
)
def test_a_file_without_questions_is_refused(desk, name, content):
    if content is not None:
        (desk.folder / name).write_text(content)
    result = desk.call("ask", desk.text, "--questions", desk.folder / name)
    assert result.code == 2
    assert name in result.err
    assert desk.server.requests == []


def test_an_unknown_option_is_named(desk):
    desk.server.replies = [chat("ok")]
    result = call(desk, "append", "lamps", "--no-such")
    assert result.code == 2
