"""A viewer in this process, asked over HTTP as its page asks it.

with opened(tmp_path, shown) as client:
    told = Page(client).reading("memocr")
"""

from __future__ import annotations

from pathlib import Path

from fastapi.testclient import TestClient

from palimpsest.server.app import create_app
from palimpsest.server.viewer.viewing import ViewerConfig

API = "/viewer/api"


class Page:
    """The page's view of a server."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def get(self, path: str, **query):
        response = self.client.get(f"{API}/{path}", params=query)
        assert response.status_code == 200, response.text
        return response.json()

    def status(self, path: str, **query) -> int:
        return self.client.get(f"{API}/{path}", params=query).status_code

    def ids(self, kind: str) -> dict[str, str]:
        entries = self.get("entries")["entries"]
        return {entry["name"]: entry["id"] for entry in entries if entry["kind"] == kind}

    def reading(self, reader: str) -> dict:
        entries = self.get("entries")["entries"]
        found = next(one["id"] for one in entries if one.get("reader") == reader)
        return self.get(f"readings/{found}")

    def citations(self, id: str) -> dict:
        while (told := self.get(f"readings/{id}/citations"))["state"] == "working":
            pass
        return told


def opened(tmp_path: Path, shown: Path | tuple[Path, ...], **settings) -> TestClient:
    model = settings.pop("model", None)
    folders = (shown,) if isinstance(shown, Path) else shown
    config = ViewerConfig(
        shown=folders, state_folder=tmp_path / "state", readings=tmp_path / "asked", **settings
    )
    return TestClient(create_app(config, model=model), base_url="http://127.0.0.1")
