from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from palimpsest.errors import ConfigurationError, InputError
from palimpsest.models.tesseract import TesseractEyes
from palimpsest.pages import render
from palimpsest.pages.legibility import compared, legibility, word_recall, words

MEMORY = """\
# The light on Skarvholm

- **Henrietta Osei-Lund** drew the second tower.
- Tobias Wren kept the diary.

| Year | Event |
|---|---|
| 1841 | *Kroll* builds |
| **1884** | **Relit** |
"""

needs_tesseract = pytest.mark.skipif(
    shutil.which("tesseract") is None, reason="the tesseract command is not installed"
)


class Remembering:
    """Eyes that see what they are told to, whatever they look at."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sizes: list[tuple[int, int]] = []

    def read(self, image: Image.Image) -> str:
        self.sizes.append(image.size)
        return self.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("The tower, the TOWER!", ["the", "tower", "the", "tower"]),
        ("Tromsø Dvořák café", ["tromsø", "dvorak", "cafe"]),
        ("Straße ﬁne Ｗｉｄｅ", ["strasse", "fine", "wide"]),
        ("4.6 px, 1841–1884", ["4", "6", "px", "1841", "1884"]),
        ("snake_case `code`", ["snake", "case", "code"]),
        ("北京 is 首都。", ["北", "京", "is", "首", "都"]),
        ("2014年の灯台", ["2014", "年", "の", "灯", "台"]),
        ("ガ", ["ガ"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("שָׁלוֹם كِتَاب", ["שלום", "كتاب"]),
    ],
)
def test_words_are_folded_runs_of_letters_and_digits(text, expected):
    assert sorted(words(text).elements()) == sorted(expected)


def test_a_word_counts_as_often_as_it_is_expected():
    assert word_recall("red red blue", "red") == pytest.approx(1 / 3)
    assert word_recall("red red blue", "red red red") == pytest.approx(2 / 3)


def test_neither_order_nor_other_words_count():
    assert word_recall("one two", "zero two one three") == 1.0


def test_nothing_expected_is_all_read():
    assert word_recall("--- !", "anything") == 1.0


@given(st.text(), st.text())
def test_recall_is_a_share_and_a_text_recalls_itself(expected, read):
    assert 0.0 <= word_recall(expected, read) <= 1.0
    assert word_recall(expected, expected) == 1.0
    assert word_recall(expected, f"{expected} {read}") == 1.0


def test_all_is_legible_when_everything_is_read():
    measured = compared(MEMORY, MEMORY)
    assert (measured.words, measured.headings, measured.bold, measured.emphasis) == (1, 1, 1, 1)


def test_nothing_is_legible_when_nothing_is_read():
    measured = compared(MEMORY, "")
    assert (measured.words, measured.headings, measured.bold, measured.emphasis) == (0, 0, 0, 0)


def test_headings_and_bold_words_are_told_apart():
    measured = compared(MEMORY, "The light on Skarvholm 1884")
    assert measured.headings == 1.0
    assert measured.bold == pytest.approx(1 / 5)
    assert measured.emphasis == pytest.approx(5 / 9)


def test_the_head_of_a_table_is_no_emphasis():
    assert compared("| Year |\n|---|\n| 1841 |", "1841").emphasis == 1.0
    assert compared("| Year |\n|---|\n| 1841 |", "1841").words == 0.5


def test_bold_parts_of_a_word_are_one_word_and_bold_cells_are_two():
    assert compared("**light*house***", "lighthouse").bold == 1.0
    assert compared("|a|b|\n|-|-|\n|**x**|**y**|", "x y").bold == 1.0


def test_a_page_is_read_by_the_eyes_it_is_given():
    page = render(MEMORY, 64)
    eyes = Remembering("Tobias Wren")
    measured = legibility(page, MEMORY, eyes)
    assert eyes.sizes == [page.image.size]
    assert measured.read == "Tobias Wren"
    assert measured.words == pytest.approx(2 / words(page.text).total())


def test_any_picture_can_be_read():
    assert legibility(Image.new("RGB", (28, 28)), MEMORY, Remembering("")).words == 0.0


def test_a_memory_that_makes_no_page_is_refused():
    with pytest.raises(InputError):
        compared("x" * 100_000, "")


def test_no_reader_is_loaded_before_it_reads():
    code = (
        "import sys, palimpsest.pages.legibility, palimpsest.models.tesseract; "
        "print([name for name in ('rapidocr', 'onnxruntime') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@needs_tesseract
def test_tesseract_reads_a_large_page():
    page = render(MEMORY, 256)
    measured = legibility(page, MEMORY, TesseractEyes())
    assert measured.words > 0.8
    assert measured.headings == 1.0


@needs_tesseract
def test_tesseract_reads_nothing_on_a_blank_page():
    assert TesseractEyes().read_at(Image.new("RGB", (56, 56), "white"), 2) == ""


@needs_tesseract
def test_a_language_without_data_is_named():
    with pytest.raises(ConfigurationError, match="tesseract failed") as caught:
        TesseractEyes(languages="zzz").read_at(Image.new("RGB", (56, 56), "white"), 1)
    assert "zzz" in caught.value.hint


def test_a_missing_command_is_a_configuration_error():
    with pytest.raises(ConfigurationError, match="'tesseract-of-nowhere' cannot be run") as caught:
        TesseractEyes("tesseract-of-nowhere").read(Image.new("RGB", (56, 56), "white"))
    assert "install" in caught.value.hint


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
def test_a_look_that_takes_too_long_reads_nothing(tmp_path: Path):
    slow = tmp_path / "tesseract"
    slow.write_text("#!/bin/sh\nexec sleep 30\n")
    slow.chmod(0o755)
    eyes = TesseractEyes(str(slow), timeout_s=0.2)
    assert eyes.read_at(Image.new("RGB", (56, 56), "white"), 1) == ""
