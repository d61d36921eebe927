"""MemReread asks for what lacks, reads again for it, and never loses its first memory."""

import asyncio
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.errors import (
    AuthError,
    ConfigurationError,
    RefusedError,
    TransientError,
    WindowError,
)
from palimpsest.memory.reading import (
    Answer,
    ChunkRead,
    Integrated,
    MemoryVersion,
    Reading,
    Reread,
    Turn,
)
from palimpsest.models import Completion, ScriptedModel
from palimpsest.readers import MemAgent, MemOCR
from palimpsest.readers.memreread import MemReread, keep_confirmed, parse_query
from palimpsest.readers.rememr1 import ReMemR1
from palimpsest.sources import Source

SOURCE = Source.from_text("Ada keeps the lamp. " * 30 + "The lamp is on Gull Rock. " * 30)
QUESTION = "Where is the light that Ada keeps?"
FIRST, SECOND, THIRD = "Where is the lamp?", "Who built Gull Rock?", "When was it built, Gull Rock?"
AGENT = MemAgent(chunk_tokens=200, memory_tokens=200)
PAGES = MemOCR(chunk_tokens=200, memory_tokens=200, budgets=(64, 16))
READER = MemReread(base=AGENT)


def prompt(messages):
    content = messages[-1]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


def kind(text):
    if "Next section:" in text:
        return "draft"
    if "Asked before" in text:
        return "decompose"
    if "too long" in text:
        return "shorten"
    return "integrate" if "What was found:" in text else "answer"


def asked(text):
    return text.rsplit("Question: ", 1)[1].split("\n")[0]


def script(queries=(FIRST, SECOND), **special):
    """Answers by what is asked for; a role in `special` has a function of the prompt instead."""

    def respond(messages, sampling):
        text = prompt(messages)
        role = kind(text)
        if role in special and (answer := special[role](text)) is not None:
            return answer
        if role == "decompose":
            new = [query for query in queries if f"- {query}" not in text]
            return f"<query>{new[0]}</query>" if new else "ENOUGH"
        if role == "integrate":
            found = text.split("What was found: ")[1].split("\n")[0]
            return f"{text.split('Notes:')[1].split('What was asked')[0].strip()}\n- {found}"
        if role == "shorten":
            return "- short"
        if role == "answer":
            return rf"So it is. \boxed{{answer to {asked(text)}}}"
        return f"notes for {asked(text)}"

    return ScriptedModel(respond)


def read(model, reader=READER, question=QUESTION, **options):
    return asyncio.run(reader.read(SOURCE, question, model, **options))


def prompts(model, role):
    texts = [prompt(call.messages) for call in model.calls]
    return [text for text in texts if kind(text) == role]


def of(reading, record):
    return [one for one in reading.records if isinstance(one, record)]


@pytest.mark.parametrize("base", [AGENT, PAGES], ids=["memagent", "memocr"])
def test_it_reads_again_for_what_lacks_and_answers_from_the_integrated_memory(base):
    model = script()
    reading = read(model, MemReread(base=base))
    chunks = len(reading.header.chunks)
    assert chunks == 2
    scan = ["draft"] * chunks
    reread = ["decompose", *scan, "sub-answer", "integrate"]
    ends = ["read", "read"] if base is PAGES else ["final"]
    assert [turn.role for turn in reading.turns] == [*scan, *reread, *reread, *ends]
    assert [(one.question, one.parent, one.depth) for one in reading.rereads] == [
        (FIRST, 0, 1),
        (SECOND, 0, 1),
    ]
    assert f"answer to {FIRST}" in reading.memory
    assert f"answer to {SECOND}" in reading.memory
    assert reading.memory.startswith(f"notes for {QUESTION}")
    assert reading.answer == f"answer to {QUESTION}"
    assert reading.status == "answered"


