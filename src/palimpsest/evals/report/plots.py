"""Plots of runs, drawn by matplotlib without a display and without its global state.

For a page the colours are left to the page's style sheet, so that they follow light and dark.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from palimpsest.errors import ConfigurationError
from palimpsest.evals.report.lines import Line, Panel, Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ImageFormat = Literal["png", "svg", "pdf"]
_COLUMNS = 2
_PANEL = (5.2, 3.4)
"""Inches, width and height."""
_COST_SHARE = 0.45
"""Height of the costs below a panel, of the panel's."""
_DODGE = 1.035
"""By how much lines stand beside each other, so that intervals do not hide each other."""
_LEAST_TOP = 10.0
"""Hundredths; a scale that ends lower would make much of nothing."""
_BELOW = 0.025
"""Of the height, so that a mark at 0 is whole."""
_MARKERS = {"visual": "o", "text": "s", "none": "D"}
_DASHES: Mapping[str, Any] = {"visual": "-", "text": (0, (5, 2)), "none": ":"}
_WRAPPED = 40
"""Characters of a label before it is cut."""


class Palette(NamedTuple):
    """Colours of a plot."""

    ink: str
    faint: str
    series: tuple[str, ...]


SERIES = 6
"""Colours before they come again."""
PAPER = Palette(
    "#1f2328", "#d0d4d9", ("#0b62b0", "#c2410c", "#17803d", "#8b2fc9", "#a16207", "#be185d")
)
_STAND_INS = Palette(
    "#010203", "#040506", ("#0a0001", "#0a0002", "#0a0003", "#0a0004", "#0a0005", "#0a0006")
)
"""Colours that nothing has, to be told apart in the SVG and replaced there."""
_VARIABLES: Mapping[str, str] = {
    _STAND_INS.ink: "var(--ink)",
    _STAND_INS.faint: "var(--faint)",
    **{colour: f"var(--series-{n})" for n, colour in enumerate(_STAND_INS.series, start=1)},
}


def curve_image(panels: Sequence[Panel], image_format: ImageFormat) -> bytes:
    """Panels as a picture on white, each with its costs below where there are any.

    Raises `ConfigurationError` where matplotlib is not installed.
    """
    with _settings({"svg.hashsalt": "curve"}):
        return _saved(_figure(panels, PAPER, _draw_line, _highest(panels)), image_format)


def curve_svgs(panels: Sequence[Panel], name: str) -> list[str]:
    """Each panel as SVG for a page that has a legend and defines the colours: --ink, --faint and
    --series-1 to 6. `name` tells the ids in it from those of other plots."""
    return _inline(panels, name, _draw_line)


def scatter_svgs(panels: Sequence[Panel], name: str) -> list[str]:
    """As `curve_svgs`, over an axis of any numbers, each point with its name."""
    return _inline(panels, name, _draw_named)


_Draw = Callable[["Axes", Line, float, Palette], None]


def _inline(panels: Sequence[Panel], name: str, draw: _Draw) -> list[str]:
    highest = _highest(panels)
    return [_svg(panel, f"{name}-{n}", draw, highest) for n, panel in enumerate(panels)]


def _svg(panel: Panel, name: str, draw: _Draw, highest: float) -> str:
    with _settings({"svg.hashsalt": name}):
        svg = _saved(_figure([panel], _STAND_INS, draw, highest), "svg").decode()
    svg = re.sub(r"#0[0-9a-f]{5}\b", lambda colour: _VARIABLES.get(colour[0], colour[0]), svg)
    return svg[svg.index("<svg") :]


@contextmanager
def _settings(more: Mapping[Any, Any]) -> Iterator[None]:
    try:
        import matplotlib
    except ImportError:
        raise ConfigurationError(
            "plots need matplotlib", hint='pip install "palimpsest-memory[eval]"'
        ) from None
    own: dict[Any, Any] = {
        # Labels are data: a dollar sign in one is no formula.
        "text.parse_math": False,
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.titlesize": 10.5,
        "legend.fontsize": 9,
    }
    with matplotlib.rc_context({**own, **more}), warnings.catch_warnings():
        # A label in a script that the font lacks is drawn as boxes; a browser has other fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _saved(figure: Figure, image_format: ImageFormat) -> bytes:
    out = io.BytesIO()
    undated = {"png": {}, "pdf": {"CreationDate": None}, "svg": dict.fromkeys(_SVG_METADATA)}
    figure.savefig(
        out, format=image_format, dpi=160, metadata=undated[image_format], bbox_inches="tight"
    )  # fmt: skip
    return out.getvalue()


_SVG_METADATA = ("Date", "Creator", "Format", "Type")


def _highest(panels: Sequence[Panel]) -> float:
    """The top of all panels, so that they can be compared by eye."""
    points = [point for panel in panels for line in panel.lines for point in line.points]
    return max(_LEAST_TOP, *(point.score.high * 106 for point in points))


