"""How many tokens the upstream's window has: as configured, else what it says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx2

from palimpsest.models.endpoint import endpoint
from palimpsest.readers.drafting import DraftingReader
from palimpsest.readers.reader import Reader
from palimpsest.readers.wrapper import Wrapper
from palimpsest.server.config import ReaderChoice, ServerConfig
from palimpsest.server.state import ServerState

FALLBACK = 8192
"""Where nothing is known: what a draft of the default reader needs."""
EMBEDDED = 12288
"""Of a model that runs in this process, unless it is configured."""
PROMPT_TOKENS = 600
"""Of a draft's prompt beside the chunk and the memory."""
LEAST_CHUNK_TOKENS = 128
_NAMES = ("max_model_len", "context_length", "context_window", "max_context_length")
_TIMEOUT_S = 5.0


async def window_of(state: ServerState) -> int:
    """Tokens of prompt and answer together."""
    config = state.config
    configured = config.upstream_window or config.upstream.window
    if configured:
        return configured
    if state.upstream is None:
        return EMBEDDED
    return await _asked(config) or FALLBACK


def fitted(reader: Reader, choice: ReaderChoice, window: int) -> Reader:
    """The configured reader, with smaller chunks where its drafts would not fit the window and
    nobody said how large chunks are to be."""
    inner = reader.inner if isinstance(reader, Wrapper) else reader
    if not isinstance(inner, DraftingReader) or "chunk_tokens" in choice.settings:
        return reader
    room = window - inner.memory_tokens - inner.draft_tokens - PROMPT_TOKENS
    if room >= inner.chunk_tokens or room < LEAST_CHUNK_TOKENS:
        return reader
    settings = {**choice.settings, "chunk_tokens": room}
    return choice.model_copy(update={"settings": settings}).build()


async def _asked(config: ServerConfig) -> int | None:
    """What the model list says (vLLM, gateways), or llama.cpp's properties."""
    where = endpoint(config.upstream.base_url, config.upstream.api_version)
    key = config.upstream.api_key
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx2.AsyncClient(
        timeout=_TIMEOUT_S, trust_env=not where.is_loopback, headers=headers
    ) as client:
        listed = _mapping(await _json(client, f"{where.base_url}/models"))
        for model in listed.get("data") or []:
            if _mapping(model).get("id") == config.upstream.name or len(listed["data"]) == 1:
                found = _count_in(_mapping(model), _NAMES)
                if found:
                    return found
        properties = _mapping(await _json(client, f"{where.roots[0]}/props"))
        generation = _mapping(properties.get("default_generation_settings"))
        return _count_in(generation, ("n_ctx",))


async def _json(client: httpx2.AsyncClient, url: str) -> object:
    try:
        response = await client.get(url)
        return response.json() if response.status_code == 200 else None
    except (httpx2.HTTPError, ValueError):
        return None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _count_in(fields: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    values = (fields.get(name) for name in names)
    return next((one for one in values if isinstance(one, int) and one >= 512), None)
