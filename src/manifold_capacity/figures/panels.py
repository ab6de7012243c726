"""Figures of panels: their sizes, axes' labels, legend and heading."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from manifold_capacity.figures.curves import (
    Curve,
    Encoding,
    Roles,
    checkpoints_of,
    has_spread,
    isolated,
)
from manifold_capacity.figures.style import CHECKPOINT_COLORS, GRAY
from manifold_capacity.summary.rows import EXTERNAL, STATUS_OK
from manifold_capacity.summary.rows import SPLIT as NO_SPLIT
from manifold_capacity.summary.text import layer_title, shorten, split_title

# Sizes in inches. Tick labels are 8 points (0.11 inch) high. Fitted into a page's 7.1 x 9.5 inches,
# the largest figure has labels of 6 points.
WIDEST = 9.4


TALLEST = 10.0  # without title, legend and the scales of maps


NARROWEST = 1.9  # panel; with more than 4 beside each other a figure gets wider yet


LEGEND_WIDTH = 1.6


_LEGEND_LINE = 0.16


BESIDE_AXES = 0.7  # of a panel's width: axis label and tick labels


_CHARACTER = 0.072  # mean width in a tick label


_TITLE_CHARACTER = 0.08  # and, with something to spare, in a title


UPRIGHT_PITCH = 0.14  # least distance of tick labels across their direction


_SLANTED_PITCH = 0.21


LONGEST_LABEL = 20  # characters


MOST_LAYERS_IN_A_SQUARE = 24  # more need the page's full width


MOST_MARKERS = 30  # on a curve; more run into each other


def frame_logarithmic(
    axis: Axes, x: Sequence[NDArray[np.float64]], y: Sequence[NDArray[np.float64]]
) -> None:
    """Limits of both axes around all points, with a margin, at least a factor of 1.5 apart."""
    for values, set_limits in ((x, axis.set_xlim), (y, axis.set_ylim)):
        all_values = np.concatenate(values)
        known = all_values[np.isfinite(all_values) & (all_values > 0)]
        low, high = (known.min(), known.max()) if len(known) else (1.0, 1.0)
        room = max((high / low) ** 0.08, (1.5 * low / high) ** 0.5)
        set_limits(low / room, high * room)


def plain_ticks(axis: Axes) -> None:
    """Numbers in place of powers of ten, at 1, 2 and 5 of each; all digits where the range is narrow."""
    for one in (axis.xaxis, axis.yaxis):
        low, high = sorted(one.get_view_interval())
        one.set_major_locator(
            LogLocator(subs=(1.0, 2.0, 5.0))
            if high / low > 8
            else MaxNLocator(6, steps=[1, 2, 2.5, 5, 10])
        )
        one.set_minor_locator(NullLocator())
        one.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def layer_bar(figure: Figure, axes: list[Axes], names: Sequence[str], length: float) -> None:
    """A color bar that names the layers, the first on top."""
    colors = ListedColormap(CHECKPOINT_COLORS(np.linspace(0, 1, len(names))))
    scale = BoundaryNorm(np.arange(len(names) + 1), len(names))
    bar = figure.colorbar(
        ScalarMappable(scale, colors), ax=axes, aspect=24, pad=0.02, spacing="proportional"
    )
    bar.outline.set(visible=False)
    bar.ax.invert_yaxis()
    bar.ax.minorticks_off()
    label_layers(bar.ax, "y", names, length)
    bar.ax.tick_params(length=0)


def new_figure(width: float, height: float, handles: Sequence[Artist]) -> Figure:
    """An empty figure with its legend, if there is anything to say: at the right, or below a wide one."""
    if not handles:
        return Figure((width, height), layout="constrained")
    if width + LEGEND_WIDTH <= WIDEST:
        figure = Figure((width + LEGEND_WIDTH, height), layout="constrained")
        figure.legend(handles=handles, loc="outside right upper", handlelength=2.6)
        return figure
    columns = int(width / (1.2 * LEGEND_WIDTH))
    lines = max(str(handle.get_label()).count("\n") + 1 for handle in handles)
    below = _LEGEND_LINE * lines * math.ceil(len(handles) / columns) + 0.2
    figure = Figure((width, height + below), layout="constrained")
    figure.legend(handles=handles, loc="outside lower left", ncols=columns, handlelength=2.6)
    return figure


def draw_curves(
    axis: Axes, curves: Sequence[Curve], quantity: str, encoding: Encoding | Roles
) -> None:
    buried = 0
    if any(curve.dead.any() for curve in curves):
        axis.margins(y=0.12)  # room for the crosses
    for curve in curves:
        style = encoding.line(curve.model, curve.checkpoint, curve.split)
        x, value, spread = curve.position, curve.value[quantity], curve.spread[quantity]
        if len(x) > MOST_MARKERS:
            style["markevery"] = [*np.flatnonzero(isolated(value))]
        axis.plot(x, value, label=f"{curve.model} {curve.checkpoint} {curve.split}", **style)
        barred = np.isfinite(value) & np.isfinite(spread)
        if curve.n_seeds > 1:
            axis.fill_between(
                x, value - spread, value + spread, color=style["color"], alpha=0.18, linewidth=0
            )
            barred &= isolated(value)  # a band has no width at a single point
        if barred.any():
            axis.errorbar(
                x[barred],
                value[barred],
                spread[barred],
                fmt="none",
                ecolor=style["color"],
                elinewidth=0.9,
                capsize=1.8,
                capthick=0.9,
            )
        if curve.dead.any():
            axis.plot(
                x[curve.dead],
                np.full(curve.dead.sum(), 0.03 + buried * min(0.04, 0.2 / len(curves))),
                transform=axis.get_xaxis_transform(),
                linestyle="none",
                marker="x",
                markersize=4.5,
                color=style["color"],
            )
            buried += 1


def spread_out(curves: Sequence[Curve]) -> list[Curve]:
    """Curves of a single point each, put beside each other."""
    places = np.linspace(-0.2, 0.2, len(curves)) if len(curves) > 1 else [0.0]
    return [
        replace(curve, position=curve.position + place)
        for curve, place in zip(curves, places, strict=True)
    ]


def with_marks(samples: list[Artist], curves: Sequence[Curve]) -> list[Artist]:
    """The legend's samples with those of what stands around a curve."""
    most_seeds = max(curve.n_seeds for curve in curves)
    if most_seeds > 1:
        samples.append(
            Patch(color=GRAY, alpha=0.25, linewidth=0, label=f"± 1 s.d. of {most_seeds} seeds")
        )
    elif samples and has_spread(curves):
        samples.append(
            Line2D(
                [],
                [],
                color=GRAY,
                linestyle="none",
                marker="|",
                markersize=8,
                label="± standard error",
            )
        )
    if any(curve.dead.any() for curve in curves):
        samples.append(
            Line2D(
                [],
                [],
                color=GRAY,
                linestyle="none",
                marker="x",
                markersize=4.5,
                label="no geometry",
            )
        )
    return samples


