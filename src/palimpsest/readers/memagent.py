"""MemAgent: a text memory, overwritten after every chunk, answers from the memory alone.

After MemAgent (arXiv 2507.02259): chunks of 5,000 tokens, a memory of at most 1,024, the answer
in a box. Deviations, each with its reason:

- The wording of the prompts is ours; a released checkpoint gets its own by a prompt file.
- Chunks end at a sentence or paragraph, so that no fact is cut in two. `faithful()` cuts exact
  token windows.
- A draft that is empty, refused or cut off never replaces the memory, and one over the limit is
  shortened. The paper's code keeps whatever came. `faithful()` accepts cut-off drafts.
- With `budgets` the answer is asked for once at each, from the first tokens of one memory. So
  are the text baselines of MemOCR (arXiv 2601.21468), whose code drafts anew for each budget.
- Greedy decoding, so that a reading can be made again. `faithful()` samples at 0.7 and 0.95.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from palimpsest.memory.reading import Reading, Role
from palimpsest.models.model import Completion, user
from palimpsest.prompts.templates import PromptRole
from palimpsest.readers.answers import parse_answer
from palimpsest.readers.drafting import DraftingReader, Scan
from palimpsest.readers.reader import Session
from palimpsest.sources import clip


class MemAgent(DraftingReader):
    """Reads with a text memory."""

    name: ClassVar[str] = "memagent"

    budgets: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Tokens of the memory that the answer's prompt shows, from its beginning; the memory is
    read once at each. Empty to read all of it. What is drafted does not depend on them."""

    @classmethod
    def faithful(cls) -> MemAgent:
        """The settings of the paper's evaluation (section 4; its published code)."""
        return cls(cutting="token", cut_off="accept", temperature=0.7, top_p=0.95)

    def prompt_roles(self) -> tuple[PromptRole, ...]:
        return ("draft", "shorten", "final")

    async def answer(self, session: Session) -> None:
        for budget in self.budgets or (None,):
            for number, question in enumerate(session.reading.header.questions):
                if not session.answered(number, budget):
                    completion = await self._ask(
                        session, "final", Scan(question), budget, question=number
                    )
                    session.answer(completion, number, budget)

    async def sub_answer(self, session: Session, scan: Scan) -> str:
        """At the largest budget."""
        budget = max(self.budgets, default=None)
        return parse_answer((await self._ask(session, "sub-answer", scan, budget)).text).text

    async def _ask(
        self, session: Session, role: Role, scan: Scan, budget: int | None, **refers: int | None
    ) -> Completion:
        template = self.template("final")
        version = session.reading.standing(scan.number)
        memory = self.notes(session.reading, scan)
        if budget is not None:
            memory = await clip(await session.model.tokenizer(), memory, budget)
        prompt = template.fill(question=scan.question, memory=memory or self.prompts.empty_memory)
        return await session.turn(
            role,
            template,
            user(prompt),
            self.sampling(self.answer_tokens),
            memory=version,
            reread=scan.number,
            **refers,
        )

    def notes(self, reading: Reading, scan: Scan) -> str:
        """The memory as the answer's prompt shows it, where there is no budget."""
        return reading.text_of(reading.standing(scan.number))
