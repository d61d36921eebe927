"""Which sentences say what a line says, by the words they share.

A word counts for the more the fewer sentences have it, a name for one and a half times that and a
number for twice. Words that the sentence leaves to its heading or to the opening of its paragraph
count too, at half their weight in the choice of the sentence. Sentences are taken one by one as
long as each adds enough; the line is supported when together they have enough of it, and all of
its numbers.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from palimpsest.memory.sentences import SentenceIndex
from palimpsest.memory.words import Words

SUPPORT = 0.55
"""The part of a line's words, by weight, that its sentences must have."""
NAMES = 0.9
"""The part of its names that they must have."""
SAID = 0.4
"""The part that they must have of what it says beside names."""
_SAID_OF_EACH = 0.25
"""The part of that which each further sentence must have."""
_ADDS = 0.22
"""The part that a further sentence must add."""
_ADDS_OF_NAMES = 0.12
"""The same for one that adds a number, or two names or more."""
_MOST = 4
"""Sentences for one statement."""
_CONTEXT = 0.5
_HEADING = 0.25
"""How much what stands above the line in the memory counts in the choice of a sentence."""
_UNSEEN = 0.35
"""A word that no sentence has is mostly the model's own connective; as a name or a number it is
not, and counts in full."""
_CONSIDERED = 40
"""Sentences that share most with the line, of which the best are taken."""
_DENSE = 0.1
"""How much it counts for a sentence to say little else."""


class Aligned(NamedTuple):
    """What was found for a statement."""

    sentences: tuple[int, ...]
    scores: tuple[float, ...]
    """Of each sentence, the part of the statement that it has, between 0 and 1."""
    supported: bool


NOTHING = Aligned((), (), False)


@dataclass(frozen=True)
class _Candidate:
    index: int
    own: frozenset[str]
    """Words of the statement that the sentence has."""
    implied: frozenset[str]
    """Those it leaves to what it stands under."""
    bonus: float

    @property
    def words(self) -> frozenset[str]:
        return self.own | self.implied


class Aligner:
    """Finds the sentences of statements in some chunks of a source."""

    def __init__(self, index: SentenceIndex) -> None:
        self.index = index

    def align(self, words: Words, heading: Iterable[str], chunks: Sequence[int]) -> Aligned:
        """The sentences of `chunks` that say what a statement does; `heading` is what it stands
        under."""
        words = self._in_this_source(words, chunks)
        weights = self._weights(words, chunks)
        total = sum(weights.values())
        candidates = self._candidates(words, frozenset(heading), weights, chunks) if total else []
        chosen = self._chosen(words, weights, candidates)
        if not chosen:
            return NOTHING
        covered = frozenset[str]().union(*(one.words for one in chosen))
        coverage = _weigh(covered, weights) / total
        return Aligned(
            tuple(one.index for one in chosen),
            tuple(round(_weigh(one.words, weights) / total, 3) for one in chosen),
            coverage >= SUPPORT
            and words.numbers <= covered
            and _part(words.names, covered, weights) >= NAMES
            and _said(words, covered) >= SAID,
        )

    def _in_this_source(self, words: Words, chunks: Sequence[int]) -> Words:
        """Words with those for names that are names here, and with the leading ones that stand
        in no sentence: the keys and openings that are the model's own."""
        names = words.names - {
            word for word in words.leading & words.names if not self.index.has_name(word, chunks)
        }
        own = {
            word
            for word in words.leading
            if not any(word in self.index.holding(chunk) for chunk in chunks)
        }
        return words._replace(names=names, leading=frozenset(own))

    def _weights(self, words: Words, chunks: Sequence[int]) -> dict[str, float]:
        sentences = sum(len(self.index.in_chunk(chunk)) for chunk in chunks)
        counts = {
            word: sum(len(self.index.holding(chunk).get(word, ())) for chunk in chunks)
            for word in words.all
        }
        return {
            word: words.weight(word) * _rarity(count, sentences, word, words)
            for word, count in counts.items()
        }

    def _candidates(
        self, words: Words, heading: frozenset[str], weights: dict[str, float],
        chunks: Sequence[int],
    ) -> list[_Candidate]:  # fmt: skip
        shared: dict[int, set[str]] = defaultdict(set)
        for chunk in chunks:
            holding = self.index.holding(chunk)
            for word in words.all:
                for index in holding.get(word, ()):
                    shared[index].add(word)
        sums = {index: _weigh(own, weights) for index, own in shared.items()}
        best = sorted(sums, key=lambda index: (-sums[index], index))[:_CONSIDERED]
        return [self._candidate(index, shared[index], heading, weights) for index in best]

    def _candidate(
        self, index: int, own: set[str], heading: frozenset[str], weights: dict[str, float]
    ) -> _Candidate:
        sentence = self.index.sentence(index)
        implied = (sentence.context & weights.keys()) - own
        common = sum(weights.values()) / len(weights)
        under = len(heading & (sentence.words | sentence.context) - weights.keys())
        bonus = _HEADING * common * min(under, 3)
        bonus += _DENSE * _weigh(own, weights) * len(own) / len(sentence.words)
        return _Candidate(index, frozenset(own), implied, bonus)

    def _chosen(
        self, words: Words, weights: dict[str, float], candidates: list[_Candidate]
    ) -> list[_Candidate]:
        """The best candidate, then those that add enough to what is covered."""
        total = sum(weights.values())
        open_ = set(weights)
        chosen: list[_Candidate] = []
        while candidates and len(chosen) < _MOST:
            best = max(candidates, key=lambda one: (_worth(one, open_, weights), -one.index))
            added = best.own & open_
            if chosen and not _adds_enough(added, words, _weigh(added, weights) / total):
                break
            candidates.remove(best)
            if chosen and not _says_it_of_them(best, words, weights):
                continue
            chosen.append(best)
            open_ -= best.words
        return _without_needless(chosen)


