"""A saved memory is given more, by any number of processes, and loses nothing of it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palimpsest.errors import ConfigurationError, InputError, ReadingError, TransientError
from palimpsest.memory.log import Log
from palimpsest.memory.reading import End, Extended, Reading
from palimpsest.memory.saved import MemoryStore
from palimpsest.memory.store import load_reading
from palimpsest.models import ScriptedModel
from palimpsest.prompts import default_prompts
from palimpsest.readers import MemAgent, MemOCR
from palimpsest.readers.digest import DIGEST_QUESTION
from palimpsest.readers.gated import Gated
from palimpsest.readers.memreread import MemReread
from palimpsest.readers.parallel import Parallel
from palimpsest.readers.restoring import restore
from palimpsest.remembering import SavedMemory
from palimpsest.sources import Source

BENCH = Path(__file__).parent.parent / "bench"
QUESTION = "Where is the lamp?"
READER = MemAgent(chunk_tokens=200, memory_tokens=60)
ADA = "Ada keeps the lamp. " * 60
ROCK = "The lamp is on Gull Rock. " * 60


@pytest.fixture
def shelf(tmp_path):
    return tmp_path / "memories"


def made(shelf, name="lamps", *, question=QUESTION, reader=READER):
    return SavedMemory.create(
        name, question=question, reader=reader, model=ScriptedModel([]), memories=shelf
    )


def again(memory):
    """The same memory as another process sees it."""
    return SavedMemory.open(memory.name, memories=memory.folder.path.parent)


def text(name, content):
    return Source.from_text(content, name)


def prompt(call):
    content = call.messages[-1]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


def is_draft(asked):
    return "Next section:" in asked


class Notes:
    """Drafts that count the sections they are of, answers that are the memory's first line."""

    def __init__(self, first=1):
        self.next = first

    def __call__(self, messages, sampling):
        asked = messages[-1]["content"]
        if not isinstance(asked, str):
            return r"\boxed{seen}"
        if is_draft(asked):
            self.next += 1
            return f"- section {self.next - 1}"
        if "too long" in asked:
            return "- shortened"
        return r"\boxed{from memory}"


def reads(first=1):
    return ScriptedModel(Notes(first))


def drafts(model):
    return [prompt(call) for call in model.calls if is_draft(prompt(call))]


def test_an_append_reads_the_new_chunks_only_and_goes_on_from_the_memory(shelf):
    memory, first = made(shelf), reads()
    memory.append(text("ada.txt", ADA), model=first)
    chunks = len(first.calls)
    assert chunks >= 2
    second = reads(first=chunks + 1)
    again(memory).append(text("rock.txt", ROCK), model=second)
    assert "Ada keeps" not in "".join(drafts(second))
    assert f"Notes so far:\n- section {chunks}\n" in drafts(second)[0]
    assert memory.memory == f"- section {chunks + len(second.calls)}"
    assert [document.name for document in memory.documents] == ["ada.txt", "rock.txt"]
    assert memory.pending == []


def test_spans_stay_and_cover_the_source_of_all_documents(shelf):
    memory = made(shelf)
    memory.append(text("ada.txt", ADA), model=reads())
    before = memory.reading.header
    read = [memory.source.text[span.start : span.end] for span in before.chunks]
    memory.append(text("rock.txt", ROCK), model=reads())
    header, source = memory.reading.header, memory.source
    assert header.chunks[: len(before.chunks)] == before.chunks
    assert [source.text[span.start : span.end] for span in before.chunks] == read
    assert "".join(source.text[span.start : span.end] for span in header.chunks) == source.text
    assert (header.characters, header.source_sha256) == (len(source.text), source.sha256)
    assert header.documents == ("ada.txt", "rock.txt")
    [place] = source.locate(*source_span(source, "Gull Rock"))
    assert place.document == "rock.txt"


def source_span(source, words):
    start = source.text.index(words)
    return start, start + len(words)


def test_the_reading_of_a_memory_reloads_to_an_equal_one(shelf):
    memory = made(shelf)
    memory.append(text("ada.txt", ADA), model=reads())
    memory.append(text("rock.txt", ROCK), model=reads())
    reading = memory.reading
    loaded = load_reading(memory.folder.path / "reading.jsonl")
    assert loaded == reading
    assert loaded.header == reading.header
    assert Reading.from_lines(reading.to_lines()) == reading
    assert reading.status == "answered"


