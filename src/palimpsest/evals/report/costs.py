"""What answering takes at each budget, from the readings that a run has kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from statistics import fmean

from palimpsest.errors import ReadingError
from palimpsest.evals.report.lines import Costs
from palimpsest.evals.run import READINGS_FOLDER, Run
from palimpsest.memory.reading import Answer, Reading, Turn
from palimpsest.memory.store import load_reading

_ANSWERING = ("final", "read")


def answering_tokens(runs: Mapping[str, Run]) -> Costs:
    """Mean tokens in of the call that answers, by run, length and budget. Readings that are not
    found are left out of the mean."""
    found: dict[tuple[str, int | None, int | None], list[int]] = defaultdict(list)
    for label, run in runs.items():
        for result in run.results:
            if not result.reading:
                continue
            try:
                reading = load_reading(run.folder / READINGS_FOLDER / result.reading)
            except ReadingError:
                continue
            for budget, tokens in _answers(reading):
                found[label, result.length, budget].append(tokens)
    return {place: fmean(tokens) for place, tokens in found.items()}


def _answers(reading: Reading) -> Iterator[tuple[int | None, int]]:
    """The budget of each answer, and the tokens in of the call that gave it."""
    asked: Turn | None = None
    for record in reading.records:
        if isinstance(record, Turn) and record.role in _ANSWERING:
            asked = record
        elif isinstance(record, Answer) and asked:
            yield record.budget, asked.completion.usage.prompt
