from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest

from loopback import Loopback, Reply, chat, failure
from palimpsest.errors import (
    AuthError,
    ConfigurationError,
    EndpointError,
    ModelError,
    RefusedError,
    TransientError,
    UnknownModelError,
    WindowError,
)
from palimpsest.models import Completion, OpenAIModel, Sampling, user
from palimpsest.models.endpoint import endpoint

QUESTION = user("What is the capital of France?")
SAMPLING = Sampling(max_tokens=50)
TOO_LONG = (
    "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens "
    "(8000 in the messages, 1000 in the completion)."
)
VLLM_TOO_LONG = (
    "'max_tokens' or 'max_completion_tokens' is too large: 4096. This model's maximum context "
    "length is 8192 tokens and your request has 5000 input tokens (4096 > 8192 - 5000)."
)


def model_at(url: str, **settings: Any) -> OpenAIModel:
    return OpenAIModel("m", **{"base_url": url, "api_key": "key", "retries": 0, **settings})


def complete(model: OpenAIModel, times: int = 1, sampling: Sampling = SAMPLING) -> list[Completion]:
    async def calls() -> list[Completion]:
        try:
            return [await model.complete(QUESTION, sampling) for _ in range(times)]
        finally:
            await model.aclose()

    return asyncio.run(calls())


def failure_of(url: str, **settings: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        complete(model_at(url, **settings))
    assert caught.value.hint
    return caught.value


def refused_url() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


def test_a_completion_carries_text_usage_and_the_model_that_the_server_names():
    usage = {
        "prompt_tokens": 11,
        "completion_tokens": 5,
        "total_tokens": 16,
        "prompt_tokens_details": {"cached_tokens": 8},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    with Loopback() as server:
        server.replies = [chat("Paris", usage=usage)]
        [answer] = complete(model_at(server.url, extra_body={"top_k": 20}))
    request = server.requests[0]
    assert answer.text == "Paris"
    assert answer.finish_reason == "stop"
    assert answer.model == "served"
    assert answer.usage.model_dump() == {
        "prompt": 11,
        "cached": 8,
        "completion": 5,
        "reasoning": 2,
    }
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == "Bearer key"
    assert request.json == {
        "model": "m",
        "messages": QUESTION,
        "max_tokens": 50,
        "temperature": 0.0,
        "top_k": 20,
    }


def test_seed_and_top_p_are_sent_when_they_matter():
    with Loopback() as server:
        complete(
            model_at(server.url),
            sampling=Sampling(max_tokens=5, temperature=0.7, top_p=0.9, seed=3),
        )
    sent = server.requests[0].json
    assert (sent["temperature"], sent["top_p"], sent["seed"]) == (0.7, 0.9, 3)


def test_one_model_serves_several_event_loops_in_turn():
    with Loopback() as server:
        model = model_at(server.url)
        assert [complete(model)[0].text for _ in range(3)] == ["ok"] * 3


def test_a_streamed_answer_is_put_together():
    events = "".join(
        f"data: {line}\n\n"
        for line in (
            '{"model":"served","choices":[{"delta":{"role":"assistant","reasoning_content":"hm"}}]}',
            '{"model":"served","choices":[{"delta":{"content":"Par"}}]}',
            '{"model":"served","choices":[{"delta":{"content":"is"},"finish_reason":null}]}',
            '{"model":"served","choices":[{"delta":{},"finish_reason":"stop"}]}',
            '{"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":2}}',
            "[DONE]",
        )
    )
    stream = Reply(body=events, headers={"Content-Type": "text/event-stream"})
    with Loopback() as server:
        server.replies = [stream]
        [answer] = complete(model_at(server.url, stream=True))
    assert (answer.text, answer.reasoning, answer.model) == ("Paris", "hm", "served")
    assert (answer.usage.prompt, answer.usage.completion) == (4, 2)
    assert server.requests[0].json["stream"] is True


def test_a_stream_that_breaks_off_is_transient():
    event = 'data: {"choices":[{"delta":{"content":"Par"}}]}\n\n'
    with Loopback() as server:
        server.replies = [Reply(body=event, headers={"Content-Type": "text/event-stream"})]
        assert isinstance(failure_of(server.url, stream=True), TransientError)


# Errors, by what the caller can do about them.


def test_a_port_where_nothing_listens_is_an_endpoint_error_with_the_url():
    url = refused_url()
    error = failure_of(url)
    assert isinstance(error, EndpointError)
    assert url in str(error)


def test_a_web_page_that_is_not_found_is_an_endpoint_error_that_suggests_v1():
    with Loopback() as server:
        server.replies = [Reply(404, "<html><h1>Not Found</h1></html>")]
        error = failure_of(server.root)
    assert isinstance(error, EndpointError)
    assert f"{server.root}/v1" in error.hint


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(Reply(200, "<html>Welcome</html>"), id="page"),
        pytest.param(Reply(200, {"hello": "world"}), id="other-json"),
        pytest.param(Reply(404, {"detail": "Not Found"}), id="json-404"),
        pytest.param(Reply(405, {"detail": "Method Not Allowed"}), id="405"),
        pytest.param(failure(404, "File Not Found", type="not_found_error"), id="llama.cpp"),
    ],
)
def test_what_is_no_completion_endpoint_is_an_endpoint_error(reply):
    with Loopback() as server:
        server.replies = [reply]
        assert isinstance(failure_of(server.url), EndpointError)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_an_auth_error(status):
    with Loopback() as server:
        server.replies = [failure(status, "Incorrect API key provided: sk-xx")]
        error = failure_of(server.url)
    assert isinstance(error, AuthError)
    assert "Incorrect API key" in str(error)


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(
            failure(404, "The model `m` does not exist.", code="model_not_found"), id="openai"
        ),
        pytest.param(
            failure(404, "The model `m` does not exist.", type="NotFoundError", code=404),
            id="vllm",
        ),
        pytest.param(failure(404, 'model "m" not found, try pulling it first'), id="ollama"),
        pytest.param(failure(400, "m is not a valid model ID"), id="gateway"),
    ],
)
def test_an_unknown_model_is_named_with_those_that_there_are(reply):
    with Loopback() as server:
        server.replies = [reply]
        server.routes["/v1/models"] = Reply(
            body={"object": "list", "data": [{"id": "alpha"}, {"id": "beta"}]}
        )
        error = failure_of(server.url)
    assert isinstance(error, UnknownModelError)
    assert "'m'" in str(error)
    assert "alpha, beta" in error.hint


