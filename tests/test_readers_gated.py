"""A gate lets drafts be skipped, and loses nothing where it is not understood."""

import asyncio

import pytest

from palimpsest.errors import ConfigurationError, TransientError
from palimpsest.memory import Reading
from palimpsest.memory.reading import ChunkRead
from palimpsest.models import Completion, ScriptedModel
from palimpsest.models.model import user
from palimpsest.models.scripted import texts
from palimpsest.prompts import default_prompts
from palimpsest.readers import MemAgent
from palimpsest.readers.drafting import Scan
from palimpsest.readers.gated import Gated, parse_verdict
from palimpsest.readers.growing import extend
from palimpsest.readers.memocr import MemOCR
from palimpsest.readers.memreread import MemReread
from palimpsest.readers.parallel import Parallel
from palimpsest.readers.reader import Session
from palimpsest.readers.restoring import restore
from palimpsest.sources import Source

SOURCE = Source.from_text("".join(f"Fact {number} of the source. " * 25 for number in range(6)))
QUESTION = "Where is the lamp?"
BASE = MemAgent(chunk_tokens=200, memory_tokens=60)
READER = Gated(base=BASE)
STOPPING = Gated(base=BASE, stop=True)


def read(model, reader=READER, **options):
    return asyncio.run(reader.read(SOURCE, QUESTION, model, **options))


def prompt(call):
    return "\n".join(texts(call.messages))


class Gatekeeper(ScriptedModel):
    """Answers the gate with the verdict for the chunk that is asked about."""

    def __init__(self, *verdicts):
        super().__init__(self.respond)
        self.verdicts = iter(verdicts)

    def respond(self, messages, sampling):
        text = "\n".join(texts(messages))
        if text.endswith("The one word:"):
            return next(self.verdicts)
        return "- a note" if "Next section:" in text else r"\boxed{x}"


def roles(reading):
    return [turn.role for turn in reading.turns]


def skips(reading):
    return [record.skipped for record in reading.records if isinstance(record, ChunkRead)]


CHUNKS = len(asyncio.run(READER.begin(SOURCE, QUESTION, ScriptedModel([]))).header.chunks)


def test_the_source_has_chunks_to_skip():
    assert CHUNKS >= 5


def test_a_chunk_that_adds_nothing_is_not_drafted():
    model = Gatekeeper("NOTHING", "NEW", *["NOTHING"] * CHUNKS)
    reading = read(model)
    assert skips(reading)[:3] == ["", "nothing new", ""]
    assert skips(reading)[3:] == ["nothing new"] * (CHUNKS - 3)
    assert roles(reading)[:4] == ["draft", "gate", "gate", "draft"]
    assert roles(reading).count("draft") == 2
    assert reading.status == "answered"
    assert reading.done() == set(range(CHUNKS))


def test_a_skipped_chunk_leaves_the_memory_as_it_was():
    reading = read(Gatekeeper(*["NOTHING"] * CHUNKS))
    assert len(reading.memories) == 1
    named = {record.memory for record in reading.records if isinstance(record, ChunkRead)}
    assert named == {0}


def test_the_gates_cost_is_counted():
    reading = read(Gatekeeper(*["NOTHING"] * CHUNKS))
    gates = [turn for turn in reading.turns if turn.role == "gate"]
    assert len(gates) == CHUNKS - 1
    assert all(turn.completion.usage.prompt > 200 for turn in gates)
    assert reading.usage.prompt == sum(turn.completion.usage.prompt for turn in reading.turns)


def test_the_gate_may_say_few_words_only():
    model = Gatekeeper(*["NEW"] * CHUNKS)
    read(model)
    assert {call.sampling.max_tokens for call in model.calls if gate(call)} == {8}


def gate(call):
    return prompt(call).endswith("The one word:")


def test_no_gate_is_asked_before_there_is_a_memory():
    empty = Completion(text="")
    reading = read(ScriptedModel([empty, empty, "- a note", *["NOTHING"] * (CHUNKS - 3), "x"]))
    assert roles(reading)[:4] == ["draft", "draft", "draft", "gate"]
    assert reading.memory == "- a note"


def test_enough_ends_the_scan_without_another_call():
    reading = read(Gatekeeper("NEW", "ENOUGH"), STOPPING)
    assert skips(reading) == ["", "", *["enough"] * (CHUNKS - 2)]
    assert roles(reading) == ["draft", "gate", "draft", "gate", "final"]
    assert reading.done() == set(range(CHUNKS))


