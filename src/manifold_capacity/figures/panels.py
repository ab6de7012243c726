"""Figures of panels: their sizes, axes' labels, legend and heading."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from manifold_capacity.figures.curves import (
    Curve,
    Encoding,
    checkpoints_of,
    interval_text,
    isolated,
)
from manifold_capacity.figures.style import CHECKPOINT_COLORS, GRAY, LITERAL, legend_mark
from manifold_capacity.summary.rows import EXTERNAL
from manifold_capacity.summary.rows import SPLIT as NO_SPLIT
from manifold_capacity.summary.text import layer_title, shorten, split_title

# Sizes in inches. Tick labels are 8 points (0.11 inch) high. Fitted into a page's 7.1 x 9.5 inches,
# the largest figure has labels of 6 points.
WIDEST = 9.4
TALLEST = 10.0  # without title, legend and the scales of maps
NARROWEST = 1.9  # panel; with more than 4 side by side, a figure is wider than `WIDEST`
LEGEND_WIDTH = 1.6
BESIDE_AXES = 0.7  # of a panel's width: axis label and tick labels
UPRIGHT_PITCH = 0.14  # least distance of tick labels across their direction
_SLANTED_PITCH = 0.21
_LEGEND_LINE = 0.16
_CHARACTER = 0.072  # mean width in a tick label
_TITLE_CHARACTER = 0.08  # and, with a margin, in a title
LONGEST_LABEL = 20  # characters
MOST_MARKERS = 30  # on a curve; more would touch each other


def new_figure(width: float, height: float, handles: Sequence[Artist]) -> Figure:
    """An empty figure with its legend, if it has one: at the right, or below a wide figure."""
    if not handles:
        return Figure((width, height), layout="constrained")
    if width + LEGEND_WIDTH <= WIDEST:
        figure = Figure((width + LEGEND_WIDTH, height), layout="constrained")
        return _with_legend(figure, handles, {"loc": "outside right upper"})
    columns = int(width / (1.2 * LEGEND_WIDTH))
    lines = max(str(handle.get_label()).count("\n") + 1 for handle in handles)
    below = _LEGEND_LINE * lines * math.ceil(len(handles) / columns) + 0.2
    figure = Figure((width, height + below), layout="constrained")
    return _with_legend(figure, handles, {"loc": "outside lower left", "ncols": columns})


def _with_legend(figure: Figure, handles: Sequence[Artist], place: dict[str, Any]) -> Figure:
    for text in figure.legend(handles=handles, handlelength=2.6, **place).get_texts():
        text.set(**LITERAL)
    return figure


def draw_curves(axis: Axes, curves: Sequence[Curve], quantity: str, encoding: Encoding) -> None:
    n_dead_drawn = 0
    if any(curve.dead.any() for curve in curves):
        axis.margins(y=0.12)  # room for the crosses
    for curve in curves:
        style = encoding.style(curve)
        x, value = curve.position, curve.value[quantity]
        low, high = curve.low[quantity], curve.high[quantity]
        if len(x) > MOST_MARKERS:
            style["markevery"] = [*np.flatnonzero(isolated(value))]
        axis.plot(x, value, label=f"{curve.model} {curve.checkpoint} {curve.split}", **style)
        # Many bands on top of each other would hide the curves.
        alpha = 0.18 if len(curves) <= 4 else 0.07
        axis.fill_between(x, low, high, color=style["color"], alpha=alpha, linewidth=0)
        # A band has no width at a single point.
        with_bar = np.isfinite(value) & np.isfinite(low) & np.isfinite(high) & isolated(value)
        if with_bar.any():
            ends = [(value - low)[with_bar], (high - value)[with_bar]]
            numbers = x[with_bar], value[with_bar], ends
            size: dict[str, Any] = {"elinewidth": 0.9, "capsize": 1.8, "capthick": 0.9}
            axis.errorbar(*numbers, fmt="none", ecolor=style["color"], **size)
        if curve.dead.any():
            height = 0.03 + n_dead_drawn * min(0.04, 0.2 / len(curves))
            at = x[curve.dead], np.full(curve.dead.sum(), height)
            look = {"linestyle": "none", "marker": "x", "markersize": 4.5, "color": style["color"]}
            axis.plot(*at, transform=axis.get_xaxis_transform(), **look)
            n_dead_drawn += 1


def with_marks(samples: Sequence[Artist], curves: Sequence[Curve]) -> list[Artist]:
    """The legend's samples, and those of bands, bars and crosses."""
    marks: list[Artist] = []
    if samples and (text := interval_text(curves)):
        marks.append(
            Patch(color=GRAY, alpha=0.25, linewidth=0, label=text.replace(" over", "\nover"))
        )
    if any(curve.dead.any() for curve in curves):
        marks.append(legend_mark("no geometry", "x", 4.5))
    return [*samples, *marks]


