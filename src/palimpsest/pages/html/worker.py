"""The process in which hostile HTML is parsed, laid out and drawn. Started by `sandbox`.

Once its code and fonts are loaded it gives up the right to open files and sockets, to write, and to
more memory than it was granted; what it then reads and writes are the two pipes it was born with.
Requests and replies are a line of JSON, then as many bytes as its `size` says.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import blitz_py

from palimpsest.errors import InputError
from palimpsest.pages.families import font_file
from palimpsest.pages.html.clean import clean

_TAG = re.compile(r"<([a-z0-9]+)(?=[ >])")
_SPAN = re.compile(r" (?:col|row)span=")
_MERGED = "<style>table { border-collapse: separate !important; border-spacing: 0 }</style>"
# What overflows a box of text is in no box, but a table's cell is as wide as its longest word.
_NARROW = (
    '<table style="width: 1px !important; border-spacing: 0 !important">'
    '<tr><td id="0" style="padding: 0 !important; border: 0 !important">'
)
_SLACK = 1.01
"""For words that are wider at another scale."""
# Relative addresses make the engine panic unless it has a base; it never fetches from it.
_BASE_URL = "https://localhost/"
_DRAWN = "<body><h1>A</h1><ul><li><b>b</b> <i>\u2713</i></ul><table><tr><td>1</table>"
"""What is drawn once at the start, so that all that is loaded late is loaded."""


class Drawer:
    """Lays out and draws the document that was opened last."""

    def __init__(self, families: Sequence[str]) -> None:
        registered = dict.fromkeys(blitz_py.register_fonts(_fonts(families)))
        names = ", ".join(f'"{family}"' for family in registered)
        self._options: dict[str, Any] = {
            "base_url": _BASE_URL,
            "css": f"html, code, pre, kbd, samp, tt {{ font-family: {names} }}",
            "default_font_family": next(iter(registered)),
        }
        self._html = ""
        self._least = 0

    def open(self, html: str) -> None:
        head, _, body = html.partition("<body>")
        count = iter(range(1, len(body) + 2))
        body = _TAG.sub(lambda tag: f'<{tag[1]} id="{next(count)}"', body)
        # The engine draws borders across merged cells if neighbours share them.
        merged = _MERGED if _SPAN.search(body) else ""
        self._html = f'{head}{merged}<body id="0">{body}'
        narrow = f"<body>{_NARROW}{body}".replace("</body>", "</table></body>")
        self._least = math.ceil(self._extent(f"{head}{merged}{narrow}", 1, 1.0)[0] * _SLACK)

    def measure(self, width: int, scale: float) -> tuple[float, float]:
        """Width and height that hold every element's box and the longest word."""
        right, bottom = self._extent(self._html, width, scale)
        return max(right, self._least), bottom

    def _extent(self, html: str, width: int, scale: float) -> tuple[float, float]:
        low = math.ceil(2 / scale)
        template = blitz_py.Template(html, width=width, height=low, scale=scale, **self._options)
        boxes = template.boxes().values()
        right = max(x + box_width for x, _, box_width, _ in boxes)
        return right, max(y + box_height for _, y, _, box_height in boxes)

    def draw(self, width: int, height: int, scale: float) -> tuple[int, int, bytes]:
        return blitz_py.render_rgba(
            self._html, width=width, height=height, scale=scale, **self._options
        )


class Server:
    """Answers requests, one at a time."""

    def __init__(self, drawer: Drawer) -> None:
        self._drawer = drawer

    def answer(self, request: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """The fields of a reply and its bytes."""
        match request:
            case {"do": "start"}:
                return {}, b""
            case {"do": "clean"}:
                return {}, clean(body.decode()).encode()
            case {"do": "open"}:
                self._drawer.open(body.decode())
                return {}, b""
            case {"do": "measure", "width": int(width), "scale": scale}:
                return {"measured": self._drawer.measure(width, float(scale))}, b""
            case {"do": "draw", "width": int(width), "height": int(height), "scale": scale}:
                columns, rows, pixels = self._drawer.draw(width, height, float(scale))
                return {"columns": columns, "rows": rows}, pixels
        raise ValueError(f"unknown request {request}")


def main() -> None:
    """Serves standard input until it ends."""
    settings = json.loads(sys.argv[1])
    # What native code prints must not end up among the replies.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    drawer = Drawer(settings["families"])
    drawer.open(_DRAWN)
    drawer.measure(100, 1.0)
    drawer.draw(100, 100, 1.0)
    clean("<b style='color: red'>b</b>")
    _renounce(settings["memory"])
    server = Server(drawer)
    for request, body in _requests(sys.stdin.buffer):
        fields, payload = _answered(server, request, body)
        replies.write(json.dumps({**fields, "size": len(payload)}).encode() + b"\n" + payload)
        replies.flush()


def _fonts(families: Sequence[str]) -> list[bytes]:
    """The bytes of each font of the families, in their order."""
    files = {
        font_file(family, bold=bold, italic=italic): None
        for family in families
        for bold in (False, True)
        for italic in (False, True)
    }
    programs = [file.program() for file in files if file]
    return [font if isinstance(font, bytes) else font.read_bytes() for font in programs]


def _requests(stream: BinaryIO) -> Iterator[tuple[dict[str, Any], bytes]]:
    for line in stream:
        request = json.loads(line)
        yield request, stream.read(request["size"])


def _answered(server: Server, request: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        return server.answer(request, body)
    except InputError as error:
        return {"refused": str(error), "hint": error.hint}, b""
    except MemoryError:
        return {"broken": "not enough memory"}, b""
    # The engine's panics are no `Exception`.
    except BaseException as error:
        return {"broken": f"{type(error).__name__}: {error}"[:300]}, b""


def _renounce(memory: int) -> None:
    if sys.platform == "win32":
        return
    import resource

    for kind, most in [
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),
    ]:
        resource.setrlimit(kind, (most, most))
