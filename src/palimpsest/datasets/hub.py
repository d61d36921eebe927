"""Rows of a dataset on the Hugging Face hub, by name.

    hub_rows(HubName.parse("hub:hotpotqa/hotpot_qa@distractor:validation"))

With `PALIMPSEST_HUB_MIRROR=FOLDER` a name is looked up in FOLDER/owner/name instead, a copy of the
dataset's repository, and nothing goes over the network.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from palimpsest.errors import ConfigurationError, InputError

MIRROR = "PALIMPSEST_HUB_MIRROR"
PREFIX = "hub:"

_NAME = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(@(?P<config>[^:@]+))?(:(?P<split>[^:@]+))?")
_SPLITS = ("validation", "test")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HubName:
    """`owner/name`, with a configuration and a split where the dataset has several."""

    name: str
    config: str | None = None
    split: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Of `hub:owner/name[@config][:split]`; raises `InputError` for anything else."""
        match = _NAME.fullmatch(text.removeprefix(PREFIX))
        if not match:
            raise InputError(
                f"{text} names no dataset of the hub", hint="give hub:owner/name[@config][:split]"
            )
        return cls(match["name"], match["config"], match["split"])

    def __str__(self) -> str:
        config = f"@{self.config}" if self.config else ""
        return f"{PREFIX}{self.name}{config}{f':{self.split}' if self.split else ''}"


def hub_rows(name: HubName) -> Iterator[dict[str, Any]]:
    """Its rows, in order. Without a split: validation, else test, else the only one there is.

    From the hub the dataset is fetched once, into the cache of the `datasets` library.
    """
    try:
        import datasets
    except ImportError as error:
        raise ConfigurationError(
            f"{name} needs the datasets library", hint='pip install "palimpsest-memory[eval]"'
        ) from error
    place = _place(name)
    mirrored = place != name.name
    try:
        splits = datasets.get_dataset_split_names(place, name.config)
        split = name.split or _usual_split(name, splits)
        # A mirror is read as it lies; what comes from the hub is kept in the library's cache.
        rows = datasets.load_dataset(place, name.config, split=split, streaming=mirrored)
    except (ValueError, OSError) as error:  # what the library raises for names it does not find
        raise InputError(f"{name}: {error}", hint="check name, configuration and split") from error
    return (dict(row) for row in rows)


def _place(name: HubName) -> str:
    """What the library is to load: a folder of the mirror, or the hub's name."""
    mirror = os.environ.get(MIRROR)
    if not mirror:
        return name.name
    folder = Path(mirror) / name.name
    if not folder.is_dir():
        raise InputError(f"{name}: no folder {folder}", hint=f"{MIRROR} names the mirror")
    return str(folder)


def _usual_split(name: HubName, splits: list[str]) -> str:
    found = [split for split in _SPLITS if split in splits] or splits
    if len(found) == 1 or found[0] in _SPLITS:
        _log.info("%s: split %s", name, found[0])
        return found[0]
    raise InputError(f"{name} has the splits {', '.join(splits)}", hint=f"say which: {name}:SPLIT")
