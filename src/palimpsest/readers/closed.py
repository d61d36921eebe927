"""Closed book: the question alone, which shows what the model knows without the source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from palimpsest.readers.baseline import Baseline
from palimpsest.readers.reader import Session


class ClosedBook(Baseline):
    """Answers from an empty memory: the floor under every reader."""

    name: ClassVar[str] = "closed"

    async def notes(self, session: Session, questions: Sequence[str]) -> list[str]:
        return [""] * len(questions)
