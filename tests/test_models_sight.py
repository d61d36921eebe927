from __future__ import annotations

import asyncio
import base64
import io

import pytest
from PIL import Image, ImageDraw, ImageFont

from palimpsest.errors import InputError
from palimpsest.models import RapidEyes, Sampling, ScriptedModel, SightModel, user
from palimpsest.models.sight import Line, image_bytes, in_reading_order

SAMPLING = Sampling(max_tokens=50)


class FakeEyes:
    """Reads the size of an image, and counts how often it looked."""

    def __init__(self) -> None:
        self.looks = 0

    def read(self, image: Image.Image) -> str:
        self.looks += 1
        return f"{image.width} by {image.height}" if image.width > 1 else ""


def data_url(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def blank(width: int, height: int) -> str:
    return data_url(Image.new("RGB", (width, height), "white"))


def told(model: SightModel, inner: ScriptedModel, url: str) -> list[dict[str, str]]:
    asyncio.run(model.complete(user("What does it say?", url), SAMPLING))
    return inner.calls[-1].messages[0]["content"]


def test_an_image_becomes_the_text_that_is_read_from_it():
    inner = ScriptedModel(["ok"])
    parts = told(SightModel(inner, eyes=FakeEyes()), inner, blank(56, 28))
    assert [part["type"] for part in parts] == ["text", "text"]
    assert "56 by 28" in parts[0]["text"]
    assert "image" in parts[0]["text"].splitlines()[0]
    assert parts[1]["text"] == "What does it say?"


def test_an_image_in_which_nothing_is_read_says_so():
    inner = ScriptedModel(["ok"])
    parts = told(SightModel(inner, eyes=FakeEyes()), inner, blank(1, 1))
    assert "nothing legible" in parts[0]["text"]


def test_the_same_image_is_looked_at_once():
    eyes, inner = FakeEyes(), ScriptedModel(["a", "b", "c"])
    model = SightModel(inner, eyes=eyes)
    for url in (blank(56, 28), blank(56, 28), blank(28, 28)):
        told(model, inner, url)
    assert eyes.looks == 2


def test_a_conversation_without_images_is_passed_on_as_it_is():
    inner = ScriptedModel(["ok"])
    asyncio.run(SightModel(inner, eyes=FakeEyes()).complete(user("Hello"), SAMPLING))
    assert inner.calls[0].messages == user("Hello")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/page.png",
        "file:///etc/passwd",
        "data:text/plain;base64,aGk=",
        "data:image/png;base64,???",
    ],
)
def test_only_an_image_that_is_sent_along_is_looked_at(url):
    with pytest.raises(InputError):
        image_bytes(url)


def test_bytes_that_are_no_image_are_an_input_error():
    inner = ScriptedModel(["ok"])
    with pytest.raises(InputError, match="decoded"):
        told(SightModel(inner, eyes=FakeEyes()), inner, "data:image/png;base64,aGVsbG8=")


def test_lines_are_put_in_reading_order():
    lines = [
        Line("right", 1.0, left=90, top=11, height=10),
        Line("below", 1.0, left=0, top=30, height=10),
        Line("left", 1.0, left=0, top=10, height=10),
    ]
    assert in_reading_order(lines) == ["left right", "below"]


def test_real_eyes_read_a_page():
    pytest.importorskip("rapidocr")
    font = ImageFont.load_default(14)
    image = Image.new("RGB", (200, 50), "white")
    draw = ImageDraw.Draw(image)
    draw.text((5, 5), "Babbage met Ada", font=font, fill="black")
    draw.text((5, 25), "in June 1833", font=font, fill="black")
    assert RapidEyes().read(image).splitlines() == ["Babbage met Ada", "in June 1833"]
