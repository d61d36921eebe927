"""Readers follow their papers' control flow, keep the memory from harm, and go on after a stop."""

import asyncio
from dataclasses import replace

import pytest

from palimpsest.errors import ReadingError, TransientError
from palimpsest.memory import ChunkRead, ReadingStore, load_reading
from palimpsest.memory.reading import Reading
from palimpsest.models import Completion, ScriptedModel
from palimpsest.pages import Style
from palimpsest.readers import MemAgent, MemOCR
from palimpsest.sources import Source

SOURCE = Source.from_text(
    "Ada keeps the lamp. " * 30 + "The lamp is on Gull Rock. " * 30 + "Nothing happens. " * 30
)
QUESTION = "Where is the lamp?"
READER = MemAgent(chunk_tokens=200, memory_tokens=60)


def read(model, reader=READER, **options):
    return asyncio.run(reader.read(SOURCE, QUESTION, model, **options))


def notes_then_answer(messages, sampling):
    text = prompt(messages)
    if "Next section:" in text:
        seen = "the lamp is on Gull Rock" if "Gull Rock" in text else "Ada keeps the lamp"
        return f"Notes: {seen}."
    return r"\boxed{Gull Rock}"


def prompt(messages):
    content = messages[-1]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


def drafts(model):
    return [
        prompt(call.messages) for call in model.calls if "Next section:" in prompt(call.messages)
    ]


def notes_so_far(draft):
    """The memory that a draft prompt shows."""
    return draft.split("Notes so far:\n", 1)[1].split("\n\nNext section:")[0]


def test_every_chunk_is_drafted_once_and_the_answer_comes_from_the_memory_alone():
    model = ScriptedModel(notes_then_answer)
    reading = read(model)
    chunks = reading.header.chunks
    assert len(chunks) >= 3
    assert [turn.chunk for turn in reading.turns] == [*range(len(chunks)), None]
    for span, text in zip(chunks, drafts(model), strict=True):
        assert SOURCE.text[span.start : span.end] in text
    last = prompt(model.calls[-1].messages)
    assert reading.memory in last
    assert "Nothing happens" not in last
    assert reading.answer == "Gull Rock"
    assert reading.status == "answered"


def test_each_draft_sees_the_memory_before_it_and_overwrites_it():
    model = ScriptedModel(["one", "two", "three", r"\boxed{x}"])
    reader = MemAgent(chunk_tokens=200, memory_tokens=60)
    reading = read(model, reader)
    seen = drafts(model)
    assert reader.prompts.empty_memory in seen[0]
    assert notes_so_far(seen[1]) == "one"
    assert "two" in seen[2]
    assert "one" not in notes_so_far(seen[2])
    assert [version.text for version in reading.memories] == ["one", "two", "three"]


def test_section_first_shares_its_start_among_questions():
    first, second = (ScriptedModel(notes_then_answer) for _ in range(2))
    reader = READER.model_copy(update={"order": "section_first"})
    asyncio.run(reader.read(SOURCE, "Who keeps it?", first))
    asyncio.run(reader.read(SOURCE, "Where is it?", second))
    a, b = drafts(first)[0], drafts(second)[0]
    shared = a[: a.index("Notes so far:")]
    assert b.startswith(shared)
    assert SOURCE.text[:200] in shared


def test_several_questions_share_the_reading():
    model = ScriptedModel(notes_then_answer)
    reading = asyncio.run(READER.read(SOURCE, ["Where?", "Who?"], model))
    assert len(drafts(model)) == len(reading.header.chunks)
    assert "1. Where?\n2. Who?" in drafts(model)[0]
    assert [answer.question for answer in reading.answers] == [0, 1]


@pytest.mark.parametrize(
    ("bad", "guard"),
    [
        (Completion(text="   "), "empty"),
        (Completion(text="I will not.", finish_reason="refused"), "refused"),
    ],
)
def test_a_bad_draft_never_replaces_the_memory(bad, guard):
    reader = MemAgent(chunk_tokens=200, memory_tokens=60)
    reading = read(ScriptedModel(["kept", bad, "kept too", r"\boxed{x}"]), reader)
    assert [event.guard for event in reading.guards] == [guard]
    assert [version.text for version in reading.memories] == ["kept", "kept too"]
    assert reading.next_chunk == 3


