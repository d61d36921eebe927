"""The agent loop: one rollout of a recipe's agent, as verl asks for it."""

from __future__ import annotations

from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopOutput, register

from palimpsest.training.verl.outputs import outputs_of
from palimpsest.training.verl.served import ServedModel
from palimpsest.training.verl.workplace import workplace_of

NAME = "palimpsest"
"""Of loop and trainer, in verl's configuration."""


@register(NAME)
class Loop(AgentLoopBase):  # type: ignore[misc]
    """Rolls out the agent of the recipe in verl's configuration."""

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> list[AgentLoopOutput]:  # noqa: ANN401
        """One try at the question of a row: an output for each conversation that is learnt from.

        A try that fails is one of its group, with score 0; nothing but a broken configuration or
        cancellation is raised.
        """
        place = workplace_of(self.config, self.tokenizer)
        model = ServedModel(
            self.server_manager,
            place.encoder,
            sampling_params,
            window=place.window,
            seed_key=place.seed_key,
        )
        rollout = await place.roll_out(row, model, sampling_params)
        return outputs_of(
            rollout,
            place.recipe.weights,
            model,
            step=int(row["global_steps"]),
            end=min(place.encoder.ends),
        )
