"""LongBench (Bai et al., 2023): English subtasks on documents of some thousand words.

Left out, with a warning: code completion (`lcc`, `repobench-p`), which is scored by edit distance,
and the Chinese subtasks, whose words have no spaces between them.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from palimpsest.datasets.item import Item, Passage
from palimpsest.evals.tasks.finding import Data
from palimpsest.evals.tasks.minilongbench import take_apart
from palimpsest.evals.tasks.numbered import numbered_documents
from palimpsest.evals.tasks.record import Place, Record, Row, content_id, distinct
from palimpsest.evals.tasks.task import Task

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Subtask:
    """How a subtask is asked and scored."""

    metric: str = "f1"
    question: str = "{input}"
    numbered: str = ""
    """What its documents are called, if they are numbered."""


SUBTASKS = {
    "narrativeqa": Subtask(),
    "qasper": Subtask(),
    "multifieldqa_en": Subtask(),
    "hotpotqa": Subtask(numbered="Passage"),
    "2wikimqa": Subtask(numbered="Passage"),
    "musique": Subtask(numbered="Passage"),
    "triviaqa": Subtask(),
    "qmsum": Subtask("rouge_l"),
    "gov_report": Subtask("rouge_l", "Sum the report up in one page."),
    "multi_news": Subtask("rouge_l", "Sum the news up in one page."),
    "samsum": Subtask("rouge_l", "Sum this dialogue up as the examples do.\n\n{input}"),
    "trec": Subtask("exact_match", "Give the type of this question as the examples do.\n\n{input}"),
    "passage_count": Subtask(
        "exact_match",
        "Some paragraphs stand in the text more than once. How many different ones are there? "
        "Answer with the number alone.",
        numbered="Paragraph",
    ),
    "passage_retrieval_en": Subtask(
        "substring",
        'Of which paragraph is this a summary? Answer in the form "Paragraph 3".\n\n{input}',
        numbered="Paragraph",
    ),
}
LEFT_OUT = frozenset(
    ("lcc", "repobench-p", "multifieldqa_zh", "dureader", "vcsum", "lsht", "passage_retrieval_zh")
)
_FILES = sorted({*SUBTASKS, *LEFT_OUT})


class LongBench(Task):
    """Each row has its subtask in `dataset`, which is the item's category.

    Also read are the prompts of MiniLongBench, taken apart again into context and question.
    """

    base = "longbench"
    about = "fourteen English subtasks: questions, summaries, counting, retrieval"
    metrics = ("f1", "exact_match", "substring", "rouge_l")
    sets: ClassVar[dict[str, tuple[str, ...]]] = {
        "all": ("*longbench*", *(f"{name}.json*" for name in _FILES), "*test*.parquet"),
        "e": tuple(f"{name}_e.json*" for name in _FILES),
    }
    categories = tuple(SUBTASKS)

    def parse(self, row: Row, place: Place) -> Iterator[Record]:
        name = str(row["task"] if "prompt" in row else row["dataset"]).removesuffix("_e")
        if name in LEFT_OUT:
            yield Record(resource=name)
        elif name in SUBTASKS:
            yield Record((_item(name, row),))
        else:
            raise ValueError(f"{name} is no subtask")

    def _question_records(self, data: Data) -> Iterator[Record]:
        left_out: Counter[object] = Counter()
        for record in super()._question_records(data):
            left_out[record.resource] += not record.items
            yield record
        for name, number in (+left_out).items():
            _log.warning("%s: %d questions of %s left out: not scored", self.name, number, name)


def _item(name: str, row: Row) -> Item:
    if "prompt" in row:
        context, asked = take_apart(row["prompt"], name)
        id, answers = f"{name}-{row['idx']}", row["gold"]
    else:
        context, asked = row["context"], row["input"]
        id = str(row.get("_id") or content_id(name, context, asked))
        answers = row["answers"]
    subtask = SUBTASKS[name]
    documents, asked = _documents(name, context, asked)
    return Item(
        task=LongBench.base,
        id=id,
        question=subtask.question.format(input=asked.strip()),
        answers=distinct(answers),
        metric=subtask.metric,
        documents=documents,
        category=name,
        details={"classes": row["all_classes"]} if row.get("all_classes") else {},
    )


def _documents(name: str, context: str, asked: str) -> tuple[tuple[Passage, ...], str]:
    """What is read, and what is asked of it. TriviaQA has its passage in the input, before the
    question, and solved examples in the context."""
    if name == "triviaqa":
        read, _, question = asked.rpartition("\nQuestion:")
        passage = Passage(title="Passage", text=read.removeprefix("Passage:").strip())
        question = question.strip().removesuffix("Answer:")
        return (Passage(title="Examples", text=context), passage), question
    numbered = SUBTASKS[name].numbered
    if numbered:
        return numbered_documents(context, numbered), asked
    return (Passage(title=name, text=context),), asked
