"""Stretches read side by side come to one memory, whatever the order in which calls return."""

import asyncio
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palimpsest.errors import ConfigurationError, TransientError
from palimpsest.memory import Reading
from palimpsest.memory.joining import fair_shares, join_within
from palimpsest.memory.reading import ChunkRead, Extended, Merged
from palimpsest.models import Completion, ScriptedModel
from palimpsest.models.caps import Caps
from palimpsest.models.scripted import texts
from palimpsest.readers.drafting import Scan
from palimpsest.readers.gated import Gated
from palimpsest.readers.growing import extend, take_notes
from palimpsest.readers.memagent import MemAgent
from palimpsest.readers.memocr import MemOCR
from palimpsest.readers.memreread import MemReread
from palimpsest.readers.parallel import Parallel
from palimpsest.readers.reader import Session
from palimpsest.readers.rounds import next_round
from palimpsest.readers.stretches import split
from palimpsest.sources import EstimateTokenizer, Source, count

SECTIONS = 10
FILLING = "Nobody spoke of it, and the weather was mild all day. " * 8
SOURCE = Source.from_text("\n\n".join(f"Fact {n:02}. {FILLING}" for n in range(SECTIONS)))
QUESTION = "Which facts are there?"
BASE = MemAgent(chunk_tokens=180, memory_tokens=200)
ALONE = Parallel(base=BASE, lanes=SECTIONS, fan_in=3)
"""Every chunk is a lane."""
LANES = Parallel(base=BASE, lanes=3, fan_in=2)

FACT = re.compile(r"Fact \d\d")


class Clerk(ScriptedModel):
    """Notes each fact of a section and of earlier notes, in the order in which they stand; takes
    a random time for it; and counts how many calls are in flight."""

    def __init__(self, seed=0, *, change=None):
        super().__init__(self.respond)
        self.delays = random.Random(seed)
        self.change = change or (lambda text: None)
        self.in_flight = self.most_in_flight = 0

    async def complete(self, messages, sampling):
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            for _ in range(self.delays.randrange(12)):
                await asyncio.sleep(0)
            completion = await super().complete(messages, sampling)
            for _ in range(self.delays.randrange(12)):
                await asyncio.sleep(0)
            return completion
        finally:
            self.in_flight -= 1

    def respond(self, messages, sampling):
        text = "\n".join(texts(messages))
        changed = self.change(text)
        if isinstance(changed, Exception):
            raise changed
        return changed or notes_of(text)


def notes_of(text):
    if "Reply:" in text:
        return rf"\boxed{{{len(FACT.findall(text))}}}"
    return "\n".join(f"- {fact}" for fact in FACT.findall(text)) or "(nothing yet)"


def is_merge(text):
    return text.startswith("A long text was read in parts")


def prompts(model):
    return ["\n".join(texts(call.messages)) for call in model.calls]


def read(reader, model=None, question=QUESTION, source=SOURCE, **options):
    return asyncio.run(reader.read(source, question, model or Clerk(), **options))


def merges(reading):
    return [record for record in reading.records if isinstance(record, Merged)]


def facts(*numbers):
    return "\n".join(f"- Fact {number:02}" for number in numbers)


EVERY_FACT = facts(*range(SECTIONS))


def test_every_section_of_the_source_is_a_chunk():
    chunks = read(ALONE).header.chunks
    assert len(chunks) == SECTIONS
    assert all(len(FACT.findall(SOURCE.text[span.start : span.end])) == 1 for span in chunks)


@pytest.mark.parametrize("reader", [ALONE, LANES], ids=["chunks", "lanes"])
def test_all_that_was_noted_comes_into_one_memory_in_the_order_of_the_source(reader):
    reading = read(reader)
    assert reading.memory == EVERY_FACT
    assert reading.answer == str(SECTIONS)
    assert reading.status == "answered"
    assert reading.done() == set(range(SECTIONS))


def test_each_lane_begins_with_an_empty_memory_and_goes_on_with_its_own():
    model = Clerk()
    reading = read(LANES, model)
    lanes = split(range(SECTIONS), 3)
    drafts = {turn.chunk: turn for turn in reading.turns if turn.role == "draft"}
    for lane in lanes:
        assert drafts[lane[0]].memory is None
        for chunk in lane[1:]:
            assert reading.text_of(drafts[chunk].memory) == facts(*range(lane[0], chunk))


def test_a_merge_sees_its_memories_numbered_in_the_order_of_the_source():
    model = Clerk(seed=3)
    read(ALONE, model)
    first = next(text for text in prompts(model) if is_merge(text) and "Fact 00" in text)
    assert "[1]\n- Fact 00\n\n[2]\n- Fact 01\n\nQuestion: Which facts are there?" in first


