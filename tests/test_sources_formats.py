"""Every format read from real files, and every way in which one can be broken."""

import gzip
import io
import json
import zipfile

import docx
import pytest
from PIL import Image
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from palimpsest.errors import SourceError
from palimpsest.sources.formats import SUFFIXES, read_documents, suffix_of


def pdf_bytes(*pages, encrypt=None):
    """A PDF; each page is a list of lines."""
    buffer = io.BytesIO()
    canvas = Canvas(buffer, encrypt=encrypt)
    for lines in pages:
        for number, line in enumerate(lines):
            canvas.drawString(72, 720 - 14 * number, line)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def scanned_pdf_bytes():
    buffer = io.BytesIO()
    canvas = Canvas(buffer)
    picture = Image.new("RGB", (60, 20), "white")
    canvas.drawImage(ImageReader(picture), 72, 600)
    canvas.save()
    return buffer.getvalue()


def docx_bytes():
    document = docx.Document()
    document.add_heading("Harvest report", level=1)
    document.add_paragraph("The yield of field_7 rose by 4 * 3 percent.")
    document.add_paragraph("apples", style="List Bullet")
    table = document.add_table(rows=2, cols=2)
    for cell, text in zip(table._cells, ("fruit", "tons", "plum", "12"), strict=True):
        cell.text = text
    picture = io.BytesIO()
    Image.new("RGB", (4, 4)).save(picture, "PNG")
    document.add_picture(io.BytesIO(picture.getvalue()))
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def read_one(data, name):
    [(_, text)] = read_documents(data, name)
    return text


def refused(data, name):
    with pytest.raises(SourceError) as caught:
        read_documents(data, name)
    assert caught.value.hint
    assert name in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.TXT", ".txt"),
        ("a.jsonl.gz", ".jsonl.gz"),
        ("v1.2.txt.gz", ".txt.gz"),
        ("a.v2.gz", ".gz"),
        ("README", ""),
    ],
)
def test_suffix(name, suffix):
    assert suffix_of(name) == suffix


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_text_in_any_common_encoding(encoding):
    text = "Die Größe der Häuser – “schön”.\nA second line.\n"
    assert read_one(text.encode(encoding), "a.txt") == text


def test_newlines_are_normalised_and_nothing_else():
    assert read_one(b"  a\r\nb\rc\n\n\n d\t", "a.md") == "  a\nb\nc\n\n\n d\t"


def test_utf8_with_a_damaged_byte_keeps_the_rest():
    text = "naïve café, déjà vu, Łódź " * 4
    assert read_one(text.encode() + b"\xff end", "a.log") == text + "\ufffd end"


def test_an_encoding_that_cannot_be_told_is_refused():
    assert "encoding" in refused("记忆是理解长文本的关键".encode("gb18030"), "a.txt")


@pytest.mark.parametrize(
    "data",
    [
        b"abc\0def",
        b"\x01\x02\x03\x04abc",
        b"\xff\xfea",
        bytes(range(256)),
        "abc".encode("utf-16-le"),
    ],
    ids=["nul", "controls", "half-utf-16", "all-bytes", "utf-16-without-mark"],
)
def test_binary_data_is_refused(data):
    assert "binary" in refused(data, "a.txt")


def test_a_text_of_an_unknown_suffix_is_read():
    assert read_one(b"def answer(): return 42\n", "answer.py") == "def answer(): return 42\n"


@pytest.mark.parametrize("name", ["page.html", "page.HTM", "standard input"])
def test_html_becomes_markdown_without_scripts(name):
    page = b"""<!DOCTYPE html><html><head><title>Rivers</title><style>p {color: red}</style></head>
    <body><h1>The Tiber</h1><script>track()</script><p>It <b>flows</b> past snake_case &amp; Rome.
    </p><ul><li>long</li></ul><img src="data:image/png;base64,AAAA" alt="a map">
    <noscript>turn on</noscript></body></html>"""
    text = read_one(page, name)
    assert "# The Tiber\n" in text
    assert "It **flows** past snake_case & Rome." in text
    assert "- long" in text
    assert "a map" in text
    assert not any(word in text for word in ("track", "color", "base64", "turn on", "<"))


@pytest.mark.parametrize("charset", ["iso-8859-1", "shift_jis", "utf-8"])
def test_html_in_its_declared_encoding(charset):
    word = "記憶" if charset == "shift_jis" else "Größe"
    page = f'<html><head><meta charset="{charset}"></head><body><p>{word}</p></body></html>'
    assert word in read_one(page.encode(charset), "a.html")


def test_html_that_declares_an_unknown_encoding_is_read_by_its_bytes():
    assert "Größe" in read_one('<meta charset="klingon"><p>Größe</p>'.encode(), "a.html")


def test_html_nested_without_end_is_refused():
    assert "nested" in refused(b"<div>" * 20_000 + b"x", "a.html")


def test_html_without_text_is_refused():
    assert "no text" in refused(b"<html><body><script>1</script></body></html>", "a.html")


