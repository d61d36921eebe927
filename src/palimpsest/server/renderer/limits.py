"""What one client may ask of the renderer, and how long a page may take."""

from __future__ import annotations

from dataclasses import dataclass

from palimpsest.pages.markdown import MAX_CHARACTERS
from palimpsest.pages.page import MAX_BUDGET


@dataclass(frozen=True)
class RendererLimits:
    """Limits of the renderer service."""

    characters: int = MAX_CHARACTERS
    """Of one page's content."""
    budget: int = MAX_BUDGET
    """Visual tokens of one page."""
    batch_pages: int = 256
    batch_tokens: int = 65_536
    """The budgets of a batch together."""
    batch_s: float = 60.0
    """For a whole batch; pages that are not done by then are told as such."""
    queue: int = 64
    """Requests that are drawn or wait for it; what comes on top is refused with 429."""
    wait_s: float = 15.0
    """For a worker to be free."""
    draw_s: float = 10.0
    """For one page; the worker that takes longer is replaced."""
    start_s: float = 60.0
    """For a worker to start."""
    worker_bytes: int = 3 << 30
    """Address space of a worker process, on systems that can limit it."""
    cache_bytes: int = 64 << 20
    """Of drawn pages, as files."""
