import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from palimpsest.datasets.files import read_rows, read_text
from palimpsest.errors import InputError

ROWS = [{"id": 1, "text": "один"}, {"id": 2, "text": "two\u2028lines"}]


def write(path, text):
    packed = path.name.endswith(".gz")
    data = text.encode("utf-8") if isinstance(text, str) else text
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


def parquet(rows):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_rows_are_the_same_in_each_format(tmp_path, suffix):
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
    for name, content in (
        ("a.jsonl", f"{lines}\n\n"),
        ("a.json", json.dumps(ROWS)),
        ("b.json", json.dumps({"version": 2, "data": ROWS})),
        ("c.json", json.dumps({"Data": ROWS})),
        ("lines.json", lines),
        ("a.parquet", parquet(ROWS)),
    ):
        assert list(read_rows(write(tmp_path / f"{name}{suffix}", content))) == ROWS, name


def test_one_object_is_one_row(tmp_path):
    file = write(tmp_path / "essay.json", json.dumps({"text": "long"}))

    assert list(read_rows(file)) == [{"text": "long"}]


def test_lines_are_read_as_they_are_asked_for(tmp_path):
    rows = read_rows(write(tmp_path / "a.jsonl", '{"n": 1}\nnot json\n'))

    assert next(rows) == {"n": 1}
    with pytest.raises(InputError, match=r"a\.jsonl:2: not JSON"):
        next(rows)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"n": 1}\n[1]\n', r"a\.jsonl:2: a row is an object, not a list"),
        ("a.json", "[1]", r"a\.json, row 1: a row is an object, not a int"),
        ("a.json", "{", r"a\.json: not JSON"),
        ("a.parquet", b"PAR?", r"a\.parquet: not Parquet"),
        ("a.jsonl.gz", None, r"a\.jsonl\.gz: not whole"),
        ("a.csv", "a,b", r"a\.csv: no rows are read from such a file"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path, name, content, message):
    file = tmp_path / name
    if content is None:
        file.write_bytes(gzip.compress(b'{"n": 1}\n' * 1000)[:-20])
    else:
        write(file, content)

    with pytest.raises(InputError, match=message):
        list(read_rows(file))


def test_a_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"none\.jsonl: No such file"):
        list(read_rows(tmp_path / "none.jsonl"))


@pytest.mark.parametrize("name", ["book.txt", "book.txt.gz"])
def test_text_comes_without_its_byte_order_mark(tmp_path, name):
    assert read_text(write(tmp_path / name, "\ufeffCall me")) == "Call me"


def test_text_in_another_encoding_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"book\.txt: 'utf-8' codec"):
        read_text(write(tmp_path / "book.txt", b"caf\xe9"))
