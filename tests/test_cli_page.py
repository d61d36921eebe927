"""`palimpsest page`: what it writes, prints and warns of."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from palimpsest.cli import main
from palimpsest.pages import Style, render

MEMORY = """\
# Question: who rebuilt the light on Skarvholm?

- **Henrietta Osei-Lund** signed the drawings on 4 June 1883 (Report 7).
- The third plan, of 41,500 crowns, was accepted; two were rejected as too dear.

| Name | Part |
|---|---|
| Tobias Wren | Surveyor |

## Background
The lens was ground in Paris by the firm of Barbier and weighs 340 kilograms. Supplies came every
third week, weather allowing, and once the station was cut off for fifty-two days.
"""


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def call(tmp_path, capsys, monkeypatch):
    """The command in this process, in a folder that has `memory.md`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    Path("memory.md").write_text(MEMORY, encoding="utf-8")

    def run(*arguments: object) -> Result:
        with pytest.raises(SystemExit) as caught:
            main(["page", *map(str, arguments)])
        captured = capsys.readouterr()
        return Result(int(caught.value.code), captured.out, captured.err)

    return run


def test_each_budget_becomes_a_picture_and_all_a_sheet(call):
    result = call("memory.md", "--budget", "16,64", "-o", "out")
    assert result.code == 0, result.err
    names = ["memory-16.png", "memory-64.png", "memory-sheet.png", "memory.json"]
    assert sorted(path.name for path in Path("out").iterdir()) == names
    for budget in (16, 64):
        png = Path(f"out/memory-{budget}.png").read_bytes()
        assert png == render(MEMORY, budget).png()
        assert f"\n{budget:>6}  " in "\n" + result.out
    with Image.open("out/memory-sheet.png") as sheet:
        pages = [render(MEMORY, budget).image for budget in (16, 64)]
        assert sheet.width > sum(page.width for page in pages)
        assert sheet.height > max(page.height for page in pages)


def test_default_is_three_budgets_in_a_folder_of_their_own(call):
    assert call("memory.md").code == 0
    assert sorted(path.name for path in Path("pages").glob("*-[0-9]*.png")) == [
        "memory-1024.png",
        "memory-256.png",
        "memory-64.png",
    ]


def test_json_tells_where_every_line_stands(call):
    result = call("memory.md", "--budget", "64", "--cell", "32", "--json")
    told = json.loads(result.out)
    assert told == json.loads(Path("pages/memory.json").read_text(encoding="utf-8"))
    (at_64,) = told["budgets"]
    (drawn,) = at_64["pages"]
    page = render(MEMORY, 64, cell=32)
    assert drawn["sha256"] == page.sha256
    assert drawn["grid"] == [page.grid_width, page.grid_height]
    assert drawn["size"] == [32 * page.grid_width, 32 * page.grid_height]
    assert drawn["file"] == str(Path("pages/memory-64.png"))
    assert [box["text"] for box in drawn["boxes"]] == [box.text for box in page.boxes]
    assert drawn["boxes"][0]["style"] == "h1"
    assert told["words"] == at_64["words_shown"] > 50


def test_type_too_small_to_read_is_warned_of_with_its_lines(call):
    small = call("memory.md", "--budget", "4")
    assert small.code == 0
    assert "warning: budget 4: " in small.err
    assert f"under {Style().floor_px} px, the size at which readers fail" in small.err
    assert "source lines 1, 3-4, 6, 8, 10-12" in small.err
    assert "--continue" in small.err
    assert "warning" not in call("memory.md", "--budget", "1024").err


def test_dropping_names_what_was_left_out(call):
    told = json.loads(call("memory.md", "--budget", "6", "--policy", "drop", "--json").out)
    (at_6,) = told["budgets"]
    assert told["policy"] == "drop"
    assert any("The lens was ground" in block["text"] for block in at_6["dropped"])
    assert at_6["words_shown"] < told["words"]
    assert "Henrietta" in " ".join(box["text"] for box in at_6["pages"][0]["boxes"])


def test_continuing_draws_further_pages_of_the_same_budget(call):
    result = call("memory.md", "--budget", "4", "--continue", "--json")
    told = json.loads(result.out)
    (at_4,) = told["budgets"]
    assert len(at_4["pages"]) > 1
    assert at_4["words_shown"] == told["words"]
    assert at_4["lines_too_small"] == []
    assert [page["tokens"] <= 4 for page in at_4["pages"]] == [True] * len(at_4["pages"])
    assert Path("pages/memory-4.png").exists()
    assert Path("pages/memory-4-2.png").exists()


def test_characters_that_no_font_has_are_named(call):
    Path("odd.md").write_text("\u0378 and \u0379, twice \u0378", encoding="utf-8")
    result = call("odd.md", "--budget", "16")
    assert result.code == 0
    assert "no installed font has 2 of the characters: \u0378 \u0379" in result.err
    assert "no installed font" not in call("memory.md", "--budget", "16").err


def test_factsheet_stands_beside_the_pages(call):
    result = call("memory.md", "--budget", "4", "--factsheet", "--factsheet-tokens", "40")
    sheet = Path("pages/memory-facts.txt").read_text(encoding="utf-8")
    assert "Henrietta Osei-Lund; 4 June 1883; Report 7" in sheet
    assert sheet.strip() in result.out


def test_small_pages_of_large_cells_are_said_to_be_enlarged_by_the_server(call):
    assert "shortest_edge" in call("memory.md", "--budget", "16,256", "--cell", "32").err
    assert "shortest_edge" not in call("memory.md", "--budget", "16").err
    assert "shortest_edge" not in call("memory.md", "--budget", "1024", "--cell", "32").err


