"""Memories that nobody would write by hand: refused with a hint, or drawn in full, soon and small.

All of them are drawn in one process whose address space is limited.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from loopback import Loopback

CPU_S = 10.0
"""For the slowest case; most take a tenth of a second."""
ADDRESS_SPACE_MB = 1536
RESIDENT_MB = 400


class Case(NamedTuple):
    """A memory, and how often each of some characters must be drawn; None if it is refused."""

    memory: str
    drawn: dict[str, int] | None


CASES: dict[str, Case] = {
    # Size.
    "megabytes of text": Case("word " * 600_000, None),
    "word of 100,000 letters": Case("a" * 100_000, None),
    "word of 65,536 letters": Case("a" * 65_536, {"a": 65_536}),
    "words of 65,536 characters": Case("ab c " * 13_107 + "d", {"a": 13_107, "d": 1}),
    "words of 65,537 characters": Case("ab c " * 13_107 + "dd", None),
    "100,000 newlines": Case("\n" * 100_000, None),
    "60,000 newlines": Case("a" + "\n" * 60_000 + "b", {"a": 1, "b": 1}),
    "8,000 paragraphs": Case("a\n\n" * 8_000, {"a": 8_000}),
    "9,000 paragraphs": Case("a\n\n" * 9_000, None),
    "30,000 lines": Case("a\n" * 30_000, {"a": 30_000}),
    "8,000 hard breaks": Case("a  \n" * 8_000, {"a": 8_000}),
    "60,000 spaces": Case("a" + " " * 60_000 + "b", {"a": 1, "b": 1}),
    "60,000 tabs in code": Case("```\na" + "\t" * 60_000 + "b", {"a": 1, "b": 1}),
    # Tables.
    "table of 10,000 rows": Case("|a|b|\n|-|-|\n" + "|c|d|\n" * 10_000, None),
    "table of 4,000 rows": Case("|a|b|\n|-|-|\n" + "|c|d|\n" * 4_000, {"c": 4_000, "d": 4_000}),
    "table of 3,000 columns": Case(
        "|" + "a|" * 3_000 + "\n|" + "-|" * 3_000 + "\n|" + "b|" * 3_000, {"a": 3_000, "b": 3_000}
    ),
    "row of 8,000 cells": Case("|a|\n|-|\n|" + "b|" * 8_000, None),
    "rows longer than the header": Case(
        "|a|\n|-|\n" + ("|" + "b|" * 80 + "\n") * 90, {"a": 1, "b": 7_200}
    ),
    "pipes": Case("|" * 3_000, {"|": 3_000}),
    # Nesting.
    "lists nested 1,000 deep": Case("\n".join("  " * n + "- a" for n in range(1_000)), None),
    "lists nested 1,000 deep on a line": Case("- " * 1_000 + "a", None),
    "lists nested 25 deep": Case("- " * 25 + "a", {"a": 1, "•": 25}),
    "quotes nested 1,000 deep": Case("> " * 1_000 + "a", None),
    "2,800 nested list items": Case("- - - - - - - a\n" * 400, {"a": 400, "•": 2_800}),
    # Entities.
    "100,000 entities": Case("&amp;" * 100_000, None),
    "5,000 entities": Case("&amp;" * 5_000, {"&": 5_000}),
    "entities that would make tags": Case("&lt;b&gt;" * 2_000, {"<": 2_000, "b": 2_000}),
    "entities that would make entities": Case("&amp;lt;" * 2_000, {"&": 2_000, "l": 2_000}),
    "numeric entities out of range": Case("&#0;&#x110000;&#xD800;" * 500, {"\ufffd": 1_500}),
    # Characters.
    "control characters": Case("".join(map(chr, range(32))) * 2_000 + "a", {"a": 1}),
    "zeros": Case("\0" * 6_000, {"\ufffd": 6_000}),
    "lone surrogates": Case("\ud800 a \udc00" * 8_000, {"a": 8_000, "\ufffd": 16_000}),
    "characters of no font": Case("\U0010ffff\u0378 " * 16_000, {"\u0378": 16_000}),
    "stacks of combining marks": Case(("a" + "\u0301" * 99) * 100, {"a": 100}),
    "combining marks alone": Case("\u0301" * 65_000, {"\u0301": 65_000}),
    "zero-width flood": Case("\u200b\u2060\ufeff" * 21_000 + "a", {"a": 1}),
    "joiner flood": Case("a\u200d" * 9_000, {"a": 9_000}),
    "soft hyphen flood": Case("a\u00ad" * 9_000, {"a": 9_000}),
    "bidirectional overrides": Case("\u202ea\u202d" * 21_000, {"a": 21_000}),
    "bidirectional isolates": Case("\u2067a" * 9_000, {"a": 9_000}),
    "right to left in turns": Case("אa1 " * 16_000, {"א": 16_000, "a": 16_000}),
    "family emoji": Case("👩‍👩‍👧" * 1_000, {"👧": 1_000}),
    # Markup.
    "stars": Case("*a" * 6_000, {"a": 6_000}),
    "stars in threes": Case("a***b" * 3_000, {"a": 3_000, "b": 3_000}),
    "underlines and stars": Case("*_" * 6_000, {"_": 2_000}),
    "opening brackets": Case("[" * 3_000, {"[": 3_000}),
    "brackets": Case("[" * 1_500 + "]" * 1_500, {"[": 1_500, "]": 1_500}),
    "links without an end": Case("[a](" * 16_000, {"a": 16_000}),
    "pictures without an end": Case("![" * 4_000, {"!": 4_000}),
    "nested links": Case("[" * 5_000 + "a" + "](b)" * 5_000, {"a": 1}),
    "link definitions": Case("[a]: b\n" * 9_000, {"a": 9_000, "b": 9_000}),
    "backticks": Case("a " + " ".join("`" * n for n in range(1, 300)) + " b", {"a": 1, "b": 1}),
    "pairs of backticks": Case("`a" * 5_000, {"a": 5_000}),
    "tildes": Case("~~a" * 4_000, {"a": 4_000}),
    "open spans": Case("<span>a" * 4_000, {"a": 4_000}),
    "open coloured spans": Case('<span style="color:red">a' * 2_600, {"a": 2_600}),
    "closing tags": Case("<mark>a" * 2_000 + "</b>" * 8_000, {"a": 2_000}),
    "tags without an end": Case("<mark " * 10_000, {"m": 10_000}),
    "angle brackets": Case("<" * 3_000, {"<": 3_000}),
    "tag of spaces": Case("<b" + " " * 60_000 + ">a", {"a": 1}),
    "attributes of colours": Case("<span " + "color:" * 10_000 + ">a", {"a": 1}),
    "a thousand colours": Case(
        "".join(f'<span style="color:#{n * 16_411:06x}">a</span>' for n in range(1_000)),
        {"a": 1_000},
    ),
    "scripts": Case("<script>alert(1)</script>" * 200, {"<": 400}),
    "comments": Case("<!--" * 1_000, {"<": 1_000}),
    "backslashes": Case("\\" * 8_000, {"\\": 4_000}),
}

WORKER = """
import json, resource, sys, time
from test_pages_hostile import ADDRESS_SPACE_MB, CASES
from palimpsest.errors import InputError
from palimpsest.pages import render

resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_MB << 20,) * 2)
for name, case in CASES.items():
    told = {"name": name, "error": "", "hint": "", "drawn": {}, "cells": 0}
    started = time.process_time()
    try:
        page = render(case.memory, 64)
        seen = "".join("".join(box.text for box in page.boxes).split())
        told["drawn"] = {letter: seen.count(letter) for letter in case.drawn or ()}
        told["cells"] = page.tokens
    except InputError as error:
        told |= {"error": str(error), "hint": error.hint}
    told["cpu_s"] = time.process_time() - started
    # Not of getrusage: a process inherits the peak of the one that started it.
    status = open("/proc/self/status").read()
    told["resident_mb"] = int(status.split("VmHWM:")[1].split()[0]) / 1024
    print(json.dumps(told), flush=True)
"""


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Any]:
    run = subprocess.run(
        [sys.executable, "-c", WORKER],
        capture_output=True,
        cwd=Path(__file__).parent,
        timeout=len(CASES) * CPU_S,
        text=True,
    )
    told = {line["name"]: line for line in map(json.loads, run.stdout.splitlines())}
    missing = next((name for name in CASES if name not in told), None)
    return told | ({missing: {"fault": run.stderr}} if missing else {})


@pytest.mark.parametrize("name", CASES)
def test_hostile_memory_is_refused_or_drawn_in_full(name: str, outcomes: dict[str, Any]) -> None:
    told = outcomes[name]
    assert "fault" not in told, told["fault"]
    assert told["cpu_s"] < CPU_S
    assert told["resident_mb"] < RESIDENT_MB
    if CASES[name].drawn is None:
        assert told["error"]
        assert told["hint"]
        return
    assert told["error"] == ""
    assert 1 <= told["cells"] <= 64
    assert told["drawn"] == CASES[name].drawn


FETCHING = """\
# Notes

