"""BABILong: the facts of a bAbI story among the sentences of a book, at any length.

    resources = Resources.from_folder(Path("data"))
    item = await generate("qa2", 7, 131_072, tokenizer, resources)

Kuratov et al., BABILong, NeurIPS 2024. As there, each question is a story of its own with the facts
up to it, the book's sentences stand in their order from a place drawn for each item, short ones are
left out, the last one is cut, and the facts stand between them in their order, at places drawn
uniformly. Books follow one another and begin anew where they are too short. What is different: the
books are those of the folder (PG-19 there), a sentence is short below eight words (ten tokens
there), and the wording of the task is this package's own.

The paper's score counts an answer as right when it is the only one of the task's labels in the
first sentence of the prediction, labels of the question aside. `details["labels"]` has the labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import cycle, islice, pairwise, permutations
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Self

import numpy as np

from palimpsest.datasets.files import read_rows, read_text
from palimpsest.datasets.item import Evidence, Item, Passage
from palimpsest.datasets.ruler.sizing import Draft, Wanted, fit
from palimpsest.errors import ConfigurationError, InputError
from palimpsest.sources import Tokenizer
from palimpsest.sources.chunking import SENTENCE_END

TASKS = tuple(f"qa{number}" for number in range(1, 21))

_ONE_WORD = "Answer with one word."
_YES_NO = "Answer yes or no."
_HOW: Mapping[str, str] = MappingProxyType(
    {
        "qa6": _YES_NO,
        "qa7": "Answer with a number as a word, or none.",
        "qa8": "Answer with the things, separated by commas, or nothing.",
        "qa9": _YES_NO,
        "qa10": "Answer yes, no or maybe.",
        "qa17": _YES_NO,
        "qa18": _YES_NO,
        "qa19": "Answer with the initials of two directions, as in n,e for north, then east.",
    }
)
_DIRECTIONS = {"n": "north", "e": "east", "s": "south", "w": "west"}
_LEAST_WORDS = 8
_CHARACTERS_PER_TOKEN = 3.5
_START = re.compile(r"\*\*\* ?START OF.*")
_END = re.compile(r"\*\*\* ?END OF")


class Story(NamedTuple):
    """A question of bAbI with the facts that precede it."""

    facts: tuple[str, ...]
    question: str
    answer: str
    support: tuple[int, ...]
    """Places of the facts that the answer follows from."""


@dataclass(frozen=True)
class Resources:
    """Stories by task, books to spread them in, and which stories the benchmark picked."""

    stories: Mapping[str, tuple[Story, ...]]
    books: tuple[str, ...]
    picked: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Places of stories; item n of a task that is not here is its story n."""

    @classmethod
    def from_folder(cls, data: Path) -> Self:
        """`babi/en/qa*_test.txt`, `babi/babilong_test_100_idxs.json` and `haystack/*.txt`, each
        also gzipped."""
        if not data.is_dir():
            raise InputError(f"{data} is no folder", hint="give the folder of benchmark rows")
        files = {task: _files(data, f"babi/en/{task}_*test.txt") for task in TASKS}
        picks = [row for file in _files(data, "babi/*idxs.json") for row in read_rows(file)]
        return cls(
            {task: read_stories(read_text(found[0])) for task, found in files.items() if found},
            tuple(read_text(file) for file in _files(data, "haystack/*.txt")),
            {task: tuple(places) for row in picks[:1] for task, places in row.items()},
        )


def _files(data: Path, pattern: str) -> list[Path]:
    return sorted((*data.glob(pattern), *data.glob(f"{pattern}.gz")))


def read_stories(text: str) -> tuple[Story, ...]:
    """The questions of a bAbI file: numbered lines, where 1 begins a story, and a question has its
    answer and the numbers of the facts behind it after tabs."""
    return tuple(_stories(text))


def _stories(text: str) -> Iterator[Story]:
    facts: dict[str, str] = {}
    for line in text.splitlines():
        number, _, sentence = line.strip().partition(" ")
        if number == "1":
            facts = {}
        if "\t" not in sentence:
            facts[number] = sentence
            continue
        question, answer, support = (part.strip() for part in sentence.split("\t"))
        numbers = list(facts)
        places = tuple(numbers.index(one) for one in support.split())
        yield Story(tuple(facts.values()), question, answer, places)


async def generate(
    task: str, number: int, tokens: int, tokenizer: Tokenizer, resources: Resources
) -> Item:
    """Item `number`, from 0, of a task, whose context has `tokens` tokens or up to 1% fewer.

    The same arguments give the same item in any process. Raises `InputError` for an unknown task,
    a number past the last story and a story that is too long, `ConfigurationError` for stories or
    books that are not there.
    """
    wanted = Wanted(task, number, tokens, tokenizer)
    story = _story(wanted, resources)
    labels = _labels(task, resources.stories[task])
    if not resources.books:
        raise ConfigurationError(
            "there is no book to spread stories in",
            hint="put the text of a book into haystack/ of the data folder, as a .txt file",
        )
    draft = await fit(
        wanted,
        lambda characters: _build(wanted, story, labels, resources.books, characters),
        units_per_token=_CHARACTERS_PER_TOKEN,
        fewest=0,
    )
    return wanted.item("babilong", "substring", draft)


