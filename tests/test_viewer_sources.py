"""Where the viewer finds what was read, and when it shows none of it."""

from __future__ import annotations

import asyncio
import gzip
import shutil
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the `serve` extra")

from fastapi.testclient import TestClient

from gateways import FACT, NOTES, QUESTION, config, story
from palimpsest.asking import kept_reading
from palimpsest.errors import InputError
from palimpsest.memory.source_store import SourceStore
from palimpsest.memory.store import ReadingStore, load_reading
from palimpsest.models.scripted import ScriptedModel
from palimpsest.readers.registry import build_reader
from palimpsest.server.app import create_app
from palimpsest.sources import Source
from viewer_pages import Page, opened
from viewer_samples import (
    keeper,
    towers_item,
    write_evaluation,
    write_reading,
    write_samples,
    write_source,
)

READER = build_reader("memocr", {"chunk_tokens": 200, "budgets": (256, 64)})
ODD = 'One line\u2028still the same\r\nand the next, "quoted" \\ \x00 é 墨.'
GONE = "was not kept beside the reading"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return write_samples(tmp_path_factory.mktemp("samples"), items=2)


def test_without_its_source_a_reading_is_shown_all_the_same(made, tmp_path):
    copy = tmp_path / "copy"
    folder = next(iter((made / "readings").glob("*")))
    for one in (made / "readings").glob("*"):
        if load_reading(one).header.reader == "memocr":
            folder = one
    shutil.copytree(folder, copy / "reading")
    file = copy / "reading" / "reading.jsonl"
    file.write_text(file.read_text().replace(str(made / "source"), str(tmp_path / "gone")))
    with opened(tmp_path, copy) as client:
        page = Page(client)
        told = page.reading("memocr")
        source = page.get(f"readings/{told['id']}/source")
        assert not source["at_hand"]
        assert "coast.txt" in source["why"]
        cited = page.citations(told["id"])
        assert (cited["source"], cited["lines"][-1]["chunk"]) == (False, 11)
        turns = [page.get(f"readings/{told['id']}/turns/{n}") for n in (0, len(told["turns"]) - 1)]
        assert "not at hand" in turns[0]["why"]
        assert turns[1]["messages"][0]["parts"][0]["type"] == "image"
        assert page.status(f"readings/{told['id']}/source/text", start=0, end=1) == 400


def test_a_source_that_moved_is_found_where_it_is_said_to_be(made, tmp_path):
    elsewhere = tmp_path / "elsewhere" / "coast.txt"
    elsewhere.parent.mkdir()
    shutil.copy(made / "source" / "coast.txt", elsewhere)
    write_reading(tmp_path / "readings", [elsewhere])
    elsewhere.rename(tmp_path / "moved.txt")
    with opened(tmp_path, tmp_path / "readings") as client:
        page = Page(client)
        assert not page.get(f"readings/{page.reading('memocr')['id']}/source")["at_hand"]
    # The name is part of what was read: another one is another source.
    (tmp_path / "moved.txt").rename(elsewhere)
    with opened(tmp_path, tmp_path / "readings", sources=(elsewhere,)) as client:
        page = Page(client)
        assert page.get(f"readings/{page.reading('memocr')['id']}/source")["at_hand"]


def test_a_changed_document_is_not_shown_as_the_source(tmp_path):
    write_samples(tmp_path / "made", items=1)
    with (tmp_path / "made" / "source" / "coast.txt").open("a") as file:
        file.write("More.")
    with opened(tmp_path, tmp_path / "made") as client:
        page = Page(client)
        told = page.get(f"readings/{page.reading('memocr')['id']}/source")
    assert not told["at_hand"]
    assert "changed" in told["why"]


def reading_of(folder: Path, source: Source):
    model = ScriptedModel(keeper)
    return asyncio.run(kept_reading(ReadingStore(folder), READER, source, "Who?", model))


