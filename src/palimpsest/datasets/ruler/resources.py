"""What the generators draw on: word lists, an essay, questions with their paragraphs.

    resources = Resources.from_folder(Path("data"))

A folder holds what is there of `ruler/*nounlist.txt` and the like (else the lists come from the
package wonderwords), `haystack/PaulGrahamEssays*.json` or one text of the user's own, `squad/` and
`hotpotqa/` in their official formats, and files of passages with `title` and `text`, of which
contexts are made that are longer than a data set. Any of the files may be gzipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Literal, NamedTuple, Self

from palimpsest.datasets.files import Row, data_suffix, read_rows, read_text
from palimpsest.datasets.item import Passage
from palimpsest.errors import ConfigurationError, InputError

ESSAY = "haystack/PaulGrahamEssays_ruler.json.gz"
SQUAD = "squad/dev-v2.0.json"
HOTPOTQA = "hotpotqa/hotpot_dev_distractor_v1.json"

_ESSAYS = ("haystack/PaulGrahamEssays*.json", "haystack/PaulGrahamEssays*.json.gz")
_OWN_ESSAYS = ("haystack/*.txt", "haystack/*.txt.gz")
_SQUAD = ("squad/dev-v2.0*.json", "squad/dev-v2.0*.json.gz")
_HOTPOTQA = tuple(
    f"hotpotqa/{name}*{suffix}"
    for name in ("hotpot_dev_distractor", "dev_distractor")
    for suffix in (".json", ".json.gz", ".jsonl", ".jsonl.gz")
)
_PASSAGES = tuple(
    f"{folder}{suffix}"
    for folder in (
        "*/*wiki_passages*",
        "hotpotqa/pool*_passages*",
        "2wikimultihopqa/pool_passages*",
    )
    for suffix in (".jsonl", ".jsonl.gz")
)
_WORD_LISTS = ("adjective", "noun", "verb")


class Question(NamedTuple):
    """A question about paragraphs of a `Quiz`, by their places."""

    id: str
    text: str
    answers: tuple[str, ...]
    own: tuple[int, ...]
    """What was given with the question."""
    gold: tuple[int, ...]
    """Of those, what its answer stands in."""
    evidence: tuple[tuple[int, str], ...] = ()
    """Paragraphs and sentences of them."""


class Quiz(NamedTuple):
    """A data set of questions, and the paragraphs they are about."""

    questions: tuple[Question, ...]
    paragraphs: tuple[Passage, ...]


@dataclass(frozen=True)
class Resources:
    """What is there to make items of; what is not there is empty or None."""

    adjectives: tuple[str, ...] = ()
    nouns: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    essay: str = ""
    squad: Quiz | None = None
    hotpotqa: Quiz | None = None
    passages: tuple[Passage, ...] = ()
    """Further distractors of questions."""

    @classmethod
    def from_folder(cls, data: Path, *, essay: Path | None = None) -> Self:
        """What a data folder holds, with a text of the user's own in place of its essay."""
        if not data.is_dir():
            raise InputError(f"{data} is no folder", hint="give the folder of benchmark rows")
        adjectives, nouns, verbs = (_word_list(data, kind) for kind in _WORD_LISTS)
        squad, hotpotqa = _first(data, _SQUAD), _first(data, _HOTPOTQA)
        passages = dict.fromkeys(
            Passage(title=row["title"], text=row["text"])
            for file in _found(data, _PASSAGES)
            for row in read_rows(file)
        )
        return cls(
            adjectives,
            nouns,
            verbs,
            essay=_essay(essay or _first(data, (*_ESSAYS, *_OWN_ESSAYS))),
            squad=read_squad(squad) if squad else None,
            hotpotqa=read_hotpotqa(hotpotqa) if hotpotqa else None,
            passages=tuple(passages),
        )

    @cached_property
    def words(self) -> tuple[str, ...]:
        """All of the lists, each once, in alphabetical order."""
        return tuple(sorted({*self.adjectives, *self.nouns, *self.verbs}))

    def require_essay(self) -> str:
        if not self.essay:
            raise ConfigurationError(
                "there is no essay to hide needles in",
                hint=f"put {ESSAY} or a .txt file of your own into haystack/ of the data folder",
            )
        return self.essay

    def require_quiz(self, dataset: Literal["squad", "hotpotqa"]) -> Quiz:
        quiz = self.squad if dataset == "squad" else self.hotpotqa
        if not quiz:
            file = SQUAD if dataset == "squad" else HOTPOTQA
            raise ConfigurationError(
                f"there are no questions of {dataset}", hint=f"put {file} into the data folder"
            )
        return quiz


