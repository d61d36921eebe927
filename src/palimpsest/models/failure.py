"""From what went wrong on the wire to an error that says what to do about it.

Servers agree on little: the same fault comes as different statuses, codes and wordings. This
module knows those of OpenAI, Azure, vLLM, SGLang, llama.cpp, Ollama and the common gateways.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import httpx2
import openai

from palimpsest.errors import (
    AuthError,
    EndpointError,
    ModelError,
    RefusedError,
    TransientError,
    UnknownModelError,
    WindowError,
)
from palimpsest.models.body import body_of
from palimpsest.models.endpoint import Endpoint

_WINDOW_CODES = {"context_length_exceeded", "exceed_context_size_error"}
_WINDOW = re.compile(
    r"context (length|size|window)|prompt is too long|input is too long|too many (input )?tokens"
    r"|longer than the (model|maximum)|max_model_len",
    re.IGNORECASE,
)
_MODEL_CODES = {"model_not_found", "DeploymentNotFound", "unknown_model"}
_MODEL = re.compile(
    r"\bmodel\b.*(not found|not exist|unknown|not supported|not available)"
    r"|(unknown|no such|invalid|not a valid) model",
    re.IGNORECASE | re.DOTALL,
)
_UNSUPPORTED = re.compile(
    r"unsupported|not support|unrecognized|unknown (field|parameter)|not permitted"
    r"|cannot both|deprecated",
    re.IGNORECASE,
)
_ADAPTABLE = ("max_tokens", "top_p", "seed", "temperature")


def explain(error: openai.APIError, where: Endpoint, model: str, answered: bool) -> ModelError:
    """The error to raise; `answered` tells whether this endpoint has ever served a completion."""
    if isinstance(error, openai.APIStatusError):
        return _explain_status(error.status_code, error.body, where, model)
    return _explain_connection(error, where, answered)


def explain_answer(response: httpx2.Response, where: Endpoint, model: str) -> ModelError:
    """The error for an answer of status 200 that is no chat completion."""
    text = response.text
    body = body_of(response)
    if isinstance(body, Mapping) and isinstance(body.get("error"), Mapping):
        inner = body["error"]
        code = inner.get("code")
        return _explain_status(code if isinstance(code, int) else 400, inner, where, model)
    if isinstance(body, Mapping) and "choices" in body:
        return RefusedError(
            f"{where.tried} answered without a message: {' '.join(text.split())[:200]}",
            hint="Some gateways answer so when they withhold what a model wrote.",
        )
    if body is None and not _is_page(response):
        return TransientError(
            f"the answer of {where.tried} broke off after {len(text)} characters",
            hint="The server or a proxy cut the connection: try again.",
        )
    return _not_an_endpoint(where, "what answers there is no chat completion", text)


def _is_page(response: httpx2.Response) -> bool:
    content_type = response.headers.get("content-type", "")
    return "json" not in content_type and "event-stream" not in content_type


def unsupported_parameter(error: openai.BadRequestError) -> str | None:
    """The request parameter, of those that can be left out or renamed, that was refused."""
    message = _message(error.body)
    code = str(error.code or "")
    if "too large" in message or not (_UNSUPPORTED.search(message) or "unsupported" in code):
        return None
    for name in _ADAPTABLE:
        if error.param == name or re.search(rf"['\"`]{name}['\"`]", message):
            return name
    return None


def _explain_connection(error: openai.APIError, where: Endpoint, answered: bool) -> ModelError:
    cause = error.__cause__
    unreachable = isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout)
    if unreachable and not answered:
        return EndpointError(
            f"nothing answers at {where.tried} ({_reason(cause)})",
            hint="Is the server running, and are host, port and scheme right?",
        )
    if isinstance(error, openai.APITimeoutError):
        return TransientError(
            f"no answer from {where.tried} in time",
            hint="The server may be overloaded: ask less at once, or allow a longer time.",
        )
    return TransientError(
        f"the connection to {where.tried} was lost ({_reason(cause)})",
        hint="The server or a proxy dropped it: try again.",
    )


def _reason(cause: BaseException | None) -> str:
    return str(cause) or type(cause).__name__


def _explain_status(status: int, body: object, where: Endpoint, model: str) -> ModelError:
    message = _message(body)
    if status in (401, 403):
        return AuthError(
            f"{where.base_url} refused the API key: {message}",
            hint="Check the key, and that it belongs to this endpoint and may use this model.",
        )
    if status not in (408, 429) and _tells(body, message, _WINDOW_CODES, _WINDOW):
        return _window_error(body, message, model)
    if status in (400, 404) and _tells(body, message, _MODEL_CODES, _MODEL):
        return UnknownModelError(f"{where.base_url} has no model {model!r}: {message}")
    if status in (404, 405, 501):
        return _not_an_endpoint(where, f"it answers with status {status}", message)
    if status in (408, 409, 429) or (status >= 500 and not _UNSUPPORTED.search(message)):
        return TransientError(
            f"{where.tried} answered with status {status}: {message}",
            hint="The server is overloaded or has a fault of its own: try again later, or ask "
            "for less at once.",
        )
    return RefusedError(
        f"{where.tried} refused the request (status {status}): {message}",
        hint="The endpoint understood but will not serve this request: see its message.",
    )


def _tells(body: object, message: str, codes: set[str], pattern: re.Pattern[str]) -> bool:
    fields: Mapping[str, Any] = body if isinstance(body, Mapping) else {}
    if fields.get("code") in codes or fields.get("type") in codes:
        return True
    return bool(fields and pattern.search(message))


def _window_error(body: object, message: str, model: str) -> WindowError:
    fields: Mapping[str, Any] = body if isinstance(body, Mapping) else {}
    prompt, window = fields.get("n_prompt_tokens"), fields.get("n_ctx")
    if isinstance(prompt, int) and isinstance(window, int):
        said = f"the prompt has {prompt} tokens, the window {window}"
    else:
        said = message
    return WindowError(
        f"the request does not fit the window of {model!r}: {said}",
        hint="Use smaller chunks, a shorter memory or fewer tokens to think with, or serve the "
        "model with a larger window.",
    )


def _not_an_endpoint(where: Endpoint, what: str, said: str) -> EndpointError:
    hint = "Give the base URL of an OpenAI-compatible API."
    if where.api_version is None and not where.base_url.endswith("/v1"):
        hint = f"Should the URL end in /v1? Try {where.base_url}/v1."
    excerpt = " ".join(said.split())[:120]
    return EndpointError(f"no chat completions at {where.tried}: {what}: {excerpt}", hint=hint)


def _message(body: object) -> str:
    """What the server says, from any of the shapes that servers say it in."""
    if not isinstance(body, Mapping):
        return " ".join(str(body or "").split())[:300] or "(no message)"
    for key in ("message", "detail", "error", "msg"):
        if body.get(key):
            return str(body[key])
    return str(dict(body))
