"""What a model is assumed to write, for readings that are tried dry: an answer for each prompt.

The prompt is told by the wording that it was filled into, so a user's own prompts work too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from palimpsest.models.dry import filler
from palimpsest.models.model import Message, Sampling
from palimpsest.models.scripted import texts
from palimpsest.prompts.templates import PromptRole
from palimpsest.readers.drafting import MemoryReader
from palimpsest.readers.reader import Reader
from palimpsest.sources import Tokenizer

_PLACEHOLDER = re.compile(r"(?<![\\\w])\{[a-z_]+\}")
_DECISIONS: Mapping[PromptRole, tuple[str, str]] = {
    "gate": ("NOTHING", "NEW"),
    "gate_stop": ("ENOUGH", "NEW"),
    "decompose": ("ENOUGH", "<query>What does the text say about number {}?</query>"),
}
"""What decides on more reading: against it, and for it."""
_WORDS = re.compile(r"\w+")
_MARGIN = 4
"""Tokens by which a memory stays under its limit, as what is put into it may count for more."""
_ANSWERS = frozenset({"final", "read"})


@dataclass(frozen=True)
class Assumption:
    """How much a model writes and how much it wants to read."""

    fill: float
    """Share of its limit that a memory takes, from 0 to 1."""
    answer_tokens: int
    reads_more: bool
    """Whether every reread that is allowed is made, and no chunk skipped."""


@dataclass
class Assumed:
    """Answers the prompts of a reader as assumed."""

    assumption: Assumption
    memory: str
    answer: str
    pieces: Mapping[PromptRole, Sequence[str]]
    """The wording of each role, without what fills its placeholders."""
    _numbers: count[int] = field(default_factory=lambda: count(1))

    def __call__(self, messages: Sequence[Message], sampling: Sampling) -> str:
        role = self._role("\n".join(texts(messages)))
        if role is None or role in _ANSWERS:
            return self.answer
        if role in _DECISIONS:
            against, for_it = _DECISIONS[role]
            # No two queries are the same, or the second would not be read for.
            return for_it.format(next(self._numbers)) if self.assumption.reads_more else against
        if role == "draft_recall" and self.assumption.reads_more:
            return self._recalling()
        return self.memory

    def _recalling(self) -> str:
        """A memory unlike the others, so that it can be called back, and what calls one back."""
        number = str(next(self._numbers))
        words = " ".join(_WORDS.findall(self.memory[:80]))
        return f"{number}{self.memory[len(number) :]}\n<recall>{words}</recall>"

    def _role(self, prompt: str) -> PromptRole | None:
        """The role whose wording the prompt has most of, from its beginning to its end."""
        fitting = [role for role, pieces in self.pieces.items() if _fits(prompt, pieces)]
        return max(fitting, key=lambda role: sum(map(len, self.pieces[role])), default=None)


async def assumed(
    reader: Reader, tokenizer: Tokenizer, sample: str, assumption: Assumption
) -> Assumed:
    """What a model is assumed to answer to `reader`, in the words of a sample of its source."""
    limit = reader.memory_limit if isinstance(reader, MemoryReader) else 0
    return Assumed(
        assumption,
        memory=await filler(tokenizer, sample, max(0, round(assumption.fill * limit) - _MARGIN)),
        answer=await filler(tokenizer, sample, assumption.answer_tokens),
        pieces={
            role: _PLACEHOLDER.split(reader.template(role).text) for role in reader.prompt_roles()
        },
    )


def _fits(prompt: str, pieces: Sequence[str]) -> bool:
    """Whether the pieces stand in a prompt in their order, the first and the last at its ends."""
    first, *_, last = pieces
    if not (prompt.startswith(first) and prompt.endswith(last)):
        return False
    place = 0
    for piece in pieces:
        place = prompt.find(piece, place)
        if place < 0:
            return False
        place += len(piece)
    return True
