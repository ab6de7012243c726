"""The figure of radius against dimension, with lines of equal capacity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from manifold_capacity.figures.curves import (
    encode_curves,
    of_classes,
    paths_of,
    refuse_empty,
    tabulated,
)
from manifold_capacity.figures.panels import (
    BESIDE_AXES,
    LEGEND_WIDTH,
    MOST_MARKERS,
    NARROWEST,
    WIDEST,
    add_heading,
    frame_logarithmic,
    new_figure,
    plain_ticks,
)
from manifold_capacity.figures.style import GRAY, LABELS, STYLE, in_style
from manifold_capacity.geometry.balls import ball_capacity
from manifold_capacity.summary.rows import STATUS_OK

_LABEL_ROOM = 0.16  # around the middle of the label of a line of equal capacity


SMALLEST_SHARE = 1e-6  # of the centers' variance that is drawn


def plot_radius_dimension(layers: pd.DataFrame) -> Figure:
    """Draw each layer's radius against its dimension, the layers of a network as a path.

    Gray lines are the radii and dimensions at which balls have the same capacity (`balls`). A panel
    for each model; color and line as in `plot_layers`.

    Parameters
    ----------
    layers : DataFrame
        As `summary.collect_layers` returns it, with at least one row.

    Raises
    ------
    ValueError
        If the table has no rows.
    """
    refuse_empty(layers, "layers")
    layers = of_classes(layers)
    models = [*dict.fromkeys(layers["model"])]
    encoding = encode_curves(layers, overlaid=False)
    drawn = [(curve.value["radius"], curve.value["dimension"]) for curve in paths_of(layers)]
    handles = [
        *encoding.handles(),
        Line2D([], [], color=GRAY, linestyle="none", marker="s", markersize=6, label="first layer"),
        Line2D([], [], color=GRAY, linestyle="none", marker="D", markersize=6, label="last layer"),
        Line2D([], [], color="#b0b0b0", linewidth=0.9, label="equal capacity\nof balls"),
    ]
    known = layers[layers["status"] == STATUS_OK]
    with in_style(), matplotlib.rc_context({"axes.grid": False}):
        side = min(3.7, max(NARROWEST, (WIDEST - LEGEND_WIDTH) / len(models)))
        figure = new_figure(side * len(models), max(side, 0.22 * len(handles)), handles)
        axes = figure.subplots(1, len(models), sharex=True, sharey=True, squeeze=False)[0]
        frame_logarithmic(axes[0], *zip(*drawn, strict=True))
        for axis, model in zip(axes, models, strict=True):
            for curve in paths_of(layers, model):
                style = encoding.line(model, curve.checkpoint, curve.split)
                x, y = (curve.value[quantity] for quantity in ("radius", "dimension"))
                label = f"{model} {curve.checkpoint} {curve.split}"
                every: dict[str, Any] = {"markevery": []} if len(x) > MOST_MARKERS else {}
                axis.plot(
                    x, y, label=label, **style | every | {"linewidth": 1.0, "markersize": 3.0}
                )
                ends = np.flatnonzero((x > 0) & (y > 0))
                for place, marker in zip(ends[[0, -1]] if len(ends) else [], "sD", strict=False):
                    size = style | {"marker": marker, "markersize": 6, "linestyle": "none"}
                    axis.plot(x[place], y[place], **size)
            axis.set(xscale="log", yscale="log", xlabel=LABELS["radius"])
            if len(models) > 1:
                axis.set_title(model, fontweight="bold")
        axes[0].set_ylabel(LABELS["dimension"])
        margins = known["margin"].unique() if "margin" in known else [0.0]
        for axis in axes:
            plain_ticks(axis)
            if len(margins) == 1:
                _draw_equal_capacity(axis, float(margins[0]), side - BESIDE_AXES)
        add_heading(figure, layers, ("dataset", "model", "seed", "checkpoint", "split"))
    return figure


def _draw_equal_capacity(axis: Axes, margin: float, width: float) -> None:
    """Contours of the capacity of balls behind what is drawn, within the limits of axes of `width` inches."""
    limits = axis.get_xlim(), axis.get_ylim()
    radii, dimensions = (np.geomspace(*ends, 40) for ends in limits)
    dimensions = np.maximum(dimensions, 1.0)
    capacity = ball_capacity(radii[None], dimensions[:, None], margin)
    steps = np.array([1, 1.5, 2, 3, 5, 7])
    levels = np.sort(np.outer(10.0 ** np.arange(-6, 1), steps).ravel())
    levels = levels[(levels > capacity.min()) & (levels < capacity.max())]
    if len(levels) < 3:  # a narrow range: even steps
        levels = np.array(MaxNLocator(5).tick_values(capacity.min(), capacity.max()))
        levels = levels[(levels > capacity.min()) & (levels < capacity.max())]
    contours = axis.contour(
        radii, dimensions, capacity, levels, colors="#b0b0b0", linewidths=0.9, zorder=0.5
    )
    axis.set(xlim=limits[0], ylim=limits[1])
    places = _places_of_labels(axis, contours.get_paths(), _LABEL_ROOM / width)
    if places:
        axis.clabel(
            contours,
            fmt=lambda level: f"{level:g}",
            fontsize=STYLE["xtick.labelsize"],
            colors="#707070",
            manual=places,
        )


def _places_of_labels(axis: Axes, paths: Sequence[Path], room: float) -> list[tuple[float, float]]:
    """On each path the point farthest from what is drawn; none where all are within `room` of it or of the edge."""
    to_axes = axis.transScale + axis.transLimits
    drawn = np.concatenate(
        [_along_line(to_axes.transform(line.get_xydata())) for line in axis.lines]
    )
    places = []
    for path in paths:
        vertices = np.asarray(path.vertices)
        points = to_axes.transform(vertices)
        inside = ((points > room) & (points < 1 - room)).all(axis=1)
        if inside.any():
            gaps = points[inside][:, None] - drawn[None]
            clear = np.hypot(*np.moveaxis(gaps, -1, 0)).min(axis=1, initial=1.0)
            if clear.max() > room:
                x, y = vertices[inside][clear.argmax()]
                places.append((float(x), float(y)))
    return places


def _along_line(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points close to each other on a line through those of (n, 2) that are known."""
    points = points[np.isfinite(points).all(axis=1)]
    between = np.linspace(0, 1, 20)[:, None, None]
    return np.concatenate([points, *(points[:-1] + between * np.diff(points, axis=0))])


def radius_dimension_values(layers: pd.DataFrame) -> pd.DataFrame:
    """The numbers that the figure shows."""
    return tabulated(paths_of(layers), layers, ["radius", "dimension"])