@pytest.mark.parametrize(
    ("reply", "numbers"),
    [
        pytest.param(
            failure(400, TOO_LONG, code="context_length_exceeded"), ("8192", "9000"), id="openai"
        ),
        pytest.param(failure(400, VLLM_TOO_LONG, code=400), ("8192", "5000"), id="vllm"),
        pytest.param(
            failure(
                400,
                "request (2031 tokens) exceeds the available context size (1024 tokens)",
                type="exceed_context_size_error",
                n_prompt_tokens=2031,
                n_ctx=1024,
            ),
            ("2031", "1024"),
            id="llama.cpp",
        ),
    ],
)
def test_a_prompt_over_the_window_is_a_window_error_with_the_numbers(reply, numbers):
    with Loopback() as server:
        server.replies = [reply]
        error = failure_of(server.url)
    assert isinstance(error, WindowError)
    assert all(number in str(error) for number in numbers)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(Reply(200, chat("Paris").body, cut_at=40), id="promised-length"),
        pytest.param(
            Reply(200, '{"choices": [{"mess', headers={"Content-Type": "application/json"}),
            id="truncated-json",
        ),
    ],
)
def test_a_connection_dropped_half_way_is_transient(reply):
    with Loopback() as server:
        server.replies = [reply]
        assert isinstance(failure_of(server.url), TransientError)


def test_a_server_that_takes_too_long_is_transient():
    with Loopback() as server:
        server.replies = [chat("late", delay_s=5)]
        error = failure_of(server.url, timeout_s=0.2)
    assert isinstance(error, TransientError)
    assert "in time" in str(error)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_overload_is_transient_after_the_retries(status):
    with Loopback() as server:
        server.replies = [failure(status, "overloaded")]
        error = failure_of(server.url, retries=1)
    assert isinstance(error, TransientError)
    assert f"status {status}" in str(error)
    assert len(server.requests) == 2


def test_a_passing_fault_is_retried():
    with Loopback() as server:
        server.replies = [failure(500, "oops"), chat("Paris")]
        [answer] = complete(model_at(server.url, retries=1))
    assert answer.text == "Paris"


