"""A model that runs in this process: no server, no key, no network.

    model = LocalModel()                                  # the embedded default
    model = LocalModel("qwen2.5-7b-instruct-q4_k_m.gguf")  # a file of your own
    model = LocalModel("org/repository:file.gguf")         # from the Hugging Face hub

llama.cpp's own server is run inside the process, on a loopback port and behind a key that nobody
else knows, and asked as any other endpoint is. It loads at the first call.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Protocol

from palimpsest.errors import ConfigurationError
from palimpsest.models.embedded import EMBEDDED, INSTALL, model_file
from palimpsest.models.hub import download, is_hub_name
from palimpsest.models.model import Completion, Message, Sampling
from palimpsest.models.openai import OpenAIModel
from palimpsest.sources.tokens import Tokenizer

TIMEOUT_S = 3600.0
"""A large prompt takes minutes on a slow processor, and nothing is sent meanwhile."""
PROMPT_BATCH_TOKENS = 512
"""Read at once: a call that is cancelled ends with its batch."""
PROMPT_CACHE_MIB = 1024
"""Memory for the states of prompts whose beginnings may come again."""


class _Server(Protocol):
    """What is used of `xllamacpp.Server`: it serves from when it is made to when it is freed."""

    @property
    def listening_address(self) -> str: ...


@dataclass(frozen=True)
class _Loaded:
    server: _Server
    model: OpenAIModel


class LocalModel:
    """A GGUF model run by llama.cpp in this process, one call at a time.

    Several models can be loaded at once. One that is closed loads again when it is next called.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        window: int = 12288,
        threads: int | None = None,
        on_load: Callable[[str], None] | None = None,
    ) -> None:
        """Args:
        path: A GGUF file, a name on the hub (`org/repository` or `org/repository:file.gguf`),
            or None for the embedded model.
        window: Tokens of prompt and answer together; memory grows with it.
        threads: Of the processor; None for one each core.
        on_load: Told once, before the first call is answered, what is loaded from where.
        """
        self._source = path
        self._window = window
        self._threads = threads or _cores()
        self._on_load = on_load or (lambda _: None)
        self._loaded: _Loaded | None = None
        self._loading = threading.Lock()

    @property
    def name(self) -> str:
        if self._source is None:
            return EMBEDDED.name
        return Path(str(self._source).replace(":", "/")).name.removesuffix(".gguf")

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        model = await self.served()
        return await model.complete(messages, sampling)

    async def tokenizer(self) -> Tokenizer:
        model = await self.served()
        return await model.tokenizer()

    async def aclose(self) -> None:
        """Stops the server and frees the model's memory."""
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            # Connections first: a server that is freed in the middle of an answer never returns.
            await loaded.model.aclose()

    async def served(self) -> OpenAIModel:
        """The model as the endpoint that it is asked as; loads it."""
        if self._loaded is not None:
            return self._loaded.model
        loaded = await asyncio.to_thread(self._load_once)
        return loaded.model

    def _load_once(self) -> _Loaded:
        # Calls that arrive while the model loads wait here, each in its own thread.
        with self._loading:
            loaded = self._loaded or self._load()
            self._loaded = loaded
            return loaded

    def _load(self) -> _Loaded:
        llama = llama_cpp()
        path = self._file()
        size = path.stat().st_size / 1e9
        self._on_load(f"loading {self.name} ({size:.1f} GB) from {path}")
        key = secrets.token_hex(16)
        server = _serve(llama, self._parameters(llama, path, key), path)
        model = OpenAIModel(
            self.name,
            base_url=f"{server.listening_address}/v1",
            api_key=key,
            timeout_s=TIMEOUT_S,
            retries=0,
            concurrency=1,
            # llama.cpp sees that a call was cancelled only when it writes.
            stream=True,
        )
        return _Loaded(server, model)

    def _file(self) -> Path:
        """The file to load, fetched or joined first where that is needed."""
        if self._source is None:
            return model_file()
        path = Path(self._source).expanduser()
        if path.is_file():
            return path
        if is_hub_name(str(self._source)):
            return download(str(self._source), self._on_load)
        raise ConfigurationError(
            f"there is no model file {path}",
            hint="Name a GGUF file, or a repository of the Hugging Face hub as "
            "organisation/repository:file.gguf.",
        )

    def _parameters(self, llama: ModuleType, path: Path, key: str) -> object:
        parameters = llama.CommonParams()
        parameters.model.path = str(path)
        parameters.model_alias = {self.name}
        parameters.n_ctx = self._window
        parameters.n_batch = PROMPT_BATCH_TOKENS
        parameters.n_parallel = 1
        parameters.cpuparams.n_threads = self._threads
        parameters.cpuparams_batch.n_threads = self._threads
        parameters.cache_prompt = True
        parameters.cache_ram_mib = PROMPT_CACHE_MIB
        parameters.hostnames = ["127.0.0.1"]
        parameters.port = 0
        parameters.api_keys = [key]
        parameters.ui = False
        parameters.endpoint_slots = False
        parameters.verbosity = -1
        return parameters


def _serve(llama: ModuleType, parameters: object, path: Path) -> _Server:
    try:
        server: _Server = llama.Server(parameters)
        return server
    except RuntimeError as error:
        raise ConfigurationError(
            f"llama.cpp cannot load {path}: {error}",
            hint="Is it a whole GGUF file of a kind this llama.cpp knows, and is there memory "
            "enough? A smaller window takes less.",
        ) from error


def llama_cpp() -> ModuleType:
    """The runtime, imported so that it gets along with the text shaper of pages."""
    # Threads that spin while they wait make a busy machine many times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        with _own_cython_types():
            return import_module("xllamacpp")
    except ImportError as error:
        raise ConfigurationError(
            "the local model needs llama.cpp, which is not installed", hint=INSTALL
        ) from error


@contextmanager
def _own_cython_types() -> Iterator[None]:
    """Keeps the Cython types of what is imported inside from what is imported outside.

    Extensions made by one version of Cython share its types through an entry of `sys.modules`.
    Those of xllamacpp and uharfbuzz go by the same name but differ in size, so whichever of the
    two were imported second would be refused.
    """
    set_aside = _take_shared_types()
    try:
        yield
    finally:
        _take_shared_types()
        sys.modules.update(set_aside)


def _take_shared_types() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.startswith("_cython_")]
    return {name: sys.modules.pop(name) for name in names}


def _cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