@pytest.mark.parametrize("growing", [False, True])
@pytest.mark.parametrize("documents", [[("a", ODD)], [("a", ODD), ("a", "Ends.\n"), ("b", "")]])
def test_a_kept_source_is_the_same_to_the_letter(tmp_path, documents, growing):
    source = Source.from_documents(documents, growing=growing)
    reading = reading_of(tmp_path / "readings", source)
    store = SourceStore.beside(tmp_path / "readings")
    with pytest.raises(InputError, match=GONE):
        store.open(reading)
    store.keep(source)
    assert store.open(reading) == source
    [file] = store.folder.iterdir()
    assert file.name == f"{source.sha256}.jsonl.gz"
    before = file.stat().st_mtime_ns
    store.keep(source)
    assert file.stat().st_mtime_ns == before


def test_a_hash_out_of_a_file_leads_nowhere(tmp_path):
    source = Source.from_text("Some text.")
    reading = reading_of(tmp_path / "readings", source)
    SourceStore.beside(tmp_path / "readings").keep(source)
    header = reading.header.model_copy(update={"source_sha256": f"../sources/{source.sha256}"})
    strange = type(reading)(header, reading.records)
    with pytest.raises(InputError, match=GONE):
        SourceStore.beside(tmp_path / "readings").open(strange)


def first_of_run(page: Page) -> dict:
    rows = page.get(f"runs/{page.ids('run')['run']}/items")["rows"]
    return page.get(f"readings/{rows[0]['reading']}")


def test_a_reading_of_an_evaluation_has_its_context(tmp_path):
    write_evaluation(tmp_path / "shown" / "run")
    assert len(list((tmp_path / "shown" / "run" / "sources").iterdir())) == 1
    with opened(tmp_path, tmp_path / "shown") as client:
        page = Page(client)
        told = first_of_run(page)
        source = page.get(f"readings/{told['id']}/source")
        assert source["at_hand"]
        assert [name for name, _, _ in source["documents"]] == [f"Tower {n}" for n in range(6)]
        text = page.get(f"readings/{told['id']}/source/text", start=0, end=source["characters"])
        assert text["text"] == towers_item(0).source().text
        cited = page.citations(told["id"])
        quotes = {span["quote"] for line in cited["lines"] for span in line["spans"]}
        assert "The keeper of tower 1 is Otto Hale." in quotes
        for number in range(len(told["turns"])):
            assert page.get(f"readings/{told['id']}/turns/{number}")["messages"]


def test_a_run_that_keeps_no_sources_is_shown_without(tmp_path):
    write_evaluation(tmp_path / "shown" / "run", keep_sources=False)
    assert not (tmp_path / "shown" / "run" / "sources").exists()
    with opened(tmp_path, tmp_path / "shown") as client:
        page = Page(client)
        told = first_of_run(page)
        source = page.get(f"readings/{told['id']}/source")
        assert not source["at_hand"]
        assert GONE in source["why"]
        assert page.citations(told["id"])["lines"][-1]["chunk"] is not None
        assert page.get(f"readings/{told['id']}/diff", version=0)["changes"]


def rewritten(file: Path, old: str, new: str) -> None:
    text = gzip.decompress(file.read_bytes()).decode()
    assert old in text
    file.write_bytes(gzip.compress(text.replace(old, new).encode()))


@pytest.mark.parametrize(
    ("tamper", "why"),
    [
        (lambda file: rewritten(file, "Otto Hale", "Otto Brown"), "has changed since"),
        (lambda file: rewritten(file, '"title"', '"other"'), "damaged"),
        (lambda file: rewritten(file, "\n", ""), "no document"),
        (lambda file: file.write_bytes(file.read_bytes()[:-40]), "damaged"),
        (lambda file: file.write_bytes(b"The keeper of tower 1 is Eve."), "damaged"),
        (lambda file: file.write_bytes(b""), "no document"),
    ],
)
def test_a_kept_source_that_was_tampered_with_is_not_shown(tmp_path, tamper, why):
    run = write_evaluation(tmp_path / "shown" / "run")
    tamper(next((run / "sources").iterdir()))
    with opened(tmp_path, tmp_path / "shown") as client:
        page = Page(client)
        told = first_of_run(page)
        source = page.get(f"readings/{told['id']}/source")
        assert not source["at_hand"]
        assert why in source["why"]
        assert page.status(f"readings/{told['id']}/source/text", start=0, end=9) == 400
        assert page.status(f"readings/{told['id']}/source/search", q="keeper") == 400
        assert page.citations(told["id"])["source"] is False
        turn = page.get(f"readings/{told['id']}/turns/0")
        assert turn["messages"] is None
        assert "not at hand" in turn["why"]


