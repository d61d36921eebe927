"""The default engine: HTML and CSS without a browser, in a worker process with limits.

Blitz lays out as a browser does, with flex boxes, grids, tables and style sheets; it runs no
scripts and fetches nothing. Fonts come from font packages only, so pixels do not depend on the
machine. Known gaps: no columns of text (`column-count`), `sub` and `sup` are small but not raised.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import numpy as np
from numpy.typing import NDArray

from palimpsest.pages.families import checked
from palimpsest.pages.html.engine import Canvas, Size
from palimpsest.pages.html.sandbox import Sandbox, Session
from palimpsest.pages.style import Style


class BlitzEngine:
    """Draws with Blitz. Pages of several threads take turns; for more, use several processes.

    `deadline_s` holds for all that is done with one document, `memory_mb` for the address space of
    the worker process (on systems that can limit it). `families` are font families by preference,
    as in a page's style. Raises `ConfigurationError` if one of them is not installed.
    """

    def __init__(
        self,
        *,
        deadline_s: float = 10.0,
        memory_mb: int = 2048,
        families: tuple[str, ...] = Style().families,
    ) -> None:
        self.sandbox = Sandbox(checked(families), deadline_s=deadline_s, memory_mb=memory_mb)

    @contextmanager
    def open(self, html: str) -> Iterator[Canvas]:
        with self.sandbox.session() as session:
            session.ask("open", html.encode())
            yield _BlitzCanvas(session)

    def close(self) -> None:
        """Ends the worker process; the next page starts another."""
        self.sandbox.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _BlitzCanvas:
    def __init__(self, session: Session) -> None:
        self._session = session

    def measure(self, width: int, scale: float) -> Size:
        reply, _ = self._session.ask("measure", width=width, scale=scale)
        return Size(*reply["measured"])

    def draw(self, width: int, height: int, scale: float) -> NDArray[np.uint8]:
        reply, pixels = self._session.ask("draw", width=width, height=height, scale=scale)
        rgba = np.frombuffer(pixels, np.uint8).reshape(reply["rows"], reply["columns"], 4)
        # The engine has painted white first, so nothing shines through.
        return rgba[:, :, :3]