@pytest.mark.parametrize("concurrency", [1, 2, 5])
def test_no_more_calls_are_in_flight_than_allowed(concurrency):
    model = Clerk()
    read(ALONE.model_copy(update={"concurrency": concurrency}), model)
    assert model.most_in_flight == concurrency


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(2, 5), st.integers(1, 9))
def test_the_outcome_is_the_same_whatever_the_order_in_which_calls_return(
    seed, lanes, fan_in, concurrency
):
    reader = Parallel(base=BASE, lanes=lanes, fan_in=fan_in, concurrency=concurrency)
    model = Clerk(seed)
    reading = read(reader, model)
    assert reading.memory == EVERY_FACT
    calm = ScriptedModel(model.respond)
    assert sorted(prompts(model)) == sorted(prompts_of(reader, calm))


def prompts_of(reader, model):
    read(reader, model)
    return prompts(model)


def test_a_source_of_one_chunk_is_not_merged_and_its_memory_stands():
    reading = read(ALONE, source=Source.from_text("Fact 07."))
    assert [turn.role for turn in reading.turns] == ["draft", "final"]
    assert merges(reading) == [Merged(level=1, parts=(0,), memory=0)]
    assert reading.memory == facts(7)


def test_memories_that_hold_nothing_are_not_merged():
    def only_the_fifth(text):
        return None if "Fact 04" in text or is_merge(text) else "(nothing yet)"

    reading = read(ALONE, Clerk(change=only_the_fifth))
    assert not [turn for turn in reading.turns if turn.role == "merge"]
    assert [record.level for record in merges(reading)] == [1]
    assert reading.memory == facts(4)


def test_a_source_in_which_nothing_is_noted_leaves_no_memory():
    reading = read(ALONE, Clerk(change=lambda text: Completion(text=" ")))
    assert merges(reading) == [Merged(level=1, parts=(), memory=None)]
    assert reading.memory_version is None
    assert reading.status == "answered"


def test_every_memory_of_a_level_is_in_one_merge_and_named_as_its_origin():
    reading = read(ALONE)
    levels = {record.level for record in merges(reading)}
    assert levels == {1, 2, 3}
    for level in levels:
        parts = [
            part for record in merges(reading) if record.level == level for part in record.parts
        ]
        assert len(parts) == len(set(parts))
    for record in merges(reading):
        if len(record.parts) > 1:
            assert reading.memories[record.memory].parents == record.parts
            assert reading.memories[record.memory].chunk is None


def test_a_merge_over_the_limit_is_asked_to_shorten():
    reader = Parallel(base=MemAgent(chunk_tokens=180, memory_tokens=20), lanes=2)

    def long_merge(text):
        if "is too long" in text:
            return "- short"
        return "- a fact that is long\n" * 8 if is_merge(text) else None

    reading = read(reader, Clerk(change=long_merge))
    assert reading.memory == "- short"
    assert reading.guards[-1].guard == "over-limit"


@pytest.mark.parametrize(
    ("bad", "guard"),
    [
        (Completion(text=" "), "empty"),
        (Completion(text="I will not.", finish_reason="refused"), "refused"),
        (Completion(text="- Fact 00\n- Fa", finish_reason="length"), "cut-off"),
    ],
)
def test_a_merge_that_cannot_be_used_keeps_its_parts(bad, guard):
    reading = read(LANES, Clerk(change=lambda text: bad if is_merge(text) else None))
    assert [event.guard for event in reading.guards] == [guard, guard]
    assert "memories are joined" in reading.guards[0].detail
    assert reading.memory == EVERY_FACT


def test_what_is_joined_is_cut_to_the_limit_from_the_longest():
    reader = Parallel(base=MemAgent(chunk_tokens=180, memory_tokens=60), lanes=2)
    long = "\n".join(f"- detail {number}" for number in range(8))

    def change(text):
        if is_merge(text):
            return Completion(text="")
        return long if "Fact 09" in text and "section" in text else None

    reading = read(reader, Clerk(change=change))
    assert [event.guard for event in reading.guards] == ["empty", "cut-to-limit"]
    assert reading.memory.startswith(facts(*range(5)))
    assert "- detail 0" in reading.memory
    assert reading.memories[-1].tokens <= 60


def test_faithful_settings_accept_a_merge_that_was_cut_off():
    base = MemAgent.faithful().model_copy(update={"chunk_tokens": 180, "memory_tokens": 200})
    bad = Completion(text="- merged so f", finish_reason="length")
    reading = read(Parallel(base=base), Clerk(change=lambda text: bad if is_merge(text) else None))
    assert reading.memory == "- merged so f"
    assert reading.guards == []


def failing_at(fact):
    def change(text):
        wanted = f"Fact {fact:02}" in text and "Next section:" in text
        return TransientError("the server went away") if wanted else None

    return change


