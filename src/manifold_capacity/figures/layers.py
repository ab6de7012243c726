"""The figure of capacity, radius, dimension and center correlation along the layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from manifold_capacity.figures import curves, panels
from manifold_capacity.figures.style import LABELS, LITERAL, figure_of_table

_MOST_LAYERS_IN_A_SQUARE = 24  # more need the page's full width


@figure_of_table
def plot_layers(layers: pd.DataFrame) -> Figure:
    """Draw capacity, radius, dimension and center correlation along the layers.

    There is a curve for each model, checkpoint and split. Models with the same layers share their
    panels, others are side by side on common scales. A layer without geometry is a gap in the
    curve and a cross at the bottom of the panel.

    Parameters
    ----------
    layers : DataFrame
        The table of layers (``summary/layers.csv``); without rows, a ValueError.
    """
    layers = curves.of_classes(layers)
    groups = curves.models_with_the_same_layers(layers)
    encoding = curves.encode_table(layers, overlaid=any(len(models) > 1 for _, models in groups))
    lines = [*curves.curves_along(layers, curves.layers_in_groups(groups))]
    return plot_along(groups, lines, encoding, layers)


def layers_values(layers: pd.DataFrame) -> pd.DataFrame:
    return curves.tabulate(curves.class_curves(layers))


def plot_along(
    groups: curves.Groups,
    lines: Sequence[curves.Curve],
    encoding: curves.Encoding,
    headed: pd.DataFrame,
    labels: Mapping[str, str] = LABELS,
    draw: Callable[[Axes, Sequence[curves.Curve], str, curves.Encoding], None] = panels.draw_curves,
) -> Figure:
    """Draw quantities along the layers, a column of panels for each (layers, models) in `groups`.

    A single group has two panels side by side, if it has few layers or more than four quantities. What the rows
    `headed` share is written above. `labels` are the quantities and their titles; `draw` fills the panel of one.
    """
    deepest = max(len(names) for names, _ in groups)
    if deepest == 1:
        lines = _side_by_side(lines)
    handles = panels.with_marks(encoding.samples, lines)
    in_pairs = deepest <= _MOST_LAYERS_IN_A_SQUARE or len(labels) > len(LABELS)
    if len(groups) == 1 and in_pairs:
        rows = len(labels) // 2
        widths = [min(*panels.panel_widths([groups[0][0]], 3.6), panels.WIDEST / 2)]
        figure = panels.new_figure(2 * widths[0], min(2.8 * rows, panels.TALLEST), handles)
        axes = figure.subplots(rows, 2, sharex=True, squeeze=False)
        columns = axes.reshape(1, -1)
    else:
        least = 3.0 if len(groups) > 1 else 7.0
        widths = panels.panel_widths([names for names, _ in groups], least)
        height = min(2.15 * len(labels), panels.TALLEST)
        figure = panels.new_figure(sum(widths), height, handles)
        shape = len(labels), len(groups)
        axes = figure.subplots(
            *shape, sharex="col", sharey="row", squeeze=False, width_ratios=widths
        )
        columns = axes.T
    bottom_axes = axes[-1].reshape(len(groups), -1)
    for column, (names, models) in enumerate(groups):
        mine = [line for line in lines if line.model in models]
        for quantity, axis in zip(labels, columns[column], strict=True):
            draw(axis, mine, quantity, encoding)
            if column == 0:
                axis.set_ylabel(labels[quantity])
        for axis in bottom_axes[column]:
            axis.set_xlim(-0.5, len(names) - 0.5)
            panels.label_layers(axis, "x", names, widths[column] - panels.BESIDE_AXES)
        if len(groups) > 1:
            columns[column][0].set_title(", ".join(models), fontweight="bold", **LITERAL)
    figure.align_ylabels()
    panels.add_heading(figure, headed, band="" if handles else curves.interval_text(lines))
    return figure


def _side_by_side(lines: Sequence[curves.Curve]) -> list[curves.Curve]:
    """Curves of a single point each, moved apart."""
    shifts = np.linspace(-0.2, 0.2, len(lines)) if len(lines) > 1 else [0.0]
    return [replace(c, position=c.position + shift) for c, shift in zip(lines, shifts, strict=True)]
