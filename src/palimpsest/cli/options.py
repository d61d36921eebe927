"""Options that several commands share."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from palimpsest.settings import ModelSettings, checked_settings, resolve_settings

_MODEL = Group("Model", sort_key=2)


@Parameter(name="*", group=_MODEL)
@dataclass(frozen=True)
class ModelOptions:
    """How to reach a model; unset ones come from the environment or the configuration file."""

    model: Annotated[str | None, Parameter(name=["--model", "-m"])] = None
    """`local` (embedded, the default), `local:FILE.gguf`, `local:org/repo`, or an endpoint's
    model name."""
    base_url: str | None = None
    """OpenAI-compatible endpoint, usually ending in /v1."""
    api_key: str | None = None
    """Key for the endpoint; better in PALIMPSEST_API_KEY, where process lists do not show it."""
    api_version: str | None = None
    """API version of an Azure-style endpoint."""
    tokenizer: str | None = None
    """tokenizer.json of the model, for exact token counts."""
    window: int | None = None
    """Context tokens to load a local model with."""
    threads: int | None = None
    """Processor threads of a local model."""
    timeout: Annotated[float | None, Parameter(name="--timeout")] = None
    """Seconds to wait for one call."""
    retries: int | None = None
    """Times a failed call is tried again."""
    concurrency: int | None = None
    """Calls in flight at once."""
    thinking_tokens: int | None = None
    """What a reasoning model may think on top of its answer."""
    sight: bool | None = None
    """Read pictures by OCR, for a model that cannot see (the embedded model always does)."""
    record: str | None = None
    """SQLite file to record calls in; equal calls are answered from it."""
    record_mode: Literal["on", "off", "replay"] | None = None
    """`replay` answers from the record alone and calls no model."""

    def settings(self) -> ModelSettings:
        """The settings in force."""
        return resolve_settings(self.given())

    def given(self) -> ModelSettings:
        """The settings that the command line names."""
        renamed = {"model": "name", "timeout": "timeout_s"}
        given = {renamed.get(f.name, f.name): getattr(self, f.name) for f in fields(self)}
        return checked_settings(given, "the command line")
