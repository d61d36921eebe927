"""Errors over HTTP: the error tree of the package as statuses and OpenAI's error bodies.

    {"error": {"message": "...", "type": "invalid_request_error", "param": null, "code": null}}

Whatever goes wrong, a client gets this shape, and no text of an exception nobody planned for.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from palimpsest import errors
from palimpsest.server.mending import mended

_LOG = logging.getLogger("palimpsest.server")

CLIENT_GONE = 499
"""The status in logs and metrics of an answer that nobody waits for any more."""

RETRY_AFTER_S = 5
"""What a client is told where nothing better is known."""


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """What every error looks like."""

    error: ErrorDetail


class ApiError(Exception):
    """A refusal to be sent as it is: `raise ApiError(404, "there is no such reading")`."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.headers = dict(headers or {})

    @property
    def kind(self) -> str:
        """The error's `type`."""
        return _TYPES.get(
            self.status, "server_error" if self.status >= 500 else "invalid_request_error"
        )  # fmt: skip

    @property
    def body(self) -> dict[str, Any]:
        detail = ErrorDetail(
            message=self.message, type=self.kind, param=self.param, code=self.code
        )  # fmt: skip
        # A message may quote what a client sent.
        return {"error": mended(detail.model_dump())}

    def response(self) -> JSONResponse:
        return JSONResponse(self.body, self.status, self.headers)


_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class _Answer(NamedTuple):
    status: int
    code: str | None = None


_ANSWERS: tuple[tuple[type[errors.PalimpsestError], _Answer], ...] = (
    (errors.InputError, _Answer(400)),
    (errors.ReadingError, _Answer(404, "not_found")),
    (errors.CapReached, _Answer(400, "cap_reached")),
    (errors.ConfigurationError, _Answer(500, "configuration_error")),
    (errors.UnknownModelError, _Answer(404, "model_not_found")),
    (errors.WindowError, _Answer(400, "context_length_exceeded")),
    (errors.RefusedError, _Answer(400, "upstream_refused")),
    (errors.TransientError, _Answer(503, "upstream_unavailable")),
    (errors.EndpointError, _Answer(502, "upstream_unreachable")),
    (errors.AuthError, _Answer(502, "upstream_key_refused")),
    (errors.ModelError, _Answer(502, "upstream_error")),
    (errors.PalimpsestError, _Answer(500)),
)
_SILENT = (errors.ConfigurationError, errors.ReadingError)
"""Their messages name files and settings of the server, which are no business of a client's."""
_SET_UP = (errors.EndpointError, errors.AuthError)
"""Their hints are for whoever sets the server up."""
_ADDRESS = re.compile(r"https?://\S+?(?=[.,:;)]*(?:\s|$))")

_COMMON = (400, 401, 403, 404, 405, 408, 413, 415, 422, 429, 500, 502, 503, 504)

ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    **{status: {"model": ErrorBody, "description": "Error"} for status in _COMMON},
    "default": {"model": ErrorBody, "description": "Error"},
}
"""For `responses=` of a route: what every one of them may answer."""


def api_error(error: errors.PalimpsestError) -> ApiError:
    """How an error of the package is told to a client."""
    answer = next(answer for kind, answer in _ANSWERS if isinstance(error, kind))
    headers = {"Retry-After": str(RETRY_AFTER_S)} if answer.status == 503 else {}
    return ApiError(answer.status, _told(error), code=answer.code, headers=headers)


def _told(error: errors.PalimpsestError) -> str:
    if isinstance(error, errors.ModelError):
        return _ADDRESS.sub("the upstream", _said(error))
    if isinstance(error, errors.CapReached) or not isinstance(error, _SILENT):
        return _said(error)
    if isinstance(error, errors.ReadingError):
        return "there is nothing of that name, or it is damaged"
    return "the server is not set up for this; its log says why"


def _said(error: errors.PalimpsestError) -> str:
    hint = "" if isinstance(error, _SET_UP) else error.hint
    return f"{error} ({hint})" if hint else str(error)


def install(app: FastAPI) -> None:
    """Makes the app answer every error in OpenAI's shape."""
    app.add_exception_handler(ApiError, _refused)
    app.add_exception_handler(errors.PalimpsestError, _failed)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _fault)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.PalimpsestError)
    told = api_error(error)
    if told.status >= 500:
        # A configuration's message holds names of settings and files, never what users wrote.
        message = str(error) if isinstance(error, errors.ConfigurationError) else ""
        _LOG.error(
            "failed", extra={"fields": {"error": type(error).__name__, "message": message}}
        )  # fmt: skip
    return told.response()


async def _invalid(request: Request, error: Exception) -> Response:
    """OpenAI answers 400 to a body that it cannot use, others of this server 422."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    status = 400 if request.url.path.startswith("/v1/") else 422
    message = f"{place}: {first['msg']}" if place else str(first["msg"])
    return ApiError(status, message, param=place or None).response()


async def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return ApiError(error.status_code, str(error.detail), headers=error.headers).response()


async def _fault(request: Request, error: Exception) -> Response:
    return ApiError(500, "a fault of the server; its log has it under the request's id").response()
