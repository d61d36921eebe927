"""`palimpsest compare`: rows for every reader and question, whatever becomes of them."""

from __future__ import annotations

import json

import pytest

from loopback import Loopback, failure
from palimpsest.errors import InputError
from palimpsest.evals.comparison import load_questions
from test_cli import CHUNKS, Desk, is_draft, prompt_of, reads

QUESTIONS = [
    {"id": "where", "question": "Where is the lamp?", "answers": ["Gull Rock", "the rock"]},
    {"id": "who", "question": "Who keeps it?", "answer": "Ada"},
    {"question": "What happens?"},
]


def answers(request):
    """As `reads`, but a question without a source is refused by the server."""
    prompt = prompt_of(request) if request.path.endswith("/chat/completions") else ""
    if "(nothing yet)" in prompt and not is_draft(prompt):
        return failure(400, "I know nothing by heart.")
    return reads(request)


@pytest.fixture
def desk(tmp_path, capsys):
    with Loopback(answers) as server:
        lines = "\n".join(map(json.dumps, QUESTIONS))
        (tmp_path / "questions.jsonl").write_text(f"{lines}\n\n")
        yield Desk(tmp_path, server, capsys)


def compare(desk, *arguments):
    return desk.call("compare", desk.text, "questions.jsonl", *CHUNKS, *arguments)


def test_every_reader_answers_every_question_and_one_that_fails_is_a_row(desk):
    result = compare(desk, "--readers", "memagent,closed,gated", "--json")
    assert result.code == 0, result.err
    told = json.loads(result.out)
    rows = {(row["reader"], row["id"]): row for row in told["rows"]}
    assert len(rows) == 9
    assert {name for name, _ in rows} == {"memagent", "closed", "gated"}
    right = rows["memagent", "where"]
    assert right["scores"] == {"exact_match": 1, "f1": 1, "substring": 1}
    assert right["calls"] > 1
    assert right["prompt"] == 7 * right["calls"]
    assert rows["gated", "who"]["scores"]["exact_match"] == 0
    assert rows["gated", "3"]["scores"] is None
    broken = rows["closed", "who"]
    assert broken["status"] == "failed"
    assert "by heart" in broken["reason"]
    assert broken["scores"]["f1"] == 0
    standing = {one["reader"]: one for one in told["readers"]}
    assert standing["memagent"]["scores"]["exact_match"]["mean"] == 0.5
    assert (standing["closed"]["failed"], standing["closed"]["questions"]) == (3, 3)


def test_people_see_two_tables(desk):
    result = compare(
        desk, "--readers", "memagent,closed", "--price-in", 1, "--price-out", 1, "--budget", 60
    )
    for part in ("Gull Rock", "heart", "where", "EM", "0.50", "money", "$0.00"):
        assert part in result.out
    assert "1/6 memagent: where: Gull Rock" in result.err


def test_the_budget_is_the_memorys_whatever_it_is_made_of(desk):
    out = desk.folder / "out"
    readers = "memagent,memocr,memreread+memocr"
    assert compare(desk, "--readers", readers, "--budget", 48, "--out", out).code == 0
    kept = [json.loads(path.read_text().split("\n")[0]) for path in out.glob("readings/*/*.jsonl")]
    by_reader = {header["reader"]: header["settings"] for header in kept}
    assert by_reader["memagent"]["memory_tokens"] == 48
    assert by_reader["memocr"]["budgets"] == [48]
    assert by_reader["memreread"]["base"]["budgets"] == [48]


def test_a_comparison_that_was_stopped_asks_only_what_is_missing(desk):
    out = desk.folder / "out"
    first = compare(desk, "--readers", "memagent", "--out", out, "--json")
    asked = len(desk.server.requests)
    again = compare(desk, "--readers", "memagent", "--out", out, "--json")
    assert again.out == first.out
    assert len(desk.server.asked("/v1/chat/completions")) <= asked
    chats = len(desk.server.asked("/v1/chat/completions"))
    more = compare(desk, "--readers", "memagent,gated", "--out", out, "--json")
    assert json.loads(more.out)["rows"][:3] == json.loads(first.out)["rows"]
    assert len(desk.server.asked("/v1/chat/completions")) > chats
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    assert rows == json.loads(more.out)["rows"]
    assert json.loads((out / "comparison.json").read_text()) == json.loads(more.out)


def test_a_capped_reading_is_a_row_with_its_reason(desk):
    told = json.loads(compare(desk, "--readers", "memagent", "--max-calls", 2, "--json").out)
    for row in told["rows"]:
        assert (row["status"], row["calls"]) == ("partial", 2)
        assert "would be passed" in row["reason"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--readers", "memagent,memagnet"], "closed, full"),
        (["--readers", "memagent", "--reader", "memocr"], "--readers a,b"),
        (["--readers", "memocr", "--budget", "1", "--budget", "2"], "one budget"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_asked(desk, arguments, said):
    result = compare(desk, *arguments)
    assert result.code == 3, result
    assert said in result.err
    assert not desk.server.requests


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no question"),
        ("not json", "bad.jsonl:1"),
        ('{"question": "Who?"}\n{"ask": "Who?"}', "bad.jsonl:2"),
        ('{"question": " "}', "empty"),
        ("[1]", "bad.jsonl:1"),
        ('{"question": "Who?", "answers": 1.5}\n{"question": "Who?", "answers": null}', ":2"),
    ],
)
def test_a_bad_file_of_questions_is_named_with_its_line(tmp_path, text, said):
    path = tmp_path / "bad.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        load_questions(path)


def test_questions_are_named_by_their_line_where_they_have_no_id(desk):
    questions = load_questions(desk.folder / "questions.jsonl")
    assert [question.id for question in questions] == ["where", "who", "3"]
    assert [question.answers for question in questions] == [("Gull Rock", "the rock"), ("Ada",), ()]
