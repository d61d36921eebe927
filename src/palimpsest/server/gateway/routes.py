"""The gateway's routes: `POST /v1/chat/completions` and `POST /v1/responses`."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from palimpsest.server.errors import ERROR_RESPONSES
from palimpsest.server.gateway.answering import Clerk
from palimpsest.server.gateway.describing import STREAMED, described
from palimpsest.server.gateway.desk import DIALECTS, Desk
from palimpsest.server.gateway.orders import Office
from palimpsest.server.gateway.upstream import answering
from palimpsest.server.gateway.window import fitted, window_of
from palimpsest.server.security import Caller, caller
from palimpsest.server.state import ServerState

_TAG = "gateway"


def routes(state: ServerState) -> APIRouter:
    """The gateway of one server; what a former process left is gone on with when it starts."""
    front = _Front(state)
    state.at_start(front.start)
    state.at_stop(front.stop)
    router = APIRouter(tags=[_TAG], responses=ERROR_RESPONSES)

    @router.post("/v1/chat/completions", responses=STREAMED, openapi_extra=described("chat"))
    async def create_chat_completion(
        request: Request, who: Annotated[Caller, Depends(caller)]
    ) -> Response:
        """Answers as OpenAI's chat completions; what is too long is read with a memory."""
        desk = await front.desk()
        return await desk.take(request, who, DIALECTS["chat"])

    @router.post("/v1/responses", responses=STREAMED, openapi_extra=described("responses"))
    async def create_response(
        request: Request, who: Annotated[Caller, Depends(caller)]
    ) -> Response:
        """Answers as OpenAI's responses; what is too long is read with a memory."""
        desk = await front.desk()
        return await desk.take(request, who, DIALECTS["responses"])

    return router


class _Front:
    """The desk, opened with the server, or with the first request to reach the upstream."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._upstream = answering(state.model, state.config.upstream)
        self._opening = asyncio.Lock()
        self._desk: Desk | None = None

    async def start(self) -> None:
        if any((self._state.caller_folder(one) / "jobs").is_dir() for one in self._state.callers()):
            await (await self.desk()).resume()

    async def stop(self) -> None:
        await self._upstream.aclose()

    async def desk(self) -> Desk:
        if self._desk is not None:
            return self._desk
        async with self._opening:
            if self._desk is None:
                state = self._state
                window = await window_of(state)
                reader = fitted(state.reader, state.config.reader, window)
                office = Office(state.config, state.model, reader, window)
                clerk = Clerk(office, state.model, self._upstream, state.metrics)
                self._desk = Desk(state, office, clerk)
            return self._desk
