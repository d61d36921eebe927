"""A file of questions, to be answered by one reading."""

from __future__ import annotations

import json
from pathlib import Path

from palimpsest.errors import InputError


def read_questions(path: Path) -> tuple[str, ...]:
    """The questions of a file: one a line, or the `question` of each row of a `.jsonl` file.

    Empty lines are left out. Raises `InputError` naming the line that is wrong.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: it cannot be read: {error}", hint="give a file of questions, one a line"
        ) from error
    rows = path.suffix.lower() in (".jsonl", ".ndjson")
    questions = tuple(
        _question_of(line, f"{path}, line {number}") if rows else line.strip()
        for number, line in enumerate(lines, start=1)
        if line.strip()
    )
    if not questions:
        raise InputError(f"{path}: there is no question in it", hint="write one a line")
    return questions


def _question_of(line: str, where: str) -> str:
    try:
        question = json.loads(line)["question"]
    except (ValueError, KeyError, TypeError):
        question = None
    if not isinstance(question, str) or not question.strip():
        raise InputError(
            f"{where}: no question", hint='each line is a JSON object with a "question"'
        )
    return question.strip()
