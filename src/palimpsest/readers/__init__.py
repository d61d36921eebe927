"""Strategies for reading a source of any length: one a file, one small protocol."""

from palimpsest.readers.answers import Parsed, parse_answer
from palimpsest.readers.closed import ClosedBook
from palimpsest.readers.full import FullContext
from palimpsest.readers.gated import Gated
from palimpsest.readers.memagent import MemAgent
from palimpsest.readers.memocr import MemOCR
from palimpsest.readers.memreread import MemReread
from palimpsest.readers.parallel import Parallel
from palimpsest.readers.reader import Reader
from palimpsest.readers.registry import build_reader
from palimpsest.readers.rememr1 import ReMemR1
from palimpsest.readers.retrieval import Retrieval

__all__ = [
    "ClosedBook",
    "FullContext",
    "Gated",
    "MemAgent",
    "MemOCR",
    "MemReread",
    "Parallel",
    "Parsed",
    "ReMemR1",
    "Reader",
    "Retrieval",
    "build_reader",
    "parse_answer",
]
