"""Items read in this process, by one model that all of them share."""

from __future__ import annotations

from pathlib import Path

from palimpsest.evals.job import Job
from palimpsest.evals.outcome import read_job
from palimpsest.evals.run import READINGS_FOLDER, ItemResult
from palimpsest.evals.spending import Ledger
from palimpsest.memory.reading import Reading
from palimpsest.memory.store import ReadingStore
from palimpsest.models.model import Model


class LocalEngine:
    """Reads items side by side in the running event loop. The model is its opener's to close."""

    def __init__(self, model: Model, *, at_once: int = 1) -> None:
        self._model = model
        self._at_once = at_once

    @property
    def at_once(self) -> int:
        return self._at_once

    async def read(self, job: Job, folder: Path, ledger: Ledger | None) -> ItemResult:
        store = ReadingStore(folder / READINGS_FOLDER)
        if ledger is None:
            return await read_job(job, self._model, store)

        def begin(reading: Reading) -> None:
            ledger.begin(job.key, reading)

        caps = ledger.caps_of(job.key)
        return await read_job(job, self._model, store, caps=caps, on_start=begin)
