"""Whether any request that the OpenAPI document allows, or forbids, makes the server fail.

    python bench/contract.py

Needs `schemathesis` (the extra `dev`). Starts a server whose model is scripted, and a gateway in
front of it, so that requests are answered in the process, passed through and read. Schemathesis
then sends both what their documents allow and what they forbid: every boundary of every field, and
`--cases` random requests an operation. Each answer has to have a documented status, type of content
and shape, and none may be a fault (5xx).

Prints Schemathesis's reports; the exit code is 1 if anything was found.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
)
_WINDOW = 2048
"""Of the gateway, so that some requests have to be read."""
_PROGRAM = """
import sys
from pathlib import Path
from palimpsest.models import ScriptedModel
from palimpsest.server.config import ReaderChoice, ServerConfig
from palimpsest.server.serving import serve
from palimpsest.settings import ModelSettings

folder, window, upstream = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
serve(
    ServerConfig(
        port=0, state_folder=folder, upstream_window=window, log_level="error",
        upstream=ModelSettings(name="scripted", base_url=upstream or None),
        reader=ReaderChoice(
            settings={"chunk_tokens": 400, "memory_tokens": 150, "answer_tokens": 100}
        ),
    ),
    model=None if upstream else ScriptedModel(lambda *_: "- The lamp was lit in 1871."),
    on_listening=lambda url: print(url, flush=True),
)
"""


@contextmanager
def server(folder: Path, window: int, upstream: str = "") -> Iterator[str]:
    """The URL of a server in a process of its own."""
    program = [sys.executable, "-c", _PROGRAM, str(folder), str(window), upstream]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def check(url: str, cases: int, seed: int, folder: Path) -> int:
    """Schemathesis's exit code; what it keeps for itself goes to `folder`."""
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json",
        "--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing",
        "--max-examples", str(cases), "--seed", str(seed), "--continue-on-failure",
        "--request-timeout", "120", "--suppress-health-check", "all",
        "--generation-database", "none", "--no-color",
    ]  # fmt: skip
    return subprocess.run(command, cwd=folder, check=False).returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=100, help="random requests an operation")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with (
            server(root / "model", 4 * _WINDOW) as model,
            server(root / "gateway", _WINDOW, f"{model}/v1") as gateway,
        ):
            codes = [check(url, options.cases, options.seed, root) for url in (model, gateway)]
    sys.exit(max(codes))


if __name__ == "__main__":
    main()
