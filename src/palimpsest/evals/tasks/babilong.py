"""BABILong (Kuratov et al., 2024): the facts of a small story, strewn into books at any length.

babilong          qa1 to qa5, of which the benchmark has published its choice of stories
babilong:qa12     one of the twenty
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from palimpsest.datasets.babilong import TASKS, Resources, Story, generate, read_stories
from palimpsest.datasets.files import TEXT_SUFFIXES, data_suffix, read_text
from palimpsest.datasets.item import Evidence, Item, Passage
from palimpsest.errors import ConfigurationError
from palimpsest.evals.tasks.generated import Generate, GeneratedTask
from palimpsest.evals.tasks.record import Place, Record, Row, content_id
from palimpsest.sources import Tokenizer

_TASK = re.compile(r"qa\d+")


class BABILong(GeneratedTask):
    """Stories and books must be in the data folder.

    Also read, if they are named: a file of bAbI, whose stories stand alone then, and the rows of
    the hub, whose contexts are ready-made.
    """

    base = "babilong"
    about = "facts of a small story strewn into books"
    metrics = ("substring", "exact_match")
    aliases = ("babi",)
    categories = TASKS
    whole = TASKS[:5]

    def parse(self, row: Row, place: Place) -> Iterator[Record]:
        if "target" in row:
            yield Record((_ready_item(row, place),))
        else:
            for name, numbers in row.items():
                if not _TASK.fullmatch(name):
                    raise KeyError("target")
                yield Record(resource=(name, numbers))

    def rows(self, path: Path) -> Iterator[Record]:
        """A file of bAbI has a record for each question."""
        if data_suffix(path) not in TEXT_SUFFIXES:
            yield from super().rows(path)
            return
        for number, story in enumerate(read_stories(read_text(path))):
            yield Record((_story_item(story, number, _task_of(str(path))),))

    def generator(self, folder: Path | None) -> Generate:
        if folder is None:
            raise ConfigurationError(
                f"{self.name} needs its data", hint="give --data FOLDER with babi/ and haystack/"
            )
        resources = Resources.from_folder(folder)

        async def one(name: str, number: int, tokens: int, tokenizer: Tokenizer) -> Item:
            return await generate(name, number, tokens, tokenizer, resources)

        return one


def _task_of(origin: str) -> str:
    """Of a file by its name, of the hub by its split: `hub:owner/name@8k:qa1`."""
    found = _TASK.findall(origin.rpartition("/")[2])
    return found[-1] if found else ""


def _story_item(story: Story, number: int, task: str) -> Item:
    return Item(
        task=BABILong.base,
        id=f"{task}-story-{number}",
        question=story.question,
        answers=(story.answer,),
        metric="substring",
        documents=(Passage(title="story", text="\n".join(story.facts)),),
        gold=(0,),
        evidence=tuple(Evidence(document=0, quote=story.facts[place]) for place in story.support),
        category=task,
    )


def _ready_item(row: Row, place: Place) -> Item:
    return Item(
        task=BABILong.base,
        id=f"{_task_of(place.file)}-{content_id(row['input'], row['question'])}",
        question=row["question"],
        answers=(row["target"],),
        metric="substring",
        documents=(Passage(title="text", text=row["input"]),),
        category=_task_of(place.file),
    )
