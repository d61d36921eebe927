"""Who hears how a run goes on: a screen, a notebook, a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from palimpsest.training.logbook import Line

if TYPE_CHECKING:
    from palimpsest.training.trainer import Trainer


class Watcher(Protocol):
    """Hears how a run goes on."""

    def began(self, trainer: Trainer) -> None:
        """Before the first step of this process."""
        ...

    def rolled_out(self, done: int, of: int) -> None:
        """A rollout of the round under way has ended."""
        ...

    def logged(self, line: Line) -> None:
        """A step is done and logged."""
        ...

    def noted(self, text: str) -> None:
        """Something is worth saying."""
        ...


class Unwatched:
    """Nobody hears."""

    def began(self, trainer: Trainer) -> None: ...

    def rolled_out(self, done: int, of: int) -> None: ...

    def logged(self, line: Line) -> None: ...

    def noted(self, text: str) -> None: ...
