"""`POST /render` and `POST /render/batch`.

The first is what clients of the papers' renderer send and get: `content` and `format` in, the
image's bytes out, with `X-Processing-Time` and `X-Image-Size`. Nothing here or behind it opens a
connection or a file that the content names.
"""

from __future__ import annotations

import base64
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Header
from starlette.responses import JSONResponse, Response

from palimpsest.errors import PalimpsestError
from palimpsest.server.errors import ERROR_RESPONSES, ApiError, ErrorBody, api_error
from palimpsest.server.renderer.limits import RendererLimits
from palimpsest.server.renderer.order import Order
from palimpsest.server.renderer.renderer import Found, Renderer
from palimpsest.server.renderer.requests import BatchRequest, RenderRequest
from palimpsest.server.security import Caller, caller

if TYPE_CHECKING:
    from palimpsest.server.metrics import Metrics
    from palimpsest.server.state import ServerState

_IMAGE = {"schema": {"type": "string", "format": "binary"}}
_PAGE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The image; with `boxes`, JSON.",
        "content": {"image/png": _IMAGE, "image/jpeg": _IMAGE, "application/json": {}},
    },
    412: {"model": ErrorBody, "description": "The page has the ETag that `If-None-Match` names."},
}
_BATCH: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A page, or an error with its status, for each that was asked for.",
        "content": {"application/json": {}},
    }
}


def routes(state: ServerState, limits: RendererLimits | None = None) -> APIRouter:
    """The renderer's routes; its workers start and end with the server."""
    most = limits or RendererLimits()
    kept = min(most.cache_bytes, state.config.page_cache_bytes)
    renderer = Renderer(replace(most, cache_bytes=kept), workers=state.config.render_workers)
    state.at_start(renderer.start)
    state.at_stop(renderer.close)
    router = APIRouter(tags=["renderer"])

    @router.post("/render", response_class=Response, responses={**ERROR_RESPONSES, **_PAGE})
    async def render_page(
        body: RenderRequest,
        _: Annotated[Caller, Depends(caller)],
        if_none_match: Annotated[str | None, Header()] = None,
    ) -> Response:
        """Draw a memory as one page of at most `budget` visual tokens."""
        started = time.perf_counter()
        order = body.order(renderer.limits)
        etag = _etag(order)
        if _is_named(etag, if_none_match):
            raise ApiError(412, "you have this page already", headers={"ETag": etag})
        with renderer.admitted():
            found = await renderer.draw(order)
        _count(state.metrics, order, found)
        headers = {**_headers(found, started), "ETag": etag}
        if order.boxes:
            return JSONResponse(_told(order, found), headers=headers)
        return Response(found.drawn.image, media_type=f"image/{order.format}", headers=headers)

    @router.post(
        "/render/batch", response_class=JSONResponse, responses={**ERROR_RESPONSES, **_BATCH}
    )
    async def render_batch(
        body: BatchRequest, _: Annotated[Caller, Depends(caller)]
    ) -> JSONResponse:
        """Draw many memories; one that cannot be drawn does not keep the others from it."""
        started = time.perf_counter()
        body.check(renderer.limits)
        orders = [_order_or_error(page, renderer.limits) for page in body.pages]
        with renderer.admitted():
            outcomes = await renderer.draw_all(orders)
        pages = [_entry(*both) for both in zip(orders, outcomes, strict=True)]
        for order, outcome in zip(orders, outcomes, strict=True):
            if isinstance(order, Order) and isinstance(outcome, Found):
                _count(state.metrics, order, outcome)
        return JSONResponse({"pages": pages}, headers={"X-Processing-Time": _since(started)})

    return router


def _order_or_error(page: RenderRequest, limits: RendererLimits) -> Order | ApiError:
    try:
        return page.order(limits)
    except PalimpsestError as error:
        return api_error(error)
    except ApiError as error:
        return error


def _etag(order: Order) -> str:
    return f'"{order.key}"'


def _is_named(etag: str, header: str | None) -> bool:
    names = [name.strip().removeprefix("W/") for name in (header or "").split(",")]
    return etag in names


def _headers(found: Found, started: float) -> dict[str, str]:
    drawn = found.drawn
    columns, rows = drawn.grid
    return {
        "X-Processing-Time": _since(started),
        "X-Image-Size": str(len(drawn.image)),
        "X-Grid": f"{columns}x{rows}",
        "X-Visual-Tokens": str(drawn.tokens),
        "X-Body-Px": f"{drawn.facts['body_px']:.1f}",
        "X-Dropped": str(drawn.facts["dropped"]),
        "X-Cache": "hit" if found.cached else "miss",
    }


def _told(order: Order, found: Found) -> dict[str, Any]:
    """A page as JSON."""
    return {
        "image": base64.b64encode(found.drawn.image).decode("ascii"),
        "format": order.format,
        "kind": order.kind,
        "budget": order.budget,
        **found.drawn.facts,
    }


def _entry(order: Order | ApiError, outcome: Found | ApiError) -> dict[str, Any]:
    """What a batch tells of one of its pages."""
    if isinstance(order, ApiError):
        return {**order.body, "status": order.status}
    if isinstance(outcome, ApiError):
        return {**outcome.body, "status": outcome.status}
    return {**_told(order, outcome), "etag": _etag(order)}


def _since(started: float) -> str:
    """Seconds, as the papers' renderer writes them."""
    return f"{time.perf_counter() - started:.3f}"


def _count(metrics: Metrics, order: Order, found: Found) -> None:
    metrics.cache.labels("pages", "hit" if found.cached else "miss").inc()
    metrics.renders.labels(order.format).inc()
    if not found.cached:
        metrics.render_seconds.observe(found.drawn.seconds)
