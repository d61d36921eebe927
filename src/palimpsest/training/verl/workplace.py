"""What a process that rolls out needs, made once from verl's configuration."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from palimpsest.training.agents import Agent, ReaderAgent, roll_out
from palimpsest.training.encoding import Encoder
from palimpsest.training.opening import Opening
from palimpsest.training.recipe import Recipe
from palimpsest.training.rollout import Rollout
from palimpsest.training.verl.carried import text_in
from palimpsest.training.verl.reward_actors import RewardActors
from palimpsest.training.verl.rows import item_file
from palimpsest.training.verl.served import encoder_of

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workplace:
    """An agent and what it speaks to its model with."""

    recipe: Recipe
    agent: Agent
    encoder: Encoder
    window: int | None
    """Most tokens that the servers take; None for as many as the model does."""
    seed_key: str | None
    """What the servers call the seed of a call; None where chance is theirs."""

    async def roll_out(
        self, row: Mapping[str, Any], model: Any, asked: Mapping[str, Any]  # noqa: ANN401
    ) -> Rollout:  # fmt: skip
        """One try at the question of one of verl's rows. A failed one is data and is logged."""
        file = item_file(row["item_file"])
        rollout = await roll_out(
            self.agent,
            file.item(row["item_place"]),
            model,
            number=int(row["session_id"]),
            occasion=f"{self.recipe.seed}/{file.path.stem}/{row['global_steps']}",
            temperature=asked["temperature"],
            top_p=asked["top_p"],
        )
        if rollout.failure:
            trace = rollout.details.get("trace", "")
            _LOG.warning("a rollout of %s failed: %s %s", rollout.group, rollout.failure, trace)
        return rollout


def workplace_of(config: Any, tokenizer: Any) -> Workplace:  # noqa: ANN401
    """The workplace for verl's whole configuration, the same one for each call in a process."""
    rollout = config.actor_rollout_ref.rollout
    seed_key = None
    if rollout.full_determinism:
        seed_key = "sampling_seed" if rollout.name == "sglang" else "seed"
    return _workplace(
        text_in(config),
        config.actor_rollout_ref.model.path,
        tokenizer,
        rollout.max_model_len,
        seed_key,
        int(rollout.agent.num_workers),
    )


@lru_cache(maxsize=2)
def _workplace(
    text: str,
    model: str,
    tokenizer: Any,  # noqa: ANN401
    window: int | None,
    seed_key: str | None,
    processes: int,
) -> Workplace:
    from verl.utils.fs import copy_to_local

    recipe = Recipe.model_validate_json(text)
    encoder = encoder_of(copy_to_local(model), tokenizer, recipe.model.template)
    return Workplace(recipe, _agent(recipe, processes), encoder, window, seed_key)


def _agent(recipe: Recipe, processes: int) -> Agent:
    """The recipe's agent. A heavy reward has its share of actors in each of the processes."""
    workers = recipe.reward.workers
    near = recipe.model_copy(update={"reward": recipe.reward.model_copy(update={"workers": 0})})
    agent = Opening(near).agent
    if not workers or not isinstance(agent, ReaderAgent):
        return agent
    reward: Any = agent.reward
    share = -(-workers // processes)
    own = RewardActors(reward, workers=share, timeout_s=recipe.reward.timeout_s)
    return replace(agent, reward=own)
