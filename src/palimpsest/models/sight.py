"""Eyes for a model that reads text only: what is in an image is read out to it.

Nothing but the pixels is looked at, so a page that is too small to be read stays unread: visual
memory can be tried, and measured, where no vision model is at hand.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from palimpsest.errors import ConfigurationError, InputError
from palimpsest.models.embedded import INSTALL
from palimpsest.models.model import (
    Completion,
    ImagePart,
    Message,
    Model,
    Sampling,
    TextPart,
)
from palimpsest.sources.tokens import Tokenizer

HEADING = "[Text read from an image]"
NOTHING = "(nothing legible)"
IMAGES_REMEMBERED = 256
LARGE_SIDE_PX = 1500


class Eyes(Protocol):
    """Whatever reads the text in an image."""

    def read(self, image: Image.Image) -> str:
        """The text, top down, a line a line; empty where nothing can be read."""
        ...


class SightModel:
    """Wraps a text-only model: each image of a conversation becomes the text read from it."""

    def __init__(self, model: Model, *, eyes: Eyes | None = None) -> None:
        self._model = model
        self._eyes = eyes or RapidEyes()
        self._seen: OrderedDict[str, str] = OrderedDict()
        self._looking = threading.Lock()

    @property
    def name(self) -> str:
        return self._model.name

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        return await self._model.complete([await self._told(m) for m in messages], sampling)

    async def tokenizer(self) -> Tokenizer:
        return await self._model.tokenizer()

    async def aclose(self) -> None:
        await self._model.aclose()

    async def _told(self, message: Message) -> Message:
        content = message["content"]
        if isinstance(content, str):
            return message
        parts: list[TextPart | ImagePart] = [
            await self._read_out(part) if part["type"] == "image_url" else part for part in content
        ]
        return {"role": message["role"], "content": parts}

    async def _read_out(self, part: ImagePart) -> TextPart:
        data = image_bytes(part["image_url"]["url"])
        text = await asyncio.to_thread(self._look, data)
        return {"type": "text", "text": f"{HEADING}\n{text or NOTHING}\n"}

    def _look(self, data: bytes) -> str:
        key = hashlib.sha256(data).hexdigest()
        with self._looking:
            if key not in self._seen:
                self._seen[key] = self._eyes.read(_decoded(data))
            self._seen.move_to_end(key)
            while len(self._seen) > IMAGES_REMEMBERED:
                self._seen.popitem(last=False)
            return self._seen[key]


class Line(NamedTuple):
    """A line of text found in an image; lengths in pixels of the image looked at."""

    text: str
    confidence: float
    left: float
    top: float
    height: float


class _Found(Protocol):
    """What RapidOCR found in an image; all None where it found nothing."""

    boxes: npt.NDArray[np.float32] | None
    """Of shape (lines, 4 corners, 2)."""
    txts: Sequence[str]
    scores: Sequence[float]


_Look = Callable[[npt.NDArray[np.uint8]], _Found]


class RapidEyes:
    """OCR by RapidOCR, on the processor. About two seconds a page for each enlargement tried.

    How far an image is enlarged matters much and differs from image to image, so several are
    tried, and the one that was read with the most confidence counts.
    """

    def __init__(self) -> None:
        self._engine: _Look | None = None

    def read(self, image: Image.Image) -> str:
        looks = [self._lines(image, factor) for factor in enlargements(image)]
        return "\n".join(in_reading_order(max(looks, key=_confidence)))

    def read_at(self, image: Image.Image, factor: int) -> str:
        """The text that is read at one enlargement."""
        return "\n".join(in_reading_order(self._lines(image, factor)))

    def _lines(self, image: Image.Image, factor: int) -> list[Line]:
        found = self._loaded()(np.asarray(enlarged(image, factor))[:, :, ::-1])
        if found.boxes is None:
            return []
        return [
            Line(
                text=text,
                confidence=float(score),
                left=float(box[:, 0].min()),
                top=float(box[:, 1].min()),
                height=float(np.ptp(box[:, 1])),
            )
            for box, text, score in zip(found.boxes, found.txts, found.scores, strict=True)
        ]

    def _loaded(self) -> _Look:
        if self._engine is None:
            try:
                rapidocr = import_module("rapidocr")
            except ImportError as error:
                raise ConfigurationError(
                    "a text-only model sees images through OCR, which is not installed",
                    hint=INSTALL,
                ) from error
            self._engine = rapidocr.RapidOCR(params={"Global.log_level": "critical"})
        return self._engine


def in_reading_order(lines: Sequence[Line]) -> list[str]:
    """The rows of a page, top down; what stands side by side is one row, left to right."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: line.top + line.height / 2):
        middle = line.top + line.height / 2
        if rows and rows[-1][0].top <= middle <= rows[-1][0].top + rows[-1][0].height:
            rows[-1].append(line)
        else:
            rows.append([line])
    return [" ".join(line.text for line in sorted(row, key=lambda at: at.left)) for row in rows]


def image_bytes(url: str) -> bytes:
    """The bytes of a `data:` URL; no other URL is followed."""
    head, comma, data = url.partition(",")
    if not head.startswith("data:image/") or not head.endswith(";base64") or not comma:
        raise InputError(
            "an image is not a data: URL in base64",
            hint="Send the image itself, as data:image/png;base64,...; links are not followed.",
        )
    try:
        return base64.b64decode(data, validate=True)
    except ValueError as error:
        raise InputError(
            f"an image is not valid base64: {error}", hint="Encode its bytes anew."
        ) from error


def _decoded(data: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(
            f"an image cannot be decoded: {error}", hint="Send a whole PNG or JPEG."
        ) from error


def enlargements(image: Image.Image) -> tuple[int, ...]:
    """How many times larger an image is looked at, where its type size is not known."""
    return (1, 2) if max(image.size) > LARGE_SIDE_PX else (2, 3, 4)


def enlarged(image: Image.Image, factor: int) -> Image.Image:
    size = (image.width * factor, image.height * factor)
    return image.convert("RGB").resize(size, Image.Resampling.BICUBIC)


def _confidence(lines: Sequence[Line]) -> float:
    return sum(len(line.text) * line.confidence for line in lines)
