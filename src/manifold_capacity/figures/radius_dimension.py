"""The figure of radius against dimension, with lines of equal capacity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from manifold_capacity.figures import curves, panels, style
from manifold_capacity.figures.style import LABELS, LITERAL, figure_of_table
from manifold_capacity.geometry.balls import ball_capacity
from manifold_capacity.summary.rows import STATUS_OK

_LABEL_ROOM = 0.16  # inches around the middle of the label of a line of equal capacity
_CONTOUR_COLOR = "#b0b0b0"


@figure_of_table
def plot_radius_dimension(layers: pd.DataFrame) -> Figure:
    """Draw each layer's radius against its dimension, the layers of a network as a path.

    Gray lines are the radii and dimensions at which balls have the same capacity (`balls`). A panel
    for each model; color and line as in `plot_layers`.

    Parameters
    ----------
    layers : DataFrame
        The table of layers (``summary/layers.csv``); without rows, a ValueError.
    """
    layers = curves.of_classes(layers)
    models = [*layers["model"].unique()]
    lines = curves.class_curves(layers)
    encoding = curves.encode_table(layers, overlaid=False)
    handles = [
        *encoding.samples,
        style.legend_mark("first layer", "s"),
        style.legend_mark("last layer", "D"),
        style.legend_line("equal capacity\nof balls", color=_CONTOUR_COLOR, linewidth=0.9),
    ]
    known = layers[layers["status"] == STATUS_OK]
    side = min(3.7, max(panels.NARROWEST, (panels.WIDEST - panels.LEGEND_WIDTH) / len(models)))
    with matplotlib.rc_context({"axes.grid": False}):
        figure = panels.new_figure(side * len(models), max(side, 0.22 * len(handles)), handles)
        axes = figure.subplots(1, len(models), sharex=True, sharey=True, squeeze=False)[0]
    axes[0].set_xlim(*_limits([line.value["radius"] for line in lines]))
    axes[0].set_ylim(*_limits([line.value["dimension"] for line in lines]))
    for axis, model in zip(axes, models, strict=True):
        for line in lines:
            if line.model == model:
                _draw_path(axis, line, encoding)
        axis.set(xscale="log", yscale="log", xlabel=LABELS["radius"])
        if len(models) > 1:
            axis.set_title(model, fontweight="bold", **LITERAL)
    axes[0].set_ylabel(LABELS["dimension"])
    margins = known["margin"].unique() if "margin" in known else [0.0]
    for axis in axes:
        panels.plain_ticks(axis.xaxis)
        panels.plain_ticks(axis.yaxis)
        if len(margins) == 1:
            _draw_equal_capacity(axis, float(margins[0]), side - panels.BESIDE_AXES)
    panels.add_heading(figure, layers)
    return figure


def radius_dimension_values(layers: pd.DataFrame) -> pd.DataFrame:
    return curves.tabulate(curves.class_curves(layers), ["radius", "dimension"])


def _limits(values: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """Limits of a logarithmic axis around all values, at least a factor of 1.5 apart."""
    found = np.concatenate(values)
    known = found[np.isfinite(found) & (found > 0)]
    low, high = (known.min(), known.max()) if len(known) else (1.0, 1.0)
    room = max((high / low) ** 0.08, (1.5 * low / high) ** 0.5)
    return low / room, high * room


def _draw_path(axis: Axes, curve: curves.Curve, encoding: curves.Encoding) -> None:
    look = encoding.style(curve)
    x, y = curve.value["radius"], curve.value["dimension"]
    label = f"{curve.model} {curve.checkpoint} {curve.split}"
    every: dict[str, Any] = {"markevery": []} if len(x) > panels.MOST_MARKERS else {}
    axis.plot(x, y, label=label, **look | every | {"linewidth": 1.0, "markersize": 3.0})
    ends = np.flatnonzero((x > 0) & (y > 0))
    for place, marker in zip(ends[[0, -1]] if len(ends) else [], "sD", strict=False):
        end = {"marker": marker, "markersize": 6, "linestyle": "none"}
        axis.plot(x[place], y[place], **look | end)


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
        radii, dimensions, capacity, levels, colors=_CONTOUR_COLOR, linewidths=0.9, zorder=0.5
    )
    axis.set(xlim=limits[0], ylim=limits[1])
    places = _places_of_labels(axis, contours.get_paths(), _LABEL_ROOM / width)
    if places:
        looks = {"fontsize": style.STYLE["xtick.labelsize"], "colors": "#707070"}
        axis.clabel(contours, fmt=lambda level: f"{level:g}", manual=places, **looks)


def _places_of_labels(axis: Axes, paths: Sequence[Path], room: float) -> list[tuple[float, float]]:
    """On each path the point farthest from what is drawn; none where all are within `room` of it or of the edge."""
    to_axes = axis.transScale + axis.transLimits
    lines = [to_axes.transform(line.get_xydata()) for line in axis.lines]
    drawn = np.concatenate([*map(_along_line, lines)])
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
