"""An estimate is the real reading's bill, when the model writes as assumed."""

import asyncio
from itertools import count

import pytest

from palimpsest.errors import InputError
from palimpsest.memory.receipt import receipt_of
from palimpsest.models import Completion, ScriptedModel, Usage
from palimpsest.models.dry import DryModel, filler
from palimpsest.models.model import Sampling, user
from palimpsest.models.prices import GivenPrice
from palimpsest.models.rate import Rate
from palimpsest.pages import render
from palimpsest.readers.estimate import estimate
from palimpsest.readers.registry import build_reader
from palimpsest.sources import EstimateTokenizer, Source

TEXT = " ".join(
    f"On day {day} the keeper saw {day * 7} ships from Gull Rock." for day in range(900)
)
SOURCE = Source.from_text(TEXT)
QUESTIONS = ["Where was the keeper when the ships came?"]
PRICE = GivenPrice(input=2, output=8)
MEMORY_TOKENS = 200
FILL = 0.5
QUERY = "On day 0 the keeper saw 0 ships from Gull Rock On day 1 the keeper saw 7 ships"
READERS = [
    "memagent",
    "memocr",
    "rememr1",
    "memreread",
    "memreread+memocr",
    "gated",
    "parallel",
    "memreread+parallel+gated",
    "closed",
    "full",
]


def reader(name):
    return build_reader(
        name,
        {"chunk_tokens": 1500, "memory_tokens": MEMORY_TOKENS}
        if name not in ("closed", "full")
        else {},
    )


class Writer:
    """A model whose notes are as long as they are assumed to be, in words of its own."""

    def __init__(self, fill, rereads):
        self.fill = fill
        self.rereads = rereads
        self.numbers = count()

    def __call__(self, messages, sampling):
        content = messages[-1]["content"]
        text = content if isinstance(content, str) else content[-1]["text"]
        if "<query>" in text:
            return (
                f"<query>Where is ship {next(self.numbers)}?</query>" if self.rereads else "ENOUGH"
            )
        if "NOTHING" in text:
            return "NEW" if self.rereads else "NOTHING"
        if text.rstrip().endswith("Reply:"):
            return r"The keeper was on Gull Rock, as the notes say of each day. \boxed{Gull Rock}"
        notes = "- fact: seen\n" * int(MEMORY_TOKENS * self.fill / 5)
        if "<recall>" in text and self.rereads:
            return f"{notes}<recall>{QUERY}</recall>"
        return notes


def real(name, writer):
    by = ScriptedModel(writer)
    reading = asyncio.run(reader(name).read(SOURCE, QUESTIONS, by))
    reading.raise_for_status()
    receipt = receipt_of(reading, PRICE)
    # The scripted model takes no tokens for a picture, a real one its cells.
    receipt_cells = sum(page.grid_width * page.grid_height for page in reading.pages)
    return receipt, receipt.totals.usage.prompt + receipt_cells


def foreseen(name, **options):
    return asyncio.run(estimate(reader(name), SOURCE, QUESTIONS, ScriptedModel([]), **options))


@pytest.mark.parametrize("name", READERS)
def test_an_estimate_agrees_with_the_receipt_of_the_real_reading(name):
    receipt, prompt = real(name, Writer(FILL, rereads=True))
    expected = foreseen(name, fill=FILL, price=PRICE).expected
    assert expected.calls == receipt.totals.calls
    assert expected.prompt == pytest.approx(prompt, rel=0.1)
    if name not in ("closed", "full"):
        assert expected.completion == pytest.approx(receipt.totals.usage.completion, rel=0.1)
        cost = receipt.cost + (prompt - receipt.totals.usage.prompt) * PRICE.input / 1e6
        assert expected.cost == pytest.approx(cost, rel=0.1)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("fill", [0.1, 0.9])
@pytest.mark.parametrize("rereads", [True, False])
def test_a_model_that_writes_more_or_less_stays_in_the_range(name, fill, rereads):
    receipt, prompt = real(name, Writer(fill, rereads))
    found = foreseen(name)
    assert found.low.calls <= receipt.totals.calls <= found.high.calls
    assert found.low.prompt <= prompt <= found.high.prompt
    assert found.low.completion <= receipt.totals.usage.completion <= found.high.completion
    assert found.low.prompt <= found.expected.prompt <= found.high.prompt


def test_an_estimate_asks_nobody():
    by = ScriptedModel([])
    asyncio.run(estimate(reader("memagent"), SOURCE, QUESTIONS, by))
    assert not by.calls


def test_calls_side_by_side_take_less_time_than_one_after_the_other():
    rate = Rate(prompt=1000, completion=50)
    serial, parallel = (foreseen(name, rate=rate).expected for name in ("memagent", "parallel"))
    assert serial.at_once == 1
    assert parallel.at_once > 1
    assert parallel.seconds < serial.seconds
    one = foreseen("parallel", rate=rate, concurrency=1).expected
    assert one.at_once == 1
    assert one.seconds > parallel.seconds


def test_pictures_that_are_read_out_cost_their_text():
    small = build_reader("memocr", {"memory_tokens": MEMORY_TOKENS, "budgets": (16,)})
    seen, told = (
        asyncio.run(estimate(small, SOURCE, QUESTIONS, ScriptedModel([]), fill=1, reads_out=out))
        for out in (False, True)
    )
    assert seen.expected.calls == told.expected.calls
    more = told.expected.prompt - seen.expected.prompt
    assert MEMORY_TOKENS - 32 < more < MEMORY_TOKENS


def test_a_dry_model_counts_cells_and_texts():
    page = render("# Gull Rock", 64)
    dry = DryModel(ScriptedModel([]), lambda *_: "yes")
    asyncio.run(dry.complete(user("Where?", page.data_url()), Sampling(max_tokens=9)))
    [call] = dry.calls
    assert call.usage == Usage(prompt=page.grid_width * page.grid_height + 2, completion=1)
    assert call.most.completion == 9


@pytest.mark.parametrize("tokens", [0, 1, 7, 500])
@pytest.mark.parametrize("sample", ["one", "", "Words of a sample, and more. "])
def test_filler_is_of_so_many_tokens(tokens, sample):
    tokenizer = EstimateTokenizer()
    text = asyncio.run(filler(tokenizer, sample, tokens))
    assert tokens - 3 <= len(asyncio.run(tokenizer.offsets(text))) <= tokens


@pytest.mark.parametrize(("text", "rate"), [("50", (50, 50)), ("2000,60", (2000, 60))])
def test_a_rate_is_one_number_or_two(text, rate):
    assert Rate.parse(text) == rate


@pytest.mark.parametrize("text", ["", "fast", "1,2,3", "0", "-5", "5,", "nan"])
def test_what_is_no_rate_is_refused(text):
    with pytest.raises(InputError, match="no rate"):
        Rate.parse(text)


def test_a_rate_is_measured_from_calls():
    calls = [
        Completion(
            text="",
            usage=Usage(prompt=prompt + 50, cached=50, completion=written),
            seconds=prompt / 1000 + written / 20,
        )
        for prompt, written in ((5000, 100), (5000, 400), (300, 20), (900, 30))
    ]
    rate = Rate.measured(calls)
    assert rate == pytest.approx((1000, 20))
    alike = Rate.measured(calls[:1])
    assert alike is not None
    assert alike.of(calls[0].usage) == pytest.approx(calls[0].seconds)
    assert Rate.measured([Completion(text="x")]) is None
