"""What tokens cost, in US dollars: from the public list of `genai-prices`, or as given.

    price = listed_price("gpt-4o-mini")
    price.of(Usage(prompt=1_000_000, completion=10_000))

There is no table of our own. The list is the one that came with the installed package; nothing
is fetched. A model that it does not know has no price, and what runs on this machine is not paid
by the token.
"""

from __future__ import annotations

import ipaddress
from datetime import datetime
from typing import Protocol
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from palimpsest.models.model import Usage

_MILLION = 1_000_000


class Price(Protocol):
    """Tells what the tokens of one call cost."""

    @property
    def source(self) -> str:
        """Where the price is from, for people."""
        ...

    def of(self, usage: Usage) -> float:
        """US dollars. Some prices rise with the size of a prompt: ask for each call apart."""
        ...


class GivenPrice(BaseModel):
    """US dollars a million tokens; cached ones cost what others do unless told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached: float | None = Field(None, ge=0)

    @property
    def source(self) -> str:
        return f"${self.input:g} in, ${self.output:g} out a million tokens"

    def of(self, usage: Usage) -> float:
        cached = self.input if self.cached is None else self.cached
        read = (usage.prompt - usage.cached) * self.input + usage.cached * cached
        return (read + usage.completion * self.output) / _MILLION


class ListedPrice:
    """The price of a model at a provider, as listed for a moment."""

    def __init__(self, model: str, url: str | None, at: datetime | None) -> None:
        self._model = model
        self._url = url
        self._at = at
        self.source = self._source()

    def of(self, usage: Usage) -> float:
        from genai_prices import Usage as Tokens
        from genai_prices import calc_price

        tokens = Tokens(
            input_tokens=usage.prompt,
            cache_read_tokens=usage.cached,
            output_tokens=usage.completion,
        )
        price = calc_price(
            tokens,
            self._model,
            provider_api_url=self._url,
            genai_request_timestamp=self._at,
        )
        return float(price.total_price)

    def _source(self) -> str:
        from genai_prices import Usage as Tokens
        from genai_prices import calc_price

        found = calc_price(Tokens(input_tokens=0), self._model, provider_api_url=self._url)
        return f"{found.model.id} of {found.provider.name} in genai-prices"


def listed_price(
    model: str, base_url: str | None = None, at: datetime | None = None
) -> Price | None:
    """What `model` costs at the provider whose API is at `base_url`, or None if nobody lists it.

    A URL that the list does not know is taken for a gateway, and the model is looked up by its
    name alone; without a URL too. `at` is when it was called, for prices that have changed since.
    """
    if base_url and _is_private(base_url):
        return None
    for url in (base_url, None) if base_url else (None,):
        try:
            return ListedPrice(model, url, at)
        except LookupError:
            continue
    return None


def _is_private(url: str) -> bool:
    """Whether a URL leads to this machine or network."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return host == "localhost" or "." not in host or host.endswith(".local")
