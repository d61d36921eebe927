"""RULER's thirteen tasks at any length, made anew from their published parameters.

    resources = Resources.from_folder(Path("data"))
    item = await generate("niah_single_2", 7, 131_072, tokenizer, resources)

Hsieh et al., RULER: What's the Real Context Size of Your Long-Context Language Models?, COLM 2024.
Numbers, distributions and scores are those of the paper's generators; the wording is this
package's own, and the length is that of the context alone. `docs/ruler.md` has the differences.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from palimpsest.datasets.item import Item
from palimpsest.datasets.ruler import variables, words
from palimpsest.datasets.ruler.needles import NEEDLES
from palimpsest.datasets.ruler.qa import Questions
from palimpsest.datasets.ruler.resources import Resources
from palimpsest.datasets.ruler.sizing import Draft, Wanted
from palimpsest.errors import InputError
from palimpsest.sources import Tokenizer

__all__ = ["GENERATORS", "Generator", "Resources", "generate"]

Generator = Callable[[Wanted, Resources], Awaitable[Draft]]

_QUESTIONS = {"qa_1": Questions("squad"), "qa_2": Questions("hotpotqa")}

GENERATORS: Mapping[str, Generator] = MappingProxyType(
    {
        **{name: needles.make for name, needles in NEEDLES.items()},
        "vt": variables.make,
        "cwe": words.make_common,
        "fwe": words.make_frequent,
        **{name: questions.make for name, questions in _QUESTIONS.items()},
    }
)
"""The thirteen tasks by their official names."""


async def generate(
    name: str, number: int, tokens: int, tokenizer: Tokenizer, resources: Resources
) -> Item:
    """Item `number`, from 0, of a task, whose context has `tokens` tokens or up to 1% fewer.

    The same arguments give the same item in any process. Raises `InputError` for an unknown name
    or a length that cannot be had, `ConfigurationError` for resources that are not there.
    """
    if name not in GENERATORS:
        raise InputError(f"RULER has no task {name}", hint=f"one of {', '.join(GENERATORS)}")
    wanted = Wanted(name, number, tokens, tokenizer)
    metric = "ruler_any" if name in _QUESTIONS else "ruler_all"
    return wanted.item("ruler", metric, await GENERATORS[name](wanted, resources))