<script src="{url}/script.js"></script><script>fetch("{url}/fetch")</script>
<img src="{url}/img.png"> <img src="file:///etc/passwd"> ![picture]({url}/markdown.png)
<link rel="stylesheet" href="{url}/style.css"><style>@import url({url}/import.css);</style>
<iframe src="{url}/frame"></iframe> <object data="{url}/object"></object> <embed src="{url}/e">
<meta http-equiv="refresh" content="0; url={url}/refresh"> <base href="{url}">
<span style="background: url({url}/css.png)">ground</span> <svg><image href="{url}/svg"/></svg>
<font color="red" face="url({url}/font.woff)">type</font> [link]({url}/link) <{url}/auto>
[ref]: {url}/ref "title"
file:///etc/passwd \\\\127.0.0.1\\share javascript:alert(1) data:text/html,<b>x</b>
"""


def test_nothing_is_fetched_and_no_tag_is_obeyed(tmp_path: Path) -> None:
    with Loopback() as server:
        (tmp_path / "memory.md").write_text(FETCHING.format(url=server.root))
        run = subprocess.run(
            [sys.executable, "-m", "palimpsest", "page", "memory.md", "--json", "--factsheet"],
            capture_output=True,
            cwd=tmp_path,
            timeout=60,
            check=True,
        )
        assert server.requests == []
    pages = [page for at in json.loads(run.stdout)["budgets"] for page in at["pages"]]
    assert len(pages) == 3
    for page in pages:
        drawn = "".join("".join(box["text"] for box in page["boxes"]).split())
        for text in ("<script", "alert(1)", "<iframe", "refresh", "file:///etc/passwd", "picture"):
            assert text in drawn
        assert "root:" not in drawn


BROKEN = {
    "half a character": "Тобиас Рен вёл дневник работ на маяке".encode()[:-1],
    "surrogates in UTF-8": b"Tobias Wren \xc3\xa5\xc3\xa4\xc3\xb6" * 5 + b" \xed\xa0\x80 end",
    "noise": bytes(range(128, 256)) * 40,
    "zeros": b"a\0b" * 1_000,
    "UTF-16 without a mark": "Tobias Wren".encode("utf-16-le"),
    "UTF-16 cut in two": "\ufeffTobias Wren".encode("utf-16-le")[:-1],
    "nothing but a mark": b"\xef\xbb\xbf",
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_bytes_are_drawn_or_refused_by_the_command(name: str, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "palimpsest", "page", "-", "--budget", "16"],
        input=BROKEN[name],
        capture_output=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert run.returncode in (0, 2)
    assert b"Traceback" not in run.stderr
    if run.returncode:
        assert b"error: standard input: " in run.stderr
        assert list(tmp_path.iterdir()) == []
    else:
        assert (tmp_path / "pages" / "memory-16.png").exists()
