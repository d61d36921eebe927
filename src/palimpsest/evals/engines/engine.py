"""What a run asks of whatever reads its items."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from palimpsest.evals.job import Job
from palimpsest.evals.run import ItemResult
from palimpsest.evals.spending import Ledger


class Engine(Protocol):
    """Reads items. `palimpsest.evals.runner` alone writes what comes of it."""

    @property
    def at_once(self) -> int:
        """The most items that are read side by side."""
        ...

    async def read(self, job: Job, folder: Path, ledger: Ledger | None) -> ItemResult:
        """The result of a job in the run of that folder, under the caps of the ledger. What goes
        wrong in the reading is in the result; when cancelled, the reading stops."""
        ...
