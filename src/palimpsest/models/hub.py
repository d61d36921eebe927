"""Model files from the Hugging Face hub, by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from palimpsest.errors import ConfigurationError

_NAME = re.compile(r"[\w.-]+/[\w.-]+(:[\w./-]+\.gguf)?")
_PREFERRED = ("q4_k_m", "q4_0", "q5_k_m", "q8_0")


def is_hub_name(name: str) -> bool:
    """True for `organisation/repository`, with or without `:file.gguf`."""
    return bool(_NAME.fullmatch(name)) and (":" in name or not name.endswith(".gguf"))


def download(name: str, on_load: Callable[[str], None]) -> Path:
    """The file that `name` means, from the hub's cache on this machine or fetched into it."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise ConfigurationError(
            f"{name!r} has to be fetched from the Hugging Face hub, whose client is missing",
            hint="pip install huggingface_hub",
        ) from error
    repository, _, file = name.partition(":")
    try:
        file = file or choose(huggingface_hub.list_repo_files(repository), repository)
        on_load(f"fetching {file} of {repository} from the Hugging Face hub")
        return Path(huggingface_hub.hf_hub_download(repository, file))
    except ConfigurationError:
        raise
    # What the client raises differs between its versions and the HTTP library under each.
    except Exception as error:
        raise ConfigurationError(
            f"{name!r} could not be fetched from the Hugging Face hub: {error}",
            hint="Check the name and the network (and HF_TOKEN for a closed repository), or "
            "download the file yourself and give its path.",
        ) from error


def choose(files: Sequence[str], repository: str) -> str:
    """The GGUF file of a repository to take when none is named: the smallest quantisation that
    is known to keep quality, before larger ones. Files in several pieces are left out."""
    whole = [file for file in files if file.endswith(".gguf") and not _is_piece(file)]
    for quantisation in _PREFERRED:
        for file in whole:
            if quantisation in file.lower():
                return file
    if whole:
        return whole[0]
    raise ConfigurationError(
        f"{repository!r} has no GGUF model in one file",
        hint="Name a repository of GGUF files, or one of its files after a colon.",
    )


def _is_piece(file: str) -> bool:
    return bool(re.search(r"mmproj|-of-\d+", file.lower()))
