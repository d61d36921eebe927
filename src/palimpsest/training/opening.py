"""A recipe made real: its checks, its agent, its policy.

What can be wrong is said before anything is loaded: a missing package, a missing folder, a reader
that a credit or an objective has no use for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palimpsest.errors import ConfigurationError
from palimpsest.prompts.templates import PromptSet, default_prompts, load_prompts
from palimpsest.readers.drafting import MemoryReader
from palimpsest.readers.memocr import MemOCR
from palimpsest.readers.memreread import MemReread
from palimpsest.readers.reader import Reader
from palimpsest.readers.registry import build_reader, settings_of
from palimpsest.readers.wrapper import Wrapper
from palimpsest.training.agents import Agent, AsyncReward, ReaderAgent
from palimpsest.training.objectives import Objectives
from palimpsest.training.recipe import Recipe, TinyModel
from palimpsest.training.reward_pool import RewardPool
from palimpsest.training.rewards import REWARDS, Reward, mean_memory_recall, memory_recall
from palimpsest.training.worlds import World, find_world

if TYPE_CHECKING:
    from palimpsest.training.policy import Policy

INSTALL = 'pip install "palimpsest-memory[train]"'
_HOSTED = ("trackio", "wandb")


@dataclass(frozen=True)
class Opening:
    """What a recipe names, each made when it is first asked for."""

    recipe: Recipe

    def check(self) -> None:
        """Raises `ConfigurationError` for what can be known to fail before a model is loaded."""
        _check_packages(self.recipe)
        _check_model(self.recipe)
        if self.recipe.agent is None:
            _check_credit(self.recipe, self.reader)
        if self.recipe.warm_start and self.recipe.warm_start.lessons and self.world is None:
            raise ConfigurationError(
                f"{self.recipe.data.task or 'a file of rows'} has no teacher",
                hint="leave out warm_start.lessons, and name readings or runs",
            )
        self.agent  # noqa: B018  made now, for what its parts have to say

    @cached_property
    def world(self) -> World | None:
        return find_world(self.recipe.data.task)

    @cached_property
    def prompts(self) -> PromptSet:
        part = self.recipe.reader
        if part and part.prompts:
            return load_prompts(part.prompts)
        return (self.world and self.world.prompts()) or default_prompts()

    @cached_property
    def reader(self) -> Reader:
        part = self.recipe.reader
        assert part
        given = dict(part.settings)
        if "prompts" in settings_of(part.name):
            given["prompts"] = self.prompts
        try:
            return build_reader(part.name, given, faithful=part.faithful)
        except ValueError as error:
            raise ConfigurationError(
                f"the settings of the reader {part.name} do not fit: {error}",
                hint="docs/readers.md lists them",
            ) from error

    @cached_property
    def reward(self) -> Reward | AsyncReward:
        part = self.recipe.reward
        reward: Reward
        if ":" in part.name:
            reward = named(part.name)
        elif part.name in REWARDS:
            reward = REWARDS[part.name]
        else:
            raise ConfigurationError(
                f"there is no reward {part.name!r}",
                hint=f"one of {', '.join(REWARDS)}, or module:name of a function",
            )
        if not part.workers:
            return reward
        return RewardPool(reward, workers=part.workers, timeout_s=part.timeout_s)

    @cached_property
    def agent(self) -> Agent:
        own = self.recipe.agent
        if own is not None:
            found: Any = named(own.path)
            agent: Agent = found(**own.settings) if own.settings else found
            return agent
        credit = self.recipe.credit
        recall = mean_memory_recall if credit.recall == "mean" else memory_recall
        return ReaderAgent(
            self.reader, self.reward, self._objectives(), recall if credit.state_alpha else None
        )

    def policy(self) -> Policy:
        """Loads the model. Raises `ConfigurationError` where it cannot be trained as asked for."""
        import torch
        from transformers.utils.logging import disable_progress_bar

        from palimpsest.training.lora import LAYERS, LoRA
        from palimpsest.training.policy import Policy

        part = self.recipe.model
        threads = part.threads or (1 if part.tiny else None)
        if threads:
            torch.set_num_threads(threads)
        disable_progress_bar()  # type: ignore[no-untyped-call]
        # Fresh adapters are random.
        torch.manual_seed(self.recipe.seed)
        lora = None
        if part.lora:
            layers = part.lora.layers or LAYERS
            lora = LoRA(part.lora.rank, part.lora.alpha, layers)
        settings: dict[str, Any] = {
            "dtype": part.dtype,
            "device": part.device,
            "gradient_checkpointing": part.gradient_checkpointing,
            "template": part.template,
        }
        if part.folder:
            policy = Policy.load(part.folder, lora=lora, **settings)
        else:
            assert part.tiny
            policy = _tiny(part.tiny, self.world, self.recipe.seed, {"lora": lora, **settings})
        if self.recipe.agent is None:
            _check_sight(self.reader, policy)
        return policy

    async def aclose(self) -> None:
        """Ends the processes of the reward, if it has any."""
        reward = self.__dict__.get("reward")
        if isinstance(reward, RewardPool):
            await reward.aclose()

    def _objectives(self) -> Objectives | None:
        part = self.recipe.objectives
        return Objectives(part.weights, part.low_budgets, part.gaps) if part else None


def named(path: str) -> Any:  # noqa: ANN401
    """What stands in a module under a name. Raises `ConfigurationError`."""
    module, _, name = path.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"{path} cannot be had: {error}",
            hint="give module:name of something that Python can import from here",
        ) from error


def _check_packages(recipe: Recipe) -> None:
    needed = ["torch", "transformers"]
    needed += ["peft"] if recipe.model.lora else []
    needed += ["matplotlib"] if recipe.log.curves else []
    needed += list(recipe.log.to)
    for package in needed:
        if find_spec(package) is None:
            own = package in _HOSTED
            raise ConfigurationError(
                f"training needs {package}, which is not installed",
                hint=f"pip install {package}, or leave it out of log.to" if own else INSTALL,
            )


def _check_model(recipe: Recipe) -> None:
    part = recipe.model
    if part.folder and not (part.folder / "config.json").is_file() and not _is_adapter(part.folder):
        raise ConfigurationError(
            f"there is no model in {part.folder}",
            hint="give a folder with config.json, the weights and tokenizer.json in model.folder",
        )
    if part.dtype == "bfloat16" and part.device is None:
        import torch

        if not torch.cuda.is_available():
            raise ConfigurationError(
                "bfloat16 is for a GPU, and none is found",
                hint='set model.dtype=float32, or model.device="cpu" to wait for it all the same',
            )


def _is_adapter(folder: Path) -> bool:
    return (folder / "adapter_config.json").is_file()


def _check_credit(recipe: Recipe, reader: Reader) -> None:
    credit = recipe.credit
    if credit.kind == "rea" and not _rereads(reader):
        raise ConfigurationError(
            f"credit by rea counts rereads, and {reader.name} makes none",
            hint="train memreread, or use credit.kind = 'shared'",
        )
    if credit.kind == "rea" and recipe.objectives:
        raise ConfigurationError(
            "credit by rea compares one outcome, and the objectives have several",
            hint="leave the objectives out, or use credit.kind = 'multi_task'",
        )
    if credit.state_alpha and not isinstance(reader, MemoryReader):
        raise ConfigurationError(
            f"credit by steps is for what comes into a memory, and {reader.name} has none",
            hint="train memagent, memocr, memreread or rememr1, or set credit.state_alpha=0",
        )
    weighed: Mapping[str, float] = recipe.weights
    if credit.kind == "multi_task" and len(weighed) < 2:
        raise ConfigurationError(
            "credit by multi_task compares several tasks, and there is one",
            hint="add [objectives], or use credit.kind = 'shared'",
        )


def _rereads(reader: Reader) -> bool:
    while isinstance(reader, Wrapper):
        if isinstance(reader, MemReread):
            return True
        reader = reader.base
    return False


def _check_sight(reader: Reader, policy: Policy) -> None:
    core = reader.inner if isinstance(reader, Wrapper) else reader
    if not isinstance(core, MemOCR):
        return
    family = policy.encoder.family
    if family.eyes is None:
        raise ConfigurationError(
            f"memocr draws pages, and {family.name} reads text only",
            hint="train a vision model, or memagent",
        )
    if family.eyes.cell_px != core.cell:
        raise ConfigurationError(
            f"memocr draws cells of {core.cell} px, and this {family.name} sees cells of "
            f"{family.eyes.cell_px}",
            hint=f"set reader.settings.cell={family.eyes.cell_px}",
        )


def _tiny(shapes: TinyModel, world: World | None, seed: int, settings: Mapping[str, Any]) -> Policy:
    from palimpsest.training.policy import Policy
    from palimpsest.training.tiny import tiny_text, tiny_tokenizer, tiny_vision

    tokenizer = tiny_tokenizer((*shapes.pieces, *(world.pieces if world else ())))
    given = shapes.model_dump(exclude={"pieces"}) | {"seed": seed}
    make: Any = tiny_vision
    if not shapes.family.endswith("_vl"):
        make = tiny_text
        given = {name: value for name, value in given.items() if name not in _SIGHT}
    return Policy(make(tokenizer, **given), tokenizer, name="tiny", **settings)


_SIGHT = ("vision_width", "vision_layers", "vision_heads", "patch_px")
