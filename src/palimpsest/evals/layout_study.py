"""What layout alone is worth: the memories of a run drawn in another way and answered from again.

    study = Study(inject="heading", style="default", budgets=(1024, 256, 64, 16))
    await study_layout(run, evidence, study, model, Path("runs/oracle"))

The tools of MemOCR's paper (arXiv 2601.21468, oracle injection and "without layout"), which its
code does not have: gold evidence in headings or in the body, and all type of one size. Nothing is
drafted. What comes of it is a run folder like any other, for `report` and `curve`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from palimpsest.datasets.item import Item, Passage
from palimpsest.errors import ConfigurationError, ReadingError
from palimpsest.evals.evidence import EvidenceOfRun
from palimpsest.evals.injection import Where, inject
from palimpsest.evals.job import Job
from palimpsest.evals.outcome import read_job
from palimpsest.evals.recording import Recording
from palimpsest.evals.run import READINGS_FOLDER, ItemResult, Run, RunConfig, Scored, load_run
from palimpsest.memory.reading import ChunkRead, MemoryVersion, utc_now
from palimpsest.memory.store import ReadingStore, load_reading
from palimpsest.models.model import Model
from palimpsest.models.prices import Price
from palimpsest.pages import PRESETS
from palimpsest.prompts import PromptSet, default_prompts
from palimpsest.readers.drafting import Scan
from palimpsest.readers.memocr import MemOCR
from palimpsest.readers.reader import Reader, Session
from palimpsest.readers.restoring import restore
from palimpsest.readers.wrapper import Wrapper

_STUDY = "study"
"""Under which the settings of a study say what it is of."""


class Study(BaseModel):
    """How the memories of a run are drawn and read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inject: Where = "none"
    style: str = "default"
    """Of `palimpsest.pages.PRESETS`; `uniform` is the paper's "without layout"."""
    budgets: tuple[int, ...] = Field(min_length=1)

    def __str__(self) -> str:
        injected = {"heading": "evidence in headings", "body": "evidence in the body"}
        return f"{injected.get(self.inject, 'as it is')}, {self.style} style"


class GivenMemory(MemOCR):
    """Answers from a memory that is given as the source. It is drawn as it is, and not drafted."""

    name: ClassVar[str] = "given"

    async def draft(self, session: Session, scan: Scan) -> None:
        """Takes the source for the memory."""
        reading = session.reading
        if reading.memory_version is not None:
            return
        session.remember(
            MemoryVersion(chunk=None, text=session.source.text, tokens=reading.header.tokens)
        )
        for chunk in range(len(reading.header.chunks)):
            session.record(ChunkRead(chunk=chunk, memory=0))


async def study_layout(
    run: Run,
    evidence: EvidenceOfRun | None,
    study: Study,
    model: Model,
    out: Path,
    *,
    prompts: PromptSet | None = None,
    price: Price | None = None,
    concurrency: int = 4,
    on_result: Callable[[ItemResult], None] | None = None,
) -> Run:
    """Answers from each memory of a run as the study says, and keeps a run in `out`.

    The reader's settings, seeds and prompts are those of the run; an item whose evidence is not
    known has its memory as it was, and a reading that failed in the run has failed. The same call
    goes on where it was stopped, and tries again what failed here. Raises `ConfigurationError` for
    a run whose memory is not drawn as a page, for other prompts than the run's, and for a folder
    with another run.
    """
    wording = prompts or default_prompts()
    config = _config(run, study, model, wording)
    with Recording(out, config) as recording:
        given = _Given(run, evidence, study, config, wording, price)
        store = ReadingStore(recording.readings)
        slots = asyncio.Semaphore(concurrency)

        async def answer(result: ItemResult) -> None:
            done = recording.results.get(given.key(result))
            if done and done.status != "failed":
                return
            async with slots:
                found = await given.answered(result, model, store)
            recording.write(found)
            if on_result:
                on_result(found)

        try:
            async with asyncio.TaskGroup() as group:
                for result in run.results:
                    group.create_task(answer(result))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
    return load_run(out)


