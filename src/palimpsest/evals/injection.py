"""Gold evidence put into a memory, where the page shows it large or where it shows it small.

The oracle of MemOCR (arXiv 2601.21468): what an answer could be if the layout knew what matters.
Both ways put the same sentences at the head of the memory, one after the other, so that nothing
but their type differs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

Where = Literal["heading", "body", "none"]

_SPECIAL = re.compile(r"([\\`*_\[\]<>&~|#$=^!{}])")
_LIST_NUMBER = re.compile(r"^(\d{1,9})([.)])")
_BULLET = re.compile(r"^([-+])")


def inject(memory: str, sentences: Sequence[str], where: Where) -> str:
    """The memory with sentences before it: each a heading of the first level, or a paragraph of
    plain text. As it is for `none`, and where there is no sentence."""
    plain = dict.fromkeys(filter(None, map(_escaped, sentences)))
    if where == "none" or not plain:
        return memory
    mark = "# " if where == "heading" else ""
    return "\n\n".join([*(f"{mark}{sentence}" for sentence in plain), memory]).rstrip()


def _escaped(sentence: str) -> str:
    """A sentence on one line that Markdown shows as it is."""
    line = _SPECIAL.sub(r"\\\1", " ".join(sentence.split()))
    return _BULLET.sub(r"\\\1", _LIST_NUMBER.sub(r"\1\\\2", line))
