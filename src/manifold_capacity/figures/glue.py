"""The figure of the exact capacity and its geometry along the layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from manifold_capacity.errors import UserError
from manifold_capacity.figures import curves, panels, style
from manifold_capacity.figures.layers import plot_along

LABELS = {
    "glue_capacity": "Exact\ncapacity $\\alpha$",
    "glue_radius": "GLUE\nradius $R$",
    "glue_dimension": "GLUE\ndimension $D$",
    "glue_utility": r"Utility $\psi$",
    "glue_center_alignment": "Center\nalignment",
    "glue_axis_alignment": "Axis\nalignment",
    "glue_center_axis_alignment": "Center-axis\nalignment",
    "glue_separable_fraction": "Separable\nlabels",
}
# Drawn beside the exact capacity.
_BESIDE: dict[str, tuple[str, dict[str, Any]]] = {
    "capacity": ("mean-field capacity", {"linewidth": 0.9, "alpha": 0.75, "marker": ""}),
    "simulated_capacity": (
        "simulated capacity",
        {"linestyle": "none", "marker": "D", "markerfacecolor": "white", "markersize": 4.5},
    ),
}
# Where fewer labels can be separated in the layer itself, capacity is that of its directions, whatever the geometry.
_SEPARABLE = 0.5


@style.figure_of_table
def plot_glue(layers: pd.DataFrame) -> Figure:
    """Draw the exact capacity and its geometry along the layers: at the last checkpoint, and before training.

    Beside the exact capacity are the mean-field capacity, a thin line, and the simulated one, if it was measured.
    A layer in which fewer than half of the labels can be separated is a gap. Color and line as in `plot_layers`.

    Parameters
    ----------
    layers : DataFrame
        The table of layers (``summary/layers.csv``), with the columns of the exact capacity; without them or without
        rows, a ValueError.
    """
    shown = _shown(layers)
    groups = curves.models_with_the_same_layers(shown)
    lines = [*_curves(shown, curves.layers_in_groups(groups))]
    encoding = curves.encode_table(shown, overlaid=any(len(models) > 1 for _, models in groups))
    samples = [
        style.legend_line(label, **look)
        for quantity, (label, look) in _BESIDE.items()
        if any(np.isfinite(line.value[quantity]).any() for line in lines)
    ]
    encoding = curves.Encoding(encoding.style, [*encoding.samples, *samples])
    return plot_along(groups, lines, encoding, shown, LABELS, _draw)


def glue_values(layers: pd.DataFrame) -> pd.DataFrame:
    shown = _shown(layers)
    lines = [*_curves(shown, curves.layers_of_models(shown))]
    beside = [q for q in _BESIDE if any(np.isfinite(line.value[q]).any() for line in lines)]
    return curves.tabulate(lines, [*LABELS, *beside])


def _shown(layers: pd.DataFrame) -> pd.DataFrame:
    """The classes at each model's last checkpoint and in the untrained network."""
    if "glue_capacity" not in layers.columns:
        raise UserError(
            "the table has no column glue_capacity; measure with `geometry.measures: [mean_field, glue]`"
        )
    classes = curves.of_classes(layers).reset_index(drop=True)
    last = curves.at_last_checkpoint(classes).index
    shown = classes[classes.index.isin(last) | (classes["epoch"] == 0)]
    shown = shown.assign(interval_over=shown["glue_interval_over"])
    capacity = [name for name in shown.columns if name.startswith("glue_capacity")]
    shown.loc[shown["glue_separable_fraction"] < _SEPARABLE, capacity] = np.nan
    return shown


def _curves(shown: pd.DataFrame, names: dict[str, list[str]]) -> Iterable[curves.Curve]:
    return curves.curves_along(shown, names, [*LABELS, *_BESIDE])


def _draw(
    axis: Axes, lines: Sequence[curves.Curve], quantity: str, encoding: curves.Encoding
) -> None:
    panels.draw_curves(axis, lines, quantity, encoding)
    if quantity == "glue_separable_fraction":
        axis.set_ylim(-0.05, 1.05)
    if quantity == "glue_capacity":
        for line in lines:
            for beside, (label, look) in _BESIDE.items():
                if np.isfinite(line.value[beside]).any():
                    name = f"{line.model} {line.checkpoint} {line.split} {label}"
                    numbers = line.position, line.value[beside]
                    many = len(line.position) > panels.MOST_MARKERS
                    smaller = {"markersize": 2.5, "markeredgewidth": 0.7} if many else {}
                    axis.plot(*numbers, label=name, **encoding.style(line) | look | smaller)