def draw_map(
    axis: Axes,
    frame: pd.DataFrame,
    quantity: str,
    names: list[str],
    checkpoints: list[str],
    scale: Normalize,
) -> Any:
    cells = [frame["layer"], frame["checkpoint"]]

    def arranged(column: pd.Series) -> pd.DataFrame:
        table = column.astype(float).groupby(cells).mean().unstack("checkpoint")
        return table.reindex(index=names, columns=checkpoints)

    values = arranged(frame[quantity]).to_numpy()
    dead = arranged(frame["status"] == STATUS_OK).to_numpy() == 0  # of no seed
    image = axis.pcolormesh(values, cmap="viridis", norm=scale, edgecolors="white", linewidth=0.5)
    below, right = np.nonzero(dead)
    axis.plot(right + 0.5, below + 0.5, "x", color=GRAY, markersize=4.5)
    axis.set(xlim=(0, len(checkpoints)), ylim=(len(names), 0))
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)
    return image


def label_epochs(
    axis: Axes, layers: pd.DataFrame, checkpoints: dict[str, str], width: float
) -> None:
    epochs = layers.drop_duplicates("checkpoint").set_index("checkpoint")["epoch"]
    labels = [name if pd.isna(epochs[name]) else f"{epochs[name]:.0f}" for name in checkpoints]
    axis.set_xlabel("Epoch")
    _label(axis, "x", labels, width - 0.2, offset=0.5)


