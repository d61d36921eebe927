"""`palimpsest view`: readings, memories and runs as a page in the browser."""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

from palimpsest.asking import default_readings_folder
from palimpsest.cli.app import notes
from palimpsest.cli.options import ModelOptions
from palimpsest.errors import ConfigurationError
from palimpsest.memory.store import ReadingStore
from palimpsest.remembering import default_memories_folder
from palimpsest.settings import ModelSettings

if TYPE_CHECKING:
    from palimpsest.server.viewer.viewing import ViewerConfig

_RUNS = Path("runs")
"""Where `palimpsest eval` keeps runs by default."""


def view(
    *target: str,
    source: Annotated[list[Path], Parameter(name="--source", negative=())] = [],  # noqa: B006
    readings: Path | None = None,
    model: ModelOptions = ModelOptions(),  # noqa: B008
    port: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))] = 0,
    open_browser: Annotated[bool, Parameter(name="--open", negative=())] = False,
) -> int:
    """Show readings, memories, evaluation runs and training runs in the browser.

    Without a target, all that is kept: readings, saved memories and `runs/`. The page is served
    on this machine alone until Ctrl-C. With a model named (--model, the environment or the
    configuration file), files can be dropped on the page and asked. For others to see it, there is
    `palimpsest serve --part viewer` with keys.

    Parameters
    ----------
    target
        The start of a reading's name, or the path of a reading, a saved memory, a run, or a
        folder of them; several to look at them side by side.
    source
        What was read, where it is no longer found.
    readings
        Folder in which readings are kept.
    port
        Port to listen on; by default one that is free.
    open_browser
        Open the page in the browser.
    """
    try:
        from palimpsest.server.serving import serve
        from palimpsest.server.viewer.viewing import ViewerConfig
    except ImportError as error:
        raise ConfigurationError(
            f"the viewer is not installed: {error}", hint='pip install "palimpsest-memory[serve]"'
        ) from error
    config = ViewerConfig(
        port=port,
        upstream=_upstream(model),
        shown=tuple(_shown(target, readings)),
        sources=tuple(source),
        readings=readings,
    )

    def listening(url: str) -> None:
        address = f"{url}/viewer/{_place(config)}"
        notes.print(f"the viewer is at {address} (Ctrl-C ends it)", markup=False)
        if open_browser:
            webbrowser.open(address)

    return serve(config, on_listening=listening)


def _upstream(model: ModelOptions) -> ModelSettings:
    """The model that may be asked; none where only an endpoint is known from the environment,
    which is no reason not to look at what is there."""
    settings = model.settings()
    return settings if settings.name or model.given().base_url else ModelSettings()


def _shown(targets: Sequence[str], readings: Path | None) -> list[Path]:
    """What is to be shown. Raises `ReadingError` for a name that no reading has."""
    kept = readings or default_readings_folder()
    if not targets:
        folders = (kept, default_memories_folder(), _RUNS)
        return [folder for folder in folders if folder.is_dir()]
    paths = [Path(target) for target in targets]
    return [path if path.exists() else ReadingStore(kept).find(path.name) for path in paths]


def _place(config: ViewerConfig) -> str:
    """Where on the page it is that was named, where that is one thing."""
    from palimpsest.server.viewer.library import Library

    entries = Library(config.shown).entries()
    if len(config.shown) != 1 or len(entries) != 1:
        return ""
    kind = "reading" if entries[0].kind == "memory" else entries[0].kind
    return f"#/{kind}/{entries[0].id}"