def test_same_memory_gives_the_same_files(call):
    call("memory.md", "-o", "first")
    call("memory.md", "-o", "second")
    for path in Path("first").glob("*.png"):
        assert path.read_bytes() == Path("second", path.name).read_bytes()


def test_standard_input_is_read_with_a_dash(tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "palimpsest", "page", "-", "--budget", "16", "--json"],
        input=MEMORY.encode(),
        capture_output=True,
        cwd=tmp_path,
        check=True,
    )
    assert json.loads(run.stdout)["budgets"][0]["pages"][0]["file"] == "pages/memory-16.png"
    assert (tmp_path / "pages/memory-16.png").exists()


DRAFT = """\
<style>h1 { color: #c00000 } td { border: 1px solid gray }</style>
<h1>Gull Rock</h1><p>The lamp is on <b>Gull Rock</b>.</p><script>alert(1)</script>
<table><tr><td>Tobias Wren</td><td>Surveyor</td></tr></table>
"""


def test_html_is_drawn_by_its_own_engine(call):
    pytest.importorskip("blitz_py", reason="needs the `html` extra")
    Path("draft.html").write_text(DRAFT)
    result = call("draft.html", "--html", "--budget", "4,64", "--json")
    assert result.code == 0, result.err
    told = json.loads(result.out)
    for budget, at in zip((4, 64), told["budgets"], strict=True):
        (drawn,) = at["pages"]
        with Image.open(drawn["file"]) as image:
            assert list(image.size) == drawn["size"] == [28 * side for side in drawn["grid"]]
        assert drawn["tokens"] <= budget
        assert drawn["body_px"] == pytest.approx(16 * drawn["scale"])
    assert Path("pages/draft-sheet.png").exists()


IDLE = {
    "--engine": ["--engine", "blitz"],
    "--chromium": ["--chromium", "chromium"],
    "--style": ["--html", "--style", "drop"],
    "--policy": ["--html", "--policy", "drop"],
    "--continue": ["--html", "--continue"],
    "--factsheet": ["--html", "--factsheet"],
}


@pytest.mark.parametrize("option", IDLE)
def test_an_option_that_would_do_nothing_is_refused(call, option):
    result = call("memory.md", *IDLE[option])
    assert result.code == 3
    assert f"{option} is for" in result.err
    assert not Path("pages").exists()


FAILURES: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "missing": (["nope.md"], ("nope.md", "check the path")),
    "folder": (["."], (".:", "check the path")),
    "NUL in the path": (["a\0b"], ("cannot be read",)),
    "empty": (["empty.md"], ("it is empty",)),
    "blank": (["blank.md"], ("it is empty",)),
    "binary": (["binary.md"], ("binary data",)),
    "other encoding": (["other.md"], ("UTF-8", "iconv")),
    "too large": (["large.md"], ("70,000 characters", "shorten")),
    "no budget": (["memory.md", "--budget", ""], ("no budget", "64,256,1024")),
    "budget of nothing": (["memory.md", "--budget", "64,0"], ("'0' is no budget",)),
    "budget too large": (["memory.md", "--budget", "16385"], ("'16385' is no budget",)),
    "budget in words": (["memory.md", "--budget", "many"], ("'many' is no budget",)),
    "digits of another script": (["memory.md", "--budget", "٤"], ("is no budget",)),
    "cell": (["memory.md", "--cell", "30"], ("--cell", "28")),
    "style": (["memory.md", "--style", "fancy"], ("no style 'fancy'", "default")),
    "unknown option": (["memory.md", "--budgets", "3"], ("--budgets", "--help")),
    "no file": ([], ("one memory", "palimpsest page FILE")),
    "two files": (["memory.md", "memory.md"], ("one memory", "2 are named")),
    "out is a file": (["memory.md", "-o", "memory.md"], ("cannot be written", "--out")),
    "facts": (["memory.md", "--factsheet", "--factsheet-tokens", "-1"], ("shorter than nothing",)),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_exits_with_2_and_says_what_to_do(call, name):
    Path("empty.md").touch()
    Path("blank.md").write_text(" \n\n")
    Path("binary.md").write_bytes(bytes(range(256)) * 4)
    Path("other.md").write_bytes("Маяк перестроили".encode("koi8-r"))
    Path("large.md").write_text("a" * 70_000)
    arguments, said = FAILURES[name]
    result = call(*arguments)
    assert result.code == 2, result
    assert result.out == ""
    assert "error: " in result.err
    assert "Traceback" not in result.err
    assert all(word in result.err for word in said), result.err


def test_a_few_damaged_bytes_are_drawn_as_replacement_signs(call):
    text = f"{MEMORY}\nÅngström läßt grüßen, über alle Maßen schön. ".encode()
    Path("damaged.md").write_bytes(text + b"\xff" + " äöü äöü äöü".encode())
    told = json.loads(call("damaged.md", "--budget", "64", "--json").out)
    boxes = told["budgets"][0]["pages"][0]["boxes"]
    assert "\ufffd" in "".join(box["text"] for box in boxes)


def test_sheet_shows_the_pixels_of_the_page(call):
    call("memory.md", "--budget", "16", "-o", "out")
    page = render(MEMORY, 16).image
    times = round(800 / page.height)
    with Image.open(io.BytesIO(Path("out/memory-sheet.png").read_bytes())) as sheet:
        shown = sheet.crop((24, 24, 24 + page.width * times, 24 + page.height * times))
        assert shown.resize(page.size, Image.Resampling.NEAREST).tobytes() == page.tobytes()
