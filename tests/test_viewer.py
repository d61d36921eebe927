"""The viewer's data over HTTP; the page itself is looked at in test_viewer_browser.py."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from hashlib import sha256
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the `serve` extra")

from palimpsest.asking import kept_reading
from palimpsest.cli import view as view_module
from palimpsest.memory.reading import Reading
from palimpsest.memory.store import ReadingStore, load_reading
from palimpsest.models.scripted import ScriptedModel
from palimpsest.readers.registry import build_reader
from palimpsest.remembering import SavedMemory
from palimpsest.server.config import ApiKey
from palimpsest.server.viewer.library import Library
from palimpsest.server.viewer.playground import safe_name
from palimpsest.server.viewer.serving import assets
from palimpsest.server.viewer.sources import BLOCK, block_starts
from palimpsest.settings import ModelSettings
from palimpsest.sources import Source
from viewer_pages import API, Page, opened
from viewer_samples import (
    IMAGE,
    QUESTION,
    SCRIPT,
    keeper,
    write_large,
    write_reading,
    write_samples,
    write_source,
)

NAMED = ModelSettings(name="scripted")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return write_samples(tmp_path_factory.mktemp("samples"), items=30)


@pytest.fixture
def page(made, tmp_path):
    with opened(tmp_path, made) as client:
        yield Page(client)


def test_the_page_runs_no_script_but_its_own(page):
    response = page.client.get("/viewer/")
    policy = response.headers["content-security-policy"]
    assert policy.startswith(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'"
    )
    assert "unsafe" not in policy
    assert re.findall(r"<script[^>]*>", response.text) == [
        '<script type="module" src="static/app.js">'
    ]
    assert not re.search(r"\son\w+=|style=|https?://", response.text)
    assert page.client.get("/viewer").url.path == "/viewer/"


def test_no_script_of_the_page_makes_markup_of_a_text():
    sources = {name: one.data.decode() for name, one in assets().items() if name.endswith(".js")}
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"
    assert len(sources) > 10
    assert [name for name, text in sources.items() if re.search(forbidden, text)] == []
    imported = {name for text in sources.values() for name in re.findall(r'from "\./(.+?)"', text)}
    assert imported <= set(sources)


@pytest.mark.parametrize(
    "name", ["../routes.py", "..%2froutes.py", "%2e%2e/routes.py", "/etc/passwd", "nothing.js"]
)
def test_only_the_pages_own_files_are_served(page, name):
    assert page.client.get(f"/viewer/static/{name}").status_code == 404


def test_its_files_are_sent_again_only_when_they_changed(page):
    first = page.client.get("/viewer/static/app.js")
    assert first.headers["content-type"].startswith("text/javascript")
    again = page.client.get(
        "/viewer/static/app.js", headers={"If-None-Match": first.headers["etag"]}
    )
    assert again.status_code == 304


def test_everything_is_listed(page):
    kinds = [entry["kind"] for entry in page.get("entries")["entries"]]
    assert sorted(kinds) == ["reading", "reading", "run", "run", "training"]
    entry = next(one for one in page.get("entries")["entries"] if one.get("reader") == "memocr")
    assert (entry["status"], entry["questions"], entry["chunks"]) == ("answered", [QUESTION], 12)
    assert page.get("entries")["playground"] is None


@pytest.mark.parametrize(
    "id", ["nothing", "..", "..%2f..%2fetc%2fpasswd", "0" * 16, "%00", "a-b", "....//readings"]
)
def test_ids_are_looked_up_and_never_joined_to_a_path(page, id):
    for path in (f"readings/{id}", f"readings/{id}/source", f"runs/{id}", f"training/{id}"):
        assert page.status(path) == 404
    run = page.ids("run")["runs/memocr"]
    assert page.status(f"readings/{run}-{id}") == 404
    assert page.status(f"readings/{run}") == 404


def test_a_reading_is_a_timeline_of_steps(page):
    told = page.reading("memreread")
    own = [step for step in told["steps"] if step["reread"] == 0 and step["kind"] == "chunk"]
    assert [step["chunk"] for step in own] == list(range(12))
    assert own[5]["skipped"] == "nothing new"
    assert not own[5]["changed"]
    assert own[7]["guards"][0]["guard"] == "empty"
    assert own[7]["version"] == own[6]["version"]
    assert own[1]["before"] == own[0]["version"]
    scan = told["scans"][1]
    assert (scan["parent"], scan["question"]) == (0, "Who kept tower 4 before the war?")
    assert scan["answer"] == "Jon Castell"
    assert told["steps"][-1]["kind"] == "integration"
    assert sorted(n for step in told["steps"] for n in step["turns"]) == list(
        range(len(told["turns"]) - 1)
    )
    assert told["receipt"]["totals"]["calls"] == len(told["turns"])


def test_a_step_is_shown_with_its_lines(page):
    told = page.reading("memocr")
    step = told["steps"][1]
    query = {"version": step["version"], "against": step["before"]}
    changes = page.get(f"readings/{told['id']}/diff", **query)["changes"]
    added = [change["text"] for change in changes if change["kind"] == "added"]
    assert added == ["- The keeper of tower 1 is Otto Hale."]
    assert {"kind": "kept", "text": f"# Keepers {IMAGE}", "before": ""} in changes
    assert page.status(f"readings/{told['id']}/diff", version=99) == 400
    assert page.status(f"readings/{told['id']}/diff", version=0, against=-1) == 400


def test_a_draft_that_says_the_same_again_changes_nothing(tmp_path):
    model = ScriptedModel(lambda messages, _: "The same as before.")
    reader = build_reader("memagent", {"chunk_tokens": 200})
    source = Source.from_text((write_source(tmp_path / "coast.txt")).read_text())
    reading = kept_reading(ReadingStore(tmp_path / "kept"), reader, source, "Who?", model)
    assert len(asyncio.run(reading).memories) == 12
    with opened(tmp_path, tmp_path / "kept") as client:
        steps = Page(client).reading("memagent")["steps"]
    assert [step["changed"] for step in steps] == [True, *[False] * 11]


def test_the_page_is_drawn_at_any_budget_with_the_lines_in_its_boxes(page):
    told = page.reading("memocr")
    version = told["memory_version"]
    for budget in (16, 64, 700):
        drawn = page.get(f"readings/{told['id']}/page", version=version, budget=budget)
        assert drawn["tokens"] <= budget
        assert drawn["image"].startswith("data:image/png;base64,")
        assert drawn["width"] == drawn["grid"][0] * 28
    texts = [box[5] for box in drawn["boxes"] if box[4] == 3]
    assert " ".join(texts).endswith("The keeper of tower 1 is Otto Hale.")
    path = f"readings/{told['id']}/page"
    dropped = page.get(path, version=version, budget=4, policy="drop")
    assert dropped["dropped"] + dropped["shortened"] > 0
    assert page.get(path, version=version, budget=64, cell=32)["width"] % 32 == 0
    for wrong in ({"budget": 0}, {"budget": 10**9}, {"budget": 64, "cell": 0}):
        assert page.status(path, version=version, **wrong) == 400


def test_the_page_is_the_one_that_was_read(page, made):
    told = page.reading("memocr")
    stored = load_reading(made / "readings" / Path(told["name"]).name)
    for record in stored.pages:
        drawn = page.get(f"readings/{told['id']}/page", version=record.memory, budget=record.budget)
        assert drawn["grid"] == [record.grid_width, record.grid_height]


def test_citations_are_places_in_the_source(page, made):
    told = page.reading("memocr")
    cited = page.citations(told["id"])
    text = (made / "source" / "coast.txt").read_text()
    spans = [span for one in cited["lines"] + cited["answers"] for span in one["spans"]]
    assert len(spans) > 10
    for span in spans:
        assert text[span["start"] : span["end"]] == span["quote"]
        start, end, _ = told["chunks"][span["chunk"]]
        assert start <= span["start"] < end
    assert cited["answers"][0]["spans"][0]["quote"] == "The keeper of tower 3 is Jon Castell."


def test_the_source_is_given_in_pieces_and_searched(page, made):
    id = page.reading("memocr")["id"]
    text = (made / "source" / "coast.txt").read_text()
    told = page.get(f"readings/{id}/source")
    assert told["at_hand"]
    ends = [*told["blocks"][1:], told["characters"]]
    parts = [
        page.get(f"readings/{id}/source/text", start=start, end=end)["text"]
        for start, end in zip(told["blocks"], ends, strict=True)
    ]
    assert "".join(parts) == text
    found = page.get(f"readings/{id}/source/search", q="KEEPER  of tower 1")["found"]
    assert [text[one["start"] : one["end"]] for one in found] == ["keeper of tower 1"] * 3
    assert page.get(f"readings/{id}/source/search", q="(.*)")["found"] == []
    for wrong in ({"start": -1, "end": 5}, {"start": 5, "end": 4}, {"start": 0, "end": 10**8}):
        assert page.status(f"readings/{id}/source/text", **wrong) == 400
    assert page.status(f"readings/{id}/source/search", q=" ") == 400


@pytest.mark.parametrize("text", ["", "word " * 3000, "x" * 10_000, "line\n" * 2000])
def test_pieces_cover_a_source_and_end_at_lines_or_words(text):
    starts = block_starts(text)
    ends = [*starts[1:], len(text)]
    assert starts[0] == 0
    assert (
        all(0 < end - start <= BLOCK for start, end in zip(starts, ends, strict=True)) or not text
    )
    if " " in text or "\n" in text:
        assert all(text[start - 1].isspace() for start in starts[1:])


def test_the_prompt_of_every_call_is_made_again_to_the_letter(page):
    for reader in ("memocr", "memreread"):
        told = page.reading(reader)
        for number, turn in enumerate(told["turns"]):
            made = page.get(f"readings/{told['id']}/turns/{number}")
            assert made["messages"], (turn, made["why"])
            parts = made["messages"][0]["parts"]
            assert (parts[0]["type"] == "image") == (turn["page"] is not None)
            assert "Who" in parts[-1]["text"]
            assert made["request"]
        assert page.status(f"readings/{told['id']}/turns/{number + 1}") == 400


def test_a_reading_under_way_is_followed_line_by_line(made, tmp_path):
    whole = next(
        load_reading(one) for one in (made / "readings").glob("*")
        if load_reading(one).header.reader == "memreread"
    )  # fmt: skip
    lines = whole.to_lines()
    file = tmp_path / "grows" / "reading" / "reading.jsonl"
    file.parent.mkdir(parents=True)
    with opened(tmp_path, tmp_path / "grows") as client:
        page, seen = Page(client), 0
        for count in (1, 2, 3, 4, 5, 20, 60, len(lines) - 1, len(lines)):
            text = "".join(f"{line}\n" for line in lines[:count])
            torn = lines[count][:20] if count < len(lines) else ""
            file.write_text(text + torn)
            told = page.reading("memreread")
            part = Reading.from_lines(lines[:count])
            assert len(told["turns"]) == len(part.turns)
            done = [one for one in told["steps"] if one["kind"] != "under way"]
            assert seen <= len(done)
            seen = len(done)
            assert told["status"] == part.status
        tag = client.get(f"{API}/readings/{told['id']}").headers["etag"]
        same = client.get(f"{API}/readings/{told['id']}", headers={"If-None-Match": tag})
        assert same.status_code == 304
        # A reading that is gone on with loses its end first.
        file.write_text("".join(f"{line}\n" for line in lines[:10]))
        assert len(page.reading("memreread")["turns"]) == len(Reading.from_lines(lines[:10]).turns)


def test_a_damaged_reading_is_listed_and_not_shown(tmp_path):
    folder = tmp_path / "shown" / "bad"
    folder.mkdir(parents=True)
    (folder / "reading.jsonl").write_text("{torn\n")
    with opened(tmp_path, tmp_path / "shown") as client:
        entry = Page(client).get("entries")["entries"][0]
        assert entry["status"] == "damaged"
        assert Page(client).status(f"readings/{entry['id']}") == 404


def test_a_saved_memory_is_shown_with_its_own_texts(made, tmp_path):
    model = ScriptedModel(keeper)
    memory = SavedMemory.create("coast", question=QUESTION, model=model, memories=tmp_path / "m")
    memory.append(made / "source" / "coast.txt", model=model)
    memory.ask(model=model)
    with opened(tmp_path, tmp_path / "m") as client:
        page = Page(client)
        told = page.get(f"readings/{page.ids('memory')['coast']}")
        assert told["answers"][0]["text"] == "Jon Castell"
        assert page.get(f"readings/{told['id']}/source")["at_hand"]
        assert page.citations(told["id"])["source"]


def test_items_are_filtered_sorted_and_paged(page):
    id = page.ids("run")["runs/memocr"]
    run = page.get(f"runs/{id}")
    assert (run["items"], run["readings"], run["headline"]) == (30, 120, "f1")
    assert run["budgets"] == ["1024", "256", "64", "16"]
    whole = page.get(f"runs/{id}/items", limit=200)
    assert len(whole["rows"]) == whole["matching"] == 120
    wrong = page.get(f"runs/{id}/items", show="wrong", budget="16", limit=200)
    assert 0 < wrong["matching"] < 120
    assert all(row["score"] < 0.5 for row in wrong["rows"])
    right = page.get(f"runs/{id}/items", show="right", budget="16")
    assert right["matching"] + wrong["matching"] == 120
    failed = page.get(f"runs/{id}/items", show="failed")
    assert {row["status"] for row in failed["rows"]} == {"failed"}
    assert failed["matching"] == run["failed"]
    one = page.get(f"runs/{id}/items", q="TOWER 7? script", length="8192")
    assert all(row["id"] == "item-007" and row["length"] == 8192 for row in one["rows"])
    costs = [row["cost"] for row in page.get(f"runs/{id}/items", sort="cost", limit=200)["rows"]]
    known = [cost for cost in costs if cost is not None]
    assert costs == sorted(known) + [None] * (120 - len(known))
    pages = [
        page.get(f"runs/{id}/items", sort="id", offset=offset, limit=50)["rows"]
        for offset in (0, 50, 100, 150)
    ]
    assert [len(rows) for rows in pages] == [50, 50, 20, 0]
    for query in ({"sort": "nothing"}, {"limit": 10**6}, {"offset": -1}, {"show": "x"}):
        assert page.status(f"runs/{id}/items", **query) == 422


def test_an_item_leads_to_its_reading(page):
    id = page.ids("run")["runs/memocr"]
    rows = page.get(f"runs/{id}/items")["rows"]
    row = next(row for row in rows if row["reading"])
    told = page.get(f"readings/{row['reading']}")
    assert told["header"]["questions"] == [row["question"]]
    assert not page.get(f"readings/{row['reading']}/source")["at_hand"]
    assert all(not row["reading"] for row in rows if row["status"] == "failed")


def test_curves_and_sums_are_those_of_the_report(page):
    ids = page.ids("run")
    summary = page.get(f"runs/{ids['runs/memocr']}/summary")
    panels = page.get("curves", run=list(ids.values()))["panels"]
    titles = ["hotpotqa, 8,192 tokens", "hotpotqa, 32,768 tokens"]
    assert [panel["title"] for panel in panels] == titles
    line = next(line for line in panels[0]["lines"] if line["memory"] == "visual")
    assert [point["x"] for point in line["points"]] == [1024, 256, 64, 16]
    cell = summary["cells"][0]["scores"]["f1"]
    assert line["points"][0]["mean"] == pytest.approx(cell["mean"])
    assert line["points"][0]["low"] <= line["points"][0]["mean"] <= line["points"][0]["high"]
    assert page.get("curves", run=ids["runs/memocr"], against="length")["panels"]
    assert page.status("curves", run=ids["runs/memocr"], metric="none") == 400
    assert page.status("curves", run="nothing") == 404


def test_a_training_run_is_shown_with_its_rollouts(page):
    id = page.ids("training")["training/first"]
    told = page.get(f"training/{id}")
    assert told["steps"] == 30
    assert told["series"]["reward/reward"][-1] == [30, 1.0]
    assert [phase["phase"] for phase in told["phases"]] == ["warm_start", "learning"]
    assert told["rollouts"] == {"step": [10, 20], "held-out": []}
    rollouts = page.get(f"training/{id}/rollouts/step/20")["rollouts"]
    assert [one["reward"] for one in rollouts] == [0.0, 0.25, 0.5, 0.75]
    said = page.get(f"training/{id}/rollouts/step/20/1")["conversations"]
    assert said[0]["text"] == f"noted {SCRIPT}"
    assert page.status(f"training/{id}/rollouts/step/11") == 400
    assert page.status(f"training/{id}/rollouts/step/20/9") == 400
    assert page.status(f"training/{id}/rollouts/..%2f/20") in (404, 422)


@pytest.fixture
def asking(made, tmp_path):
    with opened(tmp_path, made, upstream=NAMED, model=ScriptedModel(keeper)) as client:
        yield Page(client)


def events_of(page: Page, id: str) -> list[dict]:
    with page.client.stream("GET", f"{API}/asks/{id}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in response.iter_lines() if line.startswith("data:")]
    return [json.loads(line.removeprefix("data:")) for line in lines]


def test_a_dropped_file_is_read_while_one_watches(asking, made, tmp_path):
    text = (made / "source" / "coast.txt").read_bytes()
    kept = asking.client.post(f"{API}/files?name=../../coast.txt", content=text).json()
    assert kept["name"] == "coast.txt"
    order = {
        "files": [kept["id"]], "question": QUESTION, "reader": "memocr", "budget": 64,
        "chunk_tokens": 200,
    }  # fmt: skip
    id = asking.client.post(f"{API}/asks", json=order).json()["id"]
    events = events_of(asking, id)
    kinds = [event["kind"] for event in events]
    assert kinds[:3] == ["opening", "cutting", "started"]
    assert kinds[-3:] == ["answer", "end", "over"]
    assert kinds.count("chunk") == 12
    assert kinds.count("guard") == 1
    assert events[-3]["text"] == "Jon Castell"
    assert "tower 2" in next(one["memory"] for one in events if one.get("chunk") == 2)
    told = asking.get(f"readings/{events[2]['reading']}")
    assert told["status"] == "answered"
    assert asking.get(f"readings/{told['id']}/source")["at_hand"]
    assert (tmp_path / "asked").is_dir()
    assert events_of(asking, id) == events


def test_what_cannot_be_read_is_told(asking):
    kept = asking.client.post(f"{API}/files?name=a.pdf", content=b"%PDF-1.4 no").json()
    order = {"files": [kept["id"]], "question": "What?"}
    events = events_of(asking, asking.client.post(f"{API}/asks", json=order).json()["id"])
    assert [event["kind"] for event in events] == ["opening", "failed", "over"]
    assert "a.pdf" in events[1]["reason"]
    for wrong, status in (
        ({"files": ["../x"]}, 400), ({"files": []}, 422), ({"question": ""}, 422),
        ({"reader": "nobody"}, 500), ({"budget": 0}, 422), ({"more": 1}, 422),
    ):  # fmt: skip
        assert asking.client.post(f"{API}/asks", json={**order, **wrong}).status_code == status
    assert asking.client.post(f"{API}/files?name=x", content=b"").status_code == 400
    assert asking.client.get(f"{API}/asks/none/events").status_code == 400


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd", "passwd"), ("a\\b\\c.txt", "c.txt"), ("..", "file.txt"),
        ("", "file.txt"), ("a\0b.md", "a_b.md"), (".bashrc", "bashrc"),
        ("Übung 1.pdf", "Übung 1.pdf"),
        ("x" * 500 + ".txt", "x" * 120 + ".txt"), ("con/…/<img>.html", "_img_.html"),
    ],
)  # fmt: skip
def test_names_of_files_are_no_paths(name, kept):
    assert safe_name(name) == kept


def test_nothing_is_asked_where_no_model_is_named(page):
    assert page.client.post(f"{API}/files?name=a.txt", content=b"text").status_code == 404
    assert (
        page.client.post(f"{API}/asks", json={"files": ["a"], "question": "?"}).status_code == 404
    )


def test_pages_of_others_may_not_ask(made, tmp_path):
    with opened(tmp_path, made, upstream=NAMED, model=ScriptedModel(keeper)) as client:
        strange = {"Origin": "https://evil.example"}
        assert client.post(f"{API}/files?name=a", content=b"x", headers=strange).status_code == 403
        assert client.get(f"{API}/entries", headers=strange).status_code == 403
        renamed = {"Host": "evil.example"}
        assert client.get(f"{API}/entries", headers=renamed).status_code == 403


def test_with_keys_each_caller_sees_its_own(tmp_path, made):
    keys = tuple(
        ApiKey(id=name, sha256=sha256(name.encode()).hexdigest()) for name in ("alice", "bob")
    )
    state = tmp_path / "state" / "callers"
    source = made / "source" / "coast.txt"
    write_reading(state / "alice" / "readings", [source])
    settings = {"keys": keys, "upstream": NAMED, "model": ScriptedModel(keeper)}
    with opened(tmp_path, (), **settings) as client:
        assert client.get(f"{API}/entries").status_code == 401
        assert (
            client.get(f"{API}/entries", headers={"Authorization": "Bearer no"}).status_code == 401
        )
        assert client.get("/viewer/").status_code == 200
        alice, bob = ({"Authorization": f"Bearer {name}"} for name in ("alice", "bob"))
        entries = client.get(f"{API}/entries", headers=alice).json()["entries"]
        assert len(entries) == 1
        path = f"{API}/readings/{entries[0]['id']}"
        assert client.get(path, headers=alice).status_code == 200
        assert client.get(path, headers=bob).status_code == 404
        assert client.get(f"{API}/entries", headers=bob).json()["entries"] == []


def test_a_thousand_items_and_a_source_of_millions_are_given_in_small_parts(tmp_path):
    from sample_runs import write_run

    write_run(tmp_path / "shown" / "large", "memocr", 1000, readings=False)
    write_large(tmp_path / "shown" / "reading")
    with opened(tmp_path, tmp_path / "shown") as client:
        page = Page(client)
        id = page.ids("run")["large"]
        response = client.get(f"{API}/runs/{id}/items?show=wrong&sort=score")
        assert len(response.json()["rows"]) == 100
        assert len(response.content) < 400_000
        reading = page.reading("memagent")
        assert len(reading["steps"]) == 800
        told = page.get(f"readings/{reading['id']}/source")
        assert told["characters"] > 15_900_000
        assert len(told["blocks"]) < 8000
        start, end = told["blocks"][4000:4002]
        text = page.get(f"readings/{reading['id']}/source/text", start=start, end=end)["text"]
        assert text.startswith("The tide")


def test_the_command_names_the_place_of_what_was_named(made, tmp_path, monkeypatch):
    served = []

    def serve(config, on_listening):
        served.append(config)
        on_listening("http://127.0.0.1:1")
        return 0

    monkeypatch.setattr("palimpsest.server.serving.serve", serve)
    said = []
    monkeypatch.setattr(view_module.notes, "print", lambda text, **_: said.append(text))
    run = made / "runs" / "memocr"
    assert view_module.view(str(run)) == 0
    assert served[-1].shown == (run,)
    assert f"/viewer/#/run/{Library([run]).entries()[0].id}" in said[-1]
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.delenv("PALIMPSEST_MODEL", raising=False)
    name = next(iter((made / "readings").glob("*"))).name
    view_module.view(name[:10], readings=made / "readings")
    assert "/viewer/#/reading/" in said[-1]
    assert served[-1].upstream == ModelSettings()
    view_module.view(str(made))
    assert said[-1].startswith("the viewer is at http://127.0.0.1:1/viewer/ ")


def test_a_runs_reading_outside_its_folder_is_not_shown(made, tmp_path):
    shutil.copytree(made / "runs" / "memocr", tmp_path / "shown" / "run")
    results = tmp_path / "shown" / "run" / "results.jsonl"
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    for line in lines:
        line["reading"] = "../../../readings/outside"
    results.write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_reading(tmp_path / "readings", [made / "source" / "coast.txt"])
    next(iter((tmp_path / "readings").glob("*"))).rename(tmp_path / "readings" / "outside")
    with opened(tmp_path, tmp_path / "shown") as client:
        page = Page(client)
        rows = page.get(f"runs/{page.ids('run')['run']}/items")["rows"]
        assert rows
        assert all(row["reading"] == "" for row in rows)
