"""Caps hold, a capped reading answers and can be gone on with, and receipts add up."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import palimpsest
from palimpsest.errors import CapReached, ConfigurationError, TransientError
from palimpsest.memory import ReadingStore
from palimpsest.memory.receipt import receipt_of
from palimpsest.models import Completion, ScriptedModel, Usage
from palimpsest.models.caps import Allowance, Amount, Caps
from palimpsest.models.model import Sampling, user
from palimpsest.models.prices import GivenPrice, listed_price
from palimpsest.readers import MemAgent, MemOCR
from palimpsest.readers.registry import build_reader
from palimpsest.sources import Source

SENTENCES = ("Ada keeps the lamp. ", "The lamp is on Gull Rock. ", "Nothing happens. ")
SOURCE = Source.from_text("".join(sentence * 90 for sentence in SENTENCES))
QUESTION = "Where is the lamp?"
SMALL = {"chunk_tokens": 200, "memory_tokens": 60, "answer_tokens": 30}
READER = MemAgent(**SMALL)
PRICE = GivenPrice(input=10, output=20)


def respond(messages, sampling):
    text = messages[-1]["content"]
    text = text if isinstance(text, str) else text[-1]["text"]
    if "Next section:" in text:
        before = text.split("Notes so far:\n")[1].split("\n\nNext section:")[0]
        return f"{before.split('+')[0]}+{before.count('+') + 1}"
    return r"\boxed{Gull Rock}" if "picture" in text or "notes" in text else "ENOUGH"


def model(latency_s=0.0):
    return ScriptedModel(respond, latency_s=latency_s)


def read(reader=READER, *, by=None, **options):
    return asyncio.run(reader.read(SOURCE, QUESTION, by or model(), **options))


def taken(reading):
    usage = reading.usage
    return {
        "tokens": usage.prompt + usage.completion,
        "cost": sum(PRICE.of(turn.completion.usage) for turn in reading.turns),
        "calls": len(reading.turns),
    }


WHOLE = read()
CHUNKS = len(WHOLE.header.chunks)


@pytest.mark.parametrize("measure", ["tokens", "cost", "calls"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_capped_reading_answers_from_what_it_read_and_says_so(measure, share):
    limit = taken(WHOLE)[measure] * share
    limit = limit if measure == "cost" else int(limit)
    reading = read(caps=Caps(**{measure: limit}, price=PRICE))
    assert taken(reading)[measure] <= limit
    assert reading.status == "partial"
    assert 0 < reading.next_chunk < CHUNKS
    assert reading.answer == "Gull Rock"
    assert reading.turns[-1].memory == reading.memory_version
    assert reading.end is not None
    assert f"from {reading.next_chunk} of {CHUNKS} chunks" in reading.end.reason
    assert "would be passed" in reading.end.reason
    assert "larger cap" in reading.end.hint


def test_caps_that_are_wide_enough_change_nothing():
    wide = Caps(tokens=10**6, cost=10**3, seconds=10**4, calls=CHUNKS + 1, price=PRICE)
    assert read(caps=wide).records == WHOLE.records


def test_a_cap_on_calls_leaves_exactly_the_answer():
    reading = read(caps=Caps(calls=4))
    assert [turn.role for turn in reading.turns] == ["draft"] * 3 + ["final"]


def test_a_cap_on_seconds_stops_at_the_pace_of_the_calls_so_far():
    reading = read(by=model(latency_s=0.05), caps=Caps(seconds=0.3))
    assert reading.status == "partial"
    assert 0 < reading.next_chunk < 6
    assert reading.answer == "Gull Rock"


def test_seconds_before_a_stop_count_for_the_reading_that_goes_on():
    first = read(by=model(latency_s=0.05), caps=Caps(seconds=0.3))
    again = read(by=model(latency_s=0.05), caps=Caps(seconds=0.3), reading=first.resumable())
    assert again.next_chunk == first.next_chunk


@pytest.mark.parametrize("budgets", [None, (64, 16)])
def test_a_partial_reading_under_larger_caps_becomes_the_uncapped_one(budgets):
    reader = MemOCR(budgets=budgets, **SMALL) if budgets else READER
    whole = read(reader)
    reading = read(reader, caps=Caps(tokens=int(taken(whole)["tokens"] * 0.5)))
    for share in (0.7, 2):
        assert reading.status == "partial"
        before = len(reading.turns)
        reading = read(
            reader,
            caps=Caps(tokens=int(taken(whole)["tokens"] * share)),
            reading=reading.resumable(),
        )
        assert len(reading.turns) > before
    assert reading.status == "answered"
    assert [version.text for version in reading.memories] == [
        version.text for version in whole.memories
    ]
    assert reading.answers == whole.answers
    finals = [turn for turn in reading.turns if turn.role in ("final", "read")]
    assert finals[-1].memory == reading.memory_version or budgets
    assert len(finals) == 3 * len(budgets or (1,))


def test_the_same_caps_again_ask_nothing_and_end_the_same():
    capped = read(caps=Caps(calls=4))
    silent = ScriptedModel([])
    again = read(by=silent, caps=Caps(calls=4), reading=capped.resumable())
    assert not silent.calls
    assert again.records[:-1] == capped.records[:-1]
    assert again.status == "partial"


def test_the_newest_answer_is_the_readings():
    capped = read(by=ScriptedModel(["a", r"\boxed{early}"]), caps=Caps(calls=2))
    rest = ScriptedModel([*["b"] * (CHUNKS - 1), r"\boxed{late}"])
    assert capped.answer == "early"
    reading = read(by=rest, reading=capped.resumable())
    assert (reading.answer, len(reading.answers)) == ("late", 1)


@pytest.mark.parametrize(
    "caps", [Caps(tokens=100), Caps(calls=1), Caps(cost=0.0001, price=PRICE)], ids=str
)
def test_a_cap_without_room_for_a_chunk_and_an_answer_spends_nothing(caps):
    silent = ScriptedModel([])
    reading = read(by=silent, caps=caps)
    assert not silent.calls
    assert reading.status == "failed"
    with pytest.raises(CapReached, match="would be passed"):
        reading.raise_for_status()


def test_a_stopped_reading_that_took_more_than_a_new_cap_is_not_answered():
    stopped = read(by=ScriptedModel(["a", "b", "c", TransientError("gone")]))
    silent = ScriptedModel([])
    reading = read(by=silent, caps=Caps(calls=2), reading=stopped.resumable())
    assert not silent.calls
    assert reading.status == "failed"


@pytest.mark.parametrize("name", ["closed", "full"])
def test_a_reader_without_a_memory_fails_before_it_passes_a_cap(name):
    silent = ScriptedModel([])
    reading = read(build_reader(name), by=silent, caps=Caps(tokens=200))
    assert not silent.calls
    with pytest.raises(CapReached):
        reading.raise_for_status()


def test_answers_to_all_questions_at_all_budgets_fit_under_the_cap():
    reader = MemOCR(budgets=(64, 16), **SMALL)
    questions = ["Where is the lamp?", "Who keeps it?"]
    caps = Caps(calls=7)
    reading = asyncio.run(reader.read(SOURCE, questions, model(), caps=caps))
    assert [turn.role for turn in reading.turns] == ["draft"] * 3 + ["read"] * 4


READERS = ["parallel", "gated", "memreread", "rememr1", "parallel+gated", "memreread+parallel"]


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_every_reader_keeps_the_cap_and_goes_on_to_the_same_memory(name, share):
    reader = build_reader(name, {**SMALL, **({"lanes": 3} if "parallel" in name else {})})
    whole = read(reader)
    limit = int(taken(whole)["tokens"] * share)
    capped = read(reader, caps=Caps(tokens=limit))
    assert capped.status == "partial"
    assert capped.answer == "Gull Rock"
    assert taken(capped)["tokens"] <= limit
    reading = read(reader, reading=capped.resumable())
    assert reading.status == "answered"
    assert reading.memory == whole.memory


@settings(max_examples=40, deadline=None)
@given(
    caps=st.integers(50, 3000),
    wanted=st.lists(st.integers(1, 60), min_size=1, max_size=30),
    thrift=st.floats(0, 1),
)
def test_calls_side_by_side_never_pass_a_cap_nor_leave_room_unused(caps, wanted, thrift):
    """Each call writes a share of what it may, and is charged for no more once it has ended."""

    async def complete(messages, sampling):
        await asyncio.sleep(0)
        written = int(sampling.max_tokens * thrift)
        return Completion(text="x", usage=Usage(prompt=4, completion=written))

    async def run():
        by = ScriptedModel([])
        by.complete = complete
        allowance = Allowance(Caps(tokens=caps), by, [], reserve=[Usage(prompt=20, completion=20)])
        calls = (
            allowance.complete(user("one two three four"), Sampling(max_tokens=n), answering=False)
            for n in wanted
        )
        done = await asyncio.gather(*calls, return_exceptions=True)
        return [one for one in done if isinstance(one, Completion)], done, allowance

    made, done, allowance = asyncio.run(run())
    used = sum(one.usage.prompt + one.usage.completion for one in made)
    assert used + 40 <= caps or not made
    assert all(isinstance(one, Completion | CapReached) for one in done)
    if len(made) < len(wanted):
        assert allowance.reached
        most = max(wanted) + 4
        assert used + most + 40 > caps


def test_amounts_add_and_subtract():
    some = Amount(tokens=5, cost=0.5, seconds=2.0, calls=1)
    assert some + some - some == some


@pytest.mark.parametrize("name", ["tokens", "cost", "seconds", "calls"])
def test_a_cap_of_nothing_is_refused(name):
    with pytest.raises(ConfigurationError, match="cap of"):
        Caps(**{name: 0})


def test_money_cannot_be_capped_without_a_price():
    reading = read(caps=Caps(cost=1))
    assert reading.status == "failed"
    with pytest.raises(ConfigurationError, match="no price is known for scripted"):
        reading.raise_for_status()


def test_ask_goes_on_with_a_partial_reading_when_the_caps_allow(tmp_path):
    options = {"reader": READER, "readings": tmp_path}
    capped = palimpsest.ask(SOURCE, QUESTION, model=model(), caps=Caps(calls=4), **options)
    assert capped.status == "partial"
    by = model()
    whole = palimpsest.ask(SOURCE, QUESTION, model=by, **options)
    assert whole.status == "answered"
    assert len(by.calls) == CHUNKS - 3 + 1
    assert len(list(ReadingStore(tmp_path))) == 1


def test_ask_raises_when_nothing_fits(tmp_path):
    with pytest.raises(CapReached) as caught:
        palimpsest.ask(
            SOURCE, QUESTION, model=model(), reader=READER, readings=tmp_path, caps=Caps(calls=1)
        )
    assert "larger cap" in caught.value.hint


def test_a_given_price_counts_cached_tokens_apart():
    usage = Usage(prompt=1_000_000, cached=500_000, completion=100_000)
    assert GivenPrice(input=2, output=10).of(usage) == pytest.approx(3)
    assert GivenPrice(input=2, output=10, cached=1).of(usage) == pytest.approx(2.5)


def test_a_listed_price_is_that_of_the_list_and_says_whose_it_is():
    price = listed_price("gpt-4o-mini", "https://api.openai.com/v1")
    assert price is not None
    assert price.of(Usage(prompt=1_000_000)) > price.of(Usage(prompt=1_000_000, cached=500_000)) > 0
    assert price.of(Usage(completion=1_000_000)) > price.of(Usage(prompt=1_000_000))
    assert "OpenAI" in price.source


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("a model that nobody sells", None),
        ("a model that nobody sells", "https://api.openai.com/v1"),
        ("gpt-4o-mini", "http://127.0.0.1:8000/v1"),
        ("gpt-4o-mini", "http://localhost:8000/v1"),
        ("gpt-4o-mini", "http://10.0.0.7/v1"),
        ("gpt-4o-mini", "http://gpu-box:8000/v1"),
    ],
)
def test_what_nobody_sells_or_runs_at_home_has_no_price(name, url):
    assert listed_price(name, url) is None


def test_a_gateway_that_the_list_does_not_know_is_priced_by_the_model():
    assert listed_price("gpt-4o-mini", "https://gateway.example.com/v1") is not None


def test_a_receipt_adds_up_to_the_reading():
    receipt = receipt_of(WHOLE, PRICE, wall_seconds=2.5)
    assert receipt.totals.usage == WHOLE.usage
    assert {role: totals.calls for role, totals in receipt.by_role.items()} == {
        "draft": CHUNKS,
        "final": 1,
    }
    assert receipt.cost == pytest.approx(PRICE.of(WHOLE.usage))
    line = str(receipt)
    for part in (f"{CHUNKS + 1} calls", f"{WHOLE.usage.prompt:,} tokens in", "$", "2.5 s passed"):
        assert part in line
    assert "failure" not in line
    assert "no price known" in str(receipt_of(WHOLE))


def test_a_receipt_counts_failures_guards_cached_and_thinking_tokens():
    usage = Usage(prompt=10, cached=4, completion=6, reasoning=5)
    refused = Completion(text="no", finish_reason="refused", usage=usage)
    reading = read(by=ScriptedModel([refused, TransientError("gone")]))
    receipt = receipt_of(reading)
    assert (receipt.totals.calls, receipt.totals.failures) == (2, 2)
    assert receipt.guards == {"refused": 1}
    for part in ("(4 cached)", "(5 thinking)", "2 failures", "1 guard event"):
        assert part in str(receipt)
