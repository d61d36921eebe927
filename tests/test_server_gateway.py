"""The gateway as OpenAI's own client sees it: chat completions."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import openai
import pytest

from gateways import (
    FACT,
    NOTES,
    QUESTION,
    SMALL,
    Gateway,
    Scripted,
    config,
    filler,
    story,
    texts_of,
)
from loopback import Loopback, failure
from palimpsest.models import ScriptedModel
from palimpsest.server.config import ReaderChoice


@pytest.fixture
def script() -> Scripted:
    return Scripted()


@pytest.fixture
def upstream(script: Scripted) -> Iterator[Loopback]:
    with Loopback(script) as server:
        yield server


@pytest.fixture
def gateway(upstream: Loopback, tmp_path: Path) -> Iterator[Gateway]:
    with Gateway(config(upstream, tmp_path)) as server:
        yield server


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.url, api_key="any", max_retries=0) as opened:
        yield opened


def ask(client: openai.OpenAI, text: str, **options):
    messages = [{"role": "user", "content": text}]
    return client.chat.completions.create(
        model="scripted", messages=messages, max_tokens=100, **options
    )


def test_a_short_request_is_passed_through_byte_for_byte(
    gateway: Gateway, upstream: Loopback, script: Scripted
) -> None:
    body = b'{"model": "scripted",  "messages": [{"role":"user","content":"Hi?"}], "odd": 1e2}'
    with httpx2.Client(timeout=None) as http:
        answer = http.post(
            f"{gateway.url}/chat/completions", content=body,
            headers={"content-type": "application/json"},
        )  # fmt: skip
    assert answer.status_code == 200
    assert [one.body for one in upstream.asked("/v1/chat/completions")] == [body]
    assert "palimpsest" not in answer.json()


def test_a_long_message_is_read_and_answered_from_its_notes(
    client: openai.OpenAI, script: Scripted
) -> None:
    done = ask(client, f"{story(60)}\n\n{QUESTION}", user="u-1", metadata={"kept": "yes"})
    assert done.choices[0].message.content == FACT
    assert len(script.drafts) > 5
    (final,) = script.finals
    assert final.json["user"] == "u-1"
    assert final.json["metadata"] == {"kept": "yes"}
    assert NOTES in texts_of(final.json)
    assert texts_of(final.json).endswith(QUESTION)
    assert "mended on the quay" not in texts_of(final.json)


def test_the_answer_tells_what_was_billed_and_what_was_read(
    client: openai.OpenAI, script: Scripted
) -> None:
    done = ask(client, f"{story(60)}\n\n{QUESTION}")
    calls = len(script.drafts) + 1
    assert done.usage is not None
    assert done.usage.prompt_tokens == 100 * calls
    assert done.usage.completion_tokens == 10 * calls
    facts = done.model_extra["palimpsest"]
    assert facts["status"] == "answered"
    assert facts["question"] == QUESTION
    assert facts["calls"] == calls
    assert facts["chunks"] == {"total": len(script.drafts), "read": len(script.drafts), "reused": 0}
    assert facts["source"]["tokens"] > 2048
    assert facts["billed"]["prompt"] == 100 * calls


def test_citations_are_annotations_with_the_place_and_the_quote(client: openai.OpenAI) -> None:
    text = story(60)
    done = ask(client, f"{text}\n\n{QUESTION}")
    (annotation,) = done.choices[0].message.annotations
    assert annotation.type == "url_citation"
    cited = annotation.url_citation
    assert (cited.start_index, cited.end_index) == (0, len(FACT))
    assert cited.title == "message 1"
    extra = cited.model_extra
    assert extra["quote"] == FACT
    assert text[extra["start"] : extra["end"]] == FACT
    assert cited.url.startswith("palimpsest:")
    assert cited.url.endswith(f"#char={extra['start']},{extra['end']}")


def test_a_streamed_answer_comes_in_chunks_with_citations_in_the_last(
    client: openai.OpenAI,
) -> None:
    stream = ask(
        client, f"{story(60)}\n\n{QUESTION}", stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    texts = [one.choices[0].delta.content or "" for one in chunks if one.choices]
    assert "".join(texts) == FACT
    assert len([text for text in texts if text]) > 2
    last = [one for one in chunks if one.choices][-1]
    assert last.choices[0].finish_reason == "stop"
    (annotation,) = last.choices[0].delta.model_extra["annotations"]
    assert annotation["url_citation"]["quote"] == FACT
    assert chunks[-1].usage.prompt_tokens > 500
    assert last.model_extra["palimpsest"]["status"] == "answered"


def test_usage_is_streamed_only_to_those_who_ask_for_it(client: openai.OpenAI) -> None:
    chunks = list(ask(client, f"{story(60)}\n\n{QUESTION}", stream=True))
    assert all(one.choices and one.usage is None for one in chunks)


def test_progress_comes_as_comments_or_as_thinking(gateway: Gateway) -> None:
    body = {
        "model": "scripted", "stream": True, "max_tokens": 100,
        "messages": [{"role": "user", "content": f"{story(60)}\n\n{QUESTION}"}],
    }  # fmt: skip
    with httpx2.Client(timeout=None) as http:
        plain = http.post(f"{gateway.url}/chat/completions", json=body).text
        body["palimpsest"] = {"progress": "reasoning", "memory": "question"}
        thought = http.post(f"{gateway.url}/chat/completions", json=body).text
    assert "\n: read chunk 2 of" in plain
    events = [json.loads(line[6:]) for line in thought.splitlines() if line.startswith("data: {")]
    reasons = [one["choices"][0]["delta"].get("reasoning_content") for one in events]
    assert any(reason and reason.startswith("read chunk 2 of") for reason in reasons)
    assert len({event["id"] for event in events}) == 1
    assert thought.rstrip().endswith("data: [DONE]")


def test_the_same_source_is_not_read_again_for_a_new_question(
    client: openai.OpenAI, script: Scripted
) -> None:
    ask(client, f"{story(60)}\n\n{QUESTION}")
    before = len(script.drafts)
    done = ask(client, f"{story(60)}\n\nIn which year was that lamp lit?")
    assert len(script.drafts) == before
    facts = done.model_extra["palimpsest"]
    assert facts["chunks"]["read"] == 0
    assert facts["chunks"]["reused"] == facts["chunks"]["total"]
    assert facts["memory"]["made_for"][0] == QUESTION
    assert facts["calls"] == 1
    assert done.usage.prompt_tokens == 100


def test_a_source_that_grew_is_read_on(client: openai.OpenAI, script: Scripted) -> None:
    text = story(60)
    first = ask(client, f"{text}\n\n{QUESTION}").model_extra["palimpsest"]
    before = len(script.drafts)
    second = ask(client, f"{text}\n\n{filler(20, seed=5)}\n\n{QUESTION}")
    facts = second.model_extra["palimpsest"]
    assert facts["chunks"]["reused"] >= first["chunks"]["total"] - 2
    assert len(script.drafts) - before == facts["chunks"]["read"]
    assert facts["reused_reading"] == first["reading"]


def test_a_memory_for_the_question_alone_is_not_taken_for_another(
    client: openai.OpenAI, script: Scripted
) -> None:
    options = {"extra_body": {"palimpsest": {"memory": "question"}}}
    ask(client, f"{story(60)}\n\n{QUESTION}", **options)
    before = len(script.drafts)
    ask(client, f"{story(60)}\n\nWhat happened in 1871?", **options)
    assert len(script.drafts) == 2 * before
    ask(client, f"{story(60)}\n\n{QUESTION}", **options)
    assert len(script.drafts) == 2 * before


def test_an_explicit_source_and_question_are_heeded(
    client: openai.OpenAI, script: Scripted
) -> None:
    extension = {
        "source": [{"name": "log.txt", "text": filler(50)}, {"name": "lamp.txt", "text": FACT}],
        "question": QUESTION,
    }
    done = ask(client, "Answer in one sentence.", extra_body={"palimpsest": extension})
    assert done.choices[0].message.content == FACT
    facts = done.model_extra["palimpsest"]
    assert facts["source"]["documents"] == ["log.txt", "lamp.txt"]
    assert facts["question"] == QUESTION
    (annotation,) = done.choices[0].message.annotations
    assert annotation.url_citation.title == "lamp.txt"
    assert "palimpsest" not in script.finals[0].json


def test_an_explicit_source_that_fits_is_shown_as_it_is(
    client: openai.OpenAI, script: Scripted
) -> None:
    extension = {"source": [FACT], "question": QUESTION}
    done = ask(client, "Be short.", extra_body={"palimpsest": extension})
    assert done.choices[0].message.content == FACT
    assert not script.drafts
    assert FACT in texts_of(script.finals[0].json)


def test_files_are_read_by_their_names(client: openai.OpenAI, script: Scripted) -> None:
    data = base64.b64encode(story(60).encode()).decode()
    content = [
        {"type": "file", "file": {"filename": "tale.txt", "file_data": data}},
        {"type": "text", "text": QUESTION},
    ]
    done = client.chat.completions.create(
        model="scripted", messages=[{"role": "user", "content": content}], max_tokens=100
    )
    assert done.choices[0].message.content == FACT
    assert done.choices[0].message.annotations[0].url_citation.title == "tale.txt"
    kinds = [part["type"] for part in script.finals[0].json["messages"][0]["content"]]
    assert kinds == ["text", "text", "text"]


def test_a_pdf_is_read(client: openai.OpenAI) -> None:
    data = base64.b64encode(pdf(story(60))).decode()
    file = {"filename": "tale.pdf", "file_data": f"data:application/pdf;base64,{data}"}
    content = [{"type": "file", "file": file}, {"type": "text", "text": QUESTION}]
    done = client.chat.completions.create(
        model="scripted", messages=[{"role": "user", "content": content}], max_tokens=100
    )
    assert "Ada Venn" in done.choices[0].message.content
    assert done.model_extra["palimpsest"]["source"]["documents"] == ["tale.pdf"]


def pdf(text: str) -> bytes:
    canvas = pytest.importorskip("reportlab.pdfgen.canvas")
    file = io.BytesIO()
    page = canvas.Canvas(file, pageCompression=1)
    lines = [line for block in text.split("\n\n") for line in block.split(". ")]
    for start in range(0, len(lines), 50):
        for number, line in enumerate(lines[start : start + 50]):
            page.drawString(40, 800 - 15 * number, line)
        page.showPage()
    page.save()
    return file.getvalue()


def test_tools_and_schemas_and_stops_go_to_the_final_turn_alone(
    upstream: Loopback, tmp_path: Path
) -> None:
    call = {
        "id": "call_1", "type": "function",
        "function": {"name": "note", "arguments": '{"who": "Ada Venn"}'},
    }  # fmt: skip
    script = Scripted(answer=lambda body, text: {"content": None, "tool_calls": [call]})
    tools = [{"type": "function", "function": {"name": "note", "parameters": {"type": "object"}}}]
    options = {
        "tools": tools, "tool_choice": "required", "stop": ["END"], "logprobs": True,
        "response_format": {"type": "json_object"}, "parallel_tool_calls": False,
    }  # fmt: skip
    with (
        Loopback(script) as upstream,
        Gateway(config(upstream, tmp_path)) as gateway,
        openai.OpenAI(base_url=gateway.url, api_key="any") as client,
    ):
        whole = ask(client, f"{story(60)}\n\n{QUESTION}", **options)
        chunks = list(ask(client, f"{story(60)}\n\n{QUESTION}", stream=True, **options))
    assert whole.choices[0].finish_reason == "tool_calls"
    assert whole.choices[0].message.tool_calls[0].function.arguments == '{"who": "Ada Venn"}'
    assert {name: script.finals[0].json[name] for name in options} == options
    assert not any(set(options) & set(draft.json) for draft in script.drafts)
    called = [one.choices[0].delta.tool_calls for one in chunks if one.choices[0].delta.tool_calls]
    assert called[0][0].function.name == "note"
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_a_tool_result_comes_back_to_the_same_memory(
    client: openai.OpenAI, script: Scripted
) -> None:
    asked = {"role": "user", "content": f"{story(60)}\n\n{QUESTION}"}
    call = {"id": "c1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    ask(client, asked["content"])
    before = len(script.drafts)
    client.chat.completions.create(
        model="scripted",
        max_tokens=100,
        messages=[
            asked,
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "It is noon."},
        ],
    )
    assert len(script.drafts) == before
    roles = [message["role"] for message in script.finals[-1].json["messages"]]
    assert roles == ["user", "assistant", "tool"]
    assert script.finals[-1].json["messages"][2]["content"] == "It is noon."


def test_several_choices_are_each_annotated(client: openai.OpenAI) -> None:
    done = ask(client, f"{story(60)}\n\n{QUESTION}", n=2)
    assert [choice.message.content for choice in done.choices] == [FACT, FACT]
    assert all(choice.message.annotations for choice in done.choices)


def test_a_long_chat_is_read_by_its_turns_and_read_on(
    client: openai.OpenAI, script: Scripted
) -> None:
    messages = [{"role": "system", "content": "Answer as a sailor."}]
    for number in range(30):
        said = FACT if number == 3 else filler(1, seed=number)
        messages += [
            {"role": "user", "content": f"Note {number}: {said}"},
            {"role": "assistant", "content": f"Noted, number {number}. {filler(1, seed=90)}"},
        ]
    messages.append({"role": "user", "content": QUESTION})
    done = client.chat.completions.create(model="scripted", messages=messages, max_tokens=100)
    assert FACT in done.choices[0].message.content
    facts = done.model_extra["palimpsest"]
    assert facts["source"]["documents"][:2] == ["message 1 (user)", "message 2 (assistant)"]
    final = script.finals[0].json["messages"]
    assert final[0] == messages[0]
    assert final[1] == messages[-len(final) + 1]
    assert NOTES in texts_of({"messages": final[-1:]})
    before = len(script.drafts)
    longer = [
        *messages,
        {"role": "assistant", "content": FACT},
        {"role": "user", "content": "When?"},
    ]
    more = client.chat.completions.create(model="scripted", messages=longer, max_tokens=100)
    again = more.model_extra["palimpsest"]["chunks"]
    assert again["reused"] >= facts["chunks"]["total"] - 2
    assert len(script.drafts) - before == again["read"] <= 3


def test_a_cap_gives_a_partial_answer_and_says_why(client: openai.OpenAI) -> None:
    extension = {"caps": {"calls": 5}}
    done = ask(client, f"{story(60)}\n\n{QUESTION}", extra_body={"palimpsest": extension})
    facts = done.model_extra["palimpsest"]
    assert facts["status"] == "partial"
    assert "cap of 5 calls" in facts["reason"]
    assert facts["calls"] <= 5
    assert facts["chunks"]["read"] < facts["chunks"]["total"]


def test_a_page_is_shown_where_the_reader_draws_one(
    client: openai.OpenAI, script: Scripted
) -> None:
    extension = {"reader": "memocr", "budget": 64, "settings": SMALL}
    done = ask(client, f"{story(60)}\n\n{QUESTION}", extra_body={"palimpsest": extension})
    content = script.finals[0].json["messages"][0]["content"]
    assert [part["type"] for part in content] == ["text", "image_url", "text"]
    assert content[1]["image_url"]["url"].startswith("data:image/png;base64,")
    assert done.model_extra["palimpsest"]["memory"]["page"]["budget"] == 64


def test_what_is_wrong_with_the_extension_is_said(client: openai.OpenAI) -> None:
    for extension, told in (
        ({"reader": "nobody"}, "there is no reader 'nobody'"),
        ({"budget": 0}, "palimpsest.budget"),
        ({"sauce": "x"}, "palimpsest.sauce"),
        ({"source": [{"name": "x"}]}, "palimpsest.source"),
    ):
        given = {"palimpsest": {"source": filler(40), **extension}}
        with pytest.raises(openai.BadRequestError) as raised:
            ask(client, QUESTION, extra_body=given)
        assert told in raised.value.message


def test_a_question_too_long_for_the_window_is_refused_in_openais_shape(
    client: openai.OpenAI,
) -> None:
    calls = [
        {"role": "tool", "tool_call_id": f"c{number}", "content": filler(3, seed=number)}
        for number in range(12)
    ]
    messages = [{"role": "user", "content": f"{story(60)}\n\n{QUESTION}"}, *calls]
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model="scripted", messages=messages, max_tokens=100)
    assert raised.value.code == "context_length_exceeded"


def test_the_upstreams_refusal_of_the_final_turn_is_passed_on(tmp_path: Path) -> None:
    script = Scripted()

    def respond(request):
        reply = script(request)
        return failure(422, "no such tool", code="bad_tool") if script.finals else reply

    with (
        Loopback(respond) as upstream,
        Gateway(config(upstream, tmp_path)) as gateway,
        openai.OpenAI(base_url=gateway.url, api_key="any", max_retries=0) as client,
    ):
        with pytest.raises(openai.UnprocessableEntityError, match="no such tool"):
            ask(client, f"{story(60)}\n\n{QUESTION}")
        with pytest.raises(openai.APIError, match="no such tool"):
            list(ask(client, f"{story(60)}\n\n{QUESTION}", stream=True))


def test_bodies_of_no_shape_are_refused_and_never_a_fault(gateway: Gateway) -> None:
    long = filler(60)
    with httpx2.Client(timeout=None) as http:
        for body in (
            b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"messages": "' + long.encode() + b'"}',
            json.dumps({"messages": [{"role": "user", "content": 7}], "x": long}).encode(),
            json.dumps({"messages": [1, None], "x": long}).encode(),
            json.dumps({"palimpsest": 3, "messages": []}).encode(),
        ):  # fmt: skip
            for path in ("chat/completions", "responses"):
                answer = http.post(f"{gateway.url}/{path}", content=body)
                assert 400 <= answer.status_code < 500, (body[:80], answer.text)
                assert answer.json()["error"]["message"]


async def _asked(url: str, questions: list[str]) -> list[str]:
    async with openai.AsyncOpenAI(base_url=url, api_key="any") as client:
        calls = [
            client.chat.completions.create(
                model="scripted", max_tokens=100, messages=[{"role": "user", "content": question}]
            )
            for question in questions
        ]
        return [done.choices[0].message.content or "" for done in await asyncio.gather(*calls)]


def test_clients_at_once_get_their_own_answers_and_one_source_is_read_once(
    gateway: Gateway, script: Scripted
) -> None:
    script.words = ("Gull Rock", "Tern Point")
    other = story(60, "The well of Tern Point was dug by Noor Adeh.")
    texts = [f"{story(60)}\n\n{QUESTION}", f"{other}\n\nWho dug the well?"]
    answers = asyncio.run(_asked(gateway.url, texts * 3))
    assert all("Ada Venn" in answer for answer in answers[::2])
    assert all("Noor Adeh" in answer for answer in answers[1::2])
    # Both begin alike, so that the second takes over half of the first.
    assert len(script.drafts) < 2 * 15


def test_a_model_that_is_no_endpoint_answers_too(tmp_path: Path) -> None:
    def respond(messages, sampling):
        text = str(messages)
        return FACT if NOTES in text or "Day" not in text else f"- {FACT}"

    model = ScriptedModel(respond)
    with (
        Gateway(config(None, tmp_path), model=model) as gateway,
        openai.OpenAI(base_url=gateway.url, api_key="any") as client,
    ):
        assert ask(client, "Hi?").choices[0].message.content == FACT
        done = ask(client, f"{story(60)}\n\n{QUESTION}")
        assert done.choices[0].message.content == FACT
        streamed = list(ask(client, f"{story(60)}\n\n{QUESTION}", stream=True))
        assert "".join(one.choices[0].delta.content or "" for one in streamed) == FACT
        with pytest.raises(openai.BadRequestError, match="tools"):
            ask(client, "Hi?", tools=[{"type": "function", "function": {"name": "x"}}])


def test_a_message_of_60000_tokens_is_answered_streamed_and_not(tmp_path: Path) -> None:
    script = Scripted()
    settings = {"upstream_window": 12288, "reader": ReaderChoice()}
    with (
        Loopback(script) as upstream,
        Gateway(config(upstream, tmp_path, **settings)) as gateway,
        openai.OpenAI(base_url=gateway.url, api_key="any") as client,
    ):
        done = ask(client, f"{story(1000)}\n\n{QUESTION}")
        facts = done.model_extra["palimpsest"]
        assert facts["source"]["tokens"] >= 60_000
        assert done.choices[0].message.content == FACT
        stream = ask(
            client, f"{story(1000, at=0.9)}\n\n{QUESTION}", stream=True,
            extra_body={"palimpsest": {"memory": "question"}},
        )  # fmt: skip
        assert "".join(one.choices[0].delta.content or "" for one in stream) == FACT
