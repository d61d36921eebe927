"""MemOCR: the memory is drafted as rich text, drawn as a page, and read as a picture.

After MemOCR (arXiv 2601.21468): drafting is text to text and does not know the budget; the last
memory is rendered once for each budget of N visual tokens and read by a vision-language model,
the picture before the question. Deviations, each with its reason:

- The memory is drafted once and read at every budget; the paper's code drafts anew for each, so
  its budgets are compared on different memories.
- The page is laid out for its grid, so the budget is exact and nothing is cut off; the paper
  takes a browser's screenshot and shrinks it.
- Wording, chunk ends, guards and decoding as in `MemAgent`, with the same `faithful()` preset.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from palimpsest.memory.reading import PageRecord, Role
from palimpsest.models.model import Completion, user
from palimpsest.pages import Page, Style, render
from palimpsest.prompts.templates import PromptRole
from palimpsest.readers.answers import parse_answer
from palimpsest.readers.drafting import DraftingReader, Scan
from palimpsest.readers.reader import Session


class MemOCR(DraftingReader):
    """Reads with a memory that is drawn as a page under a budget of visual tokens."""

    name: ClassVar[str] = "memocr"

    draft_role: ClassVar[PromptRole] = "draft_rich"

    memory_tokens: int = Field(2048, ge=1)
    answer_tokens: int = Field(2048, ge=1)
    budgets: tuple[int, ...] = Field((256,), min_length=1)
    """Visual tokens; the memory is read once at each."""
    cell: Literal[28, 32] = 28
    """Pixels a side of one visual token: 28 for Qwen2-VL and Qwen2.5-VL, 32 for Qwen3-VL."""
    style: Style = Style()

    @classmethod
    def faithful(cls, budgets: tuple[int, ...] = (512,)) -> MemOCR:
        """The settings of the paper's evaluation (its published code)."""
        return cls(
            budgets=budgets, cutting="token", cut_off="accept", temperature=0.7, top_p=0.95
        )  # fmt: skip

    def prompt_roles(self) -> tuple[PromptRole, ...]:
        return ("draft_rich", "shorten", "read")

    async def answer(self, session: Session) -> None:
        for budget in self.budgets:
            await self._read_at(session, budget)

    async def sub_answer(self, session: Session, scan: Scan) -> str:
        """At the largest budget."""
        version = session.reading.standing(scan.number)
        memory = session.reading.text_of(version) or self.prompts.empty_memory
        page = self.page(memory, max(self.budgets))
        index = self._record_page(session, page, version)
        completion = await self._ask(session, "sub-answer", scan, page, index)
        return parse_answer(completion.text).text

    async def _read_at(self, session: Session, budget: int) -> None:
        questions = session.reading.header.questions
        open_ = [n for n in range(len(questions)) if not session.answered(n, budget)]
        if not open_:
            return
        page = self.page(session.reading.memory or self.prompts.empty_memory, budget)
        index = self._record_page(session, page, session.reading.memory_version)
        for number in open_:
            scan = Scan(questions[number])
            completion = await self._ask(session, "read", scan, page, index, question=number)
            session.answer(completion, number, page.budget)

    def page(self, memory: str, budget: int) -> Page:
        """The memory as this reader draws it."""
        return render(memory, budget, cell=self.cell, style=self.style)

    def _record_page(self, session: Session, page: Page, version: int | None) -> int:
        session.record(page_record(page, version))
        return len(session.reading.pages) - 1

    async def _ask(
        self,
        session: Session,
        role: Role,
        scan: Scan,
        page: Page,
        index: int,
        **refers: int | None,
    ) -> Completion:
        template = self.template("read")
        return await session.turn(
            role,
            template,
            user(template.fill(question=scan.question), page.data_url()),
            self.sampling(self.answer_tokens),
            page=index,
            reread=scan.number,
            **refers,
        )


def page_record(page: Page, version: int | None) -> PageRecord:
    """What a reading keeps of a page that shows a version of its memory."""
    return PageRecord(
        memory=version,
        budget=page.budget,
        cell=page.cell,
        grid_width=page.grid_width,
        grid_height=page.grid_height,
        body_px=page.body_px,
        dropped=page.dropped,
        shortened=page.shortened,
        sha256=page.sha256,
    )
