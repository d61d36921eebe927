"""Where a memory has its evidence: how many words of its headings, its bold type and its body are
words of the gold evidence or of an accepted answer.

After the density of MemOCR (arXiv 2601.21468, section 5; it does not say which words count). Here
words are compared without case, and those that only hold a sentence together are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict

from palimpsest.errors import ReadingError
from palimpsest.evals.evidence import EvidenceOfRun
from palimpsest.evals.run import READINGS_FOLDER, Run
from palimpsest.evals.statistics import Interval, clustered_interval
from palimpsest.memory.store import load_reading
from palimpsest.pages.block import Block, Text, spans_of
from palimpsest.pages.markdown import read_markdown
from palimpsest.readers.retrieval import words

Region = Literal["headings", "bold", "crucial", "body"]
"""`crucial` is headings and bold, marked and coloured type together; body is all else."""

_FUNCTION_WORDS = frozenset(
    """
    a about after all also an and any are as at be been before but by can could did do does for from
    had has have he her his how i if in into is it its may more no not of on or she so some than
    that the their them then there these they this to up was we were what when where which while
    who whose why will with would you
    """.split()  # noqa: SIM905
)


class Precision(BaseModel):
    """How a region of the memories of a run is used."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    region: Region
    memories: int
    """Those in which the region has a word; the mean and the median are of these."""
    words: int
    """In all memories together."""
    evidence: int
    """Of those, words of gold evidence or of an accepted answer."""
    precision: Interval | None
    """Mean over memories of the share of evidence words; None where no memory has the region."""
    median_words: float


def precisions(run: Run, evidence: EvidenceOfRun) -> list[Precision]:
    """The precision of each region over the memories of a run that are found."""
    found: dict[Region, list[tuple[str, int, int]]] = {one: [] for one in get_args(Region)}
    for result in run.results:
        memory = _memory(run, result.reading)
        gold = content_words(" ".join((*evidence.of(result), *result.accepted)))
        for region, counted in region_words(memory).items():
            if counted:
                hits = sum(word in set(gold) for word in counted)
                found[region].append((result.id, hits, len(counted)))
    return [_precision(region, counts) for region, counts in found.items()]


def region_words(memory: str) -> dict[Region, list[str]]:
    """The content words of each region of a memory, in order."""
    regions: dict[Region, list[str]] = {one: [] for one in get_args(Region)}
    for block in read_markdown(memory):
        for region, text in _texts(block):
            counted = content_words(text)
            regions[region] += counted
            if region != "body":
                regions["crucial"] += counted
    return regions


def content_words(text: str) -> list[str]:
    """The words that say something."""
    return [word for word in words(text) if word not in _FUNCTION_WORDS]


def _texts(block: Block) -> Iterator[tuple[Region, str]]:
    """The text of each region of a block. Spans are joined where only their look differs."""
    if isinstance(block, Text) and block.level:
        yield "headings", "".join(span.text for span in block.spans)
        return
    spans = spans_of(block)
    yield "bold", " ".join(span.text for span in spans if span.look.emphasised)
    yield "body", " ".join(span.text for span in spans if not span.look.emphasised)


def _memory(run: Run, reading: str) -> str:
    """Empty where there is none."""
    if not reading:
        return ""
    try:
        return load_reading(run.folder / READINGS_FOLDER / reading).memory
    except ReadingError:
        return ""


def _precision(region: Region, counts: Sequence[tuple[str, int, int]]) -> Precision:
    shares = [hits / total for _, hits, total in counts]
    return Precision(
        region=region,
        memories=len(counts),
        words=sum(total for _, _, total in counts),
        evidence=sum(hits for _, hits, _ in counts),
        precision=clustered_interval(shares, [item for item, _, _ in counts]) if counts else None,
        median_words=median(total for _, _, total in counts) if counts else 0.0,
    )
