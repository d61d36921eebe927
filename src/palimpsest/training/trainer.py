"""The embedded trainer: rollouts, credit, updates, step by step, in one process.

    result = asyncio.run(Trainer.begin(recipe, Path("runs/mine")).run())
    result = asyncio.run(Trainer.resume(Path("runs/mine")).run())

A run is a folder:

    recipe.toml            as it was resolved
    log.jsonl              a line for each step
    rollouts/              what the policy wrote
    checkpoints/           what to go on from
    model/                 the best model, at the end
    curves.png, tensorboard/

Cancelled (Ctrl-C) between updates it keeps a checkpoint of the last whole step. Killed, it goes on
from the last checkpoint. Either way the rest of the run is what it would have been: order, chance
and updates are functions of the seed and the step.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from palimpsest.training.checkpoint import Checkpoints, Progress, load_weights, save_weights
from palimpsest.training.curves import draw_curves
from palimpsest.training.gathering import Gathered, gather
from palimpsest.training.held_out import HeldOut, judge, reason_to_stop
from palimpsest.training.logbook import Line, Logbook, Phase, sinks_of
from palimpsest.training.opening import Opening
from palimpsest.training.policy import Policy
from palimpsest.training.questions import Questions, questions_of
from palimpsest.training.recipe import Recipe
from palimpsest.training.rollout import Conversation
from palimpsest.training.run_folder import (
    MODEL_FOLDER,
    check_new,
    forget_after,
    keep_recipe,
    kept_recipe,
    leave_model,
    locked,
    make_folder,
)
from palimpsest.training.sampler import PolicyModel
from palimpsest.training.telling import told_of_evaluation, told_of_step
from palimpsest.training.transcripts import Transcripts
from palimpsest.training.update import Updater
from palimpsest.training.warmstart import chosen_lessons, lessons_of
from palimpsest.training.watching import Unwatched, Watcher

_REFERENCE_FILE = "reference.pt"


class Result(NamedTuple):
    """How a run ended."""

    folder: Path
    steps: int
    ended: str
    """Why before its last step; empty for a run that came to it."""
    best_step: int | None
    best_score: float | None
    """Of the held-out questions."""


class Trainer:
    """One run in this process."""

    def __init__(self, recipe: Recipe, folder: Path, watcher: Watcher | None = None) -> None:
        """Use `begin` or `resume`."""
        self.recipe = recipe
        self.folder = folder
        self.opening = Opening(recipe)
        self.progress = Progress()
        self._watcher = watcher or Unwatched()
        self._checkpoints = Checkpoints(folder, recipe.checkpoints.keep)
        self.warm_steps = recipe.warm_start.steps if recipe.warm_start else 0
        self._policy: Policy
        self._updater: Updater
        self._model: PolicyModel
        self._questions: Questions
        self._held_out: HeldOut
        self._transcripts: Transcripts
        self._log: Logbook

    @classmethod
    def begin(cls, recipe: Recipe, folder: Path, watcher: Watcher | None = None) -> Trainer:
        """A new run. Raises `ConfigurationError` for a recipe that cannot work, and for a folder
        that holds a run."""
        check_new(folder)
        trainer = cls(recipe, folder, watcher)
        trainer.opening.check()
        make_folder(folder, recipe)
        return trainer

    @classmethod
    def resume(
        cls, folder: Path, overrides: Sequence[str] = (), watcher: Watcher | None = None
    ) -> Trainer:
        """A run that goes on from its last checkpoint, with other values of what may be changed:
        steps, early_stop, checkpoints and log."""
        recipe = kept_recipe(folder, overrides)
        trainer = cls(recipe, folder, watcher)
        trainer.opening.check()
        if overrides:
            keep_recipe(folder, recipe)
        return trainer

    @property
    def last_step(self) -> int:
        return self.warm_steps + self.recipe.steps

    async def run(self) -> Result:
        """Trains to the last step, or to an early stop. Raises what a step raises; the last
        checkpoint stands then."""
        lock = locked(self.folder)
        try:
            await self._open()
            self._watcher.began(self)
            with self._log:
                await self._train()
            self._finish()
        finally:
            await self.opening.aclose()
            lock.release()
        progress = self.progress
        return Result(
            self.folder, progress.step, progress.ended, progress.best_step, progress.best_score
        )

    async def _open(self) -> None:
        self._policy = self.opening.policy()
        self._model = PolicyModel(
            self._policy,
            seed=self.recipe.seed,
            batch_tokens=self.recipe.sampling.batch_tokens,
            window=self.recipe.model.window,
        )
        self._questions = await questions_of(self.recipe, await self._model.tokenizer())
        self._held_out = HeldOut(
            self.recipe, self._questions.held_out, self.opening.agent, self._model
        )
        self._updater = Updater(self._policy, self.recipe)
        self.progress = self._checkpoints.progress() or Progress()
        if self._policy_began_here:
            self._policy.keep_reference()
        if self.progress.step:
            self._checkpoints.restore(self.progress.step, self._policy, self._updater.optimiser)
        if not reason_to_stop(self.recipe.early_stop, self.progress):
            self.progress.ended = ""
        forget_after(self.folder, self.progress.step)
        config = self.recipe.model_dump(mode="json")
        sinks = sinks_of(self.recipe.log.to, self.folder, config, self.progress.step)
        self._log = Logbook(self.folder, lines=self.progress.lines, sinks=sinks)
        self._transcripts = Transcripts(
            self.folder,
            self.recipe.log.rollouts,
            self._policy.encoder.text,
            self.recipe.weights,
        )

    @property
    def _policy_began_here(self) -> bool:
        """Whether reinforcement begins with the model as it was loaded."""
        return bool(self.recipe.loss.kl and not self.warm_steps)

    async def _train(self) -> None:
        try:
            await self._settle()
            if self.progress.step < self.warm_steps:
                await self._warm_start()
            if self.recipe.steps and not self.progress.ended:
                self._begin_learning()
                while self.progress.step < self.last_step and not self.progress.ended:
                    await self._learn()
        except asyncio.CancelledError:
            # Cancelled at an await, where the weights are those of a whole step.
            if self.progress.step:
                self._checkpoints.save(self.progress, self._policy, self._updater.optimiser)
            raise

    async def _warm_start(self) -> None:
        part = self.recipe.warm_start
        assert part
        lessons = await self._lessons()
        while self.progress.step < self.warm_steps:
            chosen = chosen_lessons(
                lessons, part.conversations, self.progress.step, self.recipe.seed
            )
            begun = time.perf_counter()
            values = self._updater.imitate(chosen, part.learning_rate)
            self._done({**values, "time/update_s": time.perf_counter() - begun})
            await self._settle()

    async def _lessons(self) -> list[Conversation]:
        lessons = await lessons_of(self.opening, self._questions.training, self._policy.encoder)
        for reason, count in lessons.left_out.items():
            self._watcher.noted(f"{count} left out of the warm start: {reason}")
        self._watcher.noted(f"{len(lessons.conversations)} conversations to imitate")
        return [one for one in lessons.conversations if any(one.mask)]

    def _begin_learning(self) -> None:
        """From the warm start to reinforcement, if the run stands there."""
        if self.progress.step == self.warm_steps:
            self._updater.begin_anew()
        if not self.recipe.loss.kl or self._policy_began_here:
            return
        file = self.folder / _REFERENCE_FILE
        if self.progress.step == self.warm_steps:
            save_weights(file, self._policy)
            self._policy.keep_reference()
            return
        now = self._policy.state()
        load_weights(file, self._policy)
        self._policy.keep_reference()
        self._policy.restore(now)

    async def _learn(self) -> None:
        """One step of reinforcement."""
        number = self.progress.step - self.warm_steps
        begun = time.perf_counter()
        gathered = await gather(
            self.opening.agent,
            self._questions.training,
            self._model,
            self.recipe,
            occasion=f"{self.recipe.seed}/{number}",
            position=self.progress.position,
            on_rollout=self._watcher.rolled_out,
        )
        rolled_out = time.perf_counter()
        values = self._updater.learn(*gathered.conversations(), number)
        times = {
            "time/rollout_s": rolled_out - begun,
            "time/update_s": time.perf_counter() - rolled_out,
        }
        self.progress.position = gathered.position
        self._done({**told_of_step(gathered, self.recipe.weights), **values, **times})
        self._keep(gathered)
        await self._settle()

    def _done(self, values: dict[str, float]) -> None:
        """A step's updates are made. What is told of it waits for its evaluation."""
        self.progress.step += 1
        self.progress.pending = values

    def _keep(self, gathered: Gathered) -> None:
        self._transcripts.write(
            "step",
            self.progress.step,
            gathered.rollouts,
            gathered.advantages,
            gathered.dropped,
        )

    async def _settle(self) -> None:
        """Evaluates a step if it is due, logs it, and keeps a checkpoint if one is due."""
        progress = self.progress
        if progress.pending is None:
            return
        due = self._held_out.due(
            progress.step, warm_steps=self.warm_steps, last_step=self.last_step
        )
        values = dict(progress.pending)
        if due:
            values |= await self._evaluate()
        best = due and progress.step > 0 and self._judge(values.get("held_out/reward", math.nan))
        if values:
            line = Line(progress.step, self._phase(), values)
            self._log.write(line)
            self._watcher.logged(line)
        progress.lines = self._log.lines
        progress.pending = None
        self._stop_early()
        if self._checkpoint_due(best):
            self._checkpoints.save(progress, self._policy, self._updater.optimiser)
            if self.recipe.log.curves and self._log.lines:
                draw_curves(self.folder)

    def _phase(self) -> Phase:
        if not self.progress.step:
            return "start"
        return "warm_start" if self.progress.step <= self.warm_steps else "learning"

    async def _evaluate(self) -> dict[str, float]:
        begun = time.perf_counter()
        rollouts = await self._held_out.ask(self._watcher.rolled_out)
        self._transcripts.write("held-out", self.progress.step, rollouts)
        told = told_of_evaluation(rollouts, self.recipe.weights)
        return {**told, "time/evaluation_s": time.perf_counter() - begun}

    def _judge(self, score: float) -> bool:
        return judge(
            self.progress,
            score,
            gain=self.recipe.early_stop.gain,
            imitating=self.progress.step <= self.warm_steps,
        )

    def _stop_early(self) -> None:
        if self.warm_steps <= self.progress.step < self.last_step:
            self.progress.ended = reason_to_stop(self.recipe.early_stop, self.progress)

    def _checkpoint_due(self, best: bool) -> bool:
        step = self.progress.step
        ends = step in (self.warm_steps, self.last_step) or bool(self.progress.ended)
        return step > 0 and (best or ends or step % self.recipe.checkpoints.every == 0)

    def _finish(self) -> None:
        """Leaves the best model, or the last where there was no evaluation."""
        best = self.progress.best_step
        if best is not None and best in self._checkpoints.steps():
            self._checkpoints.restore(best, self._policy)
        save = self._policy.save if self.recipe.model.folder else self._policy.save_merged
        leave_model(self.folder / MODEL_FOLDER, save)
        if self.recipe.log.curves and self._log.lines:
            draw_curves(self.folder)
