"""Where an OpenAI-compatible endpoint is, and the client that speaks to it.

People paste what they have: a base URL, a full `.../chat/completions`, an Azure deployment with
its `?api-version=`. All of them lead to the same client.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from palimpsest.errors import ConfigurationError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

OPENAI_URL = "https://api.openai.com/v1"
AZURE_API_VERSION = "2024-10-21"
CONNECT_TIMEOUT_S = 10.0
CONNECTIONS_KEPT = 100
"""Open ones, between requests."""

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True)
class Endpoint:
    """An address taken apart: what stays of it is what the client needs."""

    base_url: str
    """Scheme, host and path, without a trailing slash and without `/chat/completions`."""
    api_version: str | None = None
    """Set when the endpoint is Azure's, which wants it in every query."""
    query: dict[str, str] = field(default_factory=dict)

    @property
    def tried(self) -> str:
        """The URL that completions are asked of, for messages to people."""
        return f"{self.base_url}/chat/completions"

    @property
    def roots(self) -> list[str]:
        """Where servers keep what is outside the OpenAI API: above `/v1` first, then beside."""
        above = self.base_url.removesuffix("/v1")
        return [above] if above == self.base_url else [above, self.base_url]

    @property
    def is_loopback(self) -> bool:
        return urlsplit(self.base_url).hostname in _LOOPBACK


def endpoint(url: str | None, api_version: str | None = None) -> Endpoint:
    """The endpoint that `url` leads to; OpenAI's own when it is None."""
    parts = urlsplit((url or OPENAI_URL).strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(
            f"{url!r} is not the URL of an endpoint",
            hint="Give it in full, for example http://127.0.0.1:8000/v1.",
        )
    query = dict(parse_qsl(parts.query))
    version = api_version or query.pop("api-version", None)
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    if _is_azure(parts.hostname, path):
        version = version or AZURE_API_VERSION
    if version and path == "":
        path = "/openai"
    return Endpoint(f"{parts.scheme}://{parts.netloc}{path}", version, query)


def _is_azure(host: str, path: str) -> bool:
    # Azure's newer /openai/v1 takes plain requests and no version.
    if path.endswith("/v1"):
        return False
    return host.endswith(".openai.azure.com") or "/deployments/" in f"{path}/"


def connect(where: Endpoint, api_key: str | None, timeout_s: float, retries: int) -> AsyncOpenAI:
    """A client for the endpoint. It belongs to the event loop that first uses it.

    A server that asks for no key gets a placeholder, because the client insists on one. Requests
    to this machine never go through a proxy.
    """
    import httpx2
    import openai

    key = (api_key or "none").strip()
    if not key.isascii():
        raise ConfigurationError(
            "the API key holds a character that no key has", hint="Copy the key again."
        )
    timeout = openai.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s))
    # llama.cpp closes a connection after an answer that it streamed, and may do so just as the next
    # request is sent on it. On this machine a new connection costs nothing.
    kept = 0 if where.is_loopback else CONNECTIONS_KEPT
    http_client = openai.DefaultAsyncHttpxClient(
        timeout=timeout,
        trust_env=not where.is_loopback,
        limits=httpx2.Limits(max_keepalive_connections=kept),
    )
    if where.api_version is None:
        return openai.AsyncOpenAI(
            base_url=where.base_url,
            api_key=key,
            timeout=timeout,
            max_retries=retries,
            default_query=where.query,
            http_client=http_client,
        )
    return openai.AsyncAzureOpenAI(
        base_url=where.base_url,
        api_key=key,
        api_version=where.api_version,
        timeout=timeout,
        max_retries=retries,
        default_query=where.query,
        http_client=http_client,
    )