def test_a_document_that_is_there_already_is_skipped(shelf):
    memory = made(shelf)
    memory.append(text("ada.txt", ADA), model=reads())
    appended = memory.append(text("copy.txt", ADA), model=ScriptedModel([]))
    assert (appended.added, appended.skipped) == ((), ("copy.txt",))
    twice = memory.append(
        Source.from_documents([("a", ROCK), ("b", ROCK)]), model=reads()
    )  # fmt: skip
    assert [document.name for document in twice.added] == ["a"]
    assert twice.skipped == ("b",)


def test_a_changed_document_is_a_new_version(shelf):
    memory = made(shelf)
    memory.append(text("ada.txt", ADA), model=reads())
    appended = memory.append(text("ada.txt", ROCK), model=reads())
    assert [document.version for document in appended.added] == [2]
    assert memory.reading.header.documents == ("ada.txt", "ada.txt (version 2)")
    assert ADA in memory.source.text
    assert ROCK in memory.source.text


def test_what_is_appended_without_waiting_is_read_by_the_next(shelf):
    memory = made(shelf)
    memory.append(text("ada.txt", ADA), wait=False)
    assert [document.name for document in memory.pending] == ["ada.txt"]
    with pytest.raises(InputError, match="nothing in it yet"):
        memory.ask(model=ScriptedModel([]))
    model = reads()
    memory.append(text("rock.txt", ROCK), model=model)
    assert "Ada keeps" in drafts(model)[0]
    assert "Gull Rock" in drafts(model)[-1]
    assert memory.pending == []
    memory.read(model=ScriptedModel([]))


def test_a_failed_read_keeps_what_was_read_and_is_gone_on_with(shelf):
    memory = made(shelf)
    gone = TransientError("gone", hint="try again")
    with pytest.raises(TransientError, match="gone"):
        memory.append(text("ada.txt", ADA), model=ScriptedModel(["- one", gone]))
    assert memory.memory == "- one"
    assert [document.name for document in memory.pending] == ["ada.txt"]
    chunks = len(memory.reading.header.chunks)
    model = reads(first=2)
    memory.append(text("rock.txt", ROCK), model=model)
    assert "Notes so far:\n- one\n" in drafts(model)[0]
    assert len(drafts(model)) == len(memory.reading.header.chunks) - 1
    assert len(memory.reading.header.chunks) > chunks
    assert memory.pending == []
    assert [end.status for end in memory.reading.records if isinstance(end, End)] == [
        "failed",
        "answered",
    ]


@pytest.mark.parametrize("reader", [READER, Gated(base=READER), Parallel(base=READER, lanes=2)])
def test_a_reading_that_is_cut_off_anywhere_goes_on_to_the_same_memory(shelf, reader):
    def says(messages, sampling):
        asked = messages[-1]["content"]
        facts = [fact for fact in ("Ada keeps", "Gull Rock", "a note") if fact in asked]
        return "NEW" if sampling.max_tokens < 20 else "\n".join(facts)

    whole = made(shelf, reader=reader)
    whole.append(text("ada.txt", ADA), model=ScriptedModel(says))
    whole.note("a note")
    whole.append(text("rock.txt", ROCK), model=ScriptedModel(says))
    assert set(whole.memory.splitlines()) == {"Ada keeps", "Gull Rock", "a note"}
    lines = (whole.folder.path / "reading.jsonl").read_text().split("\n")[:-1]
    for cut in range(1, len(lines)):
        stopped = made(shelf, f"cut-{cut}", reader=reader)
        stopped.append(text("ada.txt", ADA), wait=False)
        stopped.note("a note")
        stopped.append(text("rock.txt", ROCK), wait=False)
        torn = "\n".join(lines[:cut]) + "\n" + lines[cut][:20]
        (stopped.folder.path / "reading.jsonl").write_text(torn)
        stopped.read(model=ScriptedModel(says))
        assert stopped.pending == []
        assert set(stopped.memory.splitlines()) == set(whole.memory.splitlines())
        assert stopped.reading.header.characters == whole.reading.header.characters


def test_answers_come_from_the_memory_as_it_stands_and_are_kept(shelf):
    memory = made(shelf)
    memory.append(text("ada.txt", ADA), model=reads())
    memory.append(text("rock.txt", ROCK), wait=False)
    model = reads()
    asked = memory.ask("Who keeps it?", model=model)
    assert asked.answer == "from memory"
    assert drafts(model) == []
    assert memory.memory in prompt(model.calls[0])
    own = memory.ask(model=reads())
    assert own.header.questions == (QUESTION,)
    memory.read(model=reads())
    assert again(memory).asked == [asked, own]
    assert memory.reading.answers == []
    assert memory.receipt().totals.calls == len(memory.reading.turns) + 2


