"""The gateway as OpenAI's own client sees it: responses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import openai
import pytest

from gateways import FACT, NOTES, QUESTION, Gateway, Scripted, config, story, texts_of
from loopback import Loopback, Reply, Request
from palimpsest.models import ScriptedModel

TEXT = f"{story(60)}\n\n{QUESTION}"


@pytest.fixture
def script() -> Scripted:
    return Scripted()


@pytest.fixture
def gateway(script: Scripted, tmp_path: Path) -> Iterator[Gateway]:
    with Loopback(script) as upstream, Gateway(config(upstream, tmp_path)) as server:
        yield server


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.url, api_key="any", max_retries=0) as opened:
        yield opened


def test_a_short_input_is_passed_through(client: openai.OpenAI, script: Scripted) -> None:
    done = client.responses.create(model="scripted", input="Hi?")
    assert done.output_text == "I do not know."
    assert script.finals[0].json["input"] == "Hi?"


def test_a_long_input_is_read_and_answered_with_citations_and_a_bill(
    client: openai.OpenAI, script: Scripted
) -> None:
    done = client.responses.create(
        model="scripted", input=TEXT, instructions="Be short.", max_output_tokens=100
    )
    assert done.output_text == FACT
    (final,) = script.finals
    assert final.path.endswith("/responses")
    assert final.json["instructions"] == "Be short."
    assert NOTES in texts_of(final.json)
    assert final.json["input"][0]["content"].endswith(QUESTION)
    (annotation,) = done.output[0].content[0].annotations
    assert annotation.type == "url_citation"
    assert (annotation.start_index, annotation.end_index) == (0, len(FACT))
    assert annotation.model_extra["quote"] == FACT
    assert done.usage.input_tokens == 100 * (len(script.drafts) + 1)
    assert done.model_extra["palimpsest"]["calls"] == len(script.drafts) + 1


def test_a_streamed_response_has_every_event_in_order(client: openai.OpenAI) -> None:
    with client.responses.stream(model="scripted", input=TEXT, max_output_tokens=100) as stream:
        events = list(stream)
        done = stream.get_final_response()
    kinds = [event.type for event in events]
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert kinds.index("response.output_text.annotation.added") < kinds.index(
        "response.output_text.done"
    )
    numbers = [event.sequence_number for event in events]
    assert numbers == list(range(len(numbers)))
    assert done.output_text == FACT
    assert done.output[0].content[0].annotations[0].model_extra["quote"] == FACT
    assert done.usage.input_tokens > 500


def test_a_stream_that_says_no_places_is_given_them(script: Scripted, tmp_path: Path) -> None:
    def terse(request: Request) -> Reply:
        reply = script(request)
        if not request.path.endswith("/responses"):
            return reply
        assert isinstance(reply.body, str)
        return replace(reply, body="".join(map(_terse, reply.body.split("\n\n")[:-1])))

    with (
        Loopback(terse) as upstream,
        Gateway(config(upstream, tmp_path)) as gateway,
        openai.OpenAI(base_url=gateway.url, api_key="any", max_retries=0) as client,
        client.responses.stream(model="scripted", input=TEXT, max_output_tokens=100) as stream,
    ):
        assert stream.get_final_response().output_text == FACT


def _terse(event: str) -> str:
    """As llama.cpp's server has it: neither indices nor what is still empty."""
    kind, _, data = event.partition("data: ")
    told = json.loads(data)
    for name in ("output_index", "content_index", "sequence_number"):
        told.pop(name, None)
    if told["type"] == "response.created":
        told["response"] = {"id": "resp_1", "object": "response", "status": "in_progress"}
    return f"{kind}data: {json.dumps(told)}\n\n"


def test_a_file_and_earlier_items_are_read(client: openai.OpenAI, script: Scripted) -> None:
    import base64

    data = base64.b64encode(story(60).encode()).decode()
    content = [
        {"type": "input_file", "filename": "tale.md", "file_data": data},
        {"type": "input_text", "text": QUESTION},
    ]
    done = client.responses.create(
        model="scripted",
        max_output_tokens=100,
        input=[
            {"role": "user", "content": content},
            {"type": "function_call", "call_id": "c", "name": "clock", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "noon"},
        ],
    )
    assert done.output_text == FACT
    assert done.output[0].content[0].annotations[0].title == "tale.md"
    assert [item.get("type") for item in script.finals[0].json["input"]][1:] == [
        "function_call", "function_call_output",
    ]  # fmt: skip


def test_the_asynchronous_client_is_answered_too(gateway: Gateway) -> None:
    async def asked() -> tuple[str, str]:
        async with openai.AsyncOpenAI(base_url=gateway.url, api_key="any") as client:
            whole = await client.responses.create(
                model="scripted", input=TEXT, max_output_tokens=100
            )
            text = ""
            async for event in await client.responses.create(
                model="scripted", input=TEXT, max_output_tokens=100, stream=True
            ):
                if event.type == "response.output_text.delta":
                    text += event.delta
            return whole.output_text, text

    assert asyncio.run(asked()) == (FACT, FACT)


def test_a_model_that_is_no_endpoint_gives_responses_too(tmp_path: Path) -> None:
    model = ScriptedModel(lambda messages, _: FACT if NOTES in str(messages) else f"- {FACT}")
    with (
        Gateway(config(None, tmp_path), model=model) as gateway,
        openai.OpenAI(base_url=gateway.url, api_key="any") as client,
    ):
        assert client.responses.create(model="x", input=TEXT).output_text == FACT
        with client.responses.stream(model="x", input=TEXT) as stream:
            assert stream.get_final_response().output_text == FACT
