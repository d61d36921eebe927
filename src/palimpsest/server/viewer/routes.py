"""The viewer over HTTP: its page under `/viewer/`, and the data that the page asks for.

Ids are looked up in a listing, names of files in a table: neither is ever joined to a path.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import APIRouter, Depends, Query
from sse_starlette import EventSourceResponse, JSONServerSentEvent
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from palimpsest.errors import InputError
from palimpsest.memory.reading import Reading
from palimpsest.server.errors import ApiError
from palimpsest.server.security import Caller, known_caller
from palimpsest.server.security import caller as working_caller
from palimpsest.server.state import ServerState
from palimpsest.server.viewer.drawing import Policy
from palimpsest.server.viewer.following import glance
from palimpsest.server.viewer.library import Entry, Kind, Library, NotListed
from palimpsest.server.viewer.messages import told_turn
from palimpsest.server.viewer.playground import Busy, Order, Playground
from palimpsest.server.viewer.runs import Choice, chosen_items, curves, glance_run, told_run
from palimpsest.server.viewer.serving import INDEX, Sealed, as_json, asset_response
from palimpsest.server.viewer.shapes import check_version, memory_diff, overview
from palimpsest.server.viewer.sources import piece, search
from palimpsest.server.viewer.trainings import (
    Occasion,
    told_rollout,
    told_rollouts,
    told_training,
)
from palimpsest.server.viewer.viewing import Viewing
from palimpsest.sources import Source

Looking = Annotated[Caller, Depends(known_caller)]
Working = Annotated[Caller, Depends(working_caller)]
_MOST_RUNS = 8
"""That are drawn in one curve."""


class _Shown(NamedTuple):
    """A reading that was asked for."""

    entry: Entry
    reading: Reading
    stamp: str


def routes(state: ServerState) -> APIRouter:
    """The page and its data."""
    viewing = Viewing(state)
    router = APIRouter(route_class=Sealed, include_in_schema=False)
    _add_page(router)
    _add_listing(router, viewing)
    _add_readings(router, viewing)
    _add_sources(router, viewing)
    _add_runs(router, viewing)
    _add_trainings(router, viewing)
    _add_playground(router, viewing)
    return router


def _add_page(router: APIRouter) -> None:
    @router.get("/viewer")
    def door() -> Response:
        return RedirectResponse("viewer/")

    @router.get("/viewer/")
    def index(request: Request) -> Response:
        return _asset(INDEX, request)

    @router.get("/viewer/static/{name}")
    def static(name: str, request: Request) -> Response:
        return _asset(name, request)


def _asset(name: str, request: Request) -> Response:
    response = asset_response(name, request)
    if response is None:
        raise ApiError(404, "there is no such file", code="not_found")
    return response


def _add_listing(router: APIRouter, viewing: Viewing) -> None:
    @router.get("/viewer/api/entries")
    def entries(caller: Looking) -> Response:
        shelf = viewing.shelf(caller)
        found = [_listed(entry) for entry in shelf.library.entries()]
        asking = shelf.playground.facts() if shelf.playground else None
        return as_json({"entries": found, "playground": asking})


def _listed(entry: Entry) -> dict[str, Any]:
    told: dict[str, Any] = {"id": entry.id, "kind": entry.kind, "name": entry.name}
    if entry.kind in ("reading", "memory"):
        told |= glance(entry.file)
    if entry.kind == "run":
        told |= glance_run(entry.path)
    told["changed"] = _changed(entry)
    return told


def _changed(entry: Entry) -> float:
    """When it was written to last, in seconds of the epoch."""
    names = ("results.jsonl", "log.jsonl", "run.json", "memory.json")
    paths = [entry.file, *(entry.path / name for name in names), entry.path]
    return next((path.stat().st_mtime for path in paths if path.exists()), 0.0)


def _add_readings(router: APIRouter, viewing: Viewing) -> None:
    shown = _opener(viewing)

    @router.get("/viewer/api/readings/{id}")
    def reading(id: str, caller: Looking, request: Request) -> Response:
        one = shown(id, caller)
        tag = f'"{one.stamp}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"ETag": tag})
        return as_json(overview(one.entry, one.reading), tag=tag)

    @router.get("/viewer/api/readings/{id}/diff")
    def diff(id: str, caller: Looking, version: int, against: int | None = None) -> Response:
        return as_json({"changes": memory_diff(shown(id, caller).reading, version, against)})

    @router.get("/viewer/api/readings/{id}/page")
    def page(
        id: str,
        caller: Looking,
        version: int,
        budget: int,
        cell: int | None = None,
        policy: Policy | None = None,
    ) -> Response:
        reading = shown(id, caller).reading
        check_version(reading, version)
        text = reading.memories[version].text
        return as_json(viewing.drawing.page(reading, text, budget, cell, policy))

    @router.get("/viewer/api/readings/{id}/citations")
    def cite(id: str, caller: Looking) -> Response:
        one = shown(id, caller)

        def source() -> Source:
            return viewing.source(one.entry, one.reading).source

        return as_json(viewing.citing.citations(f"{id} {one.stamp}", one.reading, source))

    @router.get("/viewer/api/readings/{id}/turns/{number}")
    def turn(id: str, number: int, caller: Looking) -> Response:
        one = shown(id, caller)
        try:
            source = viewing.source(one.entry, one.reading).source
        except InputError:
            source = None
        return as_json(told_turn(one.reading, number, source))


def _opener(viewing: Viewing) -> Callable[[str, Caller], _Shown]:
    def shown(id: str, caller: Caller) -> _Shown:
        entry = _found(viewing.shelf(caller).library, id, "reading", "memory")
        reading, followed = viewing.follow(entry)
        return _Shown(entry, reading, followed.stamp)

    return shown


def _found(library: Library, id: str, *kinds: Kind) -> Entry:
    try:
        return library.find(id, *kinds)
    except NotListed as error:
        raise ApiError(404, str(error), code="not_found") from error


def _add_sources(router: APIRouter, viewing: Viewing) -> None:
    shown = _opener(viewing)

    @router.get("/viewer/api/readings/{id}/source")
    def facts(id: str, caller: Looking) -> Response:
        one = shown(id, caller)
        try:
            source, blocks = viewing.source(one.entry, one.reading)
        except InputError as error:
            return as_json({"at_hand": False, "why": str(error)})
        documents = [[one.name, one.start, one.end] for one in source.documents]
        return as_json(
            {
                "at_hand": True,
                "characters": len(source.text),
                "documents": documents,
                "blocks": blocks,
            }
        )

    @router.get("/viewer/api/readings/{id}/source/text")
    def text(id: str, caller: Looking, start: int, end: int) -> Response:
        one = shown(id, caller)
        source, _ = viewing.source(one.entry, one.reading)
        return as_json({"text": piece(source, start, end)})

    @router.get("/viewer/api/readings/{id}/source/search")
    def find(id: str, caller: Looking, q: Annotated[str, Query(max_length=200)]) -> Response:
        one = shown(id, caller)
        source, _ = viewing.source(one.entry, one.reading)
        return as_json({"found": [found._asdict() for found in search(source, q)]})


def _add_runs(router: APIRouter, viewing: Viewing) -> None:
    def opened(id: str, caller: Caller) -> Entry:
        return _found(viewing.shelf(caller).library, id, "run")

    @router.get("/viewer/api/runs/{id}")
    def run(id: str, caller: Looking) -> Response:
        entry = opened(id, caller)
        return as_json(told_run(entry, viewing.runs.open(entry)))

    @router.get("/viewer/api/runs/{id}/items")
    def items(id: str, caller: Looking, choice: Annotated[Choice, Query()]) -> Response:
        entry = opened(id, caller)
        known = set(viewing.shelf(caller).library.readings_of(entry))
        return as_json(chosen_items(entry, viewing.runs.open(entry), choice, known))

    @router.get("/viewer/api/runs/{id}/summary")
    def summary(id: str, caller: Looking) -> Response:
        return as_json(viewing.runs.summary(opened(id, caller)).model_dump(mode="json"))

    @router.get("/viewer/api/curves")
    def curve(
        caller: Looking,
        run: Annotated[list[str], Query(min_length=1, max_length=_MOST_RUNS)],
        against: Literal["budget", "length"] = "budget",
        metric: str | None = None,
    ) -> Response:
        chosen = dict.fromkeys(run)
        summaries = [viewing.runs.summary(opened(id, caller)) for id in chosen]
        return as_json(curves(summaries, against, metric))


def _add_trainings(router: APIRouter, viewing: Viewing) -> None:
    def opened(id: str, caller: Caller) -> Entry:
        return _found(viewing.shelf(caller).library, id, "training")

    @router.get("/viewer/api/training/{id}")
    def training(id: str, caller: Looking) -> Response:
        return as_json(told_training(opened(id, caller)))

    @router.get("/viewer/api/training/{id}/rollouts/{occasion}/{step}")
    def rollouts(id: str, occasion: Occasion, step: int, caller: Looking) -> Response:
        return as_json(told_rollouts(opened(id, caller), occasion, step))

    @router.get("/viewer/api/training/{id}/rollouts/{occasion}/{step}/{number}")
    def rollout(
        id: str, occasion: Occasion, step: int, number: int, caller: Looking
    ) -> Response:  # fmt: skip
        return as_json(told_rollout(opened(id, caller), occasion, step, number))


def _add_playground(router: APIRouter, viewing: Viewing) -> None:
    def playing(caller: Caller) -> Playground:
        playground = viewing.shelf(caller).playground
        if playground is None:
            raise ApiError(404, "no model is configured", code="not_found")
        return playground

    @router.post("/viewer/api/files")
    async def upload(
        request: Request, caller: Working, name: Annotated[str, Query(max_length=1000)] = ""
    ) -> Response:
        return as_json(playing(caller).take(name, await request.body()))

    @router.post("/viewer/api/asks")
    async def ask(order: Order, caller: Looking) -> Response:
        try:
            return as_json({"id": playing(caller).begin(order).id})
        except Busy as error:
            raise ApiError(429, str(error), headers={"Retry-After": "5"}) from error

    @router.get("/viewer/api/asks/{id}/events")
    async def events(id: str, caller: Looking) -> Response:
        job = playing(caller).job(id)

        async def told() -> AsyncIterator[JSONServerSentEvent]:
            async for event in job.heard():
                yield JSONServerSentEvent(event)

        return EventSourceResponse(told())

    @router.delete("/viewer/api/asks/{id}")
    async def stop(id: str, caller: Looking) -> Response:
        playing(caller).stop(id)
        return as_json({"stopped": id})
