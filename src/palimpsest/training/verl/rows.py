"""The questions of a run as verl's dataset: a file of items, and a light row for each.

    files = await write_questions(recipe, tokenizer, folder)
    data.custom_cls.path = "pkg://palimpsest.training.verl.rows"      # in verl's configuration
    data.custom_cls.name = "Rows"

What verl's trainer hands to the processes that roll out, it keeps beside every conversation. So a
row only says where its item stands; those processes read it from the file, which all nodes must
see.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from torch.utils.data import Dataset

from palimpsest.datasets.item import Item
from palimpsest.errors import InputError
from palimpsest.sources.tokens import Tokenizer
from palimpsest.training.questions import Shuffled, Stream, questions_of
from palimpsest.training.recipe import Recipe

TRAINING, HELD_OUT = "train", "held-out"
"""Names of the files; of a rollout's file its chance depends, too."""


class Files(NamedTuple):
    training: Path
    held_out: Path
    """A part of the training questions where none are held out: verl wants to have some."""


class ItemFile:
    """Items in a file of JSON lines, read one by one as they are needed."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._starts = _line_starts(self.path)

    def __len__(self) -> int:
        return len(self._starts)

    def item(self, place: int) -> Item:
        with self.path.open("rb") as file:
            file.seek(self._starts[place])
            return Item.model_validate_json(file.readline())


@lru_cache(maxsize=8)
def item_file(path: str) -> ItemFile:
    """The file at a path, looked through once in a process."""
    return ItemFile(path)


class Rows(Dataset[dict[str, Any]]):
    """verl's dataset over files of items."""

    def __init__(
        self,
        data_files: str | Sequence[str],
        tokenizer: object = None,
        config: object = None,
        processor: object = None,
        max_samples: int = -1,
    ) -> None:
        """Args:
        max_samples: Most rows; all for less than 1.
        """
        paths = [data_files] if isinstance(data_files, str) else data_files
        places = ((str(path), at) for path in paths for at in range(len(item_file(str(path)))))
        self._places = list(islice(places, max_samples if max_samples > 0 else None))

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: int) -> dict[str, Any]:
        path, place = self._places[number]
        item = item_file(path).item(place)
        return {
            "raw_prompt": [{"role": "user", "content": item.question}],
            "data_source": item.task,
            "index": number,
            "reward_model": {"style": "rule", "ground_truth": list(item.answers)},
            "item_file": path,
            "item_place": place,
        }


async def write_questions(recipe: Recipe, tokenizer: Tokenizer, folder: Path) -> Files:
    """The questions of a recipe in files of a folder, training and held-out ones apart."""
    questions = await questions_of(recipe, tokenizer)
    files = Files(folder / f"{TRAINING}.jsonl", folder / f"{HELD_OUT}.jsonl")
    write_items(_listed(questions.training, recipe), files.training)
    held_out = questions.held_out or tuple(islice(_listed(questions.training, recipe), 1))
    write_items(held_out, files.held_out)
    return files


def write_items(items: Iterable[Item], path: Path) -> None:
    """Writes items as lines of JSON. Raises `InputError` for none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    written = 0
    with partial.open("w", encoding="utf-8") as file:
        for item in items:
            file.write(item.model_dump_json() + "\n")
            written += 1
    if not written:
        raise InputError(f"no question for {path}", hint="look at the recipe's data")
    partial.replace(path)


def _listed(stream: Stream, recipe: Recipe) -> Iterator[Item]:
    """All items; of a world without end as many as its steps can take."""
    if isinstance(stream, Shuffled):
        yield from stream.items
        return
    rounds = 1 + (recipe.filter.refills if recipe.filter.keep == "informative" else 0)
    for position in range(max(1, recipe.steps) * recipe.batch.prompts * rounds):
        yield stream.at(position)


def _line_starts(path: Path) -> list[int]:
    starts, at = [], 0
    try:
        with path.open("rb") as file:
            for line in file:
                starts.append(at)
                at += len(line)
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}", hint="all nodes must see the folder of the run"
        ) from error
    return starts