def test_a_question_that_fails_is_kept_and_raised(shelf):
    memory = made(shelf)
    memory.append(text("ada.txt", ADA), model=reads())
    with pytest.raises(TransientError):
        memory.ask(model=ScriptedModel([TransientError("gone")]))
    assert [asked.status for asked in memory.asked] == ["failed"]


def test_a_note_stands_as_it_is_without_a_model(shelf):
    memory = made(shelf)
    memory.note("  The lamp: *lit* at 21:00\u2028sharp  ")
    memory.note("second")
    assert memory.memory == "The lamp: *lit* at 21:00\u2028sharp\nsecond"
    model = reads()
    assert memory.ask(model=model).answer == "from memory"
    assert memory.memory in prompt(model.calls[0])
    model = reads()
    memory.append(text("ada.txt", ADA), model=model)
    assert "Notes so far:\nThe lamp: *lit* at 21:00\u2028sharp\nsecond\n" in drafts(model)[0]
    memory.note("third")
    assert again(memory).memory == "third\n- section 2"
    assert memory.reading == load_reading(memory.folder.path / "reading.jsonl")


def test_notes_over_the_limit_are_shortened_and_never_silently(shelf):
    memory = made(shelf)
    for number in range(40):
        memory.note(f"- note number {number} of those that do not fit")
    kept = memory.memory
    asked = memory.ask(model=reads())
    assert {guard.guard for guard in asked.guards} == {"over-limit"}
    assert memory.memory == kept
    memory.append(text("ada.txt", ADA), model=reads())
    assert {guard.guard for guard in memory.reading.guards} == {"over-limit"}
    taken = [record.notes for record in memory.reading.records if isinstance(record, Extended)]
    assert sum(taken) == 40
    assert all(version.tokens <= READER.memory_tokens for version in memory.reading.memories)


def test_a_note_that_is_empty_or_as_long_as_a_document_is_refused(shelf):
    memory = made(shelf)
    for note in ("  ", "word " * 500):
        with pytest.raises(InputError):
            memory.note(note)
    assert memory.memory == ""


def test_a_digest_is_drafted_for_whatever_may_be_asked(shelf):
    memory, model = made(shelf, question=None), reads()
    memory.append(text("ada.txt", ADA), model=model)
    assert "any question about it" in drafts(model)[0]
    assert "{" not in drafts(model)[0]
    assert memory.reading.header.questions == (DIGEST_QUESTION,)
    assert "digest" in memory.reading.turns[0].prompt
    with pytest.raises(InputError, match="no question of its own"):
        memory.ask(model=ScriptedModel([]))
    assert again(memory).ask("Who?", model=reads()).answer == "from memory"


@pytest.mark.parametrize("order", ["memory_first", "section_first"])
def test_a_digest_is_wrapped_and_drawn_as_any_memory(shelf, order):
    page = MemOCR(chunk_tokens=200, memory_tokens=60, budgets=(64,), order=order)
    reader = MemReread(base=page, rereads=1)
    memory, model = made(shelf, question=None, reader=reader), reads()
    memory.append(text("ada.txt", ADA), model=model)
    assert "as a picture" in drafts(model)[0]
    assert "any question about it" in drafts(model)[0]
    assert again(memory).reader.settings() == reader.settings()


def test_the_wording_and_the_settings_are_those_it_was_made_with(shelf):
    mine = default_prompts().templates | {}
    memory = made(shelf, reader=MemReread(base=Gated(base=READER), rereads=1))
    opened = again(memory).reader
    assert opened.settings() == memory.reader.settings()
    assert opened.fingerprints() == memory.reader.fingerprints()
    assert opened.template("draft") == mine["draft.memory_first"]


def test_a_reader_without_a_memory_is_refused(shelf):
    from palimpsest.readers.full import FullContext

    with pytest.raises(ConfigurationError, match="makes no memory"):
        made(shelf, reader=FullContext())


def test_an_unknown_reader_is_named():
    with pytest.raises(ReadingError, match="'telepath'"):
        restore("telepath", {}, default_prompts())


