"""The ledger tells from the records alone what each step did and where each line comes from."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palimpsest.errors import InputError, TransientError
from palimpsest.memory import ChunkRead, GuardEvent, MemoryVersion, Span
from palimpsest.memory.ledger import diff, holding_line, ledger, origins, traces
from palimpsest.memory.lines import memory_lines, pair_lines
from palimpsest.memory.reading import Extended, Header, Integrated, Merged, Reading, Reread
from palimpsest.memory.replaying import records_before, replayed
from palimpsest.models import Completion, ScriptedModel
from palimpsest.readers import MemAgent
from palimpsest.readers.memreread import MemReread
from palimpsest.sources import Source


def reading_of(*records, chunks=4):
    spans = tuple(Span(10 * index, 10 * index + 10, 5) for index in range(chunks))
    header = Header(
        key="k" * 64, created="2026-01-01T00:00:00+00:00", source_sha256="s",
        documents=("story.txt",), characters=10 * chunks, questions=("Where?",),
        reader="memagent", settings={}, model="m", tokenizer="t", prompts={}, chunks=spans,
    )  # fmt: skip
    return Reading(header, records)


def drafted(*texts):
    """A reading that wrote these memories, a chunk each."""
    records = []
    for index, text in enumerate(texts):
        parents = (index - 1,) if index else ()
        records += [version(index, text, parents), ChunkRead(chunk=index, memory=index)]
    return reading_of(*records)


def version(chunk, text, parents=(), reread=0):
    return MemoryVersion(
        chunk=chunk, text=text, tokens=len(text.split()), parents=parents, reread=reread
    )


def kinds(changes):
    return [(change.kind, change.text) for change in changes]


def test_a_diff_tells_what_was_kept_added_changed_and_removed():
    before = "# Ada\n- keeps the lamp on Gull Rock\n- was born in 1912\n- likes tea"
    after = "# Ada\n- keeps the great lamp on Gull Rock\n- likes tea\n- died in Bergen in 1980"
    changes = diff(before, after)
    assert kinds(changes) == [
        ("kept", "# Ada"),
        ("changed", "- keeps the great lamp on Gull Rock"),
        ("removed", "- was born in 1912"),
        ("kept", "- likes tea"),
        ("added", "- died in Bergen in 1980"),
    ]
    assert changes[1].before == "- keeps the lamp on Gull Rock"


def test_a_number_that_changed_makes_another_line():
    assert pair_lines(["- Born: 1912"], ["- Born: 1913"]) == {}


def test_a_line_that_moved_is_kept():
    changes = diff("- one lamp\n- two boats", "- two boats\n- one lamp")
    assert {change.kind for change in changes} == {"kept"}


@given(st.text("ab\n -#1", max_size=60), st.text("ab\n -#1", max_size=60))
def test_the_lines_of_a_diff_are_those_of_both_versions(before, after):
    changes = diff(before, after)
    assert "\n".join(change.text for change in changes if change.kind != "removed") == after
    gone = [change.text for change in changes if change.kind == "removed"]
    old = [change.before or change.text for change in changes if change.kind in ("kept", "changed")]
    assert sorted(gone + old) == sorted(before.split("\n") if before else [])


def test_a_line_is_traced_through_rewording_to_the_chunk_that_brought_it():
    reading = drafted(
        "- Ada keeps the lamp on Gull Rock",
        "- Ada keeps the lamp on Gull Rock\n- Otto sails the boat",
        "- the lamp on Gull Rock is kept by Ada\n- Otto sails the boat",
    )
    lamp, boat = origins(reading)
    assert (lamp.introduced, lamp.changed, lamp.chunk, lamp.chunks) == (0, 2, 0, {0, 2})
    assert (boat.introduced, boat.changed, boat.chunk, boat.chunks) == (1, 1, 1, {1})


def test_lines_joined_into_one_come_from_the_chunks_of_both():
    reading = drafted(
        "- Ada keeps the lamp on Gull Rock",
        "- Ada keeps the lamp on Gull Rock\n- Otto sails the red boat",
        "- Ada keeps the lamp on Gull Rock and Otto sails the red boat",
    )
    (line,) = origins(reading)
    assert line.chunks == {0, 1, 2}


def test_a_merge_has_the_origins_of_all_its_parts():
    reading = reading_of(
        version(0, "- Ada keeps the lamp"),
        ChunkRead(chunk=0, memory=0),
        version(1, "- Otto sails the boat"),
        ChunkRead(chunk=1, memory=1),
        version(None, "- Ada keeps the lamp\n- Otto sails the boat", (0, 1)),
        Merged(level=1, parts=(0, 1), memory=2),
    )
    assert [(line.introduced, line.chunk) for line in origins(reading)] == [(0, 0), (1, 1)]
    assert [step.kind for step in ledger(reading)] == ["chunk", "chunk", "merge"]


def test_what_an_integration_adds_comes_from_the_chunks_of_its_reread():
    reading = reading_of(
        version(0, "- Ada keeps the lamp"),
        ChunkRead(chunk=0, memory=0),
        Reread(number=1, question="Where was Ada born?"),
        version(3, "- Ada: born in Bergen", reread=1),
        ChunkRead(chunk=3, memory=1, reread=1),
        version(None, "- Ada keeps the lamp\n- <confirmed>birthplace Bergen</confirmed>", (0, 1)),
        Integrated(reread=1, answer="Bergen", memory=2),
    )
    lamp, born = origins(reading)
    assert (lamp.introduced, lamp.chunk) == (0, 0)
    assert born.chunk is None or born.chunk == 3
    assert 3 in born.chunks
    assert [(step.kind, step.reread) for step in ledger(reading)] == [
        ("chunk", 0), ("chunk", 1), ("integration", 0),
    ]  # fmt: skip


def test_a_version_that_no_step_names_is_shown_as_discarded():
    reading = reading_of(
        version(0, "- one lamp"),
        ChunkRead(chunk=0, memory=0),
        version(1, "- cut short", (0,)),
        version(1, "- two lamps", (0,)),
        ChunkRead(chunk=1, memory=2),
    )
    steps = ledger(reading)
    assert [(step.kind, step.version) for step in steps] == [
        ("chunk", 0), ("discarded", 1), ("chunk", 2),
    ]  # fmt: skip
    assert [line.text for line in origins(reading)] == ["- two lamps"]


def test_a_reading_without_parents_follows_what_its_drafts_were_shown():
    old = asyncio.run(
        MemAgent(chunk_tokens=200).read(SOURCE, "Where?", ScriptedModel(tells_what_it_sees))
    )
    records = [
        record.model_copy(update={"parents": ()}) if isinstance(record, MemoryVersion) else record
        for record in old.records
    ]
    assert origins(Reading(old.opening, records)) == origins(old)
    assert ledger(Reading(old.opening, records)) == ledger(old)


def test_guards_and_skips_are_told_with_their_chunk():
    guard = GuardEvent(guard="empty", chunk=1, detail="the draft was empty")
    reading = reading_of(
        version(0, "- one lamp"),
        ChunkRead(chunk=0, memory=0),
        guard,
        ChunkRead(chunk=1, memory=0),
        ChunkRead(chunk=2, memory=0, skipped="nothing new"),
    )
    first, second, third = ledger(reading)
    assert (first.guards, second.guards, third.guards) == ((), (guard,), ())
    assert not second.changed
    assert third.skipped == "nothing new"


def test_notes_are_a_step_of_their_own():
    reading = reading_of(
        version(0, "- one lamp"),
        ChunkRead(chunk=0, memory=0),
        version(None, "- buy oil\n- one lamp", (0,)),
        Extended(notes=1, memory=1),
    )
    assert [step.kind for step in ledger(reading)] == ["chunk", "notes"]
    assert kinds(ledger(reading)[1].changes) == [("added", "- buy oil"), ("kept", "- one lamp")]


def test_a_lost_fact_is_told_with_the_rewrite_that_lost_it_and_what_stands_instead():
    reading = drafted(
        "- Otto sails",
        "- Otto sails\n- Ada keeps the lamp on Gull Rock since 1912",
        "- Otto sails\n- the lamp on Gull Rock is kept by Ada since 1912",
        "- Otto sails\n- Ada keeps the lamp on Gull Rock",
    )
    noted, gone = traces(reading, "Ada keeps the lamp on Gull Rock since 1912")
    assert (noted.kind, noted.step.chunk) == ("noted", 1)
    assert (gone.kind, gone.step.chunk) == ("lost", 3)
    assert gone.line == "- the lamp on Gull Rock is kept by Ada since 1912"
    assert gone.instead == "- Ada keeps the lamp on Gull Rock"


def test_a_fact_in_a_discarded_version_was_never_noted():
    reading = reading_of(
        version(0, "- Gull Rock"), version(0, "- nothing"), ChunkRead(chunk=0, memory=1)
    )
    assert traces(reading, "Gull Rock") == []


@pytest.mark.parametrize(
    ("memory", "fact", "held"),
    [
        ("- **Gull** Rock is high", "gull rock", True),
        ("- Gullible rocks", "Gull Rock", False),
        ("# Ada\n- born: 1912", "Ada born 1912", True),
        ("- Ada was born in 1913", "Ada was born in 1912", False),
        ("| who | born |\n|---|---|\n| Ada | 12 March 1912 |", "Ada, 1912-03-12", True),
        ("灯台は岩の上にある", "岩の上", True),
    ],
)
def test_a_fact_is_held_word_for_word_or_reworded(memory, fact, held):
    assert bool(holding_line(memory, fact)) == held


def test_tables_lists_and_headings_give_their_lines_a_context():
    memory = (
        "# Ada\n\n## Life\n- born in Bergen\n  - in 1912\n\n| year | what |\n|---|---|\n| 1 | x |"
    )
    lines = {line.plain: line for line in memory_lines(memory)}
    assert lines["in 1912"].context == "Ada Life born in Bergen"
    assert lines["1, x"].context == "Ada Life year, what"
    assert [line.plain for line in lines.values() if line.label] == ["Ada", "Life", "year, what"]


# --- kills, resumes and guards in any order ---

SOURCE = Source.from_text(
    "".join(
        f"Keeper number {number} lights lamp {number * 7} on Gull Rock. " * 12
        for number in range(5)
    ),
    "story.txt",
)
READER = MemAgent(chunk_tokens=150, memory_tokens=40)
FAULTS = ("none", "empty", "refused", "cut-off", "long")


def tells_what_it_sees(messages, sampling, faults=()):
    """A model whose answer is a function of its prompt, with faults by the memory that it sees."""
    text = messages[-1]["content"]
    lines = [line for line in text.splitlines() if line.startswith("- lamp")]
    if "Next section:" in text:
        number = text.split("lights lamp ", 1)[1].split()[0]
        fault = faults[len(lines) % len(faults)] if faults else "none"
        return faulty("\n".join([*lines[-4:], f"- lamp {number} was seen"]), fault)
    if "What was found:" in text:
        return "\n".join([*lines[-4:], "- <confirmed>lamp of Gull Rock</confirmed>"])
    if "<query>" in text:
        return "<query>Who lights lamp 21 on Gull Rock?</query>"
    return "- lamp short" if "too long" in text else r"\boxed{Gull Rock}"


def faulty(memory, fault):
    match fault:
        case "empty":
            return "  "
        case "refused":
            return Completion(text="I will not.", finish_reason="refused")
        case "cut-off":
            return Completion(text=f"{memory}\n- lamp 999 is unfini", finish_reason="length")
        case "long":
            return "\n".join(f"{memory}\n- more lamps {number} of all" for number in range(9))
    return memory


class Flaky:
    """Answers like `tells_what_it_sees`, but some calls fail."""

    def __init__(self, faults, failing):
        self.faults = faults
        self.failing = failing
        self.calls = 0

    def __call__(self, messages, sampling):
        self.calls += 1
        if self.calls in self.failing:
            raise TransientError("gone")
        return tells_what_it_sees(messages, sampling, self.faults)


def undisturbed(reader, faults):
    model = ScriptedModel(Flaky(faults, ()))
    return asyncio.run(reader.read(SOURCE, "Where is the lamp?", model))


def stopped_and_resumed(reader, faults, failing, cuts):
    """The same reading, killed between any two records and gone on with from its lines."""
    model = ScriptedModel(Flaky(faults, failing))
    reading = asyncio.run(reader.begin(SOURCE, "Where is the lamp?", model))
    for cut in (*cuts, None):
        reading = asyncio.run(
            reader.read(SOURCE, "Where is the lamp?", model, reading=reading)
        )  # fmt: skip
        if cut is None:
            break
        kept = reading.resumable().records[: cut % (len(reading.records) + 1)]
        reading = Reading.from_lines(Reading(reading.opening, kept).to_lines()).resumable()
    while reading.status != "answered":
        reading = asyncio.run(
            reader.read(SOURCE, "Where is the lamp?", model, reading=reading.resumable())
        )
    return reading


disturbed = given(
    faults=st.lists(st.sampled_from(FAULTS), min_size=1, max_size=6),
    failing=st.sets(st.integers(1, 12), max_size=4),
    cuts=st.lists(st.integers(0, 60), max_size=4),
)
few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@few
@disturbed
def test_any_order_of_guards_kills_and_resumes_comes_to_the_same_memory(faults, failing, cuts):
    reading = stopped_and_resumed(READER, faults, failing, cuts)
    assert reading.memory == undisturbed(READER, faults).memory
    check_ledger(reading)


@settings(max_examples=40, deadline=None)
@disturbed
def test_rereads_too_come_to_the_same_memory(faults, failing, cuts):
    reader = MemReread(base=READER, rereads=1)
    reading = stopped_and_resumed(reader, faults, failing, cuts)
    assert reading.answer == "Gull Rock"
    # A reread that fails is left out, so that what was read before it is not lost.
    assert failing or reading.memory == undisturbed(reader, faults).memory
    check_ledger(reading)


def check_ledger(reading):
    """The ledger reloads to an equal one, and its diffs make the memory again."""
    reloaded = Reading.from_lines(reading.to_lines())
    steps = ledger(reading)
    assert ledger(reloaded) == steps
    assert origins(reloaded) == origins(reading)
    for step in steps:
        assert step.memory == reading.text_of(step.version)
    standing = [step for step in steps if step.reread == 0 and step.kind != "discarded"]
    assert standing[-1].memory == reading.memory
    assert sum(step.calls for step in steps) <= len(reading.turns)
    shown = [step.version for step in steps if step.version is not None]
    assert set(shown) == set(range(len(reading.memories)))
    spoken = sum(bool(line.plain) for line in memory_lines(reading.memory))
    assert len(origins(reading)) == spoken


@few
@given(
    faults=st.lists(st.sampled_from(FAULTS), min_size=1, max_size=6),
    cuts=st.lists(st.integers(0, 60), max_size=3),
    chunk=st.integers(0, 5),
)
def test_a_replay_from_any_chunk_comes_to_the_same_memory(faults, cuts, chunk):
    old = stopped_and_resumed(READER, faults, (), cuts)
    first = min(chunk, len(old.header.chunks))
    model = ScriptedModel(Flaky(faults, ()))
    new = asyncio.run(READER.begin(SOURCE, "Where is the lamp?", model))
    begun = replayed(new.header, old, records_before(old, first), f"old from {first}")
    assert begun.next_chunk == first
    done = asyncio.run(READER.read(SOURCE, "Where is the lamp?", model, reading=begun))
    assert done.memory == old.memory


def test_a_replay_from_among_chunks_read_side_by_side_is_refused():
    reading = reading_of(
        version(2, "- c"), ChunkRead(chunk=2, memory=0),
        version(0, "- a"), ChunkRead(chunk=0, memory=1),
        version(1, "- b"), ChunkRead(chunk=1, memory=2),
        chunks=3,
    )  # fmt: skip
    with pytest.raises(InputError, match="side by side"):
        records_before(reading, 2)
    assert records_before(reading, 0) == []


def test_a_replay_from_a_chunk_that_was_not_come_to_is_refused():
    with pytest.raises(InputError, match="only come to chunk 2"):
        records_before(drafted("- a", "- b"), 3)
    with pytest.raises(InputError, match="no chunk 9"):
        records_before(drafted("- a", "- b"), 8)
