"""Held-out questions: when a run asks them, and what their score means for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from palimpsest.datasets.item import Item
from palimpsest.training.agents import Agent
from palimpsest.training.checkpoint import Progress
from palimpsest.training.gathering import OnRollout, SeatedModel, Tries, roll_out_all
from palimpsest.training.recipe import EarlyStopPart, Recipe
from palimpsest.training.rollout import Rollout


@dataclass(frozen=True)
class HeldOut:
    """The questions that a run is judged by, and who answers them."""

    recipe: Recipe
    items: Sequence[Item]
    agent: Agent
    model: SeatedModel

    def due(self, step: int, *, warm_steps: int, last_step: int) -> bool:
        """Whether they are asked after a step: every so many, counted anew from the end of the
        warm start, and at the end of either."""
        every = self.recipe.evaluation.every
        if not every or not self.items:
            return False
        number = step if step <= warm_steps else step - warm_steps
        return number % every == 0 or step in (warm_steps, last_step)

    async def ask(self, on_rollout: OnRollout | None = None) -> list[Rollout]:
        """All answers to all of them, with the same chance at every step."""
        part = self.recipe.evaluation
        tries = Tries(
            f"{self.recipe.seed}/held-out",
            part.repeats,
            part.temperature,
            part.top_p,
            self.recipe.sampling.concurrency,
        )
        return await roll_out_all(self.agent, self.items, self.model, tries, on_rollout)


def judge(progress: Progress, score: float, *, gain: float, imitating: bool) -> bool:
    """Whether the score of a step is the best so far. Takes note of it in the progress.

    Args:
        gain: What counts as one; less is an evaluation without.
        imitating: In the warm start, where evaluations without a gain are not counted.
    """
    before = progress.best_score
    gained = before is None or score > before + gain
    progress.stale = 0 if gained or imitating else progress.stale + 1
    if before is not None and score < before:
        return False
    # Of equals the later: it was rewarded for longer.
    progress.best_step, progress.best_score = progress.step, score
    return True


def reason_to_stop(part: EarlyStopPart, progress: Progress) -> str:
    """Why a run may end where it stands; empty where it may not."""
    best = progress.best_score
    if best is not None and part.target is not None and best >= part.target:
        return f"the held-out score came to {best:.3f}"
    if part.patience and progress.stale >= part.patience:
        return f"{progress.stale} evaluations without a gain"
    return ""
