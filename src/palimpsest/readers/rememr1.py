"""ReMemR1: a draft may call back an earlier memory, which the next draft is shown too.

After ReMemR1 (arXiv 2509.23040): a fact that was dropped before it was known to matter can come
back. The query stands in a `<recall>` tag of the draft and is no part of the memory; it is looked
up among the earlier versions of the same scan. Deviations, each with its reason:

- Versions are ranked by the share of the query's words that they hold, each word weighed by how
  few versions hold it. The paper counts words unweighed, so that common ones decide; its code
  takes the cosine of TF-IDF vectors, which prefers short versions.
- A memory is the draft without its query. The paper's code keeps the model's thinking in it. A
  tag within a line of notes loses its marks only: weak models put them around facts.
- The last recalled version joins the answer's prompt by the lines that the memory lacks, not as
  a block of its own: any wording of that prompt will do.
- Limits, chunk ends, guards and decoding as in `MemAgent`, with a `faithful()` preset.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from math import log
from typing import ClassVar

from palimpsest.memory.reading import ChunkRead, MemoryVersion, Reading
from palimpsest.prompts.templates import PromptRole
from palimpsest.readers.drafting import Place, Scan
from palimpsest.readers.memagent import MemAgent
from palimpsest.readers.reader import Session

_QUERY_TOKENS = 64
"""Room for a query after the memory."""
_RECALL = re.compile(r"<recall>([^<]{0,400})</recall>|<recall>(.*)$", re.IGNORECASE | re.MULTILINE)
_OWN_LINE = re.compile(
    r"^[ \t]*(?:<recall>[^<]{0,400}</recall>|<recall>.*$|</recall>)[ \t]*$\n?",
    re.IGNORECASE | re.MULTILINE,
)
"""A query that has its line for itself."""
_TAG = re.compile(r"</?recall>", re.IGNORECASE)
_WORD = re.compile(r"[぀-ヿ㐀-鿿]|[^\W぀-ヿ㐀-鿿]+")
"""A word, or one character of a script without spaces."""


class ReMemR1(MemAgent):
    """Reads with a text memory whose earlier versions can be called back."""

    name: ClassVar[str] = "rememr1"

    draft_role: ClassVar[PromptRole] = "draft_recall"

    @classmethod
    def faithful(cls) -> ReMemR1:
        """The settings of the paper's evaluation (its published code)."""
        return cls(
            memory_tokens=2048,
            answer_tokens=2048,
            cutting="token",
            cut_off="accept",
            temperature=0.7,
            top_p=0.95,
        )

    def prompt_roles(self) -> tuple[PromptRole, ...]:
        return ("draft_recall", "shorten", "final")

    @property
    def draft_tokens(self) -> int:
        return super().draft_tokens + _QUERY_TOKENS

    async def draft_chunk(
        self, session: Session, scan: Scan, chunk: int, memory: int | None
    ) -> int | None:
        recalled = self.recalled(session.reading, scan, memory)
        others = () if recalled is None else (recalled,)
        completion = await self._draft_turn(session, scan, chunk, memory)
        notes = completion.model_copy(update={"text": without_query(completion.text)})
        return await self.settle(session, Place(scan, chunk, memory, others), notes)

    def draft_prompt(self, session: Session, scan: Scan, chunk: int, memory: int | None) -> str:
        span = session.reading.header.chunks[chunk]
        recalled = self.recalled(session.reading, scan, memory)
        return self.template(self.draft_role).fill(
            question=scan.question,
            recalled=session.reading.text_of(recalled) or self.prompts.empty_memory,
            memory=session.reading.text_of(memory) or self.prompts.empty_memory,
            section=session.source.text[span.start : span.end],
            limit=self.limit_in_words(),
        )

    def notes(self, reading: Reading, scan: Scan) -> str:
        version = reading.standing(scan.number)
        memory = reading.text_of(version)
        recalled = reading.text_of(self.recalled(reading, scan, version))
        known = {line.strip() for line in memory.splitlines()}
        lost = [line for line in recalled.splitlines() if line.strip() not in known]
        return "\n".join([memory, *lost])

    def recalled(self, reading: Reading, scan: Scan, memory: int | None) -> int | None:
        """The version that the query left with version `memory` calls back, if any."""
        query = self._query(reading, scan, memory)
        if memory is None or not query:
            return None
        versions = reading.memories
        texts = {number: versions[number].text for number in earlier(versions, memory)}
        return best_match(query, texts)

    def _query(self, reading: Reading, scan: Scan, memory: int | None) -> str:
        """The query of the last draft that left version `memory` standing."""
        drafts = {
            turn.chunk: turn.completion.text
            for turn in reading.turns
            if turn.reread == scan.number and turn.prompt == self.template(self.draft_role).id
        }
        left = (
            record.chunk
            for record in reversed(reading.records)
            if isinstance(record, ChunkRead)
            and (record.reread, record.memory) == (scan.number, memory)
        )
        return next((query_in(drafts[chunk]) for chunk in left if chunk in drafts), "")


def query_in(draft: str) -> str:
    """What stands in a draft's first `<recall>` tag that is not empty."""
    found = ((match[1] or match[2] or "").strip() for match in _RECALL.finditer(draft))
    return next(filter(None, found), "")


def without_query(draft: str) -> str:
    """A draft's memory alone. A tag that is not closed ends with its line."""
    return _TAG.sub("", _OWN_LINE.sub("", draft)).strip()


def earlier(versions: list[MemoryVersion], memory: int) -> list[int]:
    """The versions of the same scan that a version was written from, and so on; oldest first.

    Those whose text is the version's own have nothing to give back and are left out.
    """
    found: set[int] = set()
    open_ = [memory]
    while open_:
        parents = set(versions[open_.pop()].parents) - found
        own = {number for number in parents if versions[number].reread == versions[memory].reread}
        found |= own
        open_ += own
    return sorted(number for number in found if versions[number].text != versions[memory].text)


def best_match(query: str, texts: dict[int, str]) -> int | None:
    """The number of the text that holds most of the query; of equals the latest."""
    held = {number: words(query) & words(text) for number, text in texts.items()}
    holders = Counter(word for found in held.values() for word in found)
    scores = {
        number: sum(1 + log((1 + len(texts)) / (1 + holders[word])) for word in sorted(found))
        for number, found in held.items()
        if found
    }
    return max(scores, key=lambda number: (scores[number], number), default=None)


@lru_cache(maxsize=4096)
def words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.casefold()))
