"""What a memory is compared with answers by the same prompt, from the source or from nothing."""

import asyncio
import importlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.errors import ConfigurationError, TransientError
from palimpsest.memory import Reading
from palimpsest.models import ScriptedModel
from palimpsest.models.scripted import texts
from palimpsest.readers.closed import ClosedBook
from palimpsest.readers.full import FullContext, cut_in_the_middle
from palimpsest.readers.memagent import MemAgent
from palimpsest.readers.retrieval import Retrieval, rank, words
from palimpsest.sources import EstimateTokenizer, Source, count

FILLING = "The weather was mild and nobody spoke of it at all. "
SOURCE = Source.from_text(
    FILLING * 40 + "The lamp of Gull Rock was lit in 1871. " + FILLING * 40
    + "Ada Brandt kept the lamp for nine years. " + FILLING * 40
)  # fmt: skip
QUESTIONS = ["When was the lamp of Gull Rock lit?", "Who was Ada Brandt?"]
BASELINES = [ClosedBook(), FullContext(), Retrieval()]


def read(reader, model=None, question=QUESTIONS[0], source=SOURCE, **options):
    model = model or ScriptedModel(lambda messages, sampling: r"\boxed{1871}")
    reading = asyncio.run(reader.read(source, question, model, **options))
    reading.raise_for_status()
    return reading


def shown(reader, question=QUESTIONS[0], source=SOURCE):
    """The notes in the prompt of the answer."""
    model = ScriptedModel(lambda messages, sampling: r"\boxed{1871}")
    read(reader, model, question, source)
    return notes(model.calls[-1])


def notes(call):
    text = "\n".join(texts(call.messages))
    return text.rsplit("Notes: ", 1)[1].rsplit("\nQuestion:", 1)[0]


def tokens(text):
    return asyncio.run(count(EstimateTokenizer(), text))


@pytest.mark.parametrize("reader", BASELINES, ids=lambda reader: reader.name)
def test_a_baseline_answers_in_one_call_by_the_prompt_of_memagent(reader):
    reading = read(reader)
    assert [turn.role for turn in reading.turns] == ["final"]
    assert reading.turns[0].prompt == read(MemAgent()).turns[-1].prompt
    assert reading.answer == "1871"
    assert reading.status == "answered"
    assert reading.memories == []


@pytest.mark.parametrize("reader", BASELINES, ids=lambda reader: reader.name)
def test_a_baseline_answers_each_question_by_itself(reader):
    model = ScriptedModel(["a", "b"])
    reading = read(reader, model, QUESTIONS)
    assert [answer.text for answer in reading.answers] == ["a", "b"]
    assert [turn.question for turn in reading.turns] == [0, 1]
    for call, question in zip(model.calls, QUESTIONS, strict=True):
        assert question in "\n".join(texts(call.messages))


@pytest.mark.parametrize("reader", BASELINES, ids=lambda reader: reader.name)
def test_a_baseline_goes_on_after_any_record(reader):
    whole = read(reader, ScriptedModel(["a", "b"]), QUESTIONS)
    for kept in range(len(whole.records)):
        stopped = Reading(whole.opening, whole.records[:kept])
        model = ScriptedModel(["a", "b"][len(stopped.answers) :])
        again = read(reader, model, QUESTIONS, reading=stopped)
        assert [answer.text for answer in again.answers] == ["a", "b"]
        assert again.status == "answered"


def test_a_failed_call_ends_a_baseline_with_its_reason():
    model = ScriptedModel([TransientError("gone")])
    assert asyncio.run(FullContext().read(SOURCE, "Who?", model)).status == "failed"


def test_a_closed_book_shows_nothing_of_the_source():
    assert shown(ClosedBook()) == ClosedBook().empty_memory


def test_full_context_shows_a_source_that_fits_as_it_is():
    assert shown(FullContext()) == SOURCE.text


def test_full_context_cuts_a_long_source_in_the_middle():
    text = shown(FullContext(context_tokens=100))
    head, tail = text.split("[...]")
    assert SOURCE.text.startswith(head.strip())
    assert SOURCE.text.strip().endswith(tail.strip())
    assert 95 <= tokens(head) + tokens(tail) <= 110


@given(st.text("aé漢😀 .\n", min_size=1), st.integers(2, 40))
def test_what_is_cut_in_the_middle_keeps_as_many_tokens_as_it_may(text, limit):
    offsets = asyncio.run(EstimateTokenizer().offsets(text))
    cut = cut_in_the_middle(text, offsets, limit)
    if len(offsets) <= limit:
        assert cut == text
        return
    head, tail = cut.split("\n\n[...]\n\n")
    assert text.startswith(head)
    assert text.endswith(tail)
    start = len(text) - len(tail)
    kept = sum(offset < len(head) or offset >= start for offset in offsets)
    # A character of three tokens is whole on either side of the cut, or not there.
    assert limit - 2 <= kept <= limit + 2


def test_retrieval_shows_the_passages_of_the_question_in_the_order_of_the_source():
    reader = Retrieval(chunk_tokens=40, memory_tokens=120)
    text = shown(reader, "Who kept the lamp, and when was the lamp of Gull Rock lit?")
    assert "Gull Rock was lit in 1871" in text
    assert "Ada Brandt kept the lamp" in text
    assert text.index("1871") < text.index("Ada Brandt")


@pytest.mark.parametrize("budget", [10, 64, 150, 1000])
def test_retrieval_stays_within_its_budget(budget):
    text = shown(Retrieval(chunk_tokens=40, memory_tokens=budget), "the lamp was")
    assert 0 < tokens(text) <= budget


def test_each_question_has_passages_of_its_own():
    model = ScriptedModel(["a", "b"])
    read(Retrieval(chunk_tokens=30, memory_tokens=30), model, ["Gull Rock 1871", "Ada Brandt"])
    first, second = map(notes, model.calls)
    assert "1871" in first
    assert "Ada" not in first
    assert "Ada Brandt" in second


def test_retrieval_shows_nothing_for_a_question_without_a_word_of_the_source():
    reader = Retrieval(chunk_tokens=40)
    assert shown(reader, "Zyzzyva?") == reader.empty_memory
    assert shown(reader, "???") == reader.empty_memory


def test_passages_of_equal_score_rank_as_they_stand_in_the_source():
    assert rank(["a lamp", "no", "a lamp", "lamp lamp"], ["lamp?", "!"]) == [[3, 0, 2], []]


def test_a_source_without_a_word_ranks_nothing():
    assert rank(["...", "!"], ["lamp?"]) == [[]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The LAMP's Straße_1", ["the", "lamp", "s", "strasse", "1"]),
        ("ﬁne Ａ", ["fine", "a"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("東京の塔 tower", ["東京", "京の", "の塔", "tower"]),
        ("A東b", ["a", "東", "b"]),
        ("ประเทศไทย", None),
        ("école E\u0301COLE", ["école", "école"]),
        ("", []),
    ],
)
def test_words_are_compared_in_any_script(text, expected):
    found = words(text)
    if expected is None:
        assert len(found) == len(text) - 1
        assert all(len(word) == 2 for word in found)
    else:
        assert found == expected


def test_a_missing_bm25s_is_named(monkeypatch):
    def missing(name, *arguments, **options):
        if name == "bm25s":
            raise ImportError(name)
        return original(name, *arguments, **options)

    original = importlib.import_module
    monkeypatch.setattr("palimpsest.readers.retrieval.import_module", missing)
    with pytest.raises(ConfigurationError, match="bm25s") as raised:
        rank(["a lamp"], ["lamp"])
    assert "eval" in raised.value.hint