def test_a_server_that_goes_away_after_it_answered_is_transient():
    with Loopback() as server:
        model = model_at(server.url)
        complete(model)
    with pytest.raises(TransientError):
        complete(model)


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(failure(400, "messages: at least one is required"), id="400"),
        pytest.param(Reply(422, {"detail": "bad request"}), id="422"),
        pytest.param(failure(402, "insufficient credits"), id="402"),
        pytest.param(Reply(200, {"id": "1", "choices": []}), id="no-choice"),
        pytest.param(failure(500, "image input is not supported"), id="llama.cpp-image"),
    ],
)
def test_a_request_that_the_server_will_not_serve_is_refused_with_its_message(reply):
    with Loopback() as server:
        server.replies = [reply]
        error = failure_of(server.url)
    assert isinstance(error, RefusedError)


def test_an_error_inside_an_answer_of_status_200_is_found():
    with Loopback() as server:
        server.replies = [Reply(200, {"error": {"message": "upstream overloaded", "code": 502}})]
        assert isinstance(failure_of(server.url), TransientError)


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(chat(None, refusal="I cannot help with that."), id="refusal"),
        pytest.param(chat("", finish_reason="content_filter"), id="filter"),
    ],
)
def test_a_refusal_of_the_model_is_a_completion_that_says_so(reply):
    with Loopback() as server:
        server.replies = [reply]
        [answer] = complete(model_at(server.url))
    assert answer.finish_reason == "refused"


# Thinking.


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(chat("Paris", reasoning_content="France, so"), id="reasoning_content"),
        pytest.param(chat("Paris", reasoning="France, so"), id="reasoning"),
        pytest.param(chat("<think>\nFrance, so\n</think>\n\nParis"), id="tags"),
        pytest.param(chat("France, so\n</think>\n\nParis"), id="closing-tag-only"),
    ],
)
def test_thinking_is_kept_apart_from_the_text(reply):
    with Loopback() as server:
        server.replies = [reply]
        [answer] = complete(model_at(server.url))
    assert (answer.text, answer.reasoning) == ("Paris", "France, so")


def test_a_model_that_thinks_gets_its_allowance_from_then_on():
    with Loopback() as server:
        server.replies = [chat("Paris", reasoning_content="hm")]
        complete(model_at(server.url, thinking_tokens=1000), times=2)
    assert [request.json["max_tokens"] for request in server.requests] == [50, 1050]


@pytest.mark.parametrize(
    "cut",
    [
        pytest.param(chat("<think>France is a", finish_reason="length"), id="unclosed"),
        pytest.param(chat("Par", finish_reason="length", reasoning="long"), id="text-cut"),
        pytest.param(chat("", finish_reason="length"), id="hidden"),
    ],
)
def test_an_answer_cut_by_thinking_is_asked_for_once_more_with_the_allowance(cut):
    with Loopback() as server:
        server.replies = [cut, chat("Paris", reasoning_content="hm")]
        [answer] = complete(model_at(server.url, thinking_tokens=1000))
    assert answer.text == "Paris"
    assert answer.usage.prompt == 14
    assert [request.json["max_tokens"] for request in server.requests] == [50, 1050]


def test_an_answer_cut_even_with_the_allowance_is_not_asked_for_a_third_time():
    with Loopback() as server:
        server.replies = [chat("<think>on and on", finish_reason="length")]
        [answer] = complete(model_at(server.url))
    assert (answer.text, answer.finish_reason) == ("", "length")
    assert len(server.requests) == 2


def test_an_ordinary_answer_at_its_limit_is_not_asked_for_again():
    with Loopback() as server:
        server.replies = [chat("Paris is the", finish_reason="length")]
        [answer] = complete(model_at(server.url))
    assert answer.finish_reason == "length"
    assert len(server.requests) == 1


# What servers take.


def test_a_server_that_wants_max_completion_tokens_gets_it_and_is_remembered():
    refusal = failure(
        400,
        "Unsupported parameter: 'max_tokens' is not supported with this model. "
        "Use 'max_completion_tokens' instead.",
        code="unsupported_parameter",
        param="max_tokens",
    )
    with Loopback() as server:
        server.replies = [refusal, chat("Paris")]
        complete(model_at(server.url), times=2)
    assert ["max_tokens" in request.json for request in server.requests] == [True, False, False]
    assert [request.json.get("max_completion_tokens") for request in server.requests[1:]] == [
        50
    ] * 2


