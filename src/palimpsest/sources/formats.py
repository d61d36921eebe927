"""What a file holds, by its suffix or its first bytes, and how to read it."""

from __future__ import annotations

import io
import zipfile
from pathlib import PurePath

from palimpsest.errors import SourceError
from palimpsest.sources.decoding import decode, gunzip
from palimpsest.sources.rows import read_rows

_PLAIN = frozenset((".txt", ".text", ".log", ".csv", ".tsv", ".json", ".xml", ".yaml", ".yml"))
_MARKED = frozenset((".md", ".markdown", ".rst", ".adoc", ".org", ".tex", ".srt", ".vtt"))
_TEXT = _PLAIN | _MARKED
_HTML = frozenset((".html", ".htm", ".xhtml"))
_ROWS = frozenset((".jsonl", ".ndjson"))
_CONVERTED = _HTML | {".pdf", ".docx"}
_COMPRESSIBLE = _TEXT | _HTML | _ROWS
SUFFIXES = _COMPRESSIBLE | _CONVERTED | {f"{suffix}.gz" for suffix in _COMPRESSIBLE}
"""What is read when a folder is given."""

_OTHERS = (
    (".doc .rtf .odt .pages .wpd", "an office document", "save it as .docx or PDF"),
    (".xls .xlsx .xlsm .ods .numbers", "a spreadsheet", "export its sheets as .csv"),
    (".ppt .pptx .odp .key", "a slide deck", "export it as PDF"),
    (
        ".png .jpg .jpeg .gif .webp .bmp .tif .tiff .heic .svg .ico",
        "a picture",
        "run OCR on it and give the text",
    ),
    (
        ".mp3 .wav .flac .m4a .ogg .aac .mp4 .mov .mkv .avi .webm",
        "a recording",
        "transcribe it and give the text",
    ),
    (".zip .tar .tgz .7z .rar .bz2 .xz .zst", "an archive", "unpack it and give the folder"),
    (".epub .mobi .azw3", "an e-book", "convert it to HTML or text, for example with pandoc"),
    (".parquet .arrow .sqlite .db", "a database", "export its rows as .jsonl"),
)
_UNSUPPORTED = {
    suffix: (what, hint) for suffixes, what, hint in _OTHERS for suffix in suffixes.split()
}
_MAGIC = (
    (b"%PDF-", ".pdf"),
    (b"\x1f\x8b", ".gz"),
    (b"\xd0\xcf\x11\xe0", ".doc"),
    (b"\x89PNG", ".png"),
    (b"\xff\xd8\xff", ".jpg"),
    (b"GIF8", ".gif"),
    (b"7z\xbc\xaf", ".7z"),
)
_HTML_OPENINGS = (b"<!doctype html", b"<html")
_SNIFFED_BYTES = 1024


def suffix_of(name: str) -> str:
    """The suffix in lower case; `.gz` together with the one before it."""
    suffixes = [suffix.lower() for suffix in PurePath(name).suffixes]
    if suffixes[-1:] == [".gz"] and len(suffixes) > 1 and suffixes[-2] in _COMPRESSIBLE:
        return suffixes[-2] + ".gz"
    return suffixes[-1] if suffixes else ""


def read_documents(data: bytes, name: str) -> list[tuple[str, str]]:
    """The (name, text) of each document in the bytes of a file called `name`.

    Only JSON Lines hold more than one. Newlines come out as LF. Raises `SourceError` when the
    bytes are not what the suffix says, of a kind that is not supported, or without any text.
    """
    documents = _read(data, name, suffix_of(name))
    if not any(text.strip() for _, text in documents):
        raise SourceError(name, "there is no text in it", hint="leave it out")
    return documents


def _read(data: bytes, name: str, suffix: str) -> list[tuple[str, str]]:
    if suffix in _UNSUPPORTED:
        what, hint = _UNSUPPORTED[suffix]
        raise SourceError(name, f"{what} ({suffix}) cannot be read", hint=hint)
    if suffix.endswith(".gz"):
        return _read(gunzip(data, name), name, suffix.removesuffix(".gz"))
    if suffix in _ROWS:
        return read_rows(decode(data, name), name)
    if suffix not in _CONVERTED | _TEXT and (sniffed := _sniff(data)):
        return _read(data, name, sniffed)
    text = _convert(data, name, suffix) if suffix in _CONVERTED else decode(data, name)
    return [(name, text)]


def _convert(data: bytes, name: str, suffix: str) -> str:
    # The converters take longer to import than the rest of the package: only who needs one pays.
    if suffix == ".pdf":
        from palimpsest.sources.pdf import read_pdf

        return read_pdf(data, name)
    from palimpsest.sources.markup import read_docx, read_html

    return read_docx(data, name) if suffix == ".docx" else read_html(data, name)


def _sniff(data: bytes) -> str:
    """The suffix that the first bytes call for; empty for what may be text."""
    for magic, suffix in _MAGIC:
        if data.startswith(magic):
            return suffix
    if data.startswith(b"PK\x03\x04"):
        return ".docx" if _is_docx(data) else ".zip"
    opening = data[:_SNIFFED_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return ".html" if opening.startswith(_HTML_OPENINGS) else ""


def _is_docx(data: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return "word/document.xml" in archive.namelist()
    except zipfile.BadZipFile:
        return False
