"""`palimpsest mcp`: reading as tools of an MCP client, over standard input and output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from palimpsest.asking import default_readings_folder
from palimpsest.cli.app import run_async
from palimpsest.cli.options import ModelOptions
from palimpsest.cli.readers import CapOptions, PriceOptions, ReaderOptions
from palimpsest.errors import ConfigurationError
from palimpsest.models.caps import Caps
from palimpsest.remembering import default_memories_folder
from palimpsest.settings import EMBEDDED


def mcp(
    *,
    root: Annotated[list[Path], Parameter(negative=())],
    reading: ReaderOptions = ReaderOptions(),  # noqa: B008
    model: ModelOptions = ModelOptions(),  # noqa: B008
    caps: CapOptions = CapOptions(),  # noqa: B008
    prices: PriceOptions = PriceOptions(),  # noqa: B008
    readings: Path | None = None,
    memories: Path | None = None,
) -> None:
    """Serve tools to an MCP client: ask files, append to and ask memories, blame a line.

    Speaks the protocol on standard input and output, so it is started by the client. Reading
    options hold for questions that name no reader and no budget, and for new memories.

    Parameters
    ----------
    root
        Folder whose files may be read; several times for several.
    readings
        Folder in which readings are kept.
    memories
        Folder in which memories are kept. The client may ask all of them.
    """
    try:
        from palimpsest.server.mcp import Desk, serve
        from palimpsest.server.roots import Roots
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"the MCP server needs {error.name}", hint='pip install "palimpsest-memory[serve]"'
        ) from error
    desk = Desk(
        roots=Roots(root),
        model=model.given(),
        reader=reading.build(),
        caps=_caps(model, caps, prices),
        readings=readings or default_readings_folder(),
        memories=memories or default_memories_folder(),
    )
    run_async(serve(desk))


def _caps(model: ModelOptions, caps: CapOptions, prices: PriceOptions) -> Caps:
    settings = model.settings()
    name = settings.name or EMBEDDED
    return caps.caps(prices.price(name, settings.base_url))
