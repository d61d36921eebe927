"""PDF to text, page after page."""

from __future__ import annotations

import re

import pypdfium2
import pypdfium2.raw as pdfium

from palimpsest.errors import SourceError

_NEWLINE = re.compile(r"\r\n?")
_SPLIT_WORD = re.compile("(?<=[^\\W\\d_])[\ufffe\x02](?=[^\\W\\d_A-Z])")
_LINE_HYPHEN = re.compile("[\ufffe\x02]")


def read_pdf(data: bytes, name: str) -> str:
    """The text of a PDF: pages are separated by a blank line, words split at a line end joined.

    Raises `SourceError` when it is encrypted, damaged, or holds pictures of text only.
    """
    try:
        with pypdfium2.PdfDocument(data) as document:  # type: ignore[no-untyped-call]
            pages = [_page_text(document, number) for number in range(len(document))]
    except pypdfium2.PdfiumError as error:
        raise _unreadable(name, error) from error
    text = "\n\n".join(page for page in pages if page)
    if not text:
        raise SourceError(
            name,
            f"scanned only: no text in its {len(pages)} page(s)",
            hint="run OCR on it first, for example: ocrmypdf scan.pdf text.pdf",
        )
    return text


def _page_text(document: pypdfium2.PdfDocument, number: int) -> str:
    page = document[number]
    content = page.get_textpage()
    text = _NEWLINE.sub("\n", content.get_text_range())
    content.close()
    page.close()
    # PDFium writes a hyphen and line end as one noncharacter: U+FFFE or U+0002.
    return _LINE_HYPHEN.sub("-", _SPLIT_WORD.sub("", text)).replace("\0", "").strip()


def _unreadable(name: str, error: pypdfium2.PdfiumError) -> SourceError:
    if error.err_code == pdfium.FPDF_ERR_PASSWORD:  # type: ignore[attr-defined]
        return SourceError(
            name,
            "encrypted with a password",
            hint="save a copy without the password, for example: qpdf --decrypt",
        )
    return SourceError(
        name,
        f"the PDF is damaged ({error})",
        hint="open it in a PDF viewer and save or print it to a new PDF",
    )
