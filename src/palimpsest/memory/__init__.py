"""The memory and the record of how it came to be."""

from palimpsest.memory.reading import (
    Answer,
    ChunkRead,
    End,
    GuardEvent,
    Header,
    MemoryVersion,
    OnEvent,
    PageRecord,
    Reading,
    Record,
    Role,
    Span,
    Status,
    Turn,
)
from palimpsest.memory.store import Journal, ReadingStore, load_reading

__all__ = [
    "Answer",
    "ChunkRead",
    "End",
    "GuardEvent",
    "Header",
    "Journal",
    "MemoryVersion",
    "OnEvent",
    "PageRecord",
    "Reading",
    "ReadingStore",
    "Record",
    "Role",
    "Span",
    "Status",
    "Turn",
    "load_reading",
]