def test_a_cut_off_draft_replaces_nothing_and_adds_the_lines_it_finished():
    reader = MemAgent(chunk_tokens=200, memory_tokens=60)
    cut_off = Completion(text="- new\n- kept\n- new\n- unfini", finish_reason="length")
    reading = read(ScriptedModel(["- kept", cut_off, "last", r"\boxed{x}"]), reader)
    assert [event.guard for event in reading.guards] == ["cut-off"]
    assert [version.text for version in reading.memories] == ["- kept", "- kept\n- new", "last"]


def test_what_a_cut_off_draft_adds_stays_within_the_limit():
    reader = MemAgent(chunk_tokens=200, memory_tokens=20)
    endless = Completion(
        text="\n".join(f"- fact number {number}" for number in range(40)), finish_reason="length"
    )
    reading = read(ScriptedModel(["- kept", endless, endless, r"\boxed{x}"]), reader)
    assert all(version.tokens <= 20 for version in reading.memories)
    assert all(version.text.startswith("- kept") for version in reading.memories)
    assert "- fact number 0" in reading.memory


def test_faithful_accepts_a_cut_off_draft_as_the_paper_does():
    reader = MemAgent.faithful().model_copy(update={"chunk_tokens": 200, "memory_tokens": 60})
    cut_off = Completion(text="on and on", finish_reason="length")
    model = ScriptedModel(["kept", cut_off, "last", r"\boxed{x}"])
    reading = read(model, reader)
    assert [version.text for version in reading.memories] == ["kept", "on and on", "last"]
    assert model.calls[0].sampling.max_tokens == 60
    assert (model.calls[0].sampling.temperature, model.calls[0].sampling.top_p) == (0.7, 0.95)


def test_a_draft_over_the_limit_is_asked_to_shorten_once():
    reader = MemAgent(chunk_tokens=200, memory_tokens=20)
    long = "The lamp stands on Gull Rock and nowhere else at all. " * 6
    model = ScriptedModel([long, "Lamp: Gull Rock.", "b", "c", r"\boxed{x}"])
    reading = read(model, reader)
    assert [event.guard for event in reading.guards] == ["over-limit"]
    assert reading.memories[0].text == "Lamp: Gull Rock."


def test_a_draft_that_stays_too_long_is_cut_at_a_line():
    reader = MemAgent(chunk_tokens=200, memory_tokens=20)
    long = "\n".join(f"line {number} of the notes" for number in range(30))
    reading = read(ScriptedModel([long, long, "b", "c", r"\boxed{x}"]), reader)
    assert [event.guard for event in reading.guards] == ["over-limit", "cut-to-limit"]
    kept = reading.memories[0]
    assert kept.tokens <= 20
    assert kept.text
    assert long.startswith(kept.text + "\n")


def test_memocr_drafts_once_and_reads_at_every_budget():
    def respond(messages, sampling):
        if "Next section:" in prompt(messages):
            return "# The lamp is on **Gull Rock**\n\n- Ada keeps it"
        return r"\boxed{Gull Rock}"

    model = ScriptedModel(respond)
    reader = MemOCR(chunk_tokens=200, budgets=(64, 16))
    reading = read(model, reader)
    assert len(drafts(model)) == len(reading.header.chunks) == 3
    assert [(page.budget, page.memory) for page in reading.pages] == [(64, 2), (16, 2)]
    assert [answer.budget for answer in reading.answers] == [64, 16]
    for call, page in zip(model.calls[-2:], reading.pages, strict=True):
        image, text = call.messages[0]["content"]
        assert image["type"] == "image_url"
        assert image["image_url"]["url"].startswith("data:image/png;base64,")
        assert "Gull Rock" not in text["text"]
        assert page.grid_width * page.grid_height <= page.budget


