"""How a training run went, drawn: rewards, losses, what was written and what it took."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from palimpsest.errors import ConfigurationError
from palimpsest.training.logbook import Line, read_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FILE = "curves.png"
_SIZE = (10.0, 6.2)
"""Inches."""
_DPI = 110
_COLOURS = ("#0b62b0", "#c2410c", "#17803d", "#8b2fc9", "#a16207", "#be185d")
_FAINT = "#d0d4d9"


class _Panel(NamedTuple):
    title: str
    names: tuple[str, ...]
    """Beginnings of names; those that end in / are of whole families."""


_PANELS = (
    _Panel("reward", ("reward/", "held_out/")),
    _Panel("imitation and distance, nats a token", ("loss/imitation", "loss/kl")),
    _Panel("entropy and clipping", ("loss/entropy", "loss/clipped_low", "loss/clipped_high")),
    _Panel("tokens of an answer", ("written/answer_tokens", "written/memory_tokens")),
)


def draw_curves(run: Path, out: Path | None = None) -> Path:
    """Draws a run's log as PNG; the file's path. Raises `ConfigurationError` without matplotlib."""
    check_matplotlib()
    from matplotlib.figure import Figure

    lines = read_log(run)
    figure = Figure(figsize=_SIZE, layout="constrained")
    for axes, panel in zip(figure.subplots(2, 2).flat, _PANELS, strict=True):
        _draw(axes, panel, lines)
    file = out or run / FILE
    passing = file.with_name(f".new-{file.name}")
    figure.savefig(passing, format="png", dpi=_DPI)
    passing.replace(file)
    return file


def check_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            "curves are drawn by matplotlib, which is not installed",
            hint='pip install "palimpsest-memory[train]", or set log.curves=false',
        ) from error


def _draw(axes: Axes, panel: _Panel, lines: Sequence[Line]) -> None:
    names = dict.fromkeys(
        name for line in lines for name in line.values if name.startswith(panel.names)
    )
    for place, name in enumerate(names):
        points = [(line.step, line.values[name]) for line in lines if name in line.values]
        held_out = name.startswith("held_out/")
        axes.plot(
            *zip(*points, strict=True),
            color=_COLOURS[place % len(_COLOURS)],
            label=name.replace("_", " ").replace("/", ": "),
            linewidth=1.2,
            marker="o" if held_out or len(points) == 1 else None,
            markersize=3.5,
        )
    axes.set_title(panel.title, loc="left", fontsize=10)
    axes.set_xlabel("step", fontsize=8)
    axes.grid(color=_FAINT, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    if names:
        axes.legend(fontsize=7, frameon=False)
