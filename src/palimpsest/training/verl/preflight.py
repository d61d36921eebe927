"""What is looked at before a run on a cluster begins, so that it does not fail an hour later.

    for check in checks(plan):
        print(check.name, check.run())

Each check says what it found, or raises `ConfigurationError` or `InputError` with what to do. The
first ones look at this machine, the last at the cluster.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from palimpsest.errors import ConfigurationError
from palimpsest.readers.wrapper import Wrapper
from palimpsest.training.opening import Opening
from palimpsest.training.questions import Questions
from palimpsest.training.verl.running import Plan, questions
from palimpsest.training.verl.version import check_version

_REACH_S = 10.0
_LOOK_S = 120.0
_BYTES_KEPT = 12
"""A parameter in a checkpoint: its weight and AdamW's two moments, in float32."""
_WEIGHT_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
_DISTRIBUTION = "palimpsest-memory"
_WHOLE = "model.folder wants config.json, tokenizer.json and the weights as *.safetensors"


class Check(NamedTuple):
    """One thing that is looked at."""

    name: str
    run: Callable[[], str]
    """Says what was found."""


@dataclass
class Preflight:
    """The checks of one plan, in the order in which they are of use."""

    plan: Plan
    asked: Questions | None = field(default=None, init=False)
    """The run's questions, once they are read."""

    def checks(self) -> Iterator[Check]:
        """All of them. What goes on has its questions already."""
        yield Check("verl", lambda: f"verl {check_version()}")
        yield Check("model", self._model)
        yield Check("recipe", self._recipe)
        if not self.plan.started_at:
            yield Check("questions", self._questions)
        yield Check("disk", self._disk)
        yield Check("cluster", self._cluster)

    def run(self, said: Callable[[str, str], None]) -> None:
        """Runs all of them; the first that fails raises."""
        for check in self.checks():
            said(check.name, check.run())

    def _model(self) -> str:
        return look_at_model(self.plan)

    def _recipe(self) -> str:
        recipe = self.plan.recipe
        # As the embedded engine checks it, but for what is of this machine.
        here = {
            "model": recipe.model.model_copy(update={"dtype": "float32"}),
            "log": recipe.log.model_copy(update={"curves": False}),
        }
        Opening(recipe.model_copy(update=here)).check()
        _check_window(self.plan)
        told = recipe.reader.name if recipe.reader else recipe.agent and recipe.agent.path
        return f"{told}, credit {recipe.credit.kind}"

    def _questions(self) -> str:
        self.asked = asyncio.run(questions(self.plan.recipe))
        count = self.asked.training.distinct
        told = "without end" if count is None else f"{count:,}"
        return f"{told} to train on, {len(self.asked.held_out)} held out"

    def _disk(self) -> str:
        return look_at_disk(self.plan)

    def _cluster(self) -> str:
        return look_at_cluster(self.plan)


def look_at_model(plan: Plan) -> str:
    """The model's folder: whether verl and a server can load it."""
    folder = plan.recipe.model.folder
    assert folder
    config = _configuration(folder)
    if not (folder / "tokenizer.json").is_file():
        raise ConfigurationError(f"there is no tokenizer.json in {folder}", hint=_WHOLE)
    if not any(folder.glob("*.safetensors")):
        raise ConfigurationError(f"there are no weights (*.safetensors) in {folder}", hint=_WHOLE)
    _check_sight(plan, config)
    _check_heads(plan, config)
    return f"{config.get('model_type')}, {_weights_bytes(folder) / 1e9:.1f} GB"