@pytest.mark.parametrize(
    ("message", "parameter"),
    [
        ("Unsupported value: 'temperature' does not support 0.7 with this model.", "temperature"),
        ("`temperature` and `top_p` cannot both be specified for this model.", "top_p"),
        ("Unrecognized request argument supplied: 'seed'", "seed"),
    ],
)
def test_a_parameter_that_a_server_does_not_take_is_left_out_from_then_on(message, parameter):
    sampling = Sampling(max_tokens=5, temperature=0.7, top_p=0.9, seed=1)
    with Loopback() as server:
        server.replies = [failure(400, message), chat("Paris")]
        complete(model_at(server.url), times=2, sampling=sampling)
    assert [parameter in request.json for request in server.requests] == [True, False, False]


def test_a_field_that_the_user_insists_on_is_sent_and_its_refusal_shown():
    with Loopback() as server:
        server.replies = [failure(400, "Unsupported parameter: 'seed'")]
        error = failure_of(server.url, extra_body={"seed": 4})
    assert isinstance(error, RefusedError)
    assert len(server.requests) == 1


# Many at once, and none.


def test_calls_at_once_never_exceed_the_bound():
    async def many(model: OpenAIModel) -> None:
        await asyncio.gather(*(model.complete(QUESTION, SAMPLING) for _ in range(12)))
        await model.aclose()

    with Loopback() as server:
        server.replies = [chat("ok", delay_s=0.03)]
        asyncio.run(many(model_at(server.url, concurrency=3)))
    assert len(server.requests) == 12
    assert server.most_at_once == 3


def test_cancelling_a_call_stops_it_at_once_and_frees_its_place():
    async def cancel(model: OpenAIModel) -> float:
        call = asyncio.create_task(model.complete(QUESTION, SAMPLING))
        await asyncio.to_thread(server.wait_for, lambda: bool(server.requests))
        started = time.monotonic()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        seconds = time.monotonic() - started
        server.replies = [chat("ok")]
        assert (await model.complete(QUESTION, SAMPLING)).text == "ok"
        await model.aclose()
        return seconds

    with Loopback() as server:
        server.replies = [chat("late", delay_s=10)]
        assert asyncio.run(cancel(model_at(server.url, concurrency=1))) < 0.5


# Addresses and keys.


def test_a_key_is_trimmed_and_one_that_cannot_be_is_a_configuration_error():
    with Loopback() as server:
        complete(model_at(server.url, api_key="key\n"))
        with pytest.raises(ConfigurationError):
            complete(model_at(server.url, api_key="clé"))
    assert server.requests[0].headers["authorization"] == "Bearer key"


def test_an_azure_deployment_is_asked_with_its_version_and_key_header():
    with Loopback() as server:
        model = model_at(server.root, api_version="2024-10-21")
        complete(model)
    request = server.requests[0]
    assert request.path == "/openai/deployments/m/chat/completions?api-version=2024-10-21"
    assert request.headers["api-key"] == "key"


def test_a_whole_azure_url_can_be_pasted():
    with Loopback() as server:
        complete(
            model_at(f"{server.root}/openai/deployments/d/chat/completions?api-version=2025-01-01")
        )
    assert server.requests[0].path == (
        "/openai/deployments/d/chat/completions?api-version=2025-01-01"
    )


@pytest.mark.parametrize(
    ("url", "base_url", "version"),
    [
        (None, "https://api.openai.com/v1", None),
        ("http://h:1/v1/", "http://h:1/v1", None),
        ("http://h:1/v1/chat/completions", "http://h:1/v1", None),
        ("https://r.openai.azure.com/", "https://r.openai.azure.com/openai", "2024-10-21"),
        ("https://r.openai.azure.com/openai/v1/", "https://r.openai.azure.com/openai/v1", None),
        (
            "https://h/openai/deployments/d",
            "https://h/openai/deployments/d",
            "2024-10-21",
        ),
    ],
)
def test_an_address_leads_to_its_base(url, base_url, version):
    found = endpoint(url)
    assert (found.base_url, found.api_version) == (base_url, version)


@pytest.mark.parametrize("url", ["localhost:8000/v1", "ftp://h/v1", "http://", "no url"])
def test_what_is_no_url_is_a_configuration_error(url):
    with pytest.raises(ConfigurationError):
        OpenAIModel("m", base_url=url)
