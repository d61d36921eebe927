"""Strategies for reading a source of any length: one a file, one small protocol."""

from palimpsest.readers.answers import Parsed, parse_answer
from palimpsest.readers.memagent import MemAgent
from palimpsest.readers.memocr import MemOCR
from palimpsest.readers.reader import Reader

__all__ = ["MemAgent", "MemOCR", "Parsed", "Reader", "parse_answer"]