def test_a_reread_begins_with_no_memory_and_shows_its_drafts_the_sub_question_alone():
    model = script(queries=[FIRST])
    read(model)
    first, second, again, last = prompts(model, "draft")
    assert READER.empty_memory in again
    assert f"notes for {FIRST}" in last
    assert all(FIRST not in text for text in (first, second))
    assert all(QUESTION not in text for text in (again, last))


def test_integrate_sees_the_sub_answer_but_not_the_memory_it_came_from():
    model = script(queries=[FIRST])
    read(model)
    (text,) = prompts(model, "integrate")
    assert f"answer to {FIRST}" in text
    assert f"notes for {QUESTION}" in text
    assert f"notes for {FIRST}" not in text


def test_over_memocr_the_sub_answer_is_read_from_the_page_of_the_rereads_memory():
    reading = read(script(queries=[FIRST]), MemReread(base=PAGES))
    turn = next(turn for turn in reading.turns if turn.role == "sub-answer")
    page = reading.pages[turn.page]
    assert page.budget == 64
    assert page.memory == reading.standing(1)


def test_decompose_sees_the_memory_as_it_stands_and_what_was_found():
    model = script()
    read(model)
    before, after = prompts(model, "decompose")
    assert FIRST not in before
    assert f"- {FIRST} answer to {FIRST}" in after
    assert f"notes for {QUESTION}\n- answer to {FIRST}" in after


def test_no_query_means_no_reread():
    reading = read(script(queries=[]))
    assert reading.rereads == []
    assert [turn.role for turn in reading.turns].count("decompose") == 1
    assert reading.status == "answered"


def test_at_the_limit_nothing_is_asked_any_more():
    model = script(queries=[FIRST, SECOND, THIRD])
    reading = read(model, MemReread(base=AGENT, rereads=1))
    assert [reread.question for reread in reading.rereads] == [FIRST]
    assert len(prompts(model, "decompose")) == 1


@pytest.mark.parametrize("repeated", ["WHERE is the  lamp", "'Where is the lamp?!'"])
def test_a_query_that_was_asked_before_ends_the_rereading(repeated):
    def decompose(text):
        return f"<query>{repeated if FIRST in text else FIRST}</query>"

    reading = read(script(decompose=decompose), MemReread(base=AGENT, rereads=5))
    assert [reread.question for reread in reading.rereads] == [FIRST]


def test_the_question_itself_is_no_sub_question():
    assert read(script(queries=[QUESTION.upper()])).rereads == []
    several = read(script(queries=["who keeps it"]), question=[QUESTION, "Who keeps it?"])
    assert several.rereads == []


def test_several_questions_are_decomposed_together_and_all_answered():
    model = script(queries=[FIRST])
    reading = read(model, question=[QUESTION, "Who keeps it?"])
    assert f"1. {QUESTION}\n2. Who keeps it?" in prompts(model, "decompose")[0]
    assert [answer.question for answer in reading.answers] == [0, 1]
    assert len(reading.rereads) == 1


def test_a_sub_question_may_be_reread_for_in_turn():
    def decompose(text):
        queries = {QUESTION: FIRST, FIRST: SECOND, SECOND: THIRD}
        query = queries[asked(text)]
        return "ENOUGH" if f"- {query}" in text else f"<query>{query}</query>"

    reader = MemReread(base=AGENT, rereads=5, depth=2)
    reading = read(script(decompose=decompose), reader)
    assert [(one.question, one.parent, one.depth) for one in reading.rereads] == [
        (FIRST, 0, 1),
        (SECOND, 1, 2),
    ]
    assert [end.reread for end in of(reading, Integrated)] == [2, 1]
    assert f"answer to {SECOND}" in reading.text_of(reading.standing(1))
    assert f"answer to {FIRST}" in reading.memory
    assert f"answer to {SECOND}" not in reading.memory