@pytest.mark.parametrize("name", ["report.pdf", "report"])
def test_pdf_pages_are_joined(name):
    data = pdf_bytes(["First page,", "second line."], [], ["Last page."])
    assert read_one(data, name) == "First page,\nsecond line.\n\nLast page."


def test_pdf_words_split_at_a_line_end_are_joined():
    data = pdf_bytes(["the reader of a palimp-", "sest saw it"])
    assert read_one(data, "a.pdf") == "the reader of a palimpsest saw it"


def test_an_encrypted_pdf_is_refused():
    data = pdf_bytes(["secret"], encrypt=StandardEncryption("password"))
    assert "encrypted" in refused(data, "a.pdf")


def test_a_scanned_pdf_is_refused_with_a_way_out():
    with pytest.raises(SourceError, match="scanned only") as caught:
        read_documents(scanned_pdf_bytes(), "scan.pdf")
    assert "OCR" in caught.value.hint


@pytest.mark.parametrize("data", [b"%PDF-1.7 and no more", b"not a pdf"])
def test_a_damaged_pdf_is_refused(data):
    assert "damaged" in refused(data, "a.pdf")


@pytest.mark.parametrize("name", ["report.docx", "report"])
def test_docx_becomes_markdown(name):
    text = read_one(docx_bytes(), name)
    assert text.startswith("# Harvest report\n\n")
    assert "The yield of field_7 rose by 4 * 3 percent." in text
    assert "- apples" in text
    assert "| plum | 12 |" in text
    assert "base64" not in text


def test_a_docx_with_a_password_is_refused():
    assert "password" in refused(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600), "a.docx")


def test_a_damaged_docx_is_refused():
    data = docx_bytes()
    assert "damaged" in refused(data[: len(data) // 2], "a.docx")


@pytest.mark.parametrize("part", [b"<w:document", b"<broken/>", b""])
def test_a_docx_whose_document_is_broken_is_refused(part):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("word/document.xml", part)
    assert "damaged" in refused(buffer.getvalue(), "a.docx")


def test_rows_are_documents_named_by_their_fields():
    rows = [
        {"title": "Rome", "text": "On the\r\nTiber."},
        {"id": 7, "content": "seven"},
        "just a string",
        {"name": " ", "file": "b.txt", "context": "in context", "other": 1},
        {"passage": "unnamed"},
        {"paragraph_text": "also"},
    ]
    data = "\n\n".join(json.dumps(row) for row in rows).encode() + b"\n"
    assert read_documents(data, "a.jsonl") == [
        ("Rome", "On the\nTiber."),
        ("7", "seven"),
        ("a.jsonl:5", "just a string"),
        ("b.txt", "in context"),
        ("a.jsonl:9", "unnamed"),
        ("a.jsonl:11", "also"),
    ]


def test_a_line_separator_inside_a_row_does_not_end_it():
    data = json.dumps({"text": "a\u2028b\x85c"}, ensure_ascii=False).encode()
    assert read_one(data, "a.jsonl") == "a\u2028b\x85c"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1]", "JSON list"),
        ("3", "JSON number"),
        ("null", "JSON null"),
        ('{"title": "x"}', "no text among the fields title"),
        ("{}", "no text among the fields"),
        ('{"text": {"a": 1}}', "`text` is a JSON object"),
    ],
)
def test_a_bad_row_is_refused_by_line(row, message):
    text = refused(f'"fine"\n{row}\n'.encode(), "a.jsonl")
    assert text.startswith("a.jsonl:2: ")
    assert message in text


def test_compressed_text_and_rows():
    assert read_one(gzip.compress(b"plain"), "a.txt.gz") == "plain"
    assert read_documents(gzip.compress(b'"row"'), "a.jsonl.gz") == [("a.jsonl.gz:1", "row")]
    assert read_one(gzip.compress(b"no suffix"), "a.gz") == "no suffix"
    assert read_one(gzip.compress(b"no suffix"), "standard input") == "no suffix"


@pytest.mark.parametrize("data", [b"not gzip", gzip.compress(b"x" * 1000)[:-9]])
def test_a_damaged_archive_is_refused(data):
    assert "damaged" in refused(data, "a.txt.gz")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("a.doc", "office document"),
        ("a.xlsx", "spreadsheet"),
        ("a.pptx", "slide deck"),
        ("a.PNG", "picture"),
        ("a.mp3", "recording"),
        ("a.zip", "archive"),
        ("a.epub", "e-book"),
        ("a.parquet", "database"),
    ],
)
def test_a_known_kind_that_is_not_supported_says_so(name, what):
    assert what in refused(b"whatever", name)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\x89PNG\r\n\x1a\n", "picture"),
        (bytes.fromhex("d0cf11e0a1b11ae1"), "office document"),
        (b"PK\x03\x04 and no more", "archive"),
    ],
)
def test_a_file_without_suffix_is_told_by_its_first_bytes(data, what):
    assert what in refused(data, "upload")


def test_supported_suffixes_are_recognised_as_suffixes():
    assert {suffix_of(f"x{suffix}") for suffix in SUFFIXES} == SUFFIXES
