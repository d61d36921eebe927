"""Many pages at once, and pages that were drawn before."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from palimpsest.errors import ConfigurationError, InputError, PalimpsestError
from palimpsest.pages import Page, Style, render
from palimpsest.pages.batch import render_many
from palimpsest.pages.cache import PageCache, page_key

MEMORIES = [f"# Memory {number}\n\n- **Osei-Lund** paid {number} crowns" for number in range(11)]
TOO_LARGE = "a" * 70_000


def assert_same(page: object, expected: Page) -> None:
    assert isinstance(page, Page)
    assert page == expected
    assert page.image.tobytes() == expected.image.tobytes()
    assert (page.boxes, page.sizes, page.text) == (expected.boxes, expected.sizes, expected.text)


@pytest.mark.parametrize("workers", [1, 2])
def test_pages_come_in_order_and_equal_to_single_ones(workers: int) -> None:
    style = Style(policy="drop")
    pages = list(render_many(MEMORIES, 16, cell=32, style=style, workers=workers))
    assert len(pages) == len(MEMORIES)
    for page, memory in zip(pages, MEMORIES, strict=True):
        assert_same(page, render(memory, 16, cell=32, style=style))


@pytest.mark.parametrize("workers", [1, 2])
def test_several_budgets_give_each_memory_at_all_of_them(workers: int) -> None:
    pages = list(render_many(MEMORIES[:3], (4, 16), workers=workers))
    for page, (memory, budget) in zip(pages, itertools.product(MEMORIES[:3], (4, 16)), strict=True):
        assert_same(page, render(memory, budget))


@pytest.mark.parametrize("workers", [1, 2])
def test_memory_that_cannot_be_drawn_gives_its_error_in_its_place(workers: int) -> None:
    memories = [*MEMORIES[:5], TOO_LARGE, *MEMORIES[5:]]
    outcomes = list(render_many(memories, 16, workers=workers))
    assert [isinstance(outcome, Page) for outcome in outcomes] == [True] * 5 + [False] + [True] * 6
    failed = outcomes[5]
    assert isinstance(failed, InputError)
    assert "70,000 characters" in str(failed)
    assert failed.hint


def test_what_is_no_text_is_a_fault_of_that_memory_alone() -> None:
    memories: list[str] = [MEMORIES[0], None, MEMORIES[1]]  # type: ignore[list-item]
    first, second, third = render_many(memories, 4, workers=2)
    assert isinstance(second, PalimpsestError)
    assert "TypeError" in str(second) or "AttributeError" in str(second)
    assert isinstance(first, Page)
    assert isinstance(third, Page)


class Deadly(str):
    """A memory that ends the process that draws it."""

    def __len__(self) -> int:
        os._exit(7)


def test_memory_that_ends_its_worker_costs_no_other_page() -> None:
    outcomes = list(render_many([*MEMORIES[:2], Deadly("x"), *MEMORIES[2:]], 4, workers=2))
    assert len(outcomes) == len(MEMORIES) + 1
    failed = [outcome for outcome in outcomes if not isinstance(outcome, Page)]
    assert len(failed) == 1
    assert "ended with code 7" in str(failed[0])


def test_memories_are_read_only_a_little_ahead() -> None:
    read: list[int] = []

    def endless():
        for number in itertools.count():
            read.append(number)
            yield MEMORIES[number % len(MEMORIES)]

    pages = render_many(endless(), 4, workers=2)
    first = [next(pages) for _ in range(3)]
    pages.close()
    assert all(isinstance(page, Page) for page in first)
    assert len(read) <= 3 + 2 * 4 * 8


@pytest.mark.parametrize(
    ("budget", "workers", "said"),
    [(4, 0, "0 workers"), (4, -1, "-1 workers"), ((), 2, "no budget")],
)
def test_impossible_batches_are_refused_at_once(budget, workers, said) -> None:
    with pytest.raises(InputError, match=said):
        render_many(MEMORIES, budget, workers=workers)


def children() -> set[int]:
    """Processes started by this one."""
    listed = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return {int(number) for path in listed for number in path.read_text().split()}


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks into /proc")


@needs_proc
def test_closing_ends_the_workers() -> None:
    before = children()
    pages = render_many(MEMORIES * 50, 256, workers=2)
    next(pages)
    assert len(children() - before) == 2
    started = time.monotonic()
    pages.close()
    assert children() == before
    assert time.monotonic() - started < 2


SCRIPT = """
import glob, os
from palimpsest.pages.batch import render_many
pages = render_many(("# a\\n\\n" + "word " * 2_000 for _ in range(10_000)), 256, workers=2)
next(pages)
print(*(open(path).read() for path in glob.glob("/proc/self/task/*/children")), flush=True)
for _ in pages:
    pass
