"""Variable tracking: a chain of assignments hidden in noise, to be followed to one value.

RULER (COLM 2024), section 3.2: one chain of four hops, thus five variables of five capitals, the
first of which is a number of five digits. The official prompt shows a solved example first; here
the question stands alone.
"""

from __future__ import annotations

from string import ascii_uppercase

from palimpsest.datasets.item import Evidence, Passage
from palimpsest.datasets.ruler.haystack import NOISE, among_lines
from palimpsest.datasets.ruler.resources import Resources
from palimpsest.datasets.ruler.sizing import Draft, Wanted, fit
from palimpsest.datasets.ruler.words import coded_words

HOPS = 4
_NAME_LETTERS = 5
_LEAST_VALUE, _END_VALUE = 10_000, 99_999
_LINES_PER_TOKEN = 1 / 25


async def make(wanted: Wanted, resources: Resources) -> Draft:
    return await fit(
        wanted,
        lambda lines: _build(wanted, lines),
        units_per_token=_LINES_PER_TOKEN,
        fewest=HOPS + 1,
    )


def _build(wanted: Wanted, lines: int) -> Draft:
    random = wanted.random()
    names = coded_words(random, HOPS + 1, letters=ascii_uppercase, length=_NAME_LETTERS)
    value = str(random.integers(_LEAST_VALUE, _END_VALUE))
    chain = [
        f"let {name} = {origin}" for name, origin in zip(names, [value, *names[:-1]], strict=True)
    ]
    text, depths = among_lines(random, [NOISE] * lines, chain)
    return Draft(
        question=(
            "The text hides assignments to variables, some of them from one variable to another. "
            f"Which {len(names)} variables come to hold {value}? Name all of them."
        ),
        answers=tuple(names),
        documents=(Passage(title="text", text=text),),
        gold=(0,),
        evidence=tuple(Evidence(document=0, quote=line) for line in chain),
        details={"hops": HOPS, "value": value, "chain": chain, "depths": depths},
    )