def _story(wanted: Wanted, resources: Resources) -> Story:
    if wanted.name not in TASKS:
        raise InputError(f"BABILong has no task {wanted.name}", hint="one of qa1 to qa20")
    stories = resources.stories.get(wanted.name)
    if not stories:
        raise ConfigurationError(
            f"there are no stories of {wanted.name}",
            hint=f"put {wanted.name}_..._test.txt of bAbI into babi/en/ of the data folder",
        )
    places = resources.picked.get(wanted.name) or range(len(stories))
    if wanted.number >= len(places):
        raise InputError(
            f"{wanted.name} has {len(places)} items, but item {wanted.number} was asked for",
            hint="ask for fewer items",
        )
    return stories[places[wanted.number]]


def _build(
    wanted: Wanted, story: Story, labels: Sequence[str], books: Sequence[str], characters: int
) -> Draft:
    random = wanted.random()
    noise = _noise(random, books, characters, story.facts)
    places = np.sort(random.integers(len(noise) + 1, size=len(story.facts))).tolist()
    parts: list[str] = []
    last = 0
    for place, fact in zip(places, story.facts, strict=True):
        parts += [*noise[last:place], fact]
        last = place
    parts += noise[last:]
    return Draft(
        question=(
            "Facts of a small story are strewn over the text, in the order in which they happened; "
            f"the rest has nothing to do with it. {story.question} "
            f"{_HOW.get(wanted.name, _ONE_WORD)}"
        ),
        answers=_spellings(wanted.name, story.answer),
        documents=(Passage(title="text", text=" ".join(parts)),),
        gold=(0,),
        evidence=tuple(Evidence(document=0, quote=story.facts[place]) for place in story.support),
        details={
            "asked": story.question,
            "answer": story.answer,
            "labels": list(labels),
            "facts": list(story.facts),
            "depths": [round(100 * place / max(1, len(noise)), 1) for place in places],
        },
    )


def _noise(
    random: np.random.Generator, books: Sequence[str], characters: int, facts: Sequence[str]
) -> list[str]:
    """Sentences of the books from some place on, the last one cut, without the story's own."""
    noise: list[str] = []
    for sentence in _endless(random, books):
        if characters <= len(sentence):
            noise.append(sentence[: sentence.rfind(" ", 0, characters) + 1].strip())
            break
        noise.append(sentence)
        characters -= len(sentence) + 1
    text = " ".join(noise)
    told = [fact for fact in set(facts) if fact in text]
    return [one for one in noise if one and not any(fact in one for fact in told)]


def _endless(random: np.random.Generator, books: Sequence[str]) -> Iterator[str]:
    at = int(random.integers(len(books)))
    first = int(random.integers(len(_sentences(books[at]))))
    for book in cycle((*books[at:], *books[:at])):
        yield from islice(_sentences(book), first, None)
        first = 0


@lru_cache(maxsize=64)
def _sentences(book: str) -> tuple[str, ...]:
    """Of eight words or more, between the marks that Project Gutenberg sets around a text."""
    begin, end = _START.search(book), _END.search(book)
    text = book[begin.end() if begin else 0 : end.start() if end else len(book)]
    places = [0, *(match.end() for match in SENTENCE_END.finditer(text)), len(text)]
    sentences = (text[start:stop].strip() for start, stop in pairwise(places))
    kept = tuple(one for one in sentences if len(one.split()) >= _LEAST_WORDS)
    if not kept:
        raise ConfigurationError(
            f"a book without a sentence of {_LEAST_WORDS} words: {text[:60]!r}",
            hint="take it out of haystack/ of the data folder",
        )
    return kept


def _labels(task: str, stories: Sequence[Story]) -> list[str]:
    """All that is an answer of a task; in qa8, of which an answer is made."""
    answers = {story.answer for story in stories}
    if task == "qa8":
        answers = {thing for answer in answers for thing in answer.split(",")}
    return sorted(answers)


def _spellings(task: str, answer: str) -> tuple[str, ...]:
    """The answer as bAbI writes it, and for lists the ways in which people do."""
    parts = answer.split(",")
    if len(parts) == 1:
        return (answer,)
    if task == "qa8":
        orders = list(permutations(parts))
    else:
        orders = [tuple(parts), tuple(_DIRECTIONS[part] for part in parts)]
    joined = (
        form
        for *rest, last in orders
        for form in (
            ",".join([*rest, last]),
            ", ".join([*rest, last]),
            f"{', '.join(rest)} and {last}",
            f"{', '.join(rest)} then {last}",
        )
    )
    return tuple(dict.fromkeys((answer, *joined)))