def gateway(folder: Path) -> TestClient:
    def respond(messages, _) -> str:
        return FACT if NOTES in str(messages) else f"- {FACT}"

    plan = config(None, folder, parts=frozenset({"gateway", "viewer"}))
    app = create_app(plan, model=ScriptedModel(respond))
    return TestClient(app, base_url="http://127.0.0.1")


def ask(client: TestClient, *parts: dict, **extension: object) -> None:
    body = {"model": "scripted", "messages": [{"role": "user", "content": list(parts)}]}
    body |= {"max_tokens": 50, "palimpsest": extension} if extension else {"max_tokens": 50}
    assert client.post("/v1/chat/completions", json=body).status_code == 200


def text(content: str) -> dict:
    return {"type": "text", "text": content}


def test_a_reading_of_the_gateway_has_what_was_sent(tmp_path):
    with gateway(tmp_path) as client:
        ask(client, text(f"{story(40)}\n\n{QUESTION}"))
        page = Page(client)
        told = page.reading("memagent")
        source = page.get(f"readings/{told['id']}/source")
        assert source["at_hand"]
        assert [name for name, _, _ in source["documents"]] == ["message 1"]
        [found] = page.get(f"readings/{told['id']}/source/search", q=FACT)["found"]
        [line] = page.citations(told["id"])["lines"]
        assert [span["start"] for span in line["spans"]] == [found["start"]]
        turns = [
            page.get(f"readings/{told['id']}/turns/{n}") for n in range(len(told["turns"]))
        ]  # fmt: skip
        assert all(turn["messages"] for turn in turns[:-1])
        assert "a client's own request" in turns[-1]["why"]
        [file] = (tmp_path / "callers" / "local" / "sources").iterdir()
        rewritten(file, FACT, FACT.replace("1871", "1872"))
    with gateway(tmp_path) as client:
        again = Page(client).get(f"readings/{told['id']}/source")
        assert not again["at_hand"]
        assert "has changed since" in again["why"]


def test_the_prompts_of_a_gateways_digest_are_made_again(tmp_path):
    with gateway(tmp_path) as client:
        ask(client, text(f"{story(40)}\n\n{QUESTION}"), memory="digest")
        page = Page(client)
        told = page.reading("memagent")
        assert page.get(f"readings/{told['id']}/turns/0")["messages"]


def test_what_was_taken_over_says_from_where(tmp_path):
    with gateway(tmp_path) as client:
        page = Page(client)
        ask(client, text(f"{story(40)}\n\n{QUESTION}"))
        first = page.reading("memagent")["name"].rpartition("/")[2]
        ask(client, text(f"{story(40)}\n\nWhen was it lit?"))
        entries = page.get("entries")["entries"]
        later = next(one for one in entries if one["questions"][0] == "When was it lit?")
        turn = page.get(f"readings/{later['id']}/turns/0")
        assert turn["messages"] is None
        assert first in turn["why"]


def test_no_file_of_the_server_is_opened_for_a_callers_reading(tmp_path):
    """A caller names its documents, and could learn what is in a file by guessing its text."""
    secret = write_source(tmp_path / "secret.txt")
    with gateway(tmp_path / "state") as client:
        write_reading(tmp_path / "state" / "callers" / "local" / "readings", [secret])
        write_reading(tmp_path / "readings", [secret])
        page = Page(client)
        told = page.get(f"readings/{page.reading('memocr')['id']}/source")
        assert not told["at_hand"]
        assert "not where it was read" in told["why"]
    with opened(tmp_path, tmp_path / "readings") as client:
        page = Page(client)
        assert page.get(f"readings/{page.reading('memocr')['id']}/source")["at_hand"]
