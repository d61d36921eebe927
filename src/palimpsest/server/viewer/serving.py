"""The page's own files and its headers: nothing from elsewhere, and no text ever as markup."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Coroutine, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""No inline script or style, no other host; a script that made markup of a text would fail."""
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
INDEX = "index.html"
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Sealed(APIRoute):
    """A route whose every answer has the viewer's headers."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def sealed(request: Request) -> Response:
            response = await handle(request)
            for name, value in HEADERS.items():
                response.headers[name] = value
            response.headers.setdefault("Cache-Control", "no-store")
            return response

        return sealed


class Asset(NamedTuple):
    """One of the page's files."""

    data: bytes
    kind: str
    tag: str
    """Another one for another content."""


@cache
def assets() -> Mapping[str, Asset]:
    """The page's files by name: what is not among them cannot be had."""
    found: dict[str, Asset] = {}
    for file in (files("palimpsest.server.viewer") / "static").iterdir():
        kind = _KINDS.get(file.name[file.name.rfind(".") :])
        if kind:
            data = file.read_bytes()
            found[file.name] = Asset(data, kind, f'"{hashlib.sha256(data).hexdigest()[:20]}"')
    return found


def asset_response(name: str, request: Request) -> Response | None:
    """One of the page's files; None where there is none of that name."""
    asset = assets().get(name)
    if asset is None:
        return None
    headers = {"ETag": asset.tag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == asset.tag:
        return Response(status_code=304, headers=headers)
    return Response(asset.data, media_type=asset.kind, headers=headers)


def as_json(data: object, *, tag: str = "") -> Response:
    """JSON that any browser can read: no lone surrogates, no numbers that JSON does not have."""
    try:
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(data), ensure_ascii=False, separators=(",", ":"))
    headers = {"ETag": tag, "Cache-Control": "no-cache"} if tag else {}
    return Response(
        text.encode("utf-8", "replace"), media_type="application/json", headers=headers
    )  # fmt: skip


def _finite(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
