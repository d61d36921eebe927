"""The commands that tell how a memory came to be, and read on from the middle of it."""

import asyncio
import json
import os
from typing import NamedTuple

import pytest

from loopback import Loopback, Reply, chat
from palimpsest.cli import main
from palimpsest.memory import ReadingStore
from palimpsest.models import Completion, ScriptedModel
from palimpsest.readers import MemAgent
from palimpsest.sources import open_source

QUESTION = "Where is the lamp?"
TEXT = (
    "Ada Brandt keeps the lamp. " * 20
    + "The lamp is on Gull Rock. Otto owns a red boat. " * 12
    + "Nothing happens on Sunday. " * 20
)
READER = MemAgent(chunk_tokens=150, memory_tokens=60)
DRAFTS = (
    "- Ada Brandt keeps the lamp",
    "- Ada Brandt keeps the lamp\n- lamp: on Gull Rock",
    Completion(text=" "),
    "- the lamp is kept by Ada Brandt\n- dragons live there",
)


class Result(NamedTuple):
    code: int
    out: str
    err: str


class Shelf:
    """A folder with a text, a reading of it, and the command."""

    def __init__(self, folder, capture):
        self.folder = folder
        self.capture = capture
        self.environment = {"PALIMPSEST_READINGS": str(folder / "readings"), "COLUMNS": "80"}
        (folder / "story.txt").write_text(TEXT)
        self.store = ReadingStore(folder / "readings")

    def read(self, drafts=DRAFTS, answer=r"\boxed{Gull Rock}", reader=READER):
        """The name of a new reading."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            source = open_source(["story.txt"])
        model = ScriptedModel([*drafts, answer])
        reading = asyncio.run(reader.read(source, QUESTION, model))
        reading.raise_for_status()
        with self.store.create(reading) as journal:
            return journal.folder.name

    def call(self, *arguments, elsewhere=False):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder.parent if elsewhere else self.folder)
            for name in [*os.environ]:
                if name.startswith(("PALIMPSEST_", "OPENAI_")):
                    patch.delenv(name)
            for name, value in self.environment.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as caught:
                main([str(argument) for argument in arguments])
        captured = self.capture.readouterr()
        return Result(caught.value.code, captured.out, captured.err)


@pytest.fixture
def shelf(tmp_path, capsys):
    folder = tmp_path / "here"
    folder.mkdir()
    return Shelf(folder, capsys)


def test_history_shows_what_each_chunk_did(shelf):
    name = shelf.read()
    done = shelf.call("history", name)
    assert done.code == 0
    first, second, third, fourth = done.out.split("chunk ")[1:]
    assert first.startswith("1 of 4 v0:")
    assert "+ - Ada Brandt keeps the lamp" in first
    assert "+ - lamp: on Gull Rock" in second
    assert "keeps" not in second
    assert "! empty: the draft was empty" in third
    assert "no change" in third
    assert "- - lamp: on Gull Rock" in fourth
    assert "+ - the lamp is kept by Ada Brandt" in fourth
    kept = shelf.call("history", name, "--kept")
    assert "  - Ada Brandt keeps the lamp" in kept.out


def test_history_is_in_colours_on_a_terminal_only(shelf):
    name = shelf.read()
    assert "\x1b[" not in shelf.call("history", name).out
    shelf.environment["FORCE_COLOR"] = "1"
    assert "\x1b[32m" in shelf.call("history", name).out


def test_history_as_json_has_every_step(shelf):
    steps = json.loads(shelf.call("history", shelf.read(), "--json").out)
    assert [step["chunk"] for step in steps] == [0, 1, 2, 3]
    assert [step["version"] for step in steps] == [0, 1, 1, 2]
    assert steps[2]["guards"][0]["guard"] == "empty"
    assert steps[3]["changes"][0]["kind"] == "changed"
    assert [step["calls"] for step in steps] == [1, 1, 1, 1]
    assert steps[0]["usage"]["prompt"] > 0


def test_blame_names_the_sentence_of_each_line(shelf):
    name = shelf.read()
    done = shelf.call("blame", name)
    assert "chunk 1, reworded in" in done.out
    assert "story.txt 0-26" in done.out
    assert "unsupported: - dragons live there" in done.out
    rows = json.loads(shelf.call("blame", name, "--json").out)
    assert [(row["introduced"], row["changed"], row["chunk"]) for row in rows] == [
        (0, 2, 0), (2, 2, 3),
    ]  # fmt: skip
    assert rows[0]["spans"][0]["quote"] == "Ada Brandt keeps the lamp."
    assert [row["supported"] for row in rows] == [True, False]


def test_blame_without_the_source_names_the_chunk_and_says_so(shelf):
    name = shelf.read()
    done = shelf.call("blame", name, elsewhere=True)
    assert done.code == 0
    assert "story.txt 0-" in done.out
    assert "not found again" in done.err
    given = shelf.call("blame", name, "--source", shelf.folder / "story.txt", elsewhere=True)
    assert given.code == 2
    assert "not the one that was read" in given.err


def test_lost_tells_the_rewrite_in_which_a_fact_vanished(shelf):
    name = shelf.read()
    done = shelf.call("lost", name, "lamp on Gull Rock")
    assert "noted in chunk 2 of 4 (v1): - lamp: on Gull Rock" in done.out
    assert "lost in chunk 4 of 4 (v2): - lamp: on Gull Rock" in done.out
    assert "it is not in the final memory" in done.out
    standing = shelf.call("lost", name, "Ada Brandt keeps the lamp")
    assert "lost" not in standing.out
    assert "it stands in the final memory" in standing.out
    data = json.loads(shelf.call("lost", name, "Gull Rock", "--json").out)
    assert [event["event"] for event in data["events"]] == ["noted", "lost"]
    assert data["stands"] == ""


def test_lost_tells_where_a_fact_stood_that_was_never_noted(shelf):
    name = shelf.read()
    done = shelf.call("lost", name, "a red boat")
    assert "it stood in chunk 2 and was never noted" in done.out
    assert '"Otto owns a red boat."' in done.out
    assert "further places" in done.out
    assert "does not stand in the source" in shelf.call("lost", name, "green whales").out
    away = shelf.call("lost", name, "a red boat", elsewhere=True)
    assert away.out == "it was never noted\n"
    assert "--source" in away.err or "not found again" in away.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("lost", "NAME", " "), "the fact has no words"),
        (("history", "nothing-such"), "no reading begins with"),
        (("replay", "NAME", "--from-chunk", "9"), "there is no chunk 9"),
        (("replay", "NAME", "--from-chunk", "0"), "there is no chunk 0"),
    ],
)
def test_what_cannot_be_done_is_said(shelf, arguments, said):
    name = shelf.read()
    done = shelf.call(*(name if one == "NAME" else one for one in arguments))
    assert done.code == 2
    assert said in done.err


# --- replay ---


class Answering:
    """A model behind a URL that notes all sections alike."""

    def __init__(self):
        self.drafts = []
        self.broken_after = None

    def __call__(self, request):
        if not request.path.endswith("/chat/completions"):
            return Reply(404, {"error": {"message": "no such thing"}})
        prompt = request.json["messages"][-1]["content"]
        if "Next section:" not in prompt:
            return chat(r"\boxed{on Gull Rock}")
        if self.broken_after is not None and len(self.drafts) >= self.broken_after:
            return Reply(400, {"error": {"message": "broken"}})
        self.drafts.append(prompt)
        return chat(f"- replayed {len(self.drafts)}")


@pytest.fixture
def served(shelf):
    answering = Answering()
    with Loopback(answering) as server:
        shelf.environment |= {
            "PALIMPSEST_BASE_URL": server.url,
            "PALIMPSEST_MODEL": "served",
            "PALIMPSEST_API_KEY": "key",
            "PALIMPSEST_RETRIES": "0",
        }
        yield answering


def test_replay_goes_on_from_a_chunk_into_a_new_reading(shelf, served):
    name = shelf.read()
    old = dict(shelf.store)[name]
    done = shelf.call("replay", name, "--from-chunk", 3)
    assert (done.code, done.out) == (0, "on Gull Rock\n")
    assert len(served.drafts) == 2
    assert "- lamp: on Gull Rock" in served.drafts[0]
    readings = dict(shelf.store)
    assert readings.pop(name) == old
    (new,) = readings.values()
    assert new.header.chunks == old.header.chunks
    assert new.header.model == "served"
    assert new.header.replay_of == f"{name} from chunk 3"
    assert new.memories[:2] == old.memories[:2]
    assert new.memory == "- replayed 2"
    assert "a replay of" in shelf.call("history", next(iter(readings))).out
    assert "3 calls" in done.err


def test_a_replay_that_was_stopped_goes_on(shelf, served):
    name = shelf.read()
    served.broken_after = 1
    assert shelf.call("replay", name, "--from-chunk", 2, "--quiet").code != 0
    served.broken_after = None
    done = shelf.call("replay", name, "--from-chunk", 2, "--json", "--quiet")
    assert done.code == 0
    assert json.loads(done.out)["memory"] == "- replayed 3"
    assert len(served.drafts) == 3
    assert len(list(shelf.store)) == 2


def test_asking_anew_does_not_go_on_with_a_replay(shelf, served):
    name = shelf.read()
    served.broken_after = 1
    shelf.call("replay", name, "--from-chunk", 2, "--quiet")
    served.broken_after = None
    asked = shelf.call(
        "ask", "story.txt", QUESTION, "--chunk-tokens", 150, "--memory-tokens", 60, "--quiet"
    )  # fmt: skip
    assert asked.code == 0
    replays = [reading.header.replay_of for _, reading in shelf.store]
    assert replays.count("") == 2


def test_replay_reads_with_other_settings_over_the_same_chunks(shelf, served):
    name = shelf.read()
    done = shelf.call("replay", name, "--from-chunk", 4, "--reader", "memagent",
                      "--order", "section_first", "--quiet")  # fmt: skip
    assert done.code == 0
    new = next(reading for _, reading in shelf.store if reading.header.replay_of)
    assert new.header.settings["order"] == "section_first"
    assert len(new.header.chunks) == 4
    assert served.drafts[0].index("Next section:") < served.drafts[0].index("Notes so far:")


def test_replay_past_the_last_chunk_only_answers_again(shelf, served):
    name = shelf.read()
    assert shelf.call("replay", name, "--from-chunk", 5).out == "on Gull Rock\n"
    assert served.drafts == []


def test_replay_needs_the_source_that_was_read(shelf, served):
    name = shelf.read()
    gone = shelf.call("replay", name, "--from-chunk", 2, elsewhere=True)
    assert gone.code == 2
    assert "--source" in gone.err
    (shelf.folder / "story.txt").write_text(TEXT + "More.")
    changed = shelf.call("replay", name, "--from-chunk", 2)
    assert changed.code == 2
    assert "has changed since" in changed.err
