"""Files, folders, patterns and standard input."""

import io
import os
import sys
from pathlib import Path

import pytest

from palimpsest.errors import InputError, SourceError
from palimpsest.sources import open_source


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A folder `books` with readable files, hidden ones, and one of another kind."""
    files = {
        "books/b.txt": "Second.",
        "books/a.md": "First.",
        "books/deep/c.html": "<p>Third.</p>",
        "books/deep/rows.jsonl": '{"title": "Row", "text": "Fourth."}\n"Fifth."\n',
        "books/cover.png": "not read",
        "books/.hidden.txt": "not read",
        "books/.git/config.txt": "not read",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "books"


def names(source):
    return [document.name for document in source.documents]


def test_a_single_file_is_the_whole_source(library):
    source = open_source([library / "b.txt"])
    assert source.text == "Second."
    assert names(source) == [str(library / "b.txt")]


def test_a_folder_is_read_in_order_without_hidden_and_unsupported_files(library):
    rows = os.path.join("books", "deep", "rows.jsonl")
    assert names(open_source(["books"])) == [
        os.path.join("books", "a.md"),
        os.path.join("books", "b.txt"),
        os.path.join("books", "deep", "c.html"),
        "Row",
        f"{rows}:2",
    ]


def test_a_pattern_is_read_in_order(library):
    assert names(open_source(["books/*.[mt]*"])) == ["books/a.md", "books/b.txt"]
    assert names(open_source(["books/**/*.html"])) == ["books/deep/c.html"]


def test_a_file_whose_name_looks_like_a_pattern_is_read(library):
    Path("notes[1].txt").write_text("Literal.")
    assert open_source(["notes[1].txt"]).text == "Literal."


def test_a_file_given_twice_counts_once(library):
    source = open_source(["books/b.txt", library / "b.txt", "books/*.txt", "books/../books/b.txt"])
    assert names(source) == ["books/b.txt"]


def test_standard_input_is_sniffed_and_read_once(library, monkeypatch):
    page = io.TextIOWrapper(io.BytesIO(b"<html><body><h2>Piped</h2></body></html>"))
    monkeypatch.setattr(sys, "stdin", page)
    source = open_source(["-", "books/b.txt", "-"])
    assert names(source) == ["standard input", "books/b.txt"]
    assert "## Piped" in source.text


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing.txt", "missing.txt: no such file"),
        ("books/b.txt/x", "cannot be read: Not a directory"),
        ("x" * 5000, "File name too long"),
        ("nul\0.txt", "NUL character"),
        ("books/*.rst", "no file matches the pattern"),
        ("empty.txt", "empty.txt: it is empty"),
        ("blank.txt", "blank.txt: there is no text"),
        ("hollow", "hollow: the folder holds no file"),
        ("books/cover.png", "picture"),
    ],
)
def test_what_cannot_be_read_is_named(library, path, message):
    Path("empty.txt").touch()
    Path("blank.txt").write_text(" \n\n")
    Path("hollow").mkdir()
    with pytest.raises(SourceError, match=message) as caught:
        open_source(["books/b.txt", path])
    assert caught.value.hint


def test_unreadable_inputs_are_skipped_on_request(library):
    skipped = []
    source = open_source(
        ["missing.txt", "books/cover.png", "books/*.rst", "books/b.txt"],
        skip_unreadable=True,
        on_skip=skipped.append,
    )
    assert source.text == "Second."
    assert [error.name for error in skipped] == ["missing.txt", "books/cover.png", "books/*.rst"]


def test_nothing_left_after_skipping_is_an_error(library):
    with pytest.raises(InputError, match=r"skipped 2, the first of them missing\.txt") as caught:
        open_source(["missing.txt", "books/cover.png"], skip_unreadable=True)
    assert caught.value.hint == "check the path"


def test_no_paths_are_refused():
    with pytest.raises(InputError, match="nothing to read"):
        open_source([])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_file_without_permission_is_named(library):
    (library / "b.txt").chmod(0)
    with pytest.raises(SourceError, match="no permission"):
        open_source(["books/b.txt"])


def test_a_broken_link_in_a_folder_is_named(library):
    (library / "gone.txt").symlink_to("nowhere.txt")
    with pytest.raises(SourceError, match=r"gone\.txt: no such file"):
        open_source(["books"])