def panel_widths(groups: Sequence[Sequence[str]], least: float) -> list[float]:
    """A width for each column, by its number of layers; together at most `WIDEST` if that is possible."""
    wanted = [max(least, 1.05 * UPRIGHT_PITCH * len(names) + BESIDE_AXES) for names in groups]
    room, columns, most = max(WIDEST, NARROWEST * len(wanted)), len(wanted), 0.0
    for width in sorted(wanted):  # the widest share what the others leave
        most = room / columns
        if width > most:
            break
        room, columns = room - width, columns - 1
    return [min(width, most) for width in wanted]


def label_layers(
    axes: Axes, direction: Literal["x", "y"], names: Sequence[str], length: float
) -> None:
    labels = [shorten(layer_title(name), LONGEST_LABEL) for name in names]
    label_evenly(axes, direction, labels, length, offset=0.5 if direction == "y" else 0.0)


def label_evenly(
    axes: Axes, direction: Literal["x", "y"], labels: Sequence[str], length: float, offset: float
) -> None:
    """Put evenly spaced labels on an axis of `length` inches, rotated and thinned out to fit."""
    pitch = length / len(labels)
    # The first and the last are always shown.
    step = max(1, math.ceil(UPRIGHT_PITCH / pitch))
    shown = np.linspace(0, len(labels) - 1, (len(labels) - 1) // step + 1).round().astype(int)
    rotated: dict[str, Any] = {}
    if direction == "x" and _CHARACTER * max(map(len, labels)) + 0.1 > pitch:
        rotated = {"rotation": 90}
        if pitch >= _SLANTED_PITCH:
            rotated = {"rotation": 45, "rotation_mode": "anchor", "ha": "right", "va": "top"}
    axis = axes.xaxis if direction == "x" else axes.yaxis
    axis.set_ticks(shown + offset, [labels[place] for place in shown], **rotated, **LITERAL)


def layer_colors(n: int) -> NDArray[np.float64]:
    """From light to dark along the network."""
    return CHECKPOINT_COLORS(np.linspace(0, 1, n))


def add_layer_bar(
    figure: Figure, axes: Sequence[Axes], names: Sequence[str], length: float
) -> None:
    """A color bar that names the layers, the first on top."""
    colors = ListedColormap(layer_colors(len(names)))
    scale = ScalarMappable(BoundaryNorm(np.arange(len(names) + 1), len(names)), colors)
    bar = figure.colorbar(scale, ax=list(axes), aspect=24, pad=0.02, spacing="proportional")
    bar.outline.set(visible=False)
    bar.ax.invert_yaxis()
    bar.ax.minorticks_off()
    label_layers(bar.ax, "y", names, length)
    bar.ax.tick_params(length=0)


def plain_ticks(axis: Axis) -> None:
    """Numbers in place of powers of ten, at 1, 2 and 5 of each; all digits if the range is narrow."""
    low, high = sorted(axis.get_view_interval())
    steps = MaxNLocator(6, steps=[1, 2, 2.5, 5, 10])
    wide = low > 0 and high / low > 8
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)) if wide else steps)
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def add_heading(
    figure: Figure,
    frame: pd.DataFrame,
    names: Sequence[str] = ("dataset", "model", "seed", "checkpoint", "split"),
    band: str = "",
) -> None:
    """Write above a figure what all its curves share, and what its bands are if no legend says it."""
    parts = []
    for name in (name for name in names if name in frame.columns):
        found = [*frame[name].unique()]
        if name == "seed":
            parts += [f"mean of {len(found)} seeds"] if len(found) > 1 else []
        elif len(found) > 1 or found in ([EXTERNAL], [NO_SPLIT]):
            continue  # external activations are named by their file alone
        elif name == "checkpoint":
            parts += checkpoints_of(frame).values()
        else:
            parts.append(split_title(found[0]) if name == "split" else str(found[0]))
    if band:
        parts.append(f"band: {band}")
    room = figure.get_figwidth() - 0.2
    for legend in figure.legends:
        width = legend.get_window_extent().width / figure.dpi
        room -= width if width < figure.get_figwidth() / 2 else 0  # else it is below
    text = textwrap.fill(
        " · ".join(dict.fromkeys(parts)), max(LONGEST_LABEL, int(room / _TITLE_CHARACTER))
    )
    figure.suptitle(text, x=0.01, ha="left", **LITERAL)