def look_at_disk(plan: Plan) -> str:
    """Room for the checkpoints that are kept and the one that is being written."""
    folder = plan.recipe.model.folder
    assert folder
    kept = plan.recipe.checkpoints.keep + 1
    needed = kept * _BYTES_KEPT * _parameters(folder)
    place = next(one for one in (plan.folder, *plan.folder.parents) if one.exists())
    free = shutil.disk_usage(place).free
    told = f"{free / 1e9:,.0f} GB free, {kept} checkpoints take {needed / 1e9:,.0f} GB"
    if plan.recipe.model.lora is None and free < needed:
        raise ConfigurationError(
            f"{place}: {told}", hint="name another folder with --out, or lower checkpoints.keep"
        )
    return told


def look_at_cluster(plan: Plan) -> str:
    """The Ray cluster: whether it answers, has the GPUs, and its nodes have what is needed."""
    cluster = plan.cluster
    with _ray(plan) as ray:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        fit = [node for node in nodes if node["Resources"].get("GPU", 0) >= cluster.gpus]
        if len(fit) < cluster.nodes and _wants_gpus(plan):
            found = ", ".join(f"{node['Resources'].get('GPU', 0):.0f}" for node in nodes)
            raise ConfigurationError(
                f"the run wants {cluster.nodes} nodes of {cluster.gpus} GPUs, and the cluster has "
                f"nodes of {found or 'none'}",
                hint="add nodes (ray start --address=...), or lower cluster.nodes and cluster.gpus",
            )
        nodes = fit if _wants_gpus(plan) else nodes
        looks = [(node["NodeManagerAddress"], _look(ray, node, plan)) for node in nodes]
        for name, look in looks:
            _compare(name, _seen(ray, name, look), _packages(plan))
    return f"{len(nodes)} nodes that fit, of which {cluster.nodes} are used"


def around(folders: tuple[str, ...], packages: tuple[str, ...]) -> dict[str, Any]:
    """What a node says of itself: versions of packages, and which folders it sees."""
    return {
        "versions": {name: _version(name) for name in packages},
        "folders": {folder: Path(folder).is_dir() for folder in folders},
    }


def _look(ray: Any, node: dict[str, Any], plan: Plan) -> Any:  # noqa: ANN401
    """Sends `around` to a node."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    look = ray.remote(num_cpus=0, scheduling_strategy=place, max_retries=0)(around)
    folders = (str(plan.recipe.model.folder), *([str(plan.folder)] if plan.folder.exists() else []))
    return look.remote(folders, _packages(plan))


def _seen(ray: Any, name: str, look: Any) -> dict[str, Any]:  # noqa: ANN401
    """What a node says."""
    from ray.exceptions import GetTimeoutError, RayError

    try:
        found: dict[str, Any] = ray.get(look, timeout=_LOOK_S)
    except GetTimeoutError as error:
        raise ConfigurationError(
            f"the node {name} does not answer", hint="see `ray status`; is it overloaded?"
        ) from error
    except RayError as error:
        raise ConfigurationError(
            f"the node {name} cannot run palimpsest: {str(error).splitlines()[-1]}",
            hint="install the same packages on every node",
        ) from error
    return found


def _compare(name: str, found: dict[str, Any], packages: tuple[str, ...]) -> None:
    for package in packages:
        there, here = found["versions"][package], _version(package)
        if there is None:
            raise ConfigurationError(
                f"the node {name} has no {package}", hint="install the same packages on every node"
            )
        if here is not None and there != here:
            raise ConfigurationError(
                f"the node {name} has {package} {there}, and this one has {here}",
                hint="install the same packages on every node",
            )
    for folder, seen in found["folders"].items():
        if not seen:
            raise ConfigurationError(
                f"the node {name} does not see {folder}",
                hint="models and runs must lie where every node sees them under the same path",
            )


def _wants_gpus(plan: Plan) -> bool:
    return str(plan.config.trainer.device) != "cpu"


def _packages(plan: Plan) -> tuple[str, ...]:
    """What every node must have, in one version."""
    root = plan.config.actor_rollout_ref
    server = str(root.rollout.name)
    attention = root.model.override_config.get("attn_implementation", "flash_attention_2")
    return (
        _DISTRIBUTION,
        "verl",
        "ray",
        *([server] if server in ("vllm", "sglang") else []),
        *(["flash-attn"] if attention == "flash_attention_2" else []),
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@contextmanager
def _ray(plan: Plan) -> Iterator[Any]:
    """Ray as verl will begin it, for as long as it is looked at."""
    import ray
    from omegaconf import OmegaConf
    from ray.exceptions import AuthenticationError

    settings: Any = OmegaConf.to_container(plan.config.ray_kwargs.ray_init)
    settings.pop("runtime_env", None)
    given = settings.get("address") or os.environ.get("RAY_ADDRESS")
    _check_reach(given)
    try:
        ray.init(**settings, log_to_driver=False, logging_level=logging.ERROR)
    except AuthenticationError as error:
        raise ConfigurationError(
            f"the Ray cluster at {given} wants its token: {error}",
            hint="copy ~/.ray/auth_token from its head; docs/scale.md says more",
        ) from error
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigurationError(
            f"no Ray cluster answers at {given or 'this machine'}: {error}",
            hint="`ray start --head` begins one; docs/scale.md has the rest",
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_reach(address: str | None) -> None:
    """Raises at once where Ray would try for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=_REACH_S).close()
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"no Ray cluster answers at {address}: {error}",
            hint="give host:port of the head, as `ray start --head` printed it",
        ) from error


