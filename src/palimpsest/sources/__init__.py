"""Documents in, chunks out: the long input and everything that measures it."""

from palimpsest.sources.chunking import Chunk, Cutting, cut, sentence_windows, token_windows
from palimpsest.sources.loading import open_source
from palimpsest.sources.source import Document, Location, Source
from palimpsest.sources.tokens import EstimateTokenizer, FileTokenizer, Tokenizer, clip, count

__all__ = [
    "Chunk",
    "Cutting",
    "Document",
    "EstimateTokenizer",
    "FileTokenizer",
    "Location",
    "Source",
    "Tokenizer",
    "clip",
    "count",
    "cut",
    "open_source",
    "sentence_windows",
    "token_windows",
]
