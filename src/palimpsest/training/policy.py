"""The model that is trained: weights, tokenizer and family, as one thing to call.

    policy = Policy.load("Qwen2.5-1.5B-Instruct", lora=LoRA(), dtype="bfloat16")
    with policy.as_reference():
        ...     # the weights as they were at `keep_reference()`

It knows nothing of rollouts or losses. `sampler.PolicyModel` makes it a `Model`, `logprobs` scores
what it wrote.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict, Unpack

import torch
from torch import Tensor

from palimpsest.errors import ConfigurationError
from palimpsest.training.encoding import Encoder
from palimpsest.training.families import family_of
from palimpsest.training.lora import LoRA, with_adapters, with_saved_adapters

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Dtype = Literal["float32", "bfloat16"]

_BANNED_SCORE = -1e9
"""Finite, so that no gradient or entropy is undefined; its probability is 0 all the same."""

_SIDE_FILES = (
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
)
"""What an inference engine needs beside weights and tokenizer to serve a model that sees."""


class Settings(TypedDict, total=False):
    """How a policy computes; see the constructor."""

    name: str
    dtype: Dtype
    device: str | None
    gradient_checkpointing: bool
    template: Mapping[str, Any] | None


class States(NamedTuple):
    """The last layer's output, and the keys and values to go on from."""

    hidden: Tensor
    """Rows, tokens, width."""
    cache: Any