class _Given(NamedTuple):
    """The memories of a run, and how they are read."""

    run: Run
    evidence: EvidenceOfRun | None
    study: Study
    config: RunConfig
    prompts: PromptSet
    price: Price | None

    def key(self, result: ItemResult) -> str:
        parts = f"{result.key} {self.study.model_dump_json()} {self.config.model}"
        return hashlib.sha256(parts.encode()).hexdigest()

    async def answered(self, result: ItemResult, model: Model, store: ReadingStore) -> ItemResult:
        """How a result comes out with its memory drawn as the study says."""
        if result.status == "failed":
            return self._failed(result, f"it failed in the run: {result.reason}", result.error)
        try:
            job = self._job(result)
        except ReadingError as error:
            return self._failed(result, str(error), type(error).__name__)
        found = await read_job(job, model, store)
        of_run: dict[str, int | str] = {
            "source_tokens": result.source_tokens,
            "chunks": result.chunks,
        }
        if result.status == "partial" and found.status == "answered":
            of_run |= {"status": "partial", "reason": result.reason, "error": result.error}
        return found.model_copy(update=of_run)

    def _job(self, result: ItemResult) -> Job:
        """The memory of a result as an item to be read. Raises `ReadingError` without it."""
        if not result.reading:
            raise ReadingError(f"the run has no reading of {result.id}", hint="run it again")
        reading = load_reading(self.run.folder / READINGS_FOLDER / result.reading)
        header = reading.header
        reader = _given(restore(header.reader, header.settings, self.prompts), self.study)
        sentences = self.evidence.of(result) if self.evidence else ()
        memory = inject(reading.memory, sentences, self.study.inject)
        if not memory.strip():
            memory = self.prompts.empty_memory
        item = Item(
            task=result.task,
            id=result.id,
            question=result.question,
            answers=result.accepted,
            metric=result.metric,
            documents=(Passage(title="memory", text=memory),),
            category=result.category,
        )
        return Job(
            key=self.key(result),
            item=item,
            length=result.length,
            seed=result.seed,
            reader=reader,
            budgets=self.config.budgets,
            metrics=self.config.metrics,
            price=self.price,
        )

    def _failed(self, result: ItemResult, reason: str, error: str) -> ItemResult:
        names = dict.fromkeys((*self.config.metrics, result.metric), 0.0)
        nothing = tuple(
            Scored(budget=budget, prediction="", scores=names) for budget in self.config.budgets
        )
        return ItemResult(
            key=self.key(result),
            task=result.task,
            id=result.id,
            category=result.category,
            length=result.length,
            seed=result.seed,
            question=result.question,
            accepted=result.accepted,
            metric=result.metric,
            status="failed",
            reason=reason,
            error=error,
            answers=nothing,
            source_tokens=result.source_tokens,
            chunks=result.chunks,
            finished=utc_now(),
        )


def _config(run: Run, study: Study, model: Model, prompts: PromptSet) -> RunConfig:
    if _STUDY in run.config.settings:
        raise ConfigurationError(
            f"{run.folder} is a layout study itself", hint="give the run that it was made from"
        )
    outermost = run.config.reader.split("+")[0].strip()
    reader = _given(restore(outermost, run.config.settings, prompts), study)
    wording = reader.fingerprints()
    if any(run.config.prompts.get(role) != wording[role] for role in ("read", "empty_memory")):
        raise ConfigurationError(
            f"{run.folder} was read with other prompts", hint="give its own with --prompts FILE"
        )
    origin = {"run": str(run.folder), "inject": study.inject, "style": study.style}
    return run.config.model_copy(
        update={
            "reader": f"{run.config.reader} ({study})",
            "settings": {**reader.settings(), _STUDY: origin},
            "prompts": wording,
            "model": model.name,
            "budgets": reader.budgets,
        }
    )


def _given(reader: Reader, study: Study) -> GivenMemory:
    """A reader of given memories with the settings of a run's reader. Raises `ConfigurationError`
    for one whose memory is not drawn, and for a style that is none."""
    core = reader.inner if isinstance(reader, Wrapper) else reader
    if not isinstance(core, MemOCR):
        raise ConfigurationError(
            f"{core.name} does not read its memory as a page, so no layout is there to study",
            hint="give a run of memocr",
        )
    if study.style not in PRESETS:
        raise ConfigurationError(
            f"there is no style {study.style!r}", hint=f"give one of {', '.join(PRESETS)}"
        )
    own = {name: getattr(core, name) for name in type(core).model_fields}
    budgets = tuple(sorted(set(study.budgets), reverse=True))
    return GivenMemory(**{**own, "style": PRESETS[study.style], "budgets": budgets})