"""


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@needs_proc
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_process_that_started_them(stop: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        workers = [int(number) for number in process.stdout.readline().split()]
        assert len(workers) == 2
        # Ctrl-C reaches the workers too.
        os.killpg(process.pid, stop) if stop == signal.SIGINT else process.send_signal(stop)
        _, error = process.communicate(timeout=20)
    until = time.monotonic() + 10
    while any(map(is_alive, workers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(is_alive, workers))
    assert error.count("KeyboardInterrupt") <= 1


def test_cache_gives_what_was_drawn_before() -> None:
    cache = PageCache()
    page = cache.render(MEMORIES[0], 16)
    assert_same(page, render(MEMORIES[0], 16))
    assert cache.render(MEMORIES[0], 16) is page
    assert cache.render(MEMORIES[0], 16, cell=32) is not page


def test_key_differs_by_everything_that_decides_the_pixels() -> None:
    keys = {
        page_key(memory, budget, cell=cell, style=style)
        for memory in ("a", "b", "", "\ud800")
        for budget in (1, 11)
        for cell in (28, 32)
        for style in (Style(), Style(policy="drop"), Style(ink=(1, 0, 0)))
    }
    assert len(keys) == 4 * 2 * 2 * 3
    assert page_key("a", 1, cell=28, style=Style()) in keys


def test_least_recently_used_pages_leave_memory_first() -> None:
    size = 3 * render(MEMORIES[0], 16).image.width * render(MEMORIES[0], 16).image.height
    cache = PageCache(capacity_bytes=2 * size)
    first, second = (cache.render(memory, 16) for memory in MEMORIES[:2])
    assert cache.render(MEMORIES[0], 16) is first
    cache.render(MEMORIES[2], 16)
    assert cache.render(MEMORIES[0], 16) is first
    assert cache.render(MEMORIES[1], 16) is not second


def test_cache_of_no_size_still_draws() -> None:
    cache = PageCache(capacity_bytes=0)
    assert cache.render(MEMORIES[0], 16) == render(MEMORIES[0], 16)
    with pytest.raises(InputError):
        PageCache(capacity_bytes=-1)


def stored(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_folder_keeps_pages_for_later_processes(tmp_path: Path) -> None:
    page = PageCache(folder=tmp_path / "pages").render(MEMORIES[0], 16)
    later = PageCache(folder=tmp_path / "pages")
    key = page_key(MEMORIES[0], 16, cell=28, style=Style())
    found = later.get(key)
    assert_same(found, page)
    assert found is not None
    assert found.png() == page.png()
    assert (found.budget, found.body_px, found.dropped) == (16, page.body_px, 0)
    assert later.get(key) is found


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "garbage"])
def test_damaged_file_is_drawn_anew(tmp_path: Path, damage: str) -> None:
    page = PageCache(folder=tmp_path).render(MEMORIES[0], 16)
    (path,) = stored(tmp_path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    changed = {"cut": data[:-9], "flip": data, "empty": b"", "garbage": b"\0" * 99}
    path.write_bytes(changed[damage])
    cache = PageCache(folder=tmp_path)
    assert cache.get(page_key(MEMORIES[0], 16, cell=28, style=Style())) is None
    assert_same(cache.render(MEMORIES[0], 16), page)
    assert PageCache(folder=tmp_path).get(path.stem) == page
    assert stored(tmp_path) == [path]


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="file"):
        PageCache(folder=tmp_path / "file" / "pages")


def test_folder_that_is_gone_costs_only_the_storing(tmp_path: Path) -> None:
    cache = PageCache(folder=tmp_path / "pages")
    (tmp_path / "pages").rmdir()
    assert cache.render(MEMORIES[0], 16) == render(MEMORIES[0], 16)


def test_errors_are_not_kept(tmp_path: Path) -> None:
    cache = PageCache(folder=tmp_path)
    for _ in range(2):
        with pytest.raises(InputError):
            cache.render(TOO_LARGE, 16)
    assert stored(tmp_path) == []


def test_threads_share_a_cache(tmp_path: Path) -> None:
    cache = PageCache(capacity_bytes=200_000, folder=tmp_path)
    failures: list[BaseException] = []

    def draw() -> None:
        try:
            for memory in MEMORIES * 3:
                assert cache.render(memory, 4).text.startswith("Memory")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(stored(tmp_path)) == len(MEMORIES)
