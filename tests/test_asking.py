"""The one call that reads, keeps the reading and gives it back."""

import asyncio

import pytest

import palimpsest
from palimpsest.asking import default_readings_folder
from palimpsest.errors import InputError, TransientError
from palimpsest.memory import ReadingStore, load_reading
from palimpsest.models import ScriptedModel

TEXT = "Ada keeps the lamp. " * 30 + "The lamp is on Gull Rock. " * 30
READER = palimpsest.MemAgent(chunk_tokens=200, memory_tokens=60)


@pytest.fixture(autouse=True)
def readings(monkeypatch, tmp_path):
    folder = tmp_path / "readings"
    monkeypatch.setenv("PALIMPSEST_READINGS", str(folder))
    return folder


@pytest.fixture
def story(tmp_path):
    path = tmp_path / "story.txt"
    path.write_text(TEXT)
    return path


def chunks(source) -> int:
    reading = asyncio.run(READER.begin(source, "Where?", ScriptedModel([])))
    return len(reading.header.chunks)


def script(drafts: int, answer: str = r"\boxed{Gull Rock}") -> list[str]:
    return [*(f"notes {number}" for number in range(drafts)), answer]


def test_a_file_and_a_question_give_an_answer(story, readings):
    model = ScriptedModel(["The lamp is on Gull Rock.", r"\boxed{Gull Rock}"])
    reading = palimpsest.ask(story, "Where is the lamp?", model=model)
    assert reading.answer == "Gull Rock"
    [(name, kept)] = list(ReadingStore(readings))
    assert kept == reading == load_reading(readings / name)


def test_sources_are_paths_in_any_number_or_a_source(story, tmp_path):
    other = tmp_path / "other.md"
    other.write_text("A lamp was lit.")
    for source in (str(story), [story, other], palimpsest.Source.from_text(TEXT)):
        reading = palimpsest.ask(source, "Where?", model=ScriptedModel(script(1)))
        assert reading.answer == "Gull Rock"


def test_questions_share_a_reading(story):
    model = ScriptedModel(["notes", r"\boxed{Gull Rock}", r"\boxed{Ada}"])
    reading = palimpsest.ask(story, ["Where?", "Who?"], model=model)
    assert [answer.text for answer in reading.answers] == ["Gull Rock", "Ada"]


def test_ask_in_an_event_loop_says_to_await_instead(story):
    async def inside() -> None:
        palimpsest.ask(story, "Where?", model=ScriptedModel([]))

    with pytest.raises(RuntimeError, match="await aask"):
        asyncio.run(inside())


def test_aask_goes_on_with_an_unfinished_reading(story, readings):
    source = palimpsest.open_source([story])
    total = chunks(source)
    assert total >= 2
    broken = ScriptedModel(["notes 0", TransientError("gone", hint="try again")])
    with pytest.raises(TransientError, match="gone"):
        palimpsest.ask(source, "Where?", model=broken, reader=READER)

    begun: list[int] = []
    model = ScriptedModel([f"notes {number}" for number in range(1, total)] + [r"\boxed{x}"])
    reading = asyncio.run(
        palimpsest.aask(
            source,
            "Where?",
            model=model,
            reader=READER,
            on_start=lambda reading, _: begun.append(reading.next_chunk),
        )
    )
    assert begun == [1]
    assert [version.text for version in reading.memories] == script(total)[:-1]
    assert len(list(ReadingStore(readings))) == 1


def test_fresh_begins_anew(story, readings):
    source = palimpsest.open_source([story])
    with pytest.raises(TransientError):
        palimpsest.ask(
            source, "Where?", model=ScriptedModel([TransientError("gone")]), reader=READER
        )
    model = ScriptedModel(script(chunks(source)))
    palimpsest.ask(source, "Where?", model=model, reader=READER, fresh=True)
    assert len(list(ReadingStore(readings))) == 2


def test_a_finished_reading_is_not_gone_on_with(story, readings):
    for _ in range(2):
        palimpsest.ask(story, "Where?", model=ScriptedModel(script(1)))
    assert len(list(ReadingStore(readings))) == 2


def test_events_are_heard_after_they_are_written(story, readings):
    heard: list[str] = []

    def listen(reading, part) -> None:
        heard.append(part.kind)
        [(_, kept)] = list(ReadingStore(readings))
        assert kept == reading

    palimpsest.ask(story, "Where?", model=ScriptedModel(script(1)), on_event=listen)
    assert heard == ["turn", "memory", "chunk", "turn", "answer", "end"]


def test_an_empty_question_is_refused_before_anything_is_asked(story):
    model = ScriptedModel([])
    with pytest.raises(InputError, match="empty"):
        palimpsest.ask(story, "  ", model=model)
    assert not model.calls


def test_readings_are_kept_where_the_environment_says(monkeypatch, readings):
    assert default_readings_folder() == readings
    monkeypatch.delenv("PALIMPSEST_READINGS")
    assert default_readings_folder().name == "readings"
