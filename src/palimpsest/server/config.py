"""How a server is set up: one frozen record, from flags, the environment and a TOML file.

A flag wins over the environment (`PALIMPSEST_SERVE_PORT` and so on), the environment over the
file, which `--config` or `PALIMPSEST_SERVE_CONFIG` names:

    port = 8700

    [upstream]
    base_url = "http://127.0.0.1:8000/v1"
    name = "qwen2.5-vl-7b"

    [reader]
    name = "memocr"
    settings = { budgets = [256] }

API keys are in a file of their own, `keys_file`: see docs/serving.md.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from palimpsest.errors import ConfigurationError
from palimpsest.readers.reader import Reader
from palimpsest.readers.registry import build_reader
from palimpsest.settings import ModelSettings

PREFIX = "PALIMPSEST_SERVE_"
CONFIG_VARIABLE = f"{PREFIX}CONFIG"

Part = Literal["gateway", "renderer", "viewer"]
PARTS: frozenset[Part] = frozenset({"gateway", "renderer", "viewer"})


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ApiKey(_Settings):
    """One client that may use the server. The key itself is kept nowhere."""

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
    """Stands in logs and metrics, and names the folder of what this client has stored."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    """Of the key's bytes, in hexadecimal."""
    requests_a_minute: int | None = Field(None, ge=1)
    """None: as the server's."""
    concurrency: int | None = Field(None, ge=1)
    """Requests being worked on or waiting at once; None: as the server's."""


class ReaderChoice(_Settings):
    """The reader for what does not fit the upstream's window, as `build_reader` takes it."""

    name: str = "memagent"
    settings: dict[str, Any] = {}
    faithful: bool = False

    def build(self) -> Reader:
        """The reader. Raises `ConfigurationError`."""
        try:
            return build_reader(self.name, self.settings, faithful=self.faithful)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "settings"
            raise ConfigurationError(
                f"reader {self.name}: {place}: {first['msg']}",
                hint="correct or remove that setting",
            ) from error


class ServerConfig(_Settings):
    """Everything about a server that is decided before it starts."""

    host: str = "127.0.0.1"
    port: int = Field(8700, ge=0, le=65535)
    """0 takes one that is free."""
    parts: frozenset[Part] = PARTS
    """Which parts are on."""

    upstream: ModelSettings = ModelSettings()
    """The model that reads and answers, and the endpoint that is passed through to. Without a
    `base_url` it is the embedded model, and nothing can be passed through."""
    upstream_window: int | None = Field(None, ge=512)
    """Tokens of the upstream's context; None: what the upstream says of itself."""
    reader: ReaderChoice = ReaderChoice()
    own_models: tuple[str, ...] = ("palimpsest",)
    """Names under which the gateway lists itself beside the upstream's models."""

    keys: tuple[ApiKey, ...] = Field((), repr=False)
    """None at all: whoever reaches the server may use it, so it must be on loopback."""
    requests_a_minute: int | None = Field(None, ge=1)
    """Of one key that has no limit of its own."""
    key_concurrency: int | None = Field(None, ge=1)
    """The same for requests at once."""
    origins: tuple[str, ...] = ()
    """Web origins, as `https://app.example.com`, whose pages may call the server."""
    hosts: tuple[str, ...] = ()
    """Further names by which a server without keys may be called; loopback's always may."""

    max_body_bytes: int = Field(64 << 20, ge=1024)
    concurrency: int = Field(256, ge=1)
    """Requests being worked on at once, of all clients."""
    queue: int = Field(256, ge=0)
    """Requests that wait beyond those; what comes on top is refused with 429."""
    timeout_s: float = Field(3600.0, gt=0)
    """For the whole of one request, its wait included."""
    header_timeout_s: float = Field(10.0, gt=0)
    """For the head of a request to come in."""
    body_timeout_s: float = Field(30.0, gt=0)
    """For the body, on top of what it takes at `SLOWEST_BYTES_A_SECOND`."""
    send_timeout_s: float = Field(60.0, gt=0)
    """The longest that a client may leave what it asked for unread."""
    grace_s: float = Field(30.0, ge=0)
    """From the signal to stop until what is under way is cut off."""

    state_folder: Path = Field(
        default_factory=lambda: platformdirs.user_state_path("palimpsest") / "server"
    )
    """Readings, memories and pages, so that a restart goes on with them."""
    shown: tuple[Path, ...] = ()
    """Readings and runs, or folders of them, that the viewer shows beside the server's own."""
    render_workers: int = Field(2, ge=1)
    """Pages drawn at once."""
    page_cache_bytes: int = Field(1 << 28, ge=0)
    """Of pixels, in memory."""
    pages_on_disk: bool = True
    """Whether drawn pages are kept in the state folder too."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_content: bool = False
    """Whether logs may hold what users and models wrote. Off: only what is counted."""

    @field_validator("keys")
    @classmethod
    def _told_apart(cls, keys: tuple[ApiKey, ...]) -> tuple[ApiKey, ...]:
        if len({key.id for key in keys}) < len(keys):
            raise ValueError("two keys have the same id")
        if len({key.sha256 for key in keys}) < len(keys):
            raise ValueError("two ids have the same key")
        return keys

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    def check(self) -> None:
        """Raises `ConfigurationError` where the server would be open to everybody."""
        if not self.keys and not self.is_loopback:
            raise ConfigurationError(
                f"without API keys the server does not listen on {self.host}: "
                "anybody who reaches it could use it",
                hint="give --keys FILE (`palimpsest key NAME` makes one), or listen on 127.0.0.1",
            )


SLOWEST_BYTES_A_SECOND = 16 << 10
"""Of a request's body, once `body_timeout_s` is used up."""


@lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def load_keys(path: Path) -> tuple[ApiKey, ...]:
    """The keys of a TOML file, a table each:

        [alice]
        sha256 = "5e88..."
        requests_a_minute = 60
        concurrency = 4

    Raises `ConfigurationError` for a file that cannot be used or holds none.
    """
    tables = _toml(path)
    if not tables:
        raise ConfigurationError(f"{path} holds no key", hint="`palimpsest key NAME` makes one")
    return tuple(_key(path, name, table) for name, table in tables.items())


def resolve_config(
    given: Mapping[str, Any],
    *,
    file: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> ServerConfig:
    """The configuration in force: what is `given`, then the environment, then the file.

    Tables (`upstream`, `reader`) are merged field by field. Raises `ConfigurationError`.
    """
    named = environment.get(CONFIG_VARIABLE)
    path = file or (Path(named) if named else None)
    values = _toml(path) if path else {}
    values = _over(_from_environment(environment), values)
    values = _over(given, values)
    keys_file = values.pop("keys_file", None)
    if keys_file is not None:
        values["keys"] = load_keys(Path(keys_file))
    return _checked(values)


def _over(winning: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(other)
    for name, value in winning.items():
        below = merged.get(name)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[name] = _over(value, below)
        else:
            merged[name] = value
    return merged


_LISTS = {"parts", "origins", "hosts", "own_models", "shown"}


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """The variables of the server; lists with commas between, tables not at all."""
    found: dict[str, Any] = {}
    for field in [*ServerConfig.model_fields, "keys_file"]:
        value = environment.get(PREFIX + field.upper())
        if value and field not in ("upstream", "reader", "keys"):
            found[field] = _items(value) if field in _LISTS else value
    reader = environment.get(f"{PREFIX}READER")
    return found | ({"reader": {"name": reader}} if reader else {})


def _items(value: str) -> list[str]:
    return [item.strip() for item in value.split(",") if item.strip()]


def _checked(values: Mapping[str, Any]) -> ServerConfig:
    try:
        config = ServerConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "server"
        raise ConfigurationError(
            f"{place}: {first['msg']}", hint="correct or remove that setting"
        ) from error
    config.check()
    config.reader.build()
    return config


def _key(path: Path, name: str, table: object) -> ApiKey:
    if not isinstance(table, Mapping):
        raise ConfigurationError(
            f"{path}: {name} is no table", hint="write [NAME] and, below it, sha256 = ..."
        )
    try:
        return ApiKey.model_validate({"id": name, **table})
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        # Without pydantic's own text, which would show a key that was pasted in for its hash.
        raise ConfigurationError(
            f"{path}: [{name}] {place}: {first['msg']}",
            hint="an id has letters, digits, _ and -; sha256 is the 64 digits that "
            "`palimpsest key NAME` prints",
        ) from None


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}", hint="name another file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}", hint="mend the file") from error
