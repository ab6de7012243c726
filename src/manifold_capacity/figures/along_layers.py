"""Panels of capacity, radius, dimension and correlation along the layers, which several figures share."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from manifold_capacity.figures.curves import (
    Curve,
    Encoding,
    Roles,
    has_spread,
)
from manifold_capacity.figures.panels import (
    BESIDE_AXES,
    MOST_LAYERS_IN_A_SQUARE,
    add_heading,
    draw_curves,
    label_layers,
    new_figure,
    panel_widths,
    spread_out,
    with_marks,
)
from manifold_capacity.figures.style import LABELS, in_style


def plot_along(
    groups: Sequence[tuple[Sequence[str], list[str]]],
    curves: Sequence[Curve],
    look: Encoding | Roles,
    headed: pd.DataFrame,
) -> Figure:
    """Draw the four quantities along the layers.

    Parameters
    ----------
    groups : sequence of (layers, models)
        A column of panels each; a single one of few layers is a square of panels.
    curves
        Of all models.
    look
        What color and line say.
    headed
        The rows whose common properties stand above the figure.
    """
    deepest = max(len(names) for names, _ in groups)
    if deepest == 1:
        curves = spread_out(curves)
    handles = with_marks(look.handles(), curves)
    with in_style():
        if len(groups) == 1 and deepest <= MOST_LAYERS_IN_A_SQUARE:
            widths = panel_widths([groups[0][0]], 3.6)
            figure = new_figure(2 * widths[0], 5.6, handles)
            axes = figure.subplots(2, 2, sharex=True, squeeze=False)
            panels = axes.reshape(1, -1)
        else:
            widths = panel_widths([names for names, _ in groups], 3.0 if len(groups) > 1 else 7.0)
            figure = new_figure(sum(widths), 8.6, handles)
            axes = figure.subplots(
                len(LABELS),
                len(groups),
                sharex="col",
                sharey="row",
                squeeze=False,
                width_ratios=widths,
            )
            panels = axes.T
        feet = axes[-1].reshape(len(groups), -1)
        for column, (names, models) in enumerate(groups):
            mine = [curve for curve in curves if curve.model in models]
            for quantity, axis in zip(LABELS, panels[column], strict=True):
                draw_curves(axis, mine, quantity, look)
                if column == 0:
                    axis.set_ylabel(LABELS[quantity])
            for axis in feet[column]:
                axis.set_xlim(-0.5, len(names) - 0.5)
                label_layers(axis, "x", names, widths[column] - BESIDE_AXES)
            if len(groups) > 1:
                panels[column][0].set_title(", ".join(models), fontweight="bold")
        figure.align_ylabels()
        add_heading(figure, headed, barred=not handles and has_spread(curves))
    return figure