def test_the_limit_counts_rereads_at_all_depths():
    numbers = count(1)
    model = script(decompose=lambda text: f"<query>What is number {next(numbers)}?</query>")
    reading = read(model, MemReread(base=AGENT, rereads=4, depth=2))
    assert [reread.depth for reread in reading.rereads] == [1, 2, 2, 2]
    assert reading.status == "answered"


def test_versions_name_what_they_were_written_from():
    reading = read(script(queries=[FIRST]))
    own, again, integrated = (0, 1), (2, 3), 4
    assert [version.parents for version in reading.memories] == [(), (0,), (), (2,), (1, 3)]
    assert [version.reread for version in reading.memories] == [0, 0, 1, 1, 0]
    assert reading.memories[integrated].chunk is None
    assert reading.standing(0) == integrated
    assert reading.standing(1) == again[-1]
    assert of(reading, Integrated)[0].memory == integrated
    assert own[-1] == reading.memories[integrated].parents[0]


def test_a_base_with_recall_is_reread_too():
    reading = read(script(), MemReread(base=ReMemR1(chunk_tokens=200, memory_tokens=200)))
    assert f"answer to {SECOND}" in reading.memory
    assert reading.status == "answered"


# What must not lose the first memory


@pytest.mark.parametrize(
    ("bad", "guard"),
    [
        (Completion(text=" "), "empty"),
        (Completion(text="I will not.", finish_reason="refused"), "refused"),
        (Completion(text="Ada left. She", finish_reason="length"), "cut-off"),
    ],
)
def test_a_bad_integration_keeps_the_memory(bad, guard):
    reading = read(script(queries=[FIRST], integrate=lambda text: bad))
    assert [event.guard for event in reading.guards] == [guard]
    assert reading.memory.startswith(f"notes for {QUESTION}")
    (end,) = of(reading, Integrated)
    assert end.memory == reading.standing()
    assert end.answer == f"answer to {FIRST}"
    assert reading.status == "answered"


def test_an_integration_over_the_limit_is_shortened():
    def integrate(text):
        return "\n".join(f"- line {number} of the notes" for number in range(90))

    reader = MemReread(base=AGENT.model_copy(update={"memory_tokens": 40}))
    reading = read(script(queries=[FIRST], integrate=integrate), reader)
    assert "over-limit" in [event.guard for event in reading.guards]
    assert reading.memory == "- short"
    assert reading.memories[reading.standing()].parents == (1, 3)


@pytest.mark.parametrize("error", [TransientError, RefusedError, WindowError])
@pytest.mark.parametrize("role", ["draft", "decompose", "answer", "integrate"])
def test_a_call_that_fails_in_a_reread_leaves_the_memory_and_the_answer(role, error):
    def fail(text):
        return None if asked(text) == QUESTION and role in ("draft", "answer") else error("gone")

    reading = read(script(queries=[FIRST], **{role: fail}))
    assert reading.status == "answered"
    assert reading.memory == f"notes for {QUESTION}"
    assert reading.answer == f"answer to {QUESTION}"
    (guard,) = reading.guards
    assert guard.guard == "failed"
    assert "gone" in guard.detail
    assert len(of(reading, Integrated)) == len(reading.rereads)


def test_after_a_failed_reread_the_next_question_is_still_asked():
    def draft(text):
        return TransientError("gone") if asked(text) == FIRST else None

    model = script(draft=draft)
    reading = read(model)
    assert [(end.answer, end.memory) for end in of(reading, Integrated)] == [
        ("", 1),
        (f"answer to {SECOND}", 4),
    ]
    assert f"- {FIRST} not found" in prompts(model, "decompose")[1]


def test_a_call_that_fails_in_the_first_read_fails_the_reading():
    reading = read(script(draft=lambda text: WindowError("too long")))
    assert reading.status == "failed"


def test_an_error_that_would_hit_any_call_fails_the_reading():
    model = script(queries=[FIRST], integrate=lambda text: AuthError("no key"))
    reading = read(model)
    assert (reading.status, reading.end.error) == ("failed", "AuthError")
    again = read(script(queries=[FIRST]), reading=reading.resumable())
    assert f"answer to {FIRST}" in again.memory