def _figure(panels: Sequence[Panel], palette: Palette, draw: _Draw, highest: float) -> Figure:
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    costly = any(point.cost for panel in panels for line in panel.lines for point in line.points)
    shares = [1.0, _COST_SHARE] if costly else [1.0]
    size = (_PANEL[0] * columns, _PANEL[1] * rows * sum(shares) + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    figure.patch.set_visible(palette is PAPER)
    grid = figure.subfigures(rows, columns, squeeze=False)
    for number, panel in enumerate(panels):
        place = grid[number // columns][number % columns]
        place.patch.set_visible(False)
        axes = place.subplots(
            len(shares), 1, squeeze=False, sharex=True, height_ratios=shares
        )[:, 0]  # fmt: skip
        _draw_panel(list(axes), panel, palette, draw, highest)
    if palette is PAPER:
        _legend(figure, panels, palette)
    return figure


def _draw_panel(
    axes: list[Axes], panel: Panel, palette: Palette, draw: _Draw, highest: float
) -> None:
    top = axes[0]
    top.set_title(panel.title, loc="left", color=palette.ink)
    top.set_ylabel(f"{panel.y_label}, %")
    axes[-1].set_xlabel(panel.x_label)
    for number, line in enumerate(panel.lines):
        dodge = _DODGE ** (number - (len(panel.lines) - 1) / 2)
        draw(top, line, dodge, palette)
        if len(axes) > 1:
            _draw_costs(axes[1], line, palette)
    places = sorted({p.x for line in panel.lines for p in line.points if p.x})
    for ax in axes:
        _dress(ax, palette, places, ticks_at_places=draw is _draw_line)
    top.set_ylim(-highest * _BELOW, highest)
    if len(axes) > 1:
        axes[1].yaxis.set_major_formatter(lambda cost, _: f"{cost:,.6g}")
        axes[1].set_ylabel(panel.cost_label.replace(", in", ",\nin").replace(" to ", "\nto "))
        axes[1].set_ylim(0, axes[1].get_ylim()[1] * 1.08)


def _dress(ax: Axes, palette: Palette, places: Sequence[float], *, ticks_at_places: bool) -> None:
    ax.set_xscale("log")
    if places:
        ticks = places if ticks_at_places else _round_places(places[0], places[-1])
        ax.set_xticks(ticks, [_short(tick) for tick in ticks])
        ax.set_xlim(places[0] / 1.6, places[-1] * 1.6)
    ax.xaxis.minorticks_off()
    ax.patch.set_visible(False)
    ax.grid(visible=True, color=palette.faint, linewidth=0.7)
    ax.set_axisbelow(True)
    ax.tick_params(colors=palette.ink, which="both")
    for label in (ax.xaxis.label, ax.yaxis.label):
        label.set_color(palette.ink)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(palette.ink)


def _round_places(low: float, high: float) -> list[float]:
    """Round numbers over a range, a few to each power of ten."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    steps = (1, 3) if high > 30 * low else (1, 2, 3, 5, 7)
    return [step * 10.0**power for power in powers for step in steps]


def _draw_line(ax: Axes, line: Line, dodge: float, palette: Palette) -> None:
    colour = _colour(line, palette)
    for point in line.points:
        if point.x is None:
            _draw_level(ax, point, colour)
    placed = _placed(line)
    ax.errorbar(
        [x * dodge for x, _ in placed],
        [point.score.mean * 100 for _, point in placed],
        yerr=_bars([point for _, point in placed]),
        color=colour,
        marker=_MARKERS[line.memory],
        linestyle=_DASHES[line.memory],
        markersize=5.5,
        linewidth=1.7,
        capsize=3,
        elinewidth=1.1,
    )


def _draw_level(ax: Axes, point: Point, colour: str) -> None:
    """What has no place on the axis, as a memory that is read whole, is a level over all of it."""
    ax.axhline(point.score.mean * 100, color=colour, linestyle=":", linewidth=1.5)
    ax.axhspan(point.score.low * 100, point.score.high * 100, color=colour, alpha=0.1, linewidth=0)


def _draw_named(ax: Axes, line: Line, _dodge: float, palette: Palette) -> None:
    _draw_line(ax, line, 1.0, palette)
    # Names of lines that cross stand above the one and below the other.
    rise = -11 if line.colour % 2 else 4
    for x, point in _placed(line):
        ax.annotate(
            point.name, (x, point.score.mean * 100), xytext=(6, rise), textcoords="offset points",
            fontsize=8, color=_colour(line, palette),
        )  # fmt: skip


def _draw_costs(ax: Axes, line: Line, palette: Palette) -> None:
    placed = [(x, point.cost) for x, point in _placed(line) if point.cost is not None]
    ax.plot(
        [x for x, _ in placed],
        [cost for _, cost in placed],
        color=_colour(line, palette),
        marker=_MARKERS[line.memory],
        linestyle=_DASHES[line.memory],
        markersize=4.5,
        linewidth=1.4,
    )


def _placed(line: Line) -> list[tuple[float, Point]]:
    found = [(point.x, point) for point in line.points if point.x]
    return sorted(found, key=lambda pair: pair[0])


def _bars(points: Sequence[Point]) -> list[list[float]]:
    """How far the intervals reach below and above the means."""
    scores = [point.score for point in points]
    return [
        [max(0.0, score.mean - score.low) * 100 for score in scores],
        [max(0.0, score.high - score.mean) * 100 for score in scores],
    ]


def _legend(figure: Figure, panels: Sequence[Panel], palette: Palette) -> None:
    from matplotlib.lines import Line2D

    lines = {line.label: line for panel in panels for line in panel.lines}
    handles = [
        Line2D(
            [], [], color=_colour(line, palette), marker=_MARKERS[line.memory],
            linestyle=_DASHES[line.memory],
            label=_cut(line.label) + (f" ({line.memory})" if line.memory != "none" else ""),
        )
        for line in lines.values()
    ]  # fmt: skip
    figure.legend(
        handles=handles, loc="outside upper left", ncols=min(2, len(handles)), frameon=False,
        labelcolor=palette.ink,
    )  # fmt: skip


def _colour(line: Line, palette: Palette) -> str:
    return palette.series[line.colour % len(palette.series)]


def _cut(label: str) -> str:
    return label if len(label) <= _WRAPPED else f"…{label[1 - _WRAPPED :]}"


def _short(number: float) -> str:
    """A number as a tick shows it."""
    if number >= 1_000_000:
        return f"{number / 1_000_000:.3g}M"
    return f"{number:,.0f}" if number >= 10 else f"{number:.3g}"
