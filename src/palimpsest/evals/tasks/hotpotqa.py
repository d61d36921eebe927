"""HotpotQA (Yang et al., 2018): questions over two Wikipedia paragraphs each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from palimpsest.evals.tasks.contexts import ContextTask
from palimpsest.evals.tasks.numbered import evaluation_item, is_evaluation_row
from palimpsest.evals.tasks.paragraphs import paragraph_item, row_answers, titled_item
from palimpsest.evals.tasks.record import Place, Record, Row, is_passage, passage


class HotpotQA(ContextTask):
    """Ten paragraphs a question in the distractor setting, with the supporting sentences."""

    base = "hotpotqa"
    about = "questions that need two Wikipedia paragraphs"
    metrics = ("f1", "exact_match", "substring", "two_way_substring")
    aliases = ("hotpot", "hotpot_qa")
    sets: ClassVar[dict[str, tuple[str, ...]]] = {
        "distractor": ("*dev_distractor*", "*validation*", "dev.json*"),
        "fullwiki": ("*dev_fullwiki*",),
        "eval": ("eval_*",),
        "pool": ("*pool*questions*",),
        "train": ("*train*",),
    }
    categories = ("bridge", "comparison")

    def parse(self, row: Row, place: Place) -> Iterator[Record]:
        if is_passage(row):
            yield Record(passages=(passage(row),))
        elif is_evaluation_row(row):
            yield Record((evaluation_item(row, task=self.base),))
        elif "gold_titles" in row:
            item = titled_item(row, row["gold_titles"], task=self.base, answers=row_answers(row))
            yield Record((item,))
        else:
            # The sentences carry the spaces between them.
            answers = row_answers(row)
            yield Record((paragraph_item(row, task=self.base, between="", answers=answers),))
