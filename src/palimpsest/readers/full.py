"""Full context: as much of the source as is allowed, in one prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from palimpsest.readers.baseline import Baseline
from palimpsest.readers.reader import Session

_GAP = "\n\n[...]\n\n"


class FullContext(Baseline):
    """Answers from the source itself. One that is too long is cut in the middle: its first and
    its last tokens are shown, as many of either."""

    name: ClassVar[str] = "full"

    context_tokens: int = Field(6144, ge=2)
    """The most tokens of the source that are shown. As it is, prompt and answer fit a window of
    8,192, which is what a draft of `MemAgent` needs."""

    async def notes(self, session: Session, questions: Sequence[str]) -> list[str]:
        text = session.source.text
        offsets = await (await session.model.tokenizer()).offsets(text)
        return [cut_in_the_middle(text, offsets, self.context_tokens)] * len(questions)


def cut_in_the_middle(text: str, offsets: Sequence[int], limit: int) -> str:
    """The text, or its first and last tokens, `limit` of them, with a mark between.

    `offsets` are the starts of the text's tokens; `limit` is at least 2.
    """
    if len(offsets) <= limit:
        return text
    tail = limit // 2
    return f"{text[: offsets[limit - tail]]}{_GAP}{text[offsets[-tail] :]}"
