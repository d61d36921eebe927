"""The server's application: the parts that are on, and what every server has.

    app = create_app(ServerConfig(parts=frozenset({"renderer"})))

`/healthz` says that the process lives, `/readyz` whether it can take requests, `/metrics` is for
Prometheus, `/openapi.json` describes the rest. There is no page with the documentation on it: the
usual ones load scripts from elsewhere.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI
from pydantic import BaseModel
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from palimpsest.models import Model
from palimpsest.server import errors
from palimpsest.server.config import ServerConfig
from palimpsest.server.errors import ERROR_RESPONSES
from palimpsest.server.logs import Requests
from palimpsest.server.metrics import CONTENT_TYPE
from palimpsest.server.passthrough import models_routes
from palimpsest.server.security import BodyLimit, Caller, known_caller
from palimpsest.server.state import ServerState


class Health(BaseModel):
    """That the process answers."""

    status: str = "ok"
    version: str


class Readiness(BaseModel):
    """Whether requests can be taken, and what is against it."""

    ready: bool
    problems: dict[str, str] = {}


def create_app(
    config: ServerConfig, *, model: Model | None = None, state: ServerState | None = None
) -> FastAPI:
    """The application. `model` takes the place of the configured one, `state` of all that would be
    opened. Raises `ConfigurationError`."""
    config.check()
    server = state or ServerState(config, model=model)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with server.running():
            yield

    app = FastAPI(
        title="Palimpsest",
        version=version("palimpsest-memory"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.server = server
    errors.install(app)
    _add_middleware(app, server)
    app.include_router(_operations(server))
    _include_parts(app, server)
    if not config.keys:
        _describe_without_keys(app)
    return app


def _describe_without_keys(app: FastAPI) -> None:
    """The description of a server that asks for no key does not say that it does."""
    described = app.openapi

    def openapi() -> dict[str, Any]:
        schema = described()
        for path in schema["paths"].values():
            for operation in path.values():
                operation.pop("security", None)
        return schema

    app.openapi = openapi  # type: ignore[method-assign]


def _include_parts(app: FastAPI, state: ServerState) -> None:
    """Only what is on is imported."""
    if "gateway" in state.config.parts:
        from palimpsest.server.gateway.routes import routes as gateway

        app.include_router(models_routes(state))
        app.include_router(gateway(state), responses=ERROR_RESPONSES)
    if "renderer" in state.config.parts:
        from palimpsest.server.renderer.routes import routes as renderer

        app.include_router(renderer(state), responses=ERROR_RESPONSES)
    if "viewer" in state.config.parts:
        from palimpsest.server.viewer.routes import routes as viewer

        app.include_router(viewer(state), responses=ERROR_RESPONSES)
        app.add_route("/", _to_viewer, include_in_schema=False)


async def _to_viewer(_: Request) -> Response:
    """Whoever opens the server's bare URL in a browser wants to see something."""
    return RedirectResponse("/viewer/")


def _add_middleware(app: FastAPI, state: ServerState) -> None:
    """The last one added is the outermost."""
    app.add_middleware(BodyLimit, config=state.config)
    if state.config.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(state.config.origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "retry-after"],
        )
    app.add_middleware(Requests, state=state)


def _operations(state: ServerState) -> APIRouter:
    router = APIRouter(tags=["operations"])

    @router.get("/healthz", response_model=Health)
    async def health() -> Health:
        """That the process lives; says nothing of the model."""
        return Health(version=version("palimpsest-memory"))

    @router.get(
        "/readyz",
        response_model=Readiness,
        responses={503: {"model": Readiness, "description": "Not ready"}},
    )
    async def ready() -> Response:
        """Whether the upstream answers, the state folder can be written to, and the server is not
        being stopped."""
        problems = await state.ready()
        body = Readiness(ready=not problems, problems=problems)
        return JSONResponse(body.model_dump(), 503 if problems else 200)

    @router.get(
        "/metrics",
        response_class=Response,
        responses={**ERROR_RESPONSES, 200: {"content": {"text/plain": {}}}},
    )
    async def metrics(_: Annotated[Caller, Depends(known_caller)]) -> Response:
        """Counters in Prometheus's text format; asks for a key where the server has keys."""
        return Response(state.metrics.exposition(), media_type=CONTENT_TYPE)

    return router
