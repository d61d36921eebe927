"""The gold evidence of a run's items, which results do not hold: from the task again, or a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from palimpsest.datasets.item import Item
from palimpsest.errors import ConfigurationError, InputError
from palimpsest.evals.run import ItemResult, Run
from palimpsest.sources import Tokenizer


class Marked(BaseModel):
    """A line of a file of evidence: an item's sentences, at one length where it is given."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    evidence: tuple[str, ...]
    length: int | None = None


class EvidenceOfRun:
    """The sentences that are needed for each answer."""

    def __init__(self, marked: Mapping[tuple[str, int | None], Sequence[str]]) -> None:
        self._marked = marked

    def of(self, result: ItemResult) -> Sequence[str]:
        """Those of a result's item; none where nothing is marked."""
        at_length = self._marked.get((result.id, result.length))
        return at_length if at_length is not None else self._marked.get((result.id, None), ())

    def check(self, run: Run) -> None:
        """Raises `InputError` where no item of a run has any."""
        if not any(self.of(result) for result in run.results):
            raise InputError(
                f"no item of {run.folder} has gold evidence",
                hint='give it with --evidence FILE, lines of {"id": ..., "evidence": [...]}',
            )


def read_evidence(file: Path) -> EvidenceOfRun:
    """The evidence in a JSON Lines file. Raises `InputError` naming a bad line."""
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: {error}", hint="give a JSON Lines file") from error
    found: dict[tuple[str, int | None], Sequence[str]] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            marked = _marked(line, f"{file}:{number}")
            found[marked.id, marked.length] = marked.evidence
    return EvidenceOfRun(found)


async def load_evidence(
    run: Run, tokenizer: Tokenizer, data: Path | str | None = None
) -> EvidenceOfRun:
    """The evidence of a run's items, which its task makes again from the same data, or from
    `data`. Raises `ConfigurationError` where they come out as other items."""
    from palimpsest.evals.tasks import ContextTask, find_task

    task, given = find_task(run.config.task), data or run.config.data or None
    asked = {(one.id, one.length): one.question for one in run.results}
    # What is needed from a passage does not depend on how many others stand around it, and they
    # are most of the work.
    is_same = isinstance(task, ContextTask)
    found: dict[tuple[str, int | None], Sequence[str]] = {}
    for length in run.config.lengths:
        limit, tokens = (None, None) if is_same else (run.config.limit, length)
        async for item in task.items(given, tokenizer, tokens=tokens, limit=limit):
            if (item.id, length) in asked:
                _check_same(item, asked[item.id, length], run)
                found[item.id, length] = [evidence.quote for evidence in item.evidence]
    return EvidenceOfRun(found)


def _check_same(item: Item, question: str, run: Run) -> None:
    if item.question != question:
        raise ConfigurationError(
            f"{item.task} {item.id} asks something else than in {run.folder}",
            hint="give the data that the run was made from with --data",
        )


def _marked(line: str, place: str) -> Marked:
    try:
        return Marked.model_validate_json(line)
    except ValidationError as error:
        raise InputError(
            f"{place}: {error.errors()[0]['msg']}",
            hint='an object with "id" and "evidence", a list of sentences',
        ) from error
