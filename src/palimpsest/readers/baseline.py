"""What a memory is compared with: readers that answer from notes which no model wrote."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from palimpsest.models.model import user
from palimpsest.prompts.templates import PromptRole
from palimpsest.readers.reader import PromptedReader, Session
from palimpsest.sources import Chunk


class Baseline(PromptedReader):
    """Answers each question in one call, by the same prompt as `MemAgent` from its memory."""

    def prompt_roles(self) -> tuple[PromptRole, ...]:
        return ("final",)

    def cut(self, text: str, offsets: list[int]) -> list[Chunk]:
        """The whole source: it is not read chunk by chunk."""
        return [Chunk(0, 0, len(text), text, len(offsets))]

    @abstractmethod
    async def notes(self, session: Session, questions: Sequence[str]) -> list[str]:
        """What each question is answered from; empty for nothing."""

    async def _run(self, session: Session) -> None:
        questions = session.reading.header.questions
        open_ = [number for number in range(len(questions)) if not session.answered(number)]
        all_notes = await self.notes(session, [questions[number] for number in open_])
        for number, notes in zip(open_, all_notes, strict=True):
            await self._answer(session, number, notes)

    async def _answer(self, session: Session, number: int, notes: str) -> None:
        template = self.template("final")
        question = session.reading.header.questions[number]
        prompt = template.fill(question=question, memory=notes or self.empty_memory)
        completion = await session.turn(
            "final", template, user(prompt), self.sampling(self.answer_tokens), question=number
        )
        session.answer(completion, number)