@pytest.mark.parametrize(
    "bad",
    [
        Completion(text=""),
        Completion(text="I cannot.", finish_reason="refused"),
        Completion(text="The lamp is on the", finish_reason="length"),
    ],
)
def test_a_sub_answer_that_says_nothing_is_not_integrated(bad):
    model = script(queries=[FIRST], answer=lambda text: bad if asked(text) == FIRST else None)
    reading = read(model)
    assert prompts(model, "integrate") == []
    assert of(reading, Integrated) == [Integrated(reread=1, answer="", memory=1)]
    assert len(reading.guards) == 1


def test_a_cut_off_sub_answer_that_came_to_its_box_counts():
    bad = Completion(text=r"\boxed{Gull Rock} is", finish_reason="length")
    model = script(queries=[FIRST], answer=lambda text: bad if asked(text) == FIRST else None)
    assert "Gull Rock" in read(model).memory


def test_a_reread_that_noted_nothing_is_not_asked():
    def draft(text):
        return Completion(text="") if asked(text) == FIRST else None

    reading = read(script(queries=[FIRST], draft=draft))
    assert "sub-answer" not in [turn.role for turn in reading.turns]
    assert reading.memory == f"notes for {QUESTION}"


@pytest.mark.parametrize(
    ("text", "reason", "asked"),
    [
        (f"<query>{FIRST}</query>", "refused", []),
        ("<query>Where is the", "length", []),
        (f"<query>{FIRST}</query> For", "length", [FIRST]),
    ],
)
def test_a_decomposition_that_is_refused_or_cut_off_in_its_query_asks_nothing(text, reason, asked):
    completion = Completion(text=text, finish_reason=reason)
    reading = read(script(decompose=lambda prompt: completion))
    assert [reread.question for reread in reading.rereads] == asked


def test_confirmed_facts_stay_confirmed_through_integrations():
    def integrate(text):
        if FIRST in text:
            return "Ada keeps <confirmed>the lamp on Gull Rock</confirmed>."
        return "Ada keeps the lamp on Gull Rock, built by Brandt."

    model = script(integrate=integrate)
    reading = read(model)
    tagged = "<confirmed>the lamp on Gull Rock</confirmed>"
    assert tagged in prompts(model, "decompose")[1]
    assert tagged in prompts(model, "integrate")[1]
    assert reading.memory == f"Ada keeps {tagged}, built by Brandt."
    assert tagged in prompts(model, "answer")[-1]


# Going on after a kill


def step_ends(reading):
    """Places after which nothing before is done again."""
    steps = ChunkRead | Reread | Integrated | Answer
    return [
        place
        for place, record in enumerate(reading.records)
        if isinstance(record, steps) or (isinstance(record, Turn) and record.role == "decompose")
    ]


def graph(reading):
    """The memory and all it was written from, as texts."""
    versions = reading.memories

    def written(number):
        version = versions[number]
        return (version.text, tuple(written(parent) for parent in version.parents))

    return written(reading.standing())


@pytest.mark.parametrize(
    ("reader", "question"),
    [
        (READER, QUESTION),
        (READER, [QUESTION, "Who keeps it?"]),
        (MemReread(base=PAGES), QUESTION),
        (MemReread(base=AGENT, rereads=4, depth=2), QUESTION),
        (MemReread(base=ReMemR1(chunk_tokens=200, memory_tokens=200)), QUESTION),
    ],
    ids=["memagent", "two questions", "memocr", "depth 2", "rememr1"],
)
def test_a_kill_after_any_record_costs_only_the_step_it_was_in(reader, question):
    whole = read(script(), reader, question)
    assert whole.status == "answered"
    assert len(whole.rereads) >= 2
    ends = step_ends(whole)
    for length in range(len(whole.records)):
        stopped = Reading(whole.header, whole.records[:length])
        model = script()
        resumed = read(model, reader, question, reading=stopped)
        begun = max([place for place in ends if place < length], default=-1)
        left = [one.request for one in whole.records[begun + 1 :] if isinstance(one, Turn)]
        assert [
            turn.request for turn in resumed.turns[len(resumed.turns) - len(model.calls) :]
        ] == left
        assert graph(resumed) == graph(whole)
        assert resumed.answers == whole.answers
        assert Reading.from_lines(resumed.to_lines()) == resumed