def test_enough_is_neither_asked_for_nor_heeded_where_the_scan_must_not_stop():
    model = Gatekeeper(*["ENOUGH"] * CHUNKS)
    reading = read(model)
    assert skips(reading) == [""] * CHUNKS
    assert not any("ENOUGH" in prompt(call) for call in model.calls)
    stopping = Gatekeeper("ENOUGH")
    read(stopping, STOPPING)
    assert "ENOUGH" in prompt(stopping.calls[1])


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("NOTHING", "NOTHING"),
        ("**Nothing** new here", "NOTHING"),
        (" 'new'.", "NEW"),
        ("_ENOUGH_", "ENOUGH"),
        ("enough", "ENOUGH"),
        ("", "NEW"),
        ("...", "NEW"),
        ("There is NOTHING", "NEW"),
        ("Nothingness", "NEW"),
        ("I would say NEW", "NEW"),
        ("没有", "NEW"),
    ],
)
def test_the_first_word_decides_and_what_is_not_understood_counts_as_new(reply, verdict):
    assert parse_verdict(reply) == verdict


@pytest.mark.parametrize("order", ["memory_first", "section_first"])
@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("kind", [MemAgent, MemOCR])
def test_a_draft_begins_as_its_gate_did_up_to_and_with_the_question(order, stop, kind):
    base = kind(chunk_tokens=200, memory_tokens=60, order=order)
    model = Gatekeeper(*["NEW"] * CHUNKS)
    read(model, Gated(base=base, stop=stop))
    asked, drafted = next(
        (prompt(one), prompt(two))
        for one, two in zip(model.calls, model.calls[1:], strict=False)
        if gate(one)
    )
    shared, _ = asked.split(f"Question: {QUESTION}\n\n")
    assert drafted.startswith(f"{shared}Question: {QUESTION}\n\n")


def everything():
    """A model that lets a scan draft, skip and stop, and says the same to the same prompt."""
    verdicts = iter(["NOTHING", "NEW", "ENOUGH"])
    said = {}

    def respond(messages, sampling):
        text = "\n".join(texts(messages))
        if text not in said:
            gated = text.endswith("The one word:")
            note = f"- note {len(said)}" if "Next section:" in text else r"\boxed{x}"
            said[text] = next(verdicts) if gated else note
        return said[text]

    return respond


def test_a_reading_that_was_killed_after_any_record_ends_the_same():
    respond = everything()
    whole = read(ScriptedModel(respond), STOPPING)
    assert {"", "nothing new", "enough"} == set(skips(whole))
    for kept in range(len(whole.records)):
        stopped = Reading(whole.opening, whole.records[:kept])
        again = read(ScriptedModel(respond), STOPPING, reading=stopped)
        assert (again.memory, again.answer) == (whole.memory, whole.answer)
        assert skips(again) == skips(whole)


def test_a_failed_gate_ends_the_reading_and_what_was_read_stands():
    reading = read(ScriptedModel(["- kept", TransientError("gone")]))
    assert reading.status == "failed"
    assert reading.memory == "- kept"


def test_gated_wraps_readers_that_draft_and_goes_inside_of_others():
    with pytest.raises(ConfigurationError, match="memreread"):
        Gated(base=MemReread())
    assert MemReread(base=READER).inner is BASE


def test_a_gate_has_its_wording_and_its_settings_in_the_reading():
    header = read(Gatekeeper(*["NEW"] * CHUNKS)).header
    assert header.reader == "gated"
    assert header.prompts["gate"] == default_prompts().get("gate").fingerprint
    assert "gate_stop" not in header.prompts
    assert header.settings["stop"] is False
    assert header.settings["base"]["reader"] == "memagent"


def test_what_was_enough_is_asked_again_of_documents_that_are_added_later():
    model = Gatekeeper("ENOUGH", "NEW", *["ENOUGH"] * CHUNKS)
    reading = read(model, STOPPING)
    reading = Reading(reading.opening, reading.records[:-1])
    grown = Source(SOURCE.documents, SOURCE.text + SOURCE.text, "grown")
    session = Session(grown, model, reading, None)
    asyncio.run(extend(session, STOPPING, ["again"]))
    asyncio.run(STOPPING.draft(session, Scan(QUESTION)))
    assert skips(reading) == ["", *["enough"] * (CHUNKS - 1), "", *["enough"] * (CHUNKS - 1)]


@pytest.mark.parametrize("reader", [STOPPING, Parallel(base=READER, lanes=3)])
def test_a_reader_is_made_again_from_its_settings(reader):
    assert restore(reader.name, reader.settings(), BASE.prompts) == reader


def test_a_gate_prompt_is_one_user_message():
    model = Gatekeeper(*["NEW"] * CHUNKS)
    read(model)
    call = next(call for call in model.calls if gate(call))
    assert call.messages == user(prompt(call))
