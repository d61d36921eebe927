"""Questions about one or a few paragraphs among many: SQuAD (qa_1) and HotpotQA (qa_2).

RULER (COLM 2024), section 3.4. A question's own paragraphs are in the context: the one it was
written for in SQuAD, the ten of its row in HotpotQA. Others join them in any order, first those of
the same article.

Unlike the official context, another paragraph that holds an accepted answer stays out, so that the
answer stands where the question looks for it. For the length asked for, Wikipedia paragraphs of
other data sets follow where the data set has no more, and one may be cut to fill the last gap. The
official items ask the questions in the order of the file, which in SQuAD is many on one paragraph;
here that order is drawn once, so that a few items are a fair sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np

from palimpsest.datasets.concordance import holds, searched_answers, spaced, squeezed
from palimpsest.datasets.item import Evidence, Item, Passage
from palimpsest.datasets.pool import count_passages
from palimpsest.datasets.ruler.resources import Question, Quiz, Resources
from palimpsest.datasets.ruler.sizing import LEAST_SHARE, SLACK, Draft, Wanted, random_of, tokens_of
from palimpsest.errors import InputError
from palimpsest.sources import Tokenizer, clip

_CHARACTERS_PER_TOKEN = 5
_LEAST_CHARACTERS = 50_000
"""Counted at once, out of which the last gap is filled."""
_SPARE = 1000
"""One token in so many is left free, for what counting apart and counting together differ by."""
_ATTEMPTS = 4


@dataclass(frozen=True)
class Questions:
    """A task of questions by its data set."""

    dataset: Literal["squad", "hotpotqa"]

    async def make(self, wanted: Wanted, resources: Resources) -> Draft:
        quiz = resources.require_quiz(self.dataset)
        if wanted.number >= len(quiz.questions):
            raise InputError(
                f"{wanted.name} has {len(quiz.questions)} items, but item {wanted.number} was "
                "asked for",
                hint="ask for fewer items, or give the whole data set",
            )
        order = random_of(wanted.name).permutation(len(quiz.questions))
        question = quiz.questions[order[wanted.number]]
        own = tuple(quiz.paragraphs[place] for place in question.own)
        return await _filled(wanted, question, own, quiz, resources.passages)


async def _filled(
    wanted: Wanted,
    question: Question,
    own: tuple[Passage, ...],
    quiz: Quiz,
    passages: Sequence[Passage],
) -> Draft:
    """The question among paragraphs that fill the context up, at most 1% short of it."""
    spare = wanted.tokens // _SPARE
    room = wanted.tokens - await tokens_of(own, wanted.tokenizer) - spare
    for _ in range(_ATTEMPTS):
        candidates = _candidates(wanted.random(), question, own, quiz, passages)
        draft = _draft(wanted, question, own, await _fill(candidates, room, wanted))
        missing = wanted.tokens - await tokens_of(draft.documents, wanted.tokenizer)
        if 0 <= missing <= wanted.tokens * (1 - LEAST_SHARE):
            return draft
        if missing > 0:
            raise InputError(
                f"the paragraphs for {wanted.name} item {wanted.number} come to "
                f"{wanted.tokens - missing} of {wanted.tokens} tokens",
                hint="give more Wikipedia passages, or ask for another length",
            )
        # Paragraphs counted one by one may come to a few tokens less than together.
        room += missing - spare
    raise InputError(
        f"{wanted.name} item {wanted.number} does not fit in {wanted.tokens} tokens",
        hint="ask for a longer context",
    )


def _draft(
    wanted: Wanted, question: Question, own: Sequence[Passage], others: Sequence[Passage]
) -> Draft:
    """The documents shuffled, with the places that those of the question come to."""
    order = wanted.random().permutation(len(own) + len(others)).tolist()
    documents = [*own, *others]
    places = {question.own[index]: order.index(index) for index in range(len(own))}
    return Draft(
        question=question.text,
        answers=question.answers,
        documents=tuple(documents[index] for index in order),
        gold=tuple(sorted(places[paragraph] for paragraph in question.gold)),
        evidence=tuple(
            Evidence(document=places[paragraph], quote=quote)
            for paragraph, quote in question.evidence
        ),
        details={"question": question.id, "paragraphs": len(documents)},
    )


def _candidates(
    random: np.random.Generator,
    question: Question,
    own: Sequence[Passage],
    quiz: Quiz,
    passages: Sequence[Passage],
) -> Iterator[Passage]:
    """Paragraphs that may join, each once: of the same article, of the data set, of others."""
    titles = {spaced(one.title) for one in own}
    answers = searched_answers(Item(task="", id="", question="", answers=question.answers))
    seen = {squeezed(one.text) for one in own}
    near = [one for one in quiz.paragraphs if spaced(one.title) in titles]
    far = [one for one in quiz.paragraphs if spaced(one.title) not in titles]
    elsewhere = (one for one in _shuffled(random, passages) if spaced(one.title) not in titles)
    for one in chain(_shuffled(random, near), _shuffled(random, far), elsewhere):
        words = squeezed(one.text)
        if words not in seen and not holds(f"{one.title}\n{one.text}", answers):
            seen.add(words)
            yield one


def _shuffled(random: np.random.Generator, passages: Sequence[Passage]) -> Iterator[Passage]:
    return (passages[place] for place in random.permutation(len(passages)).tolist())


async def _fill(candidates: Iterator[Passage], room: int, wanted: Wanted) -> list[Passage]:
    """The candidates that fit one after another. Where those at hand leave a gap that all of them
    are too long for, one is cut to fill it."""
    chosen: list[Passage] = []
    too_long: list[Passage] = []
    while room > wanted.tokens * SLACK and not too_long:
        block = list(_block(candidates, room * _CHARACTERS_PER_TOKEN + _LEAST_CHARACTERS))
        if not block:
            break
        for passage, size in zip(block, await count_passages(block, wanted.tokenizer), strict=True):
            if size.whole <= room:
                chosen.append(passage)
                room -= size.whole
            elif size.heading < room:
                too_long.append(passage)
    if too_long and room > wanted.tokens * SLACK:
        chosen += await _cut(too_long[-1], room, wanted.tokenizer)
    return chosen


async def _cut(passage: Passage, room: int, tokenizer: Tokenizer) -> list[Passage]:
    """The start of a passage that fits, without a cut word; nothing where no word does."""
    (size,) = await count_passages([passage], tokenizer)
    start = await clip(tokenizer, passage.text, room - size.heading)
    text = start[: start.rfind(" ") + 1].strip()
    return [Passage(title=passage.title, text=text)] if text else []


def _block(candidates: Iterable[Passage], characters: int) -> Iterator[Passage]:
    for passage in candidates:
        yield passage
        characters -= len(passage.text)
        if characters <= 0:
            return
