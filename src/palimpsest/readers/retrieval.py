"""Retrieval: the passages of the source that share most with the question, ranked by BM25.

Words are compared without case, as they are written: there is no stemming and no list of stop
words, which would be one language's. Scripts without spaces between words are compared by pairs
of characters.
"""

from __future__ import annotations

import asyncio
import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from itertools import pairwise
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field

from palimpsest.errors import ConfigurationError
from palimpsest.readers.baseline import Baseline
from palimpsest.readers.reader import PromptedReader, Session
from palimpsest.sources import Chunk, clip

_GAP = "\n\n"
_UNSPACED = re.compile(
    r"[\u0E00-\u0EFF\u1000-\u109F\u1780-\u17FF\u3040-\u30FF\u3400-\u4DBF\u4E00-\u9FFF\uF900-\uFAFF"
    r"\U00020000-\U0003FFFF]+"
)
"""Runs of Thai, Lao, Burmese, Khmer, Japanese and Chinese characters."""


class Retrieval(Baseline):
    """Answers from the best passages that fit a budget, shown in the order of the source.

    Each question has passages of its own. A passage that shares no word with it is never shown.
    """

    name: ClassVar[str] = "retrieval"

    chunk_tokens: int = Field(200, ge=1)
    """Tokens of one passage."""
    memory_tokens: int = Field(1024, ge=1)
    """The most tokens of passages that are shown: by default as many as a memory may have."""

    def cut(self, text: str, offsets: list[int]) -> list[Chunk]:
        """The passages."""
        return PromptedReader.cut(self, text, offsets)

    async def notes(self, session: Session, questions: Sequence[str]) -> list[str]:
        passages = [
            session.source.text[span.start : span.end] for span in session.reading.header.chunks
        ]
        rankings = await asyncio.to_thread(rank, passages, questions)
        return [await self._shown(session, passages, ranking) for ranking in rankings]

    async def _shown(
        self, session: Session, passages: Sequence[str], ranking: Sequence[int]
    ) -> str:  # fmt: skip
        """The first passages of a ranking, up to the one that goes over the budget."""
        spans = session.reading.header.chunks
        room = self.memory_tokens
        taken: list[int] = []
        for passage in ranking:
            room -= spans[passage].tokens
            if room < 0 and taken:
                break
            taken.append(passage)
        text = _GAP.join(passages[passage].strip() for passage in sorted(taken))
        return await clip(await session.model.tokenizer(), text, self.memory_tokens)


def rank(passages: Sequence[str], questions: Sequence[str]) -> list[list[int]]:
    """For each question the numbers of the passages that share a word with it, best first.

    Raises `ConfigurationError` if the `eval` extra is not installed.
    """
    words_of_passages = [words(passage) for passage in passages]
    known = {word for found in words_of_passages for word in found}
    asked = [[word for word in words(question) if word in known] for question in questions]
    if not any(asked):
        return [[] for _ in questions]
    index = _index(words_of_passages)
    return [_best(index.get_scores(found)) if found else [] for found in asked]


def words(text: str) -> list[str]:
    """The words of a text as they are compared, in order."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return [word for run in _word().findall(folded) for word in _split(run)]


def _split(run: str) -> Iterator[str]:
    """A run of letters as words: what is written without spaces in overlapping pairs."""
    start = 0
    for match in _UNSPACED.finditer(run):
        if match.start() > start:
            yield run[start : match.start()]
        pairs = ["".join(pair) for pair in pairwise(match[0])]
        yield from pairs or match[0]
        start = match.end()
    if start < len(run):
        yield run[start:]


@cache
def _word() -> re.Pattern[str]:
    r"""Letters, digits and marks; `\w` lacks the vowel signs of Indic scripts, and has `_`."""
    marks = "".join(
        character
        for character in map(chr, range(sys.maxunicode + 1))
        if unicodedata.category(character)[0] == "M"
    )
    return re.compile(rf"(?:[^\W_]|[{marks}])+")


def _best(scores: npt.NDArray[np.float32]) -> list[int]:
    """Passages by score, the first in the source before others of the same score."""
    order: list[int] = np.argsort(-scores, kind="stable").tolist()
    return [passage for passage in order if scores[passage] > 0]


def _index(passages: list[list[str]]) -> _Index:
    try:
        bm25s = import_module("bm25s")
    except ImportError:
        raise ConfigurationError(
            "retrieval needs bm25s", hint="pip install 'palimpsest-memory[eval]'"
        ) from None
    index: _Index = bm25s.BM25()
    index.index(passages, show_progress=False)
    return index


class _Index(Protocol):
    """What is used of the index of bm25s, which is not typed."""

    def index(self, corpus: list[list[str]], *, show_progress: bool) -> None: ...

    def get_scores(self, words: list[str]) -> npt.NDArray[np.float32]: ...
