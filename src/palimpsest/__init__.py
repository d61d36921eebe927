"""Answer questions about input of any length with a model of fixed window.

    import palimpsest

    reading = palimpsest.ask("report.pdf", "Who approved the budget?")
    print(reading.answer)

A source is read chunk by chunk with one memory that is rewritten after each: as text
(`MemAgent`), or drawn as a page and read as a picture (`MemOCR`); again for what it lacked
(`MemReread`), with gates (`Gated`), side by side (`Parallel`), or with recall (`ReMemR1`).
"""

from importlib import import_module
from typing import TYPE_CHECKING

from palimpsest.asking import aask, ask
from palimpsest.errors import PalimpsestError
from palimpsest.memory.reading import Reading
from palimpsest.models.caps import Caps
from palimpsest.models.model import Completion, Model, Sampling
from palimpsest.sources import Source, open_source

if TYPE_CHECKING:
    from palimpsest.memory.citations import citations
    from palimpsest.readers import Gated, MemAgent, MemOCR, MemReread, Parallel, ReMemR1
    from palimpsest.remembering import SavedMemory

__all__ = [
    "Caps",
    "Completion",
    "Gated",
    "MemAgent",
    "MemOCR",
    "MemReread",
    "Model",
    "PalimpsestError",
    "Parallel",
    "ReMemR1",
    "Reading",
    "Sampling",
    "SavedMemory",
    "Source",
    "aask",
    "ask",
    "citations",
    "open_source",
]


# Readers bring the page's fonts and shaping with them, which a first import need not pay.
_LATER = {
    **dict.fromkeys(
        ("Gated", "MemAgent", "MemOCR", "MemReread", "Parallel", "ReMemR1"), "palimpsest.readers"
    ),
    "SavedMemory": "palimpsest.remembering",
    "citations": "palimpsest.memory.citations",
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)
