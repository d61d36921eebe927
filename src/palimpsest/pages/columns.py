"""How wide the columns of a table are."""

from __future__ import annotations

from collections.abc import Sequence


def column_widths(natural: Sequence[float], least: Sequence[float], room: float) -> list[float]:
    """Widths that sum to at most `room`: what each column asks for if there is room for all;
    else its longest word and a share of the rest; else, where not even that fits, columns in
    proportion to their longest words."""
    if sum(natural) <= room:
        return list(natural)
    needed = sum(least)
    if needed > room:
        return _squeezed(least, room)
    wanted = sum(natural) - needed
    share = (room - needed) / wanted
    return [low + (high - low) * share for low, high in zip(least, natural, strict=True)]


def _squeezed(least: Sequence[float], room: float) -> list[float]:
    """Columns of short words keep their width; the others share what is left evenly."""
    widths = [0.0] * len(least)
    order = sorted(range(len(least)), key=lambda column: least[column])
    for position, column in enumerate(order):
        widths[column] = min(least[column], room / (len(order) - position))
        room -= widths[column]
    return widths
