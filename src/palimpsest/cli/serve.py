"""`palimpsest serve`: the gateway, the renderer and the viewer; `palimpsest key`: a key for it."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter

from palimpsest.cli.app import notes
from palimpsest.cli.options import ModelOptions
from palimpsest.cli.readers import ReaderOptions
from palimpsest.errors import ConfigurationError, InputError
from palimpsest.settings import resolve_settings

_SERVER = Group("Server", sort_key=0)
_LIMITS = Group("Limits", sort_key=4)
_KEY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_NOT_SETTINGS = {"reader", "budget", "faithful", "prompts"}
_MIB = 1 << 20


@Parameter(name="*", group=_SERVER)
@dataclass(frozen=True)
class ServerOptions:
    """Where it listens and what it keeps; unset ones come from PALIMPSEST_SERVE_... or the file."""

    host: str | None = None
    """Address to listen on (127.0.0.1). Any but loopback's needs --keys."""
    port: int | None = None
    """0 takes one that is free (8700)."""
    part: Annotated[
        list[Literal["gateway", "renderer", "viewer"]] | None, Parameter(negative=())
    ] = None
    """A part to serve; give it several times. All by default."""
    upstream_window: int | None = None
    """Tokens of the upstream's context, where it does not say so itself."""
    keys: Annotated[Path | None, Parameter(name="--keys")] = None
    """TOML file of API keys; `palimpsest key NAME` makes entries."""
    state: Path | None = None
    """Folder for readings, memories and pages, with which a restart goes on."""
    show: Annotated[list[Path] | None, Parameter(negative=())] = None
    """Readings or runs, or folders of them, for the viewer to show too."""
    origin: Annotated[list[str] | None, Parameter(negative=())] = None
    """Web origin whose pages may call the server, as https://app.example.com."""
    log_level: Literal["debug", "info", "warning", "error"] | None = None
    log_content: Annotated[bool | None, Parameter(negative=())] = None
    """Let logs hold what users and models wrote."""
    config: Path | None = None
    """TOML file with any of these settings."""


@Parameter(name="*", group=_LIMITS)
@dataclass(frozen=True)
class LimitOptions:
    """What the server takes on, and for how long."""

    max_body: float | None = None
    """Largest request, in MiB (64)."""
    at_once: int | None = None
    """Requests worked on at once (256)."""
    queue: int | None = None
    """Requests that wait beyond those (256); what comes on top is answered 429."""
    key_at_once: int | None = None
    """Requests at once of one key."""
    key_rate: int | None = None
    """Requests a minute of one key."""
    request_timeout: float | None = None
    """Seconds for one request, its wait included (3600)."""
    grace: float | None = None
    """Seconds from the signal to stop until what is under way is cut off (30)."""


_RENAMED = {
    "part": "parts",
    "keys": "keys_file",
    "state": "state_folder",
    "show": "shown",
    "origin": "origins",
    "at_once": "concurrency",
    "key_at_once": "key_concurrency",
    "key_rate": "requests_a_minute",
    "request_timeout": "timeout_s",
    "grace": "grace_s",
}


def serve(
    *,
    upstream: str | None = None,
    server: ServerOptions = ServerOptions(),
    reading: ReaderOptions = ReaderOptions(),  # noqa: B008
    model: ModelOptions = ModelOptions(),  # noqa: B008
    limits: LimitOptions = LimitOptions(),
) -> int:
    """Serve an OpenAI-compatible gateway, the renderer and the viewer.

    What fits the upstream's window is passed through untouched; what is longer is read with a
    memory and answered. Prints the URL once it listens; logs, as JSON, go to stderr. Stops at
    Ctrl-C or SIGTERM, and a second one cuts the grace short: exit code 0 when all was finished, 5
    when something was cut off, which the next start goes on with.

    Parameters
    ----------
    upstream
        OpenAI-compatible endpoint that reads and answers; the same as --base-url. Without one,
        the embedded model does.
    """
    given = _given(server, limits, reading, model, upstream)
    return _serve(given, server.config)


def key(name: str, /) -> None:
    """Make an API key for `palimpsest serve`.

    The key is shown on stderr and nowhere else, its entry for the file of keys goes to stdout:
    palimpsest key alice >> keys.toml

    Parameters
    ----------
    name
        Whose key it is: letters, digits, _ and -. It stands in logs and metrics.
    """
    if not _KEY_NAME.fullmatch(name):
        raise InputError(
            f"{name!r} cannot name a key", hint="use up to 64 letters, digits, hyphens, underscores"
        )
    made = f"pk-{secrets.token_urlsafe(32)}"
    notes.print(f"key of {name}, shown only now: {made}", markup=False)
    print(f'[{name}]\nsha256 = "{hashlib.sha256(made.encode()).hexdigest()}"\n')


def _serve(given: dict[str, Any], file: Path | None) -> int:
    try:
        from palimpsest.server.config import resolve_config
        from palimpsest.server.serving import serve as run
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"serving needs {error.name}", hint='pip install "palimpsest-memory[serve]"'
        ) from error
    config = resolve_config(given, file=file)
    config = config.model_copy(update={"upstream": resolve_settings(config.upstream)})
    return run(config, on_listening=lambda url: print(url, flush=True))


def _given(
    server: ServerOptions,
    limits: LimitOptions,
    reading: ReaderOptions,
    model: ModelOptions,
    upstream: str | None,
) -> dict[str, Any]:
    """What the command line says, in the words of the configuration."""
    given = {
        _RENAMED.get(field.name, field.name): getattr(options, field.name)
        for options in (server, limits)
        for field in fields(options)
        if getattr(options, field.name) is not None and field.name != "config"
    }
    if "max_body" in given:
        given["max_body_bytes"] = int(given.pop("max_body") * _MIB)
    settings = model.given().model_dump(exclude_none=True)
    if upstream is not None:
        settings["base_url"] = upstream
    tables = {"upstream": settings, "reader": _reader(reading)}
    return given | {name: table for name, table in tables.items() if table}


def _reader(reading: ReaderOptions) -> dict[str, Any]:
    """The reader as far as the command line says; the rest is the file's to say."""
    settings = {
        name: value
        for name, value in vars(reading).items()
        if value is not None and name not in _NOT_SETTINGS
    }
    if reading.budget:
        settings["budgets"] = tuple(reading.budget)
    if reading.prompts:
        from palimpsest.prompts import load_prompts

        settings["prompts"] = load_prompts(reading.prompts)
    name = reading.reader or ("memocr" if reading.budget else None)
    if name:
        reading.build()
    chosen = {"name": name, "settings": settings, "faithful": reading.faithful}
    return {part: value for part, value in chosen.items() if value}
