"""Bytes to text: which encoding, and whether it is text at all."""

from __future__ import annotations

import codecs
import gzip
import re
import zlib

from palimpsest.errors import SourceError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_MOST_CONTROLS = 0.002
_MOST_HIGH_BYTES = 0.3
_MOST_DAMAGED = 0.1


def decode(data: bytes, name: str) -> str:
    """The text of `data`, with every newline as LF.

    UTF-8, anything with a byte-order mark, else Western European (Windows-1252). UTF-8 with a few
    damaged bytes keeps the rest and shows U+FFFD for them. Raises `SourceError` for the others.
    """
    text = _marked(data, name)
    if text is None:
        text = _unmarked(data, name)
    if "\0" in text or len(_CONTROLS.findall(text)) > len(text) * _MOST_CONTROLS:
        raise _binary(name)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def gunzip(data: bytes, name: str) -> bytes:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(
            name, f"the gzip archive is damaged ({error})", hint="get a fresh copy of the file"
        ) from error


def _marked(data: bytes, name: str) -> str | None:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return data.decode(encoding)
            except UnicodeDecodeError as error:
                raise _binary(name) from error
    return None


def _unmarked(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    if b"\0" in data:
        raise _binary(name)
    mended = data.decode("utf-8", "replace")
    beyond_ascii = sum(character > "\x7f" for character in mended)
    if mended.count("\ufffd") <= beyond_ascii * _MOST_DAMAGED:
        return mended
    return _western(data, name)


def _western(data: bytes, name: str) -> str:
    high = sum(byte > 0x7F for byte in data)
    if high > len(data) * _MOST_HIGH_BYTES:
        raise SourceError(
            name,
            "neither UTF-8 nor another encoding that can be told apart",
            hint="convert it first: iconv -f ENCODING -t UTF-8",
        )
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _binary(name: str) -> SourceError:
    return SourceError(
        name,
        "binary data, not text",
        hint="give text, Markdown, HTML, PDF, DOCX or JSON Lines; UTF-16 needs a byte-order mark",
    )
