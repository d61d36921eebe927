"""The README's Python works as it is written there; only the model is another."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from loopback import Loopback, chat

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"<!-- python -->\n```python\n(.*?)```", README, re.S)


def answer(request):
    return chat(r"Thaddeus Lorne, by the notes. \boxed{Thaddeus Lorne}")


@pytest.mark.parametrize("code", EXAMPLES, ids=["ask", "aask"])
def test_the_readme_code_runs_as_written(code, tmp_path):
    with Loopback(respond=answer) as server:
        environment = os.environ | {
            "PALIMPSEST_MODEL": "test",
            "PALIMPSEST_BASE_URL": server.url,
            "PALIMPSEST_READINGS": str(tmp_path),
        }
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Thaddeus Lorne" in done.stdout.splitlines()[0]
