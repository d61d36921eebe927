"""HTML and DOCX to Markdown: headings, lists, tables and links stay, looks and scripts go."""

from __future__ import annotations

import codecs
import io
import re
import warnings

import mammoth
from bs4 import BeautifulSoup, Tag
from markdownify import ATX, MarkdownConverter

from palimpsest.errors import SourceError
from palimpsest.sources.decoding import decode

_DECLARED = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_DECLARATION_BYTES = 4096
_UNSEEN = ("script", "style", "noscript", "template", "svg", "iframe", "object")
_OLE = bytes.fromhex("d0cf11e0a1b11ae1")


class _Markdown(MarkdownConverter):
    """Markdown to be read, not rendered again: nothing escaped, no image data."""

    def __init__(self) -> None:
        super().__init__(
            heading_style=ATX,
            bullets="-",
            escape_asterisks=False,
            escape_underscores=False,
        )

    def convert_img(self, element: Tag, text: str, parent_tags: set[str]) -> str:
        """Its alternative text, all of it that words can carry."""
        return str(element.attrs.get("alt") or "")


def read_html(data: bytes, name: str) -> str:
    """The Markdown of an HTML page, in the encoding that the page declares or shows."""
    return _to_markdown(_decode_html(data, name), name)


def read_docx(data: bytes, name: str) -> str:
    """The Markdown of a Word document."""
    if data.startswith(_OLE):
        raise SourceError(
            name,
            "protected with a password, or an old .doc under another name",
            hint="save it in Word as .docx without a password",
        )
    try:
        html = _docx_to_html(data)
    except Exception as error:  # of zip, XML or mammoth itself: there is no common class
        raise SourceError(
            name,
            f"the Word document is damaged ({error})",
            hint="open it in Word and save it again, or export it as PDF",
        ) from error
    return _to_markdown(html, name)


def _docx_to_html(data: bytes) -> str:
    converted = mammoth.convert_to_html(  # type: ignore[no-untyped-call]
        io.BytesIO(data), convert_image=_alternative_text
    )
    return str(converted.value)


@mammoth.images.img_element  # type: ignore[untyped-decorator]
def _alternative_text(image: object) -> dict[str, str]:
    """No source: mammoth adds the alternative text itself."""
    return {}


def _decode_html(data: bytes, name: str) -> str:
    declared = _DECLARED.search(data, 0, _DECLARATION_BYTES)
    if declared is None:
        return decode(data, name)
    try:
        encoding = codecs.lookup(declared[1].decode("ascii")).name
        # Browsers read "iso-8859-1" as Windows-1252, so that is what pages mean by it.
        text = data.decode("cp1252" if encoding == "iso8859-1" else encoding).encode()
    except (LookupError, ValueError):
        return decode(data, name)
    return decode(text, name)


def _to_markdown(html: str, name: str) -> str:
    try:
        with warnings.catch_warnings():
            # Beautiful Soup warns of text that could be a path or XML: it is neither here.
            warnings.simplefilter("ignore", UserWarning)
            soup = BeautifulSoup(html, "html.parser")
        for element in soup(_UNSEEN):
            element.decompose()
        markdown = _Markdown().convert_soup(soup)
    except RecursionError as error:
        raise SourceError(
            name,
            "elements are nested too deeply",
            hint="save the page as text from a browser, and give that",
        ) from error
    return str(markdown)
