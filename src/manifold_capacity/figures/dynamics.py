"""The figure of the geometry over training."""

from __future__ import annotations

import math

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from manifold_capacity.figures.curves import (
    checkpoints_of,
    layers_of,
    models_and_splits,
    of_classes,
    paths_of,
    refuse_empty,
    select_rows,
    tabulated,
)
from manifold_capacity.figures.panels import (
    TALLEST,
    UPRIGHT_PITCH,
    WIDEST,
    add_heading,
    draw_map,
    label_epochs,
    label_layers,
    new_figure,
)
from manifold_capacity.figures.style import LABELS, in_style
from manifold_capacity.summary.text import split_title


def plot_dynamics(layers: pd.DataFrame) -> Figure:
    """Draw capacity, radius, dimension and center correlation over layers and checkpoints, as maps.

    A row of maps per model and split, layers downwards, checkpoints to the right in the order of
    training and evenly spaced; a color scale per quantity. Seeds are averaged. A layer without
    geometry is a cross.

    Parameters
    ----------
    layers : DataFrame
        As `summary.collect_layers` returns it, with at least one row; worth drawing from three
        checkpoints on.

    Raises
    ------
    ValueError
        If the table has no rows.
    """
    refuse_empty(layers, "layers")
    layers = of_classes(layers)
    runs = models_and_splits(layers)
    names = {model: layers_of(layers, model) for model, _ in runs}
    several = len(names) > 1
    checkpoints = checkpoints_of(layers)
    heights = [max(1.6, UPRIGHT_PITCH * len(names[model]) + 0.3) for model, _ in runs]
    heights = [height * min(1.0, TALLEST / sum(heights)) for height in heights]
    width = min(max(1.7, 0.2 * len(checkpoints)), (WIDEST - 1.4) / len(LABELS))
    gap = 0.12 / sum(heights)
    with in_style(), matplotlib.rc_context({"axes.grid": False}):
        figure = new_figure(len(LABELS) * width + 1.4, sum(heights) + 1.4, [])
        axes = figure.subplots(
            len(runs), len(LABELS), sharex=True, sharey="row", squeeze=False, height_ratios=heights
        )
        for column, (quantity, label) in enumerate(LABELS.items()):
            values = layers[quantity].to_numpy(dtype=float, na_value=math.nan)
            known = values[np.isfinite(values)]
            scale = Normalize(*(known.min(), known.max()) if len(known) else (0, 1))
            for row, (model, split) in enumerate(runs):
                axis = axes[row, column]
                mine = select_rows(layers, model=model, split=split)
                image = draw_map(axis, mine, quantity, names[model], [*checkpoints], scale)
                if column == 0:
                    title = f"{model}, {split}" if several else split_title(split)
                    axis.set_ylabel(title, fontweight="bold", labelpad=8)
                    label_layers(axis, "y", names[model], heights[row] - 0.2)
            bar = figure.colorbar(
                image, ax=list(axes[:, column]), location="top", aspect=16, pad=gap
            )
            bar.set_label(label)
            bar.locator = MaxNLocator(4)
            bar.outline.set(visible=False)
            label_epochs(axes[-1, column], layers, checkpoints, width)
        add_heading(figure, layers, ("dataset", "model", "seed"))
    return figure


def dynamics_values(layers: pd.DataFrame) -> pd.DataFrame:
    """The numbers that the figure shows."""
    return tabulated(paths_of(layers), layers, [*LABELS]).drop(columns="spread")
