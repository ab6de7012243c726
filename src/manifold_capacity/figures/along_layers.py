"""Panels of capacity, radius, dimension and correlation along the layers, which several figures share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from manifold_capacity.figures.curves import Curve, Encoding, has_spread
from manifold_capacity.figures.panels import (
    BESIDE_AXES,
    add_heading,
    draw_curves,
    label_layers,
    new_figure,
    panel_widths,
    with_marks,
)
from manifold_capacity.figures.style import LABELS

_MOST_LAYERS_IN_A_SQUARE = 24  # more need the page's full width


def plot_along(
    groups: Sequence[tuple[Sequence[str], list[str]]],
    curves: Sequence[Curve],
    encoding: Encoding,
    headed: pd.DataFrame,
) -> Figure:
    """Draw the four quantities along the layers.

    Parameters
    ----------
    groups : sequence of (layers, models)
        A column of panels for each; a single one of few layers is a square of panels.
    curves
        Of all models.
    encoding
        What color and line mean.
    headed
        The rows whose common properties are written above the figure.
    """
    deepest = max(len(names) for names, _ in groups)
    if deepest == 1:
        curves = _side_by_side(curves)
    handles = with_marks(encoding.samples, curves)
    if len(groups) == 1 and deepest <= _MOST_LAYERS_IN_A_SQUARE:
        widths = panel_widths([groups[0][0]], 3.6)
        figure = new_figure(2 * widths[0], 5.6, handles)
        axes = figure.subplots(2, 2, sharex=True, squeeze=False)
        panels = axes.reshape(1, -1)
    else:
        widths = panel_widths([names for names, _ in groups], 3.0 if len(groups) > 1 else 7.0)
        figure = new_figure(sum(widths), 8.6, handles)
        shape = len(LABELS), len(groups)
        axes = figure.subplots(
            *shape, sharex="col", sharey="row", squeeze=False, width_ratios=widths
        )
        panels = axes.T
    bottom_axes = axes[-1].reshape(len(groups), -1)
    for column, (names, models) in enumerate(groups):
        for quantity, axis in zip(LABELS, panels[column], strict=True):
            draw_curves(axis, [c for c in curves if c.model in models], quantity, encoding)
            if column == 0:
                axis.set_ylabel(LABELS[quantity])
        for axis in bottom_axes[column]:
            axis.set_xlim(-0.5, len(names) - 0.5)
            label_layers(axis, "x", names, widths[column] - BESIDE_AXES)
        if len(groups) > 1:
            panels[column][0].set_title(", ".join(models), fontweight="bold")
    figure.align_ylabels()
    add_heading(figure, headed, with_bars=not handles and has_spread(curves))
    return figure


def _side_by_side(curves: Sequence[Curve]) -> list[Curve]:
    """Curves of a single point each, moved apart."""
    shifts = np.linspace(-0.2, 0.2, len(curves)) if len(curves) > 1 else [0.0]
    return [
        replace(curve, position=curve.position + shift)
        for curve, shift in zip(curves, shifts, strict=True)
    ]
