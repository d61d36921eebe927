"""Pages that were drawn before, by the hash of everything that decides their pixels.

    cache = PageCache(folder=Path("pages"))
    page = cache.render(memory, 256)

In memory the least recently used pages go first; a folder keeps all of them, for later processes.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import threading
import zlib
from collections import OrderedDict
from dataclasses import asdict, fields
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, get_type_hints

from PIL import Image
from pydantic import TypeAdapter, create_model

from palimpsest.errors import ConfigurationError, InputError
from palimpsest.pages.families import fonts_sha256
from palimpsest.pages.page import Page, render
from palimpsest.pages.style import Style

_DRAWING = (
    "freetype-py", "markdown-it-py", "numpy", "palimpsest-memory", "pillow", "uharfbuzz",
)  # fmt: skip
"""Distributions that have a say in the pixels."""
_DIGEST, _LENGTH = 32, 8
"""Bytes of a stored page's hash, and of the length of its facts."""


class PageCache:
    """Renders a memory once. Several threads may share one; so may processes, by the folder."""

    def __init__(self, *, capacity_bytes: int = 1 << 28, folder: Path | None = None) -> None:
        """`capacity_bytes` of pixels are kept in memory. Raises `ConfigurationError` if `folder`
        cannot be made."""
        if capacity_bytes < 0:
            raise InputError("a cache cannot hold less than nothing", hint="give 0 or more bytes")
        self._pages: OrderedDict[str, Page] = OrderedDict()
        self._capacity = capacity_bytes
        self._held = 0
        self._lock = threading.Lock()
        self._folder = folder
        if folder:
            _make(folder)

    def render(
        self,
        markdown: str,
        budget: int,
        *,
        cell: int = 28,
        style: Style = Style(),  # noqa: B008
    ) -> Page:
        """The page that `palimpsest.pages.render` gives, and its errors, which are not kept."""
        key = page_key(markdown, budget, cell=cell, style=style)
        page = self.get(key)
        if page is None:
            page = render(markdown, budget, cell=cell, style=style)
            self.put(key, page)
        return page

    def get(self, key: str) -> Page | None:
        """The page under a key, from memory or the folder. What is damaged there is not found."""
        with self._lock:
            if key in self._pages:
                self._pages.move_to_end(key)
                return self._pages[key]
        page = self._load(key)
        if page:
            self._keep(key, page)
        return page

    def put(self, key: str, page: Page) -> None:
        """Keeps a page. A folder that cannot be written to is passed over."""
        self._keep(key, page)
        if self._folder:
            _write(self._path(self._folder, key), _packed(page))

    def _keep(self, key: str, page: Page) -> None:
        with self._lock:
            if key not in self._pages:
                self._held += _weight(page)
            self._pages[key] = page
            self._pages.move_to_end(key)
            while self._held > self._capacity:
                self._held -= _weight(self._pages.popitem(last=False)[1])

    def _load(self, key: str) -> Page | None:
        if not self._folder:
            return None
        try:
            return _unpacked(self._path(self._folder, key).read_bytes())
        except (OSError, ValueError, zlib.error):
            return None

    def _path(self, folder: Path, key: str) -> Path:
        return folder / key[:2] / f"{key}.page"


def page_key(markdown: str, budget: int, *, cell: int, style: Style) -> str:
    """SHA-256 of what decides a page: its arguments, the fonts and the code that draws."""
    fonts = fonts_sha256(style.families)
    settings = json.dumps([budget, cell, asdict(style), fonts, _code()])
    digest = hashlib.sha256(settings.encode())
    digest.update(markdown.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


@cache
def _code() -> str:
    """The hash of every module and the version of every library that pages are drawn with."""
    digest = hashlib.sha256()
    for name in _DRAWING:
        digest.update(f"{name} {metadata.version(name)} ".encode())
    for module in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(module.read_bytes())
    return digest.hexdigest()


def _weight(page: Page) -> int:
    return 3 * page.image.width * page.image.height


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"{folder} cannot hold pages: {error.strerror or error}",
            hint="name a folder that can be written to",
        ) from error


def _write(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all: another process may read it at any moment."""
    try:
        path.parent.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(data)
        os.replace(file.name, path)
    except OSError:
        return


@cache
def _facts() -> TypeAdapter[Any]:
    """Reads and writes the fields of a page other than its pixels."""
    hints = get_type_hints(Page)
    kept: dict[str, Any] = {field.name: (hints[field.name], ...) for field in fields(Page)}
    del kept["image"]
    return TypeAdapter(create_model("Facts", **kept))


def _packed(page: Page) -> bytes:
    """A page as bytes: a hash of the rest, the facts with their length, the pixels."""
    facts = _facts().dump_json(_facts().validate_python(page, from_attributes=True))
    pixels = zlib.compress(page.image.tobytes(), 1)
    data = len(facts).to_bytes(_LENGTH, "big") + facts + pixels
    return hashlib.sha256(data).digest() + data


def _unpacked(data: bytes) -> Page:
    """The page of `_packed`. Raises `ValueError` for bytes that are not what was packed."""
    digest, data = data[:_DIGEST], data[_DIGEST:]
    if hashlib.sha256(data).digest() != digest:
        raise ValueError("the stored page is damaged")
    end = _LENGTH + int.from_bytes(data[:_LENGTH], "big")
    facts = _facts().validate_json(data[_LENGTH:end])
    given = {name: getattr(facts, name) for name in type(facts).model_fields}
    size = (facts.grid_width * facts.cell, facts.grid_height * facts.cell)
    return Page(image=Image.frombytes("RGB", size, zlib.decompress(data[end:])), **given)