def read_squad(file: Path) -> Quiz:
    """The answerable questions of a SQuAD file, each with the paragraph it was written for."""
    places: dict[Passage, int] = {}
    questions = []
    for article in read_rows(file):
        for paragraph in article["paragraphs"]:
            title = article["title"].replace("_", " ")
            passage = Passage(title=title, text=paragraph["context"])
            place = places.setdefault(passage, len(places))
            questions += [_squad_question(row, place) for row in _answerable(paragraph["qas"])]
    return Quiz(tuple(questions), tuple(places))


def _answerable(rows: Iterable[Row]) -> Iterator[Row]:
    return (row for row in rows if not row.get("is_impossible") and row["answers"])


def _squad_question(row: Row, place: int) -> Question:
    answers = tuple(dict.fromkeys(answer["text"] for answer in row["answers"]))
    return Question(row["id"], row["question"].strip(), answers, (place,), (place,))


def read_hotpotqa(file: Path) -> Quiz:
    """The questions of a HotpotQA file in its distractor setting."""
    places: dict[Passage, int] = {}
    questions = tuple(_hotpotqa_question(row, places) for row in read_rows(file))
    return Quiz(questions, tuple(places))


def _hotpotqa_question(row: Row, places: dict[Passage, int]) -> Question:
    own: dict[str, int] = {}
    sentences: dict[str, list[str]] = {}
    for title, parts in row["context"]:
        passage = Passage(title=title, text="".join(parts).strip())
        own[title] = places.setdefault(passage, len(places))
        sentences[title] = parts
    facts = [(title, number) for title, number in row["supporting_facts"] if title in own]
    return Question(
        id=row["_id"],
        text=row["question"].strip(),
        answers=(row["answer"],),
        own=tuple(dict.fromkeys(own.values())),
        gold=tuple(dict.fromkeys(own[title] for title, _ in facts)),
        evidence=tuple(
            (own[title], sentences[title][number].strip())
            for title, number in facts
            if number < len(sentences[title])
        ),
    )


def _found(data: Path, patterns: Iterable[str]) -> list[Path]:
    return [file for pattern in patterns for file in sorted(data.glob(pattern))]


def _first(data: Path, patterns: Iterable[str]) -> Path | None:
    return next(iter(_found(data, patterns)), None)


def _essay(file: Path | None) -> str:
    if file is None:
        return ""
    if data_suffix(file) == ".json":
        return "\n".join(row["text"] for row in read_rows(file))
    return read_text(file)


def _word_list(data: Path, kind: str) -> tuple[str, ...]:
    """Words of letters alone, so that a pair of them is taken apart in one way."""
    file = _first(data, [f"ruler/*{kind}list.txt", f"ruler/*{kind}list.txt.gz"])
    text = read_text(file) if file else _packaged(kind)
    words = (line.strip() for line in text.splitlines())
    return tuple(dict.fromkeys(word for word in words if word.isalpha()))


def _packaged(kind: str) -> str:
    try:
        assets = files("wonderwords.assets")
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "the word lists need the package wonderwords",
            hint='pip install "palimpsest-memory[eval]"',
        ) from error
    return (assets / f"{kind}list.txt").read_text(encoding="utf-8")