def test_a_key_is_not_kept(shelf, monkeypatch, tmp_path):
    (tmp_path / "config.toml").touch()
    monkeypatch.setenv("PALIMPSEST_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("PALIMPSEST_API_KEY", "secret-key")
    monkeypatch.setenv("PALIMPSEST_BASE_URL", "http://localhost:1/v1")
    memory = SavedMemory.create("lamps", model="served", memories=shelf)
    assert memory.plan.model_settings["base_url"] == "http://localhost:1/v1"
    kept = "".join(path.read_text() for path in memory.folder.path.iterdir() if path.is_file())
    assert "secret-key" not in kept


def test_names_are_taken_once_and_checked(shelf):
    made(shelf)
    with pytest.raises(InputError, match="already"):
        made(shelf)
    for name in ("../lamps", "", ".hidden", "a/b"):
        with pytest.raises(InputError):
            made(shelf, name)
        with pytest.raises(InputError, match="no saved memory"):
            SavedMemory.open(name, memories=shelf)
    assert [folder.name for folder in MemoryStore(shelf)] == ["lamps"]


def test_a_memory_is_removed_unless_it_is_being_read(shelf):
    memory, store = made(shelf), MemoryStore(shelf)
    with memory.folder.journal(), pytest.raises(InputError, match="being read"):
        store.remove("lamps")
    store.remove("lamps")
    assert list(shelf.iterdir()) == []


def test_appends_at_once_in_one_process_are_each_read_once(shelf):
    memory = made(shelf)
    model = ScriptedModel(Notes(), latency_s=0.001)

    async def all_at_once():
        await asyncio.gather(
            *(
                again(memory).aappend(text(f"{number}.txt", f"{ADA}{number}"), model=model)
                for number in range(4)
            )
        )

    asyncio.run(all_at_once())
    assert memory.pending == []
    assert sorted(memory.reading.header.documents) == [f"{number}.txt" for number in range(4)]
    assert len(drafts(model)) == len(memory.reading.header.chunks)


def test_the_sync_calls_say_what_to_await_inside_a_loop(shelf):
    memory = made(shelf)

    async def inside():
        memory.read()

    with pytest.raises(RuntimeError, match="await"):
        asyncio.run(inside())


def test_appends_by_many_processes_lose_and_double_nothing():
    done = subprocess.run(
        [sys.executable, str(BENCH / "appends.py"), "--appends", "500", "--processes", "8"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("0 lost, 0 doubled, 0 damaged") == 2


KILLED = """
import sys
from pathlib import Path
from palimpsest.memory.saved import MemoryFolder
folder = MemoryFolder(Path(sys.argv[1]))
number = 0
while True:
    folder.note(f"note {number}")
    folder.add([(f"{number}.txt", f"text {number}"), (f"{number}.md", f"markdown {number}")])
    print(number, flush=True)
    number += 1
"""


def test_a_process_that_is_killed_leaves_whole_entries_and_all_that_it_finished(shelf):
    memory = made(shelf)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(memory.folder.path)], stdout=subprocess.PIPE, text=True
    )
    while (line := process.stdout.readline()) and int(line) < 20:
        pass
    process.send_signal(signal.SIGKILL)
    finished = [int(line), *map(int, process.stdout.read().split())][-1]
    process.wait()
    process.stdout.close()
    memory.note("after")
    *notes, last = again(memory).folder.notes()
    assert last == "after"
    assert notes == [f"note {number}" for number in range(len(notes))]
    assert len(notes) - 1 in (finished, finished + 1)
    documents = memory.documents
    assert len(documents) % 2 == 0
    assert len(documents) // 2 - 1 in (finished, finished + 1)
    assert all(memory.folder.text(one.sha256).split()[-1] in one.name for one in documents)


@given(st.lists(st.text(max_size=30), max_size=8), st.binary(max_size=30))
@settings(max_examples=40, deadline=None)
def test_a_torn_last_line_is_dropped_and_every_other_line_stays(tmp_path_factory, texts, torn):
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    lines = [json.dumps(one, ensure_ascii=bool(len(one) % 2)) for one in texts]
    lines = [line for line in lines if line.encode("utf-8", "ignore").decode() == line]
    writer, reader = Log(path), Log(path)
    for line in lines:
        writer.append(line)
    with path.open("ab") as file:
        file.write(torn.replace(b"\n", b""))
    assert reader.new_lines() == lines
    Log(path).append('"next"')
    assert reader.new_lines() == ['"next"']
    assert Log(path).new_lines() == [*lines, '"next"']


def test_memories_are_kept_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("PALIMPSEST_MEMORIES", str(tmp_path / "shelf"))
    SavedMemory.create("lamps", model=ScriptedModel([]))
    assert os.listdir(tmp_path / "shelf") == ["lamps"]
