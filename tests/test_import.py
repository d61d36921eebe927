"""`import palimpsest` is quick, brings nothing heavy, and has all that it promises."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

import palimpsest

HEAVY = (
    "torch",
    "transformers",
    "starlette",
    "fastapi",
    "uvicorn",
    "playwright",
    "selenium",
    "xllamacpp",
    "onnxruntime",
    "rapidocr",
    "openai",
)


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=True, timeout=30
    )


def test_the_import_takes_under_half_a_second_of_the_processor():
    program = "import time; begun = time.process_time(); import palimpsest; "
    taken = python("-c", program + "print(time.process_time() - begun)").stdout
    assert float(taken) < 0.5


def test_the_import_brings_no_model_server_or_browser():
    program = "import sys, palimpsest; print('\\n'.join(sys.modules))"
    loaded = set(python("-c", program).stdout.split())
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.skipif(find_spec("xllamacpp") is None, reason="needs the `local` extra")
@pytest.mark.parametrize(
    "order", ["llama_cpp(); import uharfbuzz", "import uharfbuzz; llama_cpp()"]
)
def test_the_local_model_and_the_pages_live_in_one_process(order):
    python("-c", f"from palimpsest.models.local import llama_cpp; {order}")


def test_every_public_name_resolves_and_the_list_is_sorted():
    assert palimpsest.__all__ == sorted(palimpsest.__all__)
    for name in palimpsest.__all__:
        assert getattr(palimpsest, name) is not None