class Policy:
    """A transformers model with its tokenizer, on one device.

    Weights that are trained are kept in float32; `dtype` is what is computed in, and what frozen
    weights are kept in.
    """

    def __init__(
        self,
        module: PreTrainedModel | PeftModel,
        tokenizer: PreTrainedTokenizerFast,
        *,
        name: str = "policy",
        lora: LoRA | None = None,
        dtype: Dtype = "float32",
        device: str | None = None,
        gradient_checkpointing: bool = False,
        template: Mapping[str, Any] | None = None,
    ) -> None:
        """Args:
        module: A model of one of `families.FAMILIES`, with or without adapters.
        lora: Trains fresh adapters instead of the weights.
        device: Default the first GPU, or the processor where there is none.
        gradient_checkpointing: Computes the layers anew in the backward pass instead of keeping
            them: about a third slower, in a fraction of the memory.
        template: Variables of the chat template, such as {"enable_thinking": False} for Qwen3.
        """
        self.name = name
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.dtype = getattr(torch, dtype)
        family = family_of(_bare(module).config)
        self.encoder = Encoder(tokenizer, family, _ends(module, tokenizer), dict(template or {}))
        adapted = with_adapters(module, lora) if lora else module  # type: ignore[arg-type]
        self.module = adapted.to(self.device)  # type: ignore[arg-type]
        self._settle_precision()
        self._checkpointing = gradient_checkpointing
        if gradient_checkpointing:
            _checkpoint_layers(self._bare)
        self._head = self._bare.get_output_embeddings()
        self.vocabulary: int = self._bare.get_input_embeddings().weight.shape[0]
        banned = self.encoder.banned(self.vocabulary)
        self.banned = torch.tensor(banned, dtype=torch.long, device=self.device)
        self._reference: list[Tensor] | None = None
        self._source: Path | None = None
        self.module.eval()

    @classmethod
    def load(
        cls, folder: str | Path, *, lora: LoRA | None = None, **settings: Unpack[Settings]
    ) -> Policy:
        """A policy from a folder of Hugging Face's shape: a model, or adapters that name theirs.

        `settings` are those of the constructor. Nothing is fetched from a hub.
        """
        from transformers import AutoConfig, PreTrainedTokenizerFast

        path = _folder(folder)
        base = _folder(_adapted(path) or path)
        config = AutoConfig.from_pretrained(base, local_files_only=True)
        family_of(config)
        frozen = lora is not None or base != path
        module = _model_class(config).from_pretrained(
            base,
            dtype=settings.get("dtype", "float32") if frozen else "float32",
            local_files_only=True,
        )
        if base != path:
            module = with_saved_adapters(module, str(path))
        tokenizer = PreTrainedTokenizerFast.from_pretrained(path, local_files_only=True)
        settings.setdefault("name", path.name)
        policy = cls(module, tokenizer, lora=lora, **settings)
        policy._source = base
        return policy

    def save(self, folder: str | Path) -> None:
        """Writes a folder that `load` and other programs read: the model, or only its adapters.

        Adapters on a model that came from no folder can be written merged only.
        """
        path = Path(folder)
        if self._has_adapters and self._source is None:
            raise ConfigurationError(
                "adapters are saved beside the name of their model, which came from no folder",
                hint="Use save_merged, or load the model from a folder.",
            )
        self.module.save_pretrained(str(path))
        self._save_beside(path)

    def save_merged(self, folder: str | Path) -> None:
        """Writes the model as any engine serves it, adapters added to the weights for good.

        The policy itself stays as it is; the weights are held twice meanwhile.
        """
        path = Path(folder)
        if not self._has_adapters:
            return self.save(path)
        merged = copy.deepcopy(self.module).merge_and_unload()
        merged.save_pretrained(path)
        return self._save_beside(path)

    def trained(self) -> dict[str, torch.nn.Parameter]:
        """The parameters that an optimiser is to change, by name."""
        parameters = self.module.named_parameters()
        return {name: parameter for name, parameter in parameters if parameter.requires_grad}

    def state(self) -> dict[str, Tensor]:
        """A copy of the trained parameters, on the processor."""
        return {name: value.detach().cpu().clone() for name, value in self.trained().items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Takes over parameters that `state` gave, exactly."""
        trained = self.trained()
        if trained.keys() != state.keys():
            raise ConfigurationError(
                "the saved parameters are not those that are trained here",
                hint="Resume with the model and the adapters of the run.",
            )
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(state[name])

    def keep_reference(self) -> None:
        """Keeps the trained parameters as they are now, for `as_reference`.

        With fresh adapters this is the model without them, and next to free.
        """
        self._reference = [value.detach().clone() for value in self.trained().values()]

    @contextmanager
    def as_reference(self) -> Iterator[None]:
        """The policy as it was at `keep_reference`, without gradients."""
        if self._reference is None:
            raise ConfigurationError("no reference was kept", hint="Call keep_reference first.")
        with torch.no_grad():
            self._exchange(self._reference)
            try:
                yield
            finally:
                self._exchange(self._reference)

    def states(self, inputs: Mapping[str, Tensor], *, cache: Any = None) -> States:  # noqa: ANN401
        """The last layer's output for a batch.

        Without gradients keys and values are kept, in `cache` where one is given.
        """
        grad = torch.is_grad_enabled()
        self.module.train(grad and self._checkpointing)
        with self._arithmetic():
            out = self._bare.base_model(
                **inputs, past_key_values=cache, use_cache=not grad, return_dict=True
            )
        return States(out.last_hidden_state, out.past_key_values)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of the next token in float32, with banned tokens out of reach."""
        with self._arithmetic():
            scores: Tensor = self._head(hidden)
        return scores.float().index_fill_(-1, self.banned, _BANNED_SCORE)

    @property
    def _bare(self) -> Any:  # noqa: ANN401
        return _bare(self.module)

    @property
    def _has_adapters(self) -> bool:
        return _bare(self.module) is not self.module

    def _settle_precision(self) -> None:
        for parameter in self.module.parameters():
            kept = torch.float32 if parameter.requires_grad else self.dtype
            parameter.data = parameter.data.to(kept)

    def _arithmetic(self) -> torch.autocast:
        enabled = self.dtype != torch.float32
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    def _exchange(self, kept: list[Tensor]) -> None:
        for index, parameter in enumerate(self.trained().values()):
            kept[index], parameter.data = parameter.data, kept[index]

    def _save_beside(self, path: Path) -> None:
        self.encoder.tokenizer.save_pretrained(path)
        for name in _SIDE_FILES:
            if self._source and (self._source / name).is_file():
                shutil.copy(self._source / name, path / name)


def _bare(module: Any) -> Any:  # noqa: ANN401
    """The transformers model inside a model with adapters."""
    return module.get_base_model() if hasattr(module, "get_base_model") else module


def _checkpoint_layers(module: Any) -> None:  # noqa: ANN401
    # The library gave the method a new name; we work with versions from both sides of it.
    new = getattr(module, "activation_checkpointing_enable", None)
    (new or module.gradient_checkpointing_enable)({"use_reentrant": False})


def _ends(module: Any, tokenizer: PreTrainedTokenizerFast) -> frozenset[int]:  # noqa: ANN401
    """The tokens that end an answer, as model and tokenizer name them."""
    named = _bare(module).generation_config.eos_token_id
    ends = set(named if isinstance(named, list) else [named]) | {tokenizer.eos_token_id}
    ends.discard(None)
    if not ends:
        raise ConfigurationError(
            "neither the model nor its tokenizer names a token that ends an answer",
            hint="Set eos_token in the tokenizer.",
        )
    return frozenset(ends)


def _folder(folder: str | Path) -> Path:
    path = Path(folder).expanduser().resolve()
    if not path.is_dir():
        raise ConfigurationError(
            f"there is no model folder {path}",
            hint="Give a folder with config.json, the weights and tokenizer.json.",
        )
    return path


def _adapted(path: Path) -> Path | None:
    """The folder of the model that saved adapters belong to; None for a whole model."""
    file = path / "adapter_config.json"
    if not file.is_file():
        return None
    return Path(json.loads(file.read_text())["base_model_name_or_path"])


def _model_class(config: Any) -> Any:  # noqa: ANN401
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    seeing = family_of(config).eyes is not None
    return AutoModelForImageTextToText if seeing else AutoModelForCausalLM
