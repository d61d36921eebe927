"""What a worker process does: draws one page after the other until its input ends.

An order is a line of JSON; a reply is two lengths, the facts as JSON, and the image's bytes. What
comes in was written by strangers, so the process has a limit of memory and no variable of the
server's environment, and the server never unpickles what it sends.
"""

from __future__ import annotations

import gc
import io
import json
import os
import struct
import sys
from typing import TYPE_CHECKING, Any, BinaryIO, TypedDict

from palimpsest.errors import ConfigurationError, InputError, PalimpsestError
from palimpsest.pages.page import Page, render
from palimpsest.pages.picture import Picture
from palimpsest.pages.script import script_of
from palimpsest.server.renderer.order import Order

if TYPE_CHECKING:
    from palimpsest.pages.html import HtmlPage

LENGTHS = struct.Struct(">II")
"""Bytes of the facts and of the image, before either."""

_JPEG = {"quality": 92, "subsampling": 0}
"""Coloured letters need their colour at full resolution."""
_CSS_BODY_PX = 16
_PAGES_BETWEEN_SWEEPS = 200
"""Pages after which cycles are looked for; only errors leave any."""


class Refusal(TypedDict):
    """Why there is no page."""

    reason: str
    hint: str
    fault: str
    """`input`, `setup` or `program`: whose it is."""


def serve(memory_bytes: int) -> None:
    """Answers the orders on standard input."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # Whatever is printed must not come among the replies.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    _limit_memory(memory_bytes)
    gc.freeze()
    gc.disable()
    _send(replies, {"ready": True})
    for number, line in enumerate(sys.stdin.buffer, start=1):
        _send(replies, *_answer(line))
        if number % _PAGES_BETWEEN_SWEEPS == 0:
            gc.collect()


def _limit_memory(memory_bytes: int) -> None:
    if sys.platform == "win32":
        return
    import resource

    # The soft limit alone: the process that draws HTML sets limits of its own.
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _send(replies: BinaryIO, facts: dict[str, Any], image: bytes = b"") -> None:
    told = json.dumps(facts).encode()
    replies.write(LENGTHS.pack(len(told), len(image)))
    replies.write(told)
    replies.write(image)
    replies.flush()


def _answer(line: bytes) -> tuple[dict[str, Any], bytes]:
    order = Order.from_line(line)
    try:
        return _drawn(order)
    except MemoryError:
        # Little can be relied on after it: the process ends, and another takes its place.
        os._exit(1)
    except InputError as error:
        return _refused(error, "input"), b""
    except ConfigurationError as error:
        return _refused(error, "setup"), b""
    except Exception as error:
        kind = type(error).__name__
        return _refused(PalimpsestError(f"the page could not be drawn: {kind}"), "program"), b""


def _refused(error: PalimpsestError, fault: str) -> dict[str, Any]:
    return {"refusal": Refusal(reason=str(error), hint=error.hint, fault=fault)}


def _drawn(order: Order) -> tuple[dict[str, Any], bytes]:
    if order.kind == "html":
        from palimpsest.pages.html import render_html

        drawn = render_html(order.content, order.budget, cell=order.cell)
        return _html_facts(drawn, order), _file(drawn, order)
    page = render(order.content, order.budget, cell=order.cell, style=order.style)
    return _facts(page, order), _file(page, order)


def _file(page: Picture, order: Order) -> bytes:
    if order.format == "png":
        return page.png()
    file = io.BytesIO()
    page.image.save(file, "JPEG", **_JPEG)
    return file.getvalue()


def _facts(page: Page, order: Order) -> dict[str, Any]:
    facts = {
        "grid": (page.grid_width, page.grid_height),
        "tokens": page.tokens,
        "cell": page.cell,
        "body_px": page.body_px,
        "dropped": page.dropped,
        "shortened": page.shortened,
        "missing": page.missing,
        "missing_scripts": sorted({script_of(character) for character in page.missing}),
    }
    if order.boxes:
        facts |= {"sizes": page.sizes, "boxes": [box._asdict() for box in page.boxes]}
    return facts


def _html_facts(page: HtmlPage, order: Order) -> dict[str, Any]:
    """What the engine tells: neither places of lines nor missing characters."""
    facts = {
        "grid": (page.grid_width, page.grid_height),
        "tokens": page.tokens,
        "cell": page.cell,
        "body_px": _CSS_BODY_PX * page.scale,
        "dropped": 0,
        "shortened": 0,
        "missing": None,
        "missing_scripts": None,
    }
    return facts | ({"sizes": None, "boxes": None} if order.boxes else {})