def _worth(candidate: _Candidate, open_: set[str], weights: dict[str, float]) -> float:
    own = _weigh(candidate.own & open_, weights)
    return own + _CONTEXT * _weigh(candidate.implied & open_, weights) + candidate.bonus


def _adds_enough(added: set[str] | frozenset[str], words: Words, part: float) -> bool:
    telling = bool(added & words.numbers) or len(added & words.names) > 1
    return part >= (_ADDS_OF_NAMES if telling else _ADDS)


def _says_it_of_them(candidate: _Candidate, words: Words, weights: dict[str, float]) -> bool:
    """Whether a sentence has not the names alone, but part of what is said of them: else a line
    that says of one what the source says of another would rest on a sentence about each."""
    said = weights.keys() - words.names
    return _weigh(candidate.words & said, weights) >= _SAID_OF_EACH * _weigh(said, weights)


def _part(some: frozenset[str], covered: frozenset[str], weights: dict[str, float]) -> float:
    """The part of some words that is covered; all of none."""
    whole = _weigh(some & weights.keys(), weights)
    return _weigh(some & covered, weights) / whole if whole else 1.0


def _said(words: Words, covered: frozenset[str]) -> float:
    """The part that is covered of what a statement says beside names, each word alike: the
    rarest are here as often the model's own as they are the source's."""
    said = set(words.all) - words.names - words.leading
    whole = sum(map(words.weight, said))
    return sum(map(words.weight, said & covered)) / whole if whole else 1.0


def _without_needless(chosen: list[_Candidate]) -> list[_Candidate]:
    """Sentences but for those all of whose words the others have."""
    kept = list(chosen)
    for one in chosen:
        others = [other.words for other in kept if other is not one]
        if others and one.words <= frozenset().union(*others):
            kept.remove(one)
    return kept


def _rarity(count: int, sentences: int, word: str, words: Words) -> float:
    if count:
        return math.log(1 + sentences / count)
    telling = word in words.names or word in words.numbers
    return math.log(1 + sentences) * (1.0 if telling else _UNSEEN)


def _weigh(words: Iterable[str], weights: dict[str, float]) -> float:
    return sum(weights[word] for word in words)
