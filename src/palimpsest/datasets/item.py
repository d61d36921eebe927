"""One question of a task, with what there is to read for it and the answers that are accepted.

An item is plain data: loaders make it from a benchmark's own files, builders give it a longer
context, generators make it up, and the runner reads it. Its `key` tells it apart by content.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict

from palimpsest.errors import InputError
from palimpsest.sources import Source


class Passage(BaseModel):
    """A document of a context: a Wikipedia paragraph, a session of a dialogue, a whole book."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    text: str


class Evidence(BaseModel):
    """A sentence that the benchmark marks as needed for the answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    document: int
    """Its place in `Item.documents`."""
    quote: str


class Item(BaseModel):
    """A question of a task."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    id: str
    """The benchmark's own where it has one; the same whatever context is built around it."""
    question: str
    """With the options of a multiple choice, as the model sees it."""
    answers: tuple[str, ...] = ()
    """All that are accepted, or all that are wanted where `metric` asks for each; empty where
    the source does not answer the question."""
    metric: str = "f1"
    """The score that counts, by its name in `palimpsest.evals.scoring.METRICS`."""
    documents: tuple[Passage, ...] = ()
    """In the order in which they are read; empty for an open question without a context."""
    gold: tuple[int, ...] = ()
    """Places of the documents that are needed for the answer, ascending."""
    evidence: tuple[Evidence, ...] = ()
    category: str = ""
    """The benchmark's kind of question: bridge, temporal, qa3, niah_single_1."""
    details: dict[str, Any] = {}
    """What else the benchmark says of it, as JSON values."""

    @property
    def answerable(self) -> bool:
        return bool(self.answers)

    @property
    def key(self) -> str:
        """SHA-256 of the content, the same on any machine."""
        content = json.dumps(self.model_dump(), ensure_ascii=False, sort_keys=True)
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()

    def source(self) -> Source:
        """What is read. Raises `InputError` for an open question without a context."""
        if not self.documents:
            raise InputError(
                f"{self.task} {self.id} has no context to read",
                hint="build one with --lengths, or use --reader closed",
            )
        return Source.from_documents((one.title, one.text) for one in self.documents)