def panel_widths(groups: Sequence[Sequence[str]], least: float) -> list[float]:
    """A width for each column, by its number of layers; no more together than `WIDEST` if that is possible."""
    wanted = [max(least, 1.05 * UPRIGHT_PITCH * len(names) + BESIDE_AXES) for names in groups]
    room, columns, most = max(WIDEST, NARROWEST * len(wanted)), len(wanted), 0.0
    for width in sorted(wanted):  # the widest ones share what the others leave
        most = room / columns
        if width > most:
            break
        room, columns = room - width, columns - 1
    return [min(width, most) for width in wanted]


def label_layers(
    axes: Axes, direction: Literal["x", "y"], names: Sequence[str], length: float
) -> None:
    labels = [shorten(layer_title(name), LONGEST_LABEL) for name in names]
    _label(axes, direction, labels, length, offset=0.5 if direction == "y" else 0.0)


def _label(
    axes: Axes, direction: Literal["x", "y"], labels: Sequence[str], length: float, offset: float
) -> None:
    """Put evenly spaced labels on an axis of `length` inches, turned and thinned out to fit."""
    pitch = length / len(labels)
    # The first and the last are named in any case.
    step = max(1, math.ceil(UPRIGHT_PITCH / pitch))
    shown = np.linspace(0, len(labels) - 1, (len(labels) - 1) // step + 1).round().astype(int)
    turned: dict[str, Any] = {}
    if direction == "x" and _CHARACTER * max(map(len, labels)) + 0.1 > pitch:
        turned = {"rotation": 90}
        if pitch >= _SLANTED_PITCH:
            turned = {"rotation": 45, "rotation_mode": "anchor", "ha": "right", "va": "top"}
    axis = axes.xaxis if direction == "x" else axes.yaxis
    axis.set_ticks(
        [place + offset for place in shown], [labels[place] for place in shown], **turned
    )


def add_heading(
    figure: Figure,
    frame: pd.DataFrame,
    names: Sequence[str] = ("dataset", "model", "seed", "checkpoint", "split"),
    barred: bool = False,
) -> None:
    """Write above a figure what all its curves share, and what its bars are if no legend says it."""
    shared = {name: [*dict.fromkeys(frame[name])] for name in names if name in frame.columns}
    parts = []
    for name, found in shared.items():
        if name == "seed" and len(found) > 1:
            parts.append(f"mean of {len(found)} seeds")
        elif found in ([EXTERNAL], [NO_SPLIT]):
            continue  # the file's name has said it
        elif name == "checkpoint" and len(found) == 1:
            parts.extend(checkpoints_of(frame).values())
        elif name != "seed" and len(found) == 1:
            parts.append(split_title(found[0]) if name == "split" else str(found[0]))
    if barred:
        parts.append("bars: standard error")
    room = figure.get_figwidth() - 0.2
    for legend in figure.legends:
        width = legend.get_window_extent().width / figure.dpi
        room -= width if width < figure.get_figwidth() / 2 else 0  # else it stands below
    text = textwrap.fill(" · ".join(parts), max(LONGEST_LABEL, int(room / _TITLE_CHARACTER)))
    figure.suptitle(text, x=0.01, ha="left")