@pytest.mark.parametrize("reader", [ALONE, LANES], ids=["chunks", "lanes"])
def test_a_failed_call_ends_the_reading_and_what_was_read_is_joined(reader):
    reading = read(reader, Clerk(change=failing_at(6)))
    assert reading.status == "failed"
    assert reading.end.error == "TransientError"
    done = sorted(reading.done())
    assert 6 not in done
    assert reading.memory == facts(*done)


def test_a_failed_call_cancels_the_others():
    class Slow(Clerk):
        cancelled = 0

        async def complete(self, messages, sampling):
            if "Fact 00" in "\n".join(texts(messages)):
                raise TransientError("gone")
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                Slow.cancelled += 1
                raise

    assert read(ALONE, Slow()).status == "failed"
    assert Slow.cancelled == ALONE.concurrency - 1


def test_an_error_that_is_no_failure_of_a_call_is_raised_as_it_is():
    with pytest.raises(ZeroDivisionError):
        read(ALONE, Clerk(change=lambda text: ZeroDivisionError()))


def test_a_failed_reading_goes_on_with_what_is_missing_only():
    stopped = read(LANES, Clerk(change=failing_at(8)))
    done = stopped.done()
    model = Clerk()
    slower = LANES.model_copy(update={"concurrency": 1})
    reading = read(slower, model, reading=stopped.resumable())
    drafted = [turn.chunk for turn in reading.turns if turn.role == "draft"]
    assert sorted(drafted) == list(range(SECTIONS))
    assert len([text for text in prompts(model) if "Next section:" in text]) == SECTIONS - len(done)
    assert reading.memory == EVERY_FACT


