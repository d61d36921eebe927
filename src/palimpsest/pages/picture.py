"""What every drawn page can do, whatever it was drawn from."""

from __future__ import annotations

import base64
import io
from functools import cached_property

from PIL import Image


class Picture:
    """An image on a grid of visual tokens."""

    image: Image.Image
    grid_width: int
    grid_height: int

    @property
    def tokens(self) -> int:
        return self.grid_width * self.grid_height

    def png(self) -> bytes:
        """The image as a PNG file; the same bytes every time."""
        return self._png

    def data_url(self) -> str:
        return "data:image/png;base64," + base64.b64encode(self._png).decode("ascii")

    @cached_property
    def _png(self) -> bytes:
        file = io.BytesIO()
        self.image.save(file, "PNG", compress_level=6)
        return file.getvalue()