def test_a_failed_call_ends_the_reading_with_its_reason_and_keeps_what_was_read():
    failure = TransientError("the server went away", hint="try again")
    reading = read(
        ScriptedModel(["kept", failure]), MemAgent(chunk_tokens=200, memory_tokens=60)
    )  # fmt: skip
    assert reading.status == "failed"
    assert reading.memory == "kept"
    with pytest.raises(TransientError, match="went away"):
        reading.raise_for_status()


def test_a_reading_goes_on_after_its_last_finished_chunk():
    reader = MemAgent(chunk_tokens=200, memory_tokens=60)
    stopped = read(ScriptedModel(["one", TransientError("gone")]), reader)
    model = ScriptedModel(["two", "three", r"\boxed{x}"])
    reading = read(model, reader, reading=stopped.resumable())
    assert [version.text for version in reading.memories] == ["one", "two", "three"]
    assert notes_so_far(drafts(model)[0]) == "one"
    assert reading.answer == "x"


def test_a_memory_of_a_chunk_that_was_cut_short_counts_for_nothing():
    reader = MemAgent(chunk_tokens=200, memory_tokens=60)
    stopped = read(ScriptedModel(["one", "two", TransientError("gone")]), reader).resumable()
    assert stopped.records.pop() == ChunkRead(chunk=1, memory=1)
    model = ScriptedModel(["two again", "three", r"\boxed{x}"])
    reading = read(model, reader, reading=stopped)
    assert notes_so_far(drafts(model)[0]) == "one"
    assert reading.memory == "three"


def test_a_reading_is_not_gone_on_with_under_other_settings():
    stopped = read(ScriptedModel(["one", TransientError("gone")]))
    with pytest.raises(ReadingError):
        read(ScriptedModel([]), MemAgent(chunk_tokens=201), reading=stopped.resumable())


def test_other_words_for_no_memory_make_another_reading():
    prompts = replace(READER.prompts, empty_memory="No previous memory")
    other = READER.model_copy(update={"prompts": prompts})
    model = ScriptedModel([])
    assert other.key(SOURCE, QUESTION, model) != READER.key(SOURCE, QUESTION, model)


def test_a_page_is_drawn_again_from_the_settings_in_the_reading():
    reader = MemOCR(chunk_tokens=1000, budgets=(16,), cell=32, style=Style(cap_px=12))
    reading = read(ScriptedModel(["# Ada", r"\boxed{Ada}"]), reader)
    page = MemOCR(**reading.header.settings).page(reading.memory, 16)
    assert page.sha256 == reading.pages[0].sha256


def test_a_reading_reloads_to_an_equal_one(tmp_path):
    reading = read(ScriptedModel(notes_then_answer), MemOCR(chunk_tokens=200, budgets=(16,)))
    assert Reading.from_lines(reading.to_lines()) == reading
    with ReadingStore(tmp_path).create(reading) as journal:
        assert load_reading(journal.folder) == reading


def test_a_half_written_last_line_is_dropped_on_resuming(tmp_path):
    reader = MemAgent(chunk_tokens=200, memory_tokens=60)
    stopped = read(ScriptedModel(["one", TransientError("gone")]), reader).resumable()
    store = ReadingStore(tmp_path)
    with store.create(stopped) as journal:
        folder = journal.folder
    with (folder / "reading.jsonl").open("a") as file:
        file.write('{"kind":"turn","role":"dra')
    found = store.resume(stopped.header.key)
    assert found is not None
    reading, journal = found
    assert reading == stopped
    with journal:
        model = ScriptedModel(["two", "three", r"\boxed{x}"])
        done = read(model, reader, reading=reading, on_event=journal.write)
    assert load_reading(folder) == done


def test_a_reading_that_is_being_written_is_not_taken_by_another(tmp_path):
    stopped = read(ScriptedModel(["one", TransientError("gone")])).resumable()
    store = ReadingStore(tmp_path)
    with store.create(stopped):
        assert store.resume(stopped.header.key) is None
    found = store.resume(stopped.header.key)
    assert found is not None
    found[1].close()


def test_a_damaged_reading_is_named(tmp_path):
    folder = tmp_path / "abc"
    folder.mkdir()
    (folder / "reading.jsonl").write_text('{"kind":"reading","version":1}\n')
    with pytest.raises(ReadingError, match="damaged"):
        load_reading(folder)
