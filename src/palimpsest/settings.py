"""Which model to use and how to reach it: from arguments, the environment and a config file.

An argument wins over the environment, the environment over the file. The file is TOML, by default
`palimpsest/config.toml` in the user's configuration folder (`PALIMPSEST_CONFIG` names another),
with any of the fields of `ModelSettings` in a table `[model]`:

    [model]
    name = "qwen2.5-vl-7b"
    base_url = "http://localhost:8000/v1"

In the environment the same fields are `PALIMPSEST_MODEL` (the name), `PALIMPSEST_BASE_URL`,
`PALIMPSEST_API_KEY` and so on; `OPENAI_BASE_URL` and `OPENAI_API_KEY` are heeded too.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from palimpsest.errors import ConfigurationError
from palimpsest.models import LocalModel, Model, OpenAIModel, RecordedModel, SightModel

EMBEDDED = "local"
_LOCAL_PREFIX = "local:"


class ModelSettings(BaseModel):
    """How a model is reached. A field that is None was not set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = None
    """`local` for the embedded model (the default), `local:FILE.gguf` or `local:org/repo` for
    another llama.cpp model, else the name that the endpoint knows."""
    base_url: str | None = None
    """The endpoint, usually ending in `/v1`."""
    api_key: str | None = Field(None, repr=False)
    api_version: str | None = None
    """For Azure-style endpoints."""
    tokenizer: str | None = None
    """A `tokenizer.json` of the model, when the endpoint cannot count tokens."""
    window: int | None = Field(None, ge=512)
    """Tokens of context that a local model is loaded with."""
    threads: int | None = Field(None, ge=1)
    """Processor threads of a local model."""
    timeout_s: float | None = Field(None, gt=0)
    retries: int | None = Field(None, ge=0)
    concurrency: int | None = Field(None, ge=1)
    """Calls in flight at once."""
    thinking_tokens: int | None = Field(None, ge=0)
    """What a reasoning model may think, on top of the length of its answer."""
    sight: bool | None = None
    """Read pictures by OCR for a model that cannot see. On by default for the embedded model."""
    record: str | None = None
    """SQLite file in which calls are recorded and found again."""
    record_mode: Literal["on", "off", "replay"] | None = None

    def over(self, other: ModelSettings) -> ModelSettings:
        """These settings, with another's where these are not set."""
        return other.model_copy(update=self.model_dump(exclude_none=True))


def resolve_settings(
    given: ModelSettings | None = None, environment: Mapping[str, str] = os.environ
) -> ModelSettings:
    """The settings in force. Raises `ConfigurationError` naming a value that is wrong."""
    settings = given or ModelSettings()
    settings = settings.over(_from_environment(environment))
    return settings.over(_from_file(environment))


def open_model(
    settings: ModelSettings, *, on_load: Callable[[str], None] | None = None
) -> Model:  # fmt: skip
    """The model that the settings describe; nothing is loaded or called yet."""
    name = settings.name or (None if settings.base_url else EMBEDDED)
    if name is None:
        raise ConfigurationError(
            f"no model is named for {settings.base_url}",
            hint="give --model or PALIMPSEST_MODEL; `palimpsest doctor` lists what is served there",
        )
    is_local = name == EMBEDDED or name.startswith(_LOCAL_PREFIX)
    model: Model = _local(name, settings, on_load) if is_local else _endpoint(name, settings)
    eyes = settings.sight if settings.sight is not None else name == EMBEDDED
    if eyes:
        model = SightModel(model)
    if settings.record and settings.record_mode != "off":
        model = RecordedModel(model, Path(settings.record), settings.record_mode or "on")
    return model


def _local(name: str, settings: ModelSettings, on_load: Callable[[str], None] | None) -> LocalModel:
    path = name.removeprefix(_LOCAL_PREFIX) if name != EMBEDDED else None
    chosen = settings.model_dump(include={"window", "threads"}, exclude_none=True)
    return LocalModel(path, on_load=on_load, **chosen)


def _endpoint(name: str, settings: ModelSettings) -> OpenAIModel:
    chosen = settings.model_dump(
        include={
            "base_url", "api_key", "api_version", "timeout_s", "retries", "concurrency",
            "thinking_tokens",
        },
        exclude_none=True,
    )  # fmt: skip
    return OpenAIModel(name, tokenizer_file=settings.tokenizer, **chosen)


def _from_environment(environment: Mapping[str, str]) -> ModelSettings:
    found: dict[str, Any] = {
        "base_url": environment.get("OPENAI_BASE_URL"),
        "api_key": environment.get("OPENAI_API_KEY"),
        "name": environment.get("PALIMPSEST_MODEL"),
    }
    for field in ModelSettings.model_fields:
        value = environment.get(f"PALIMPSEST_{field.upper()}")
        if field != "name" and value is not None:
            found[field] = value
    return checked_settings(
        {name: value for name, value in found.items() if value}, "the environment"
    )


def _from_file(environment: Mapping[str, str]) -> ModelSettings:
    named = environment.get("PALIMPSEST_CONFIG")
    path = Path(named) if named else platformdirs.user_config_path("palimpsest") / "config.toml"
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if named:
            raise ConfigurationError(
                f"{path} does not exist", hint="mend or unset PALIMPSEST_CONFIG"
            ) from None
        return ModelSettings()
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}", hint="mend the configuration file") from error
    unknown = set(data) - {"model"}
    if unknown:
        raise ConfigurationError(
            f"{path}: unknown entry {sorted(unknown)[0]!r}", hint="settings go under [model]"
        )
    return checked_settings(data.get("model", {}), str(path))


def checked_settings(values: Mapping[str, Any], where: str) -> ModelSettings:
    """The settings in `values`. Raises `ConfigurationError` naming what is wrong `where`."""
    try:
        return ModelSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "model"
        raise ConfigurationError(
            f"{where}: {field}: {first['msg']}", hint="correct or remove that setting"
        ) from error
