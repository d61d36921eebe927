"""The example is as long as it says, and every question can be answered from it."""

import asyncio
import json
from pathlib import Path

from palimpsest.sources import EstimateTokenizer, count, open_source

EXAMPLES = Path(__file__).parent.parent / "examples"
QUESTIONS = [
    json.loads(line)
    for line in (EXAMPLES / "questions.jsonl").read_text(encoding="utf-8").splitlines()
]
ESTIMATE_OVER_TRUE = 1.5
"""The most that the conservative estimate was measured to run over on English."""


def test_the_chronicle_is_at_least_30000_tokens():
    source = open_source([EXAMPLES / "harbour_chronicle.md"])
    estimate = asyncio.run(count(EstimateTokenizer(), source.text))
    assert estimate / ESTIMATE_OVER_TRUE > 30_000


def test_there_are_twenty_questions_and_many_need_two_hops():
    assert len(QUESTIONS) == 20
    assert len({question["id"] for question in QUESTIONS}) == 20
    assert sum(question["hops"] >= 2 for question in QUESTIONS) >= 10


def test_every_answer_stands_in_evidence_that_stands_in_the_chronicle():
    text = (EXAMPLES / "harbour_chronicle.md").read_text(encoding="utf-8")
    for question in QUESTIONS:
        evidence = question["evidence"]
        assert all(sentence in text for sentence in evidence), question["id"]
        joined = " ".join(evidence).lower()
        assert any(answer.lower() in joined for answer in question["answers"]), question["id"]
