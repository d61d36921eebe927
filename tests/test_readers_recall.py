"""ReMemR1 calls earlier memories back by queries that its drafts leave."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.errors import TransientError
from palimpsest.memory.reading import Answer, ChunkRead, Reading, Turn
from palimpsest.models import Completion, ScriptedModel
from palimpsest.prompts import default_prompts
from palimpsest.readers import MemAgent
from palimpsest.readers.rememr1 import ReMemR1, best_match, query_in, without_query
from palimpsest.sources import Source

SOURCE = Source.from_text(
    "Ada keeps the lamp. " * 40 + "The lamp is on Gull Rock. " * 40 + "Nothing happens. " * 40
)
QUESTION = "Where is the lamp?"
READER = ReMemR1(chunk_tokens=200, memory_tokens=60)
SCRIPT = [
    "- Ada: keeps the lamp",
    "- Gull Rock: has a lamp",
    "- Bergen: a town\n<recall>who keeps, Ada</recall>",
    "- Bergen: a harbour\n<recall>Gull</recall>",
    r"\boxed{Gull Rock}",
]


def read(model, reader=READER, **options):
    return asyncio.run(reader.read(SOURCE, QUESTION, model, **options))


def prompts(model):
    return [call.messages[-1]["content"] for call in model.calls]


def recalled(draft):
    """The memory that a draft prompt shows as called back."""
    return draft.split("called back:\n", 1)[1].split("\n\nNotes so far:")[0]


def test_the_earlier_version_that_fits_the_query_best_joins_the_next_prompt():
    model = ScriptedModel(SCRIPT)
    reading = read(model)
    assert len(reading.header.chunks) == 4
    empty = READER.empty_memory
    assert [recalled(draft) for draft in prompts(model)[:-1]] == [
        empty, empty, empty, "- Ada: keeps the lamp"
    ]  # fmt: skip
    assert [version.parents for version in reading.memories] == [(), (0,), (1,), (2, 0)]
    assert reading.answer == "Gull Rock"


def test_the_query_is_no_part_of_the_memory():
    reading = read(ScriptedModel(SCRIPT))
    assert [version.text for version in reading.memories][2:] == [
        "- Bergen: a town",
        "- Bergen: a harbour",
    ]
    assert all("recall" not in version.text for version in reading.memories)


def test_the_query_does_not_count_against_the_memorys_limit():
    reader = ReMemR1(chunk_tokens=1000, memory_tokens=10)
    reading = read(
        ScriptedModel(["- Ada: lamp\n<recall>" + "Gull " * 40 + "</recall>", "x"]), reader
    )
    assert reading.guards == []
    assert reading.memory == "- Ada: lamp"


def test_the_answer_sees_what_the_last_query_calls_back_that_the_memory_lacks():
    model = ScriptedModel(SCRIPT)
    read(model)
    assert "- Bergen: a harbour\n- Gull Rock: has a lamp\n" in prompts(model)[-1]


def test_without_a_query_it_reads_as_memagent_does():
    plain = ["one", "two", "three", "four", r"\boxed{x}"]
    model = ScriptedModel(plain)
    reading = read(model)
    other = read(ScriptedModel(plain), MemAgent(chunk_tokens=200, memory_tokens=60))
    assert [version.text for version in reading.memories] == plain[:-1]
    assert reading.memories == other.memories
    assert prompts(model)[-1].count("four") == 1


def test_a_draft_of_nothing_but_a_query_keeps_the_memory_and_calls_back():
    script = ["- Ada: keeps it", "two", "<recall>Ada</recall>", "four", "x"]
    model = ScriptedModel(script)
    reading = read(model)
    assert [event.guard for event in reading.guards] == ["empty"]
    assert recalled(prompts(model)[3]) == "- Ada: keeps it"
    assert reading.memories[2].parents == (1, 0)


def test_a_query_counts_for_the_next_chunk_only():
    script = ["- Ada: keeps it", "two <recall>Ada</recall>", "three", "four", "x"]
    model = ScriptedModel(script)
    read(model)
    shown = [recalled(draft) for draft in prompts(model)[2:4]]
    assert shown == ["- Ada: keeps it", READER.empty_memory]


def test_a_cut_off_draft_keeps_the_memory_and_its_query():
    cut_off = Completion(text="- new\n<recall>Ada</recall>\n- unfin", finish_reason="length")
    model = ScriptedModel(["- Ada: keeps it", "- two", cut_off, "four", "x"])
    reading = read(model)
    assert reading.memories[2].text == "- two\n- new"
    assert recalled(prompts(model)[3]) == "- Ada: keeps it"


def test_the_memory_is_not_called_back_onto_itself():
    model = ScriptedModel(["same", "same", "same\n<recall>same</recall>", "four", "x"])
    reading = read(model)
    assert recalled(prompts(model)[3]) == READER.empty_memory
    assert reading.memories[3].parents == (2,)


@pytest.mark.parametrize("order", ["memory_first", "section_first"])
def test_both_orders_show_all_parts(order):
    reader = READER.model_copy(update={"order": order})
    model = ScriptedModel(SCRIPT)
    read(model, reader)
    draft = prompts(model)[3]
    places = [draft.index(part) for part in ("Next section:", "called back:", "Notes so far:")]
    assert places == sorted(places) or order == "memory_first"
    assert (places[0] == min(places)) == (order == "section_first")
    assert "{" not in draft.replace(SOURCE.text, "")


def test_a_kill_after_any_record_costs_only_the_step_it_was_in():
    def respond(messages, sampling):
        text = messages[-1]["content"]
        if "Next section:" not in text:
            return r"\boxed{Gull Rock}"
        number = text.count("- fact") + 1
        return f"- fact {number} of Ada\n" * number + "<recall>fact 1</recall>"

    whole = read(ScriptedModel(respond))
    assert len(whole.memories[-1].parents) == 2
    for length in range(len(whole.records)):
        stopped = Reading(whole.header, whole.records[:length])
        model = ScriptedModel(respond)
        resumed = read(model, reading=stopped)
        done = [
            n for n, one in enumerate(whole.records[:length]) if isinstance(one, ChunkRead | Answer)
        ]
        left = whole.records[max(done, default=-1) + 1 :]
        requests = [one.request for one in left if isinstance(one, Turn)]
        assert [
            turn.request for turn in resumed.turns[len(resumed.turns) - len(model.calls) :]
        ] == requests
        assert resumed.memory == whole.memory
        assert resumed.answers == whole.answers


def test_a_version_that_a_kill_left_unnamed_is_never_called_back():
    stopped = read(ScriptedModel(["one", "- Ada: orphan", TransientError("gone")])).resumable()
    assert stopped.records.pop() == ChunkRead(chunk=1, memory=1)
    model = ScriptedModel(["- Ada: kept", "three <recall>Ada</recall>", "four", "x"])
    reading = read(model, reading=stopped)
    assert recalled(prompts(model)[2]) == "- Ada: kept"
    assert reading.memories[-1].parents == (3, 2)


def test_the_papers_settings_and_a_key_of_its_own():
    faithful = ReMemR1.faithful()
    assert (faithful.memory_tokens, faithful.answer_tokens) == (2048, 2048)
    assert (faithful.cut_off, faithful.temperature, faithful.top_p) == ("accept", 0.7, 0.95)
    model = ScriptedModel([])
    agent = MemAgent(chunk_tokens=200, memory_tokens=60)
    assert READER.key(SOURCE, QUESTION, model) != agent.key(SOURCE, QUESTION, model)
    assert "{recalled}" in default_prompts().get("draft_recall", "section_first").text


@pytest.mark.parametrize(
    ("draft", "query", "memory"),
    [
        ("- a\n<recall>Ada, lamp</recall>", "Ada, lamp", "- a"),
        ("- a\n<Recall>\nAda\n</Recall>\n- b", "Ada", "- a\n- b"),
        ("<recall>Ada\n- a\n- b", "Ada", "- a\n- b"),
        ("- a\n<recall></recall>\n<recall>Ada</recall>", "Ada", "- a"),
        ("- a</recall>", "", "- a"),
        (
            "- a: <recall>born in Rome</recall>, 1681\n- b",
            "born in Rome",
            "- a: born in Rome, 1681\n- b",
        ),
        ("- a", "", "- a"),
        ("", "", ""),
    ],
)
def test_a_query_is_taken_out_of_its_draft(draft, query, memory):
    assert (query_in(draft), without_query(draft)) == (query, memory)


@given(st.text())
def test_no_tag_is_left_in_a_memory(text):
    for draft in (text, f"{text}<recall>{text}</recall>", f"<recall>{text}\n{text}"):
        assert "<recall>" not in without_query(draft).lower()


def test_rare_words_decide_which_version_is_called_back():
    texts = {0: "the lamp of Ada", 1: "the lamp of the town", 2: "the lamp of the rock"}
    assert best_match("the lamp of Ada", texts) == 0
    assert best_match("the lamp", texts) == 2
    assert best_match("Bergen", texts) is None
    assert best_match("灯塔", {0: "古老的灯塔", 1: "港口"}) == 0


words = st.text(st.sampled_from("abc "), max_size=12)


@given(words, st.lists(words, max_size=5))
def test_what_is_called_back_shares_a_word_with_the_query(query, texts):
    match = best_match(query, dict(enumerate(texts)))
    shared = [number for number, text in enumerate(texts) if set(query.split()) & set(text.split())]
    assert (match in shared) if shared else match is None
