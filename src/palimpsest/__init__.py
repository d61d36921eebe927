"""Answer questions about input of any length with a model of fixed window.

    import palimpsest

    reading = palimpsest.ask("report.pdf", "Who approved the budget?")
    print(reading.answer)

A source is read chunk by chunk with one memory that is rewritten after each: as text
(`MemAgent`), or drawn as a page and read as a picture (`MemOCR`).
"""

from typing import TYPE_CHECKING

from palimpsest.asking import aask, ask
from palimpsest.errors import PalimpsestError
from palimpsest.memory.reading import Reading
from palimpsest.models.model import Completion, Model, Sampling
from palimpsest.sources import Source, open_source

if TYPE_CHECKING:
    from palimpsest.readers import MemAgent, MemOCR

__all__ = [
    "Completion",
    "MemAgent",
    "MemOCR",
    "Model",
    "PalimpsestError",
    "Reading",
    "Sampling",
    "Source",
    "aask",
    "ask",
    "open_source",
]


def __getattr__(name: str) -> object:
    # Readers bring the page's fonts and shaping with them, which a first import need not pay.
    if name in ("MemAgent", "MemOCR"):
        from palimpsest import readers

        return getattr(readers, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
