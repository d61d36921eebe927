"""Which part of a request is the source and which the question."""

from __future__ import annotations

import pytest

from gateways import FACT, QUESTION, filler, story
from palimpsest.errors import InputError
from palimpsest.server.gateway.chat import Chat
from palimpsest.server.gateway.ends import asks, take_ends
from palimpsest.server.gateway.splitting import Sizes, Split, split

SIZES = Sizes(4096)


def parted(*messages: dict, **options) -> Split:
    return split(Chat().conversation({"messages": list(messages)}), SIZES, **options)


def user(text: object) -> dict:
    return {"role": "user", "content": text}


@pytest.mark.parametrize(
    "paragraph",
    [
        "Who lit the lamp?", "谁点亮了灯？", "Question: the keeper's name", "Summarise it all.",
        "Please list all names", "TASK 2: count the boats", "**Instructions:** answer in French",
        "Based on the text, name the keeper", '"Was it so?"', "من أشعل المصباح؟",
    ],
)  # fmt: skip
def test_questions_and_instructions_are_known(paragraph: str) -> None:
    assert asks(paragraph)


@pytest.mark.parametrize(
    "paragraph",
    ["The lamp was lit in 1871.", "THE END", "Chapter 3", "She asked why? Nobody knew."],
)
def test_what_only_tells_is_no_question(paragraph: str) -> None:
    assert not asks(paragraph)


def test_the_question_is_found_at_the_end_or_at_the_beginning_or_at_both() -> None:
    text = filler(20)
    assert take_ends(f"{text}\n\n{QUESTION}").question == QUESTION
    assert take_ends(f"{QUESTION}\n\n{text}").question == QUESTION
    both = take_ends(f"Answer from the text.\n\n{text}\n\nQuestion: who?\nAnswer:")
    assert both.question == "Answer from the text.\n\nQuestion: who?\nAnswer:"
    assert both.body == text


def test_a_bare_label_takes_the_paragraph_before_it_along() -> None:
    ends = take_ends(f"{filler(20)}\n\n{QUESTION}\n\nAnswer:")
    assert ends.question == f"{QUESTION}\n\nAnswer:"


def test_a_question_on_a_line_of_its_own_is_found_without_blank_lines() -> None:
    text = filler(20).replace("\n\n", "\n")
    ends = take_ends(f"{text}\n{QUESTION}")
    assert (ends.body, ends.question) == (text, QUESTION)


def test_without_a_question_the_ends_are_shown_and_nothing_is_taken_out() -> None:
    text = f"Opening.\n\n{filler(20)}\n\nClosing."
    ends = take_ends(text)
    assert (ends.body, ends.question, ends.shown) == (text, "", ("Opening.", "Closing."))


def test_one_huge_message_is_source_but_for_its_question() -> None:
    found = parted({"role": "system", "content": "Be kind."}, user(f"{story(60)}\n\n{QUESTION}"))
    assert found.documents == [("message 1", story(60))]
    assert found.question == QUESTION
    assert [entry.text for entry in found.entries] == ["Be kind.", QUESTION]
    assert found.at == 1


def test_a_huge_message_without_a_question_is_answered_from_its_ends() -> None:
    found = parted(user(f"Fasse zusammen.\n\n{story(60)}"))
    assert found.question == ""
    assert found.shown[0] == "Fasse zusammen."
    assert found.documents[0][1].startswith("Fasse zusammen.")


def test_text_parts_that_are_large_are_source_and_small_ones_stay() -> None:
    found = parted(user([{"type": "text", "text": story(60)}, {"type": "text", "text": QUESTION}]))
    assert found.question == QUESTION
    assert len(found.documents) == 1


def test_documents_only_grow_as_a_chat_goes_on() -> None:
    messages: list[dict] = [user(f"{story(60)}\n\n{QUESTION}")]
    before: list[tuple[str, str]] = []
    for number in range(40):
        found = parted(*messages)
        assert found.documents[: len(before)] == before
        before = found.documents
        messages += [
            {"role": "assistant", "content": f"{number}. {filler(1)}"},
            user(f"And number {number + 1}?"),
        ]
    assert before[0] == ("message 1", story(60))
    assert before[1][0] == "message 1 (user)"
    assert len(before) > 20


def test_a_large_result_of_a_tool_is_source_and_its_place_says_so() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "read", "arguments": "{}"}}
    found = parted(
        user(QUESTION),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": story(60)},
    )
    assert found.documents == [("message 3", story(60))]
    assert found.entries[2].text == "[message 3: it is in the notes]"
    assert found.at == 0


def test_the_explicit_question_is_asked_where_the_messages_do_not() -> None:
    found = parted(user("Be short."), explicit=[("log", FACT)], question=QUESTION)
    assert found.question == QUESTION
    assert found.entries[0].text == f"Be short.\n\n{QUESTION}"


def test_documents_of_one_name_are_told_apart() -> None:
    found = parted(user(QUESTION), explicit=[("log", "a"), ("log", "b"), ("log", " ")])
    assert [name for name, _ in found.documents] == ["log", "log (2)"]


def test_messages_of_no_known_shape_cannot_be_split() -> None:
    with pytest.raises(InputError, match="of no shape"):
        parted(user({"not": "content"}))