def _check_window(plan: Plan) -> None:
    """That a draft fits the servers' window: a chunk, the memory, and the memory written anew."""
    part = plan.recipe.reader
    if part is None:
        return
    reader = Opening(plan.recipe).reader
    reader = reader.inner if isinstance(reader, Wrapper) else reader
    parts = [getattr(reader, name, 0) for name in ("chunk_tokens", "memory_tokens")]
    least = parts[0] + 2 * parts[1]
    window = int(plan.config.actor_rollout_ref.rollout.max_model_len)
    if least >= window:
        raise ConfigurationError(
            f"a draft takes {least:,} tokens and its prompt, and the window is {window:,}",
            hint="raise cluster.prompt_tokens, or model.window where it is given",
        )


def _check_sight(plan: Plan, config: dict[str, Any]) -> None:
    vision = config.get("vision_config")
    recipe = plan.recipe
    if recipe.reader is None or "memocr" not in recipe.reader.name:
        return
    if not vision:
        raise ConfigurationError(
            f"memocr shows pages, and {recipe.model.folder} sees none",
            hint="train a model of the families Qwen2.5-VL or Qwen3-VL",
        )
    cell = vision.get("patch_size", 14) * vision.get("spatial_merge_size", 2)
    drawn = recipe.reader.settings.get("cell", 28)
    if cell != drawn:
        raise ConfigurationError(
            f"memocr draws cells of {drawn} px, and this model sees cells of {cell}",
            hint=f"set reader.settings.cell={cell}",
        )


def _check_heads(plan: Plan, config: dict[str, Any]) -> None:
    heads = config.get("text_config", config).get("num_attention_heads")
    parts = plan.cluster.tensor_parallel
    gpus = plan.cluster.nodes * plan.cluster.gpus
    if gpus % parts:
        raise ConfigurationError(
            f"{gpus} GPUs cannot be shared out to servers of {parts}",
            hint="choose a cluster.tensor_parallel that divides them",
        )
    if heads and heads % parts:
        raise ConfigurationError(
            f"{heads} attention heads cannot be shared out to {parts} GPUs",
            hint="choose a cluster.tensor_parallel that divides them",
        )


def _weights_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _configuration(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"there is no model in {folder}: {error}", hint=_WHOLE) from error
    return config


def _parameters(folder: Path) -> int:
    config = _configuration(folder)
    dtype = config.get("dtype") or config.get("torch_dtype") or "bfloat16"
    return _weights_bytes(folder) // _WEIGHT_BYTES.get(str(dtype), 2)