@pytest.mark.parametrize("reader", [ALONE, LANES], ids=["chunks", "lanes"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_reading_that_was_killed_after_any_record_ends_the_same(reader, seed):
    whole = read(reader, Clerk(seed))
    for kept in range(len(whole.records)):
        stopped = Reading(whole.opening, whole.records[:kept])
        model = Clerk(kept)
        again = read(reader, model, reading=stopped)
        assert again.memory == EVERY_FACT
        assert again.answer == whole.answer
        assert Reading.from_lines(again.to_lines()) == again
        chunks = [record.chunk for record in again.records if isinstance(record, ChunkRead)]
        assert sorted(chunks) == list(range(SECTIONS))
        made = [(record.level, record.parts) for record in merges(again)]
        assert len(made) == len(set(made))


def test_a_finished_reading_is_not_merged_again():
    whole = read(ALONE)
    again = read(ALONE, ScriptedModel([]), reading=Reading(whole.opening, whole.records[:-1]))
    assert again.records == whole.records


@pytest.mark.parametrize("calls", range(3, 20))
def test_a_cap_answers_from_all_that_was_read(calls):
    reading = read(ALONE, Clerk(calls), caps=Caps(calls=calls))
    merging = any(turn.role == "merge" for turn in reading.turns)
    assert reading.status == ("answered" if calls > 17 else "partial")
    assert len(reading.turns) <= calls
    assert merging == (calls > SECTIONS + 1)
    assert reading.memory == facts(*sorted(reading.done()))
    assert reading.answer == str(len(reading.done()))
    again = read(ALONE, reading=reading.resumable())
    assert again.memory == EVERY_FACT


def test_a_reread_is_read_side_by_side_too():
    def change(text):
        if "Decide whether a fact is missing" in text:
            return "<query>Which fact is the seventh?</query>"
        return "- integrated" if "Something was missing" in text else None

    reading = read(MemReread(base=ALONE, rereads=1), Clerk(change=change))
    assert reading.status == "answered"
    assert {record.reread for record in merges(reading)} == {0, 1}
    assert reading.text_of(reading.standing(1)) == EVERY_FACT
    assert reading.memory == "- integrated"


def test_gates_skip_chunks_within_their_lane():
    def change(text):
        return "NOTHING" if text.endswith("The one word:") else None

    reading = read(Parallel(base=Gated(base=BASE), lanes=3), Clerk(change=change))
    skipped = {
        record.chunk: record.skipped for record in reading.records if isinstance(record, ChunkRead)
    }
    firsts = [lane[0] for lane in split(range(SECTIONS), 3)]
    assert sorted(chunk for chunk, why in skipped.items() if not why) == firsts
    assert reading.memory == facts(*firsts)


def test_enough_in_one_lane_is_not_enough_in_another():
    def change(text):
        verdict = "ENOUGH" if "Fact 01" in text else "NEW"
        return verdict if text.endswith("The one word:") else None

    reading = read(Parallel(base=Gated(base=BASE, stop=True), lanes=3), Clerk(change=change))
    first, *others = split(range(SECTIONS), 3)
    assert reading.memory == facts(first[0], *(chunk for lane in others for chunk in lane))


def test_a_page_is_drawn_of_the_merged_memory():
    reader = Parallel(base=MemOCR(chunk_tokens=180, budgets=(64,)), lanes=2)
    reading = read(
        reader, Clerk(change=lambda text: r"\boxed{x}" if "picture" in text[:20] else None)
    )
    assert reading.pages[0].memory == reading.memory_version
    assert reading.memory == EVERY_FACT


def test_how_many_calls_are_in_flight_does_not_make_another_reading():
    model = Clerk()
    assert ALONE.key(SOURCE, QUESTION, model) == ALONE.model_copy(update={"concurrency": 2}).key(
        SOURCE, QUESTION, model
    )
    assert ALONE.key(SOURCE, QUESTION, model) != LANES.key(SOURCE, QUESTION, model)


def test_parallel_wraps_readers_that_draft_and_goes_inside_of_others():
    with pytest.raises(ConfigurationError, match="memreread"):
        Parallel(base=MemReread())


GROWN = Source.from_documents([("a", f"Fact 20. {FILLING}"), ("b", f"Fact 21. {FILLING}" * 3)])


def grown(reading, model):
    """A finished reading that was given two more documents, which are not read yet."""
    text = SOURCE.text + GROWN.text
    source = Source(SOURCE.documents, text, GROWN.sha256)
    reading = Reading(reading.opening, reading.records[:-1])
    session = Session(source, model, reading, None)
    asyncio.run(extend(session, LANES, ["a", "b"]))
    return session


@pytest.mark.parametrize("reader", [ALONE, LANES], ids=["chunks", "lanes"])
def test_chunks_that_are_added_are_read_side_by_side_and_merged_with_what_stood(reader):
    model = Clerk()
    session = grown(read(reader), model)
    asyncio.run(reader._run(session))
    memory = session.reading.memory.splitlines()
    assert memory[:SECTIONS] == EVERY_FACT.splitlines()
    assert set(memory[SECTIONS:]) == {"- Fact 20", "- Fact 21"}
    assert not any("Fact 05" in text and "Next section:" in text for text in prompts(model))
    records = list(session.reading.records)
    asyncio.run(reader.draft(session, Scan(QUESTION)))
    assert session.reading.records == records


def test_a_note_that_comes_while_an_addition_is_half_read_is_kept():
    session = grown(read(ALONE), Clerk(change=failing_at(21)))
    with pytest.raises(TransientError):
        asyncio.run(ALONE.draft(session, Scan(QUESTION)))
    asyncio.run(take_notes(session, ALONE, ["- Fact 99"]))
    assert isinstance(session.reading.records[-1], Extended)
    session.model = Clerk()
    asyncio.run(ALONE.draft(session, Scan(QUESTION)))
    memory = session.reading.memory
    assert {"- Fact 99", "- Fact 21", "- Fact 05"} <= set(memory.splitlines())


@given(st.integers(0, 300), st.integers(2, 9))
def test_every_part_is_in_exactly_one_merge_of_each_round(size, fan_in):
    parts, merged, level, new = tuple(range(size)), {}, 0, size
    while round_ := next_round(tuple(range(size)), fan_in, merged):
        level += 1
        assert round_.level == level
        assert tuple(part for group in round_.groups for part in group) == parts
        assert all(len(group) <= fan_in for group in round_.groups)
        lengths = [len(group) for group in round_.groups]
        assert max(lengths) - min(lengths) <= 1
        for group in round_.groups:
            merged[level, group] = (group or (None,))[0] if len(group) < 2 else new
            new += len(group) > 1
        parts = tuple(merged[level, group] for group in round_.groups)
    assert len(parts) == 1
    assert fan_in ** (level - 1) < max(2, size) * fan_in


@given(st.lists(st.integers(0, 50)), st.integers(0, 200))
def test_shares_are_even_but_for_those_that_need_less(sizes, total):
    shares = fair_shares(sizes, total)
    assert sum(shares) <= total
    assert all(share <= size for share, size in zip(shares, sizes, strict=True))
    if sum(sizes) <= total:
        assert shares == sizes
    cut = [share for share, size in zip(shares, sizes, strict=True) if share < size]
    if cut:
        assert max(shares) <= min(cut) + 1


@given(st.lists(st.text("ab \n-", max_size=40), max_size=6), st.integers(1, 30))
def test_joined_memories_are_whole_or_cut_to_the_limit(memories, limit):
    joined = asyncio.run(join_within(memories, EstimateTokenizer(), limit))
    assert joined.tokens == asyncio.run(count(EstimateTokenizer(), joined.text)) <= limit
    if not joined.lost:
        assert all(memory.strip() in joined.text for memory in memories)