def test_a_version_that_a_kill_left_unnamed_counts_for_nothing():
    whole = read(script(queries=[FIRST]))
    place = next(n for n, record in enumerate(whole.records) if isinstance(record, Integrated))
    assert isinstance(whole.records[place - 1], MemoryVersion)
    stopped = Reading(whole.header, whole.records[:place])
    assert stopped.memory == f"notes for {QUESTION}"
    resumed = read(script(queries=[FIRST]), reading=stopped)
    assert resumed.memories[resumed.standing()].parents == (1, 3)
    assert resumed.standing() == 5


# Settings


def test_settings_and_keys_tell_readers_apart():
    readers = [
        READER,
        MemReread(base=AGENT, rereads=3),
        MemReread(base=AGENT, depth=2),
        MemReread(base=PAGES),
        AGENT,
    ]
    model = ScriptedModel([])
    assert len({reader.key(SOURCE, QUESTION, model) for reader in readers}) == len(readers)
    assert READER.settings()["base"]["reader"] == "memagent"
    assert {"draft", "decompose", "integrate"} <= set(READER.prompt_roles())


def test_the_papers_settings():
    assert (READER.rereads, READER.depth) == (2, 1)
    faithful = MemReread.faithful()
    assert faithful.rereads == 3
    assert faithful.base == MemAgent.faithful()


def test_one_is_not_put_around_another():
    with pytest.raises(ConfigurationError, match="twice"):
        MemReread(base=READER)


# Queries and tags


@pytest.mark.parametrize(
    ("reply", "query"),
    [
        (f"<query>{FIRST}</query>", FIRST),
        (f"The place lacks.\n<QUERY>\n  {FIRST}\n</QUERY>\nThat is all.", FIRST),
        (f"<query>{{{FIRST}}}</query>", FIRST),
        (f'<query>"Where is\tthe   lamp?"</query><query>{SECOND}</query>', FIRST),
        (f"<query>- {FIRST}\n- {SECOND}</query>", FIRST),
        (f"<query>{FIRST}", FIRST),
        ("ENOUGH", ""),
        ("<query>ENOUGH</query>", ""),
        ("<query>Nothing.</query>", ""),
        ("<query></query>", ""),
        ("<query>Who?</query>", ""),
        ("<query>...</query>", ""),
        (FIRST, ""),
        ("", ""),
    ],
)
def test_a_query_is_found_in_its_tag_or_there_is_none(reply, query):
    assert parse_query(reply) == query


@given(st.text())
def test_a_query_is_one_line_of_at_least_six_characters_or_nothing(text):
    for reply in (text, f"<query>{text}</query>", f"<query>{text}"):
        query = parse_query(reply)
        assert query == "" or len(query) >= 6
        assert len(query.splitlines()) <= 1


def test_a_confirmed_fact_that_is_gone_is_not_put_back():
    assert keep_confirmed("<confirmed>nine floors</confirmed>", "ten floors") == "ten floors"


facts = st.text(st.sampled_from("ab. "), max_size=6)


@given(st.lists(facts, max_size=4), facts)
def test_confirming_again_changes_no_word(confirmed, after):
    before = " ".join(f"<confirmed>{fact}</confirmed>" for fact in confirmed)
    kept = keep_confirmed(before, after)
    assert kept.replace("<confirmed>", "").replace("</confirmed>", "") == after
    assert keep_confirmed(before, kept) == kept
