"""The figure of the geometry over training."""

from __future__ import annotations

import math
from typing import Any

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from manifold_capacity.figures import curves, panels
from manifold_capacity.figures.style import GRAY, LABELS, LITERAL, figure_of_table
from manifold_capacity.summary.rows import STATUS_OK, select_rows
from manifold_capacity.summary.text import split_title


@figure_of_table
def plot_dynamics(layers: pd.DataFrame) -> Figure:
    """Draw capacity, radius, dimension and center correlation over layers and checkpoints, as maps.

    A row of maps per model and split, layers downwards, checkpoints to the right in the order of
    training and evenly spaced; a color scale per quantity. Seeds are averaged. A layer without
    geometry is a cross.

    Parameters
    ----------
    layers : DataFrame
        The table of layers (``summary/layers.csv``), best with three checkpoints or more; without
        rows, a ValueError.
    """
    layers = curves.of_classes(layers)
    runs = curves.models_and_splits(layers)
    names = curves.layers_of_models(layers)
    checkpoints = [*curves.checkpoints_of(layers)]
    epochs = layers.drop_duplicates("checkpoint").set_index("checkpoint")["epoch"]
    epoch_labels = [c if pd.isna(epochs[c]) else f"{epochs[c]:.0f}" for c in checkpoints]
    heights = [max(1.6, panels.UPRIGHT_PITCH * len(names[model]) + 0.3) for model, _ in runs]
    heights = [height * min(1.0, panels.TALLEST / sum(heights)) for height in heights]
    width = min(max(1.7, 0.2 * len(checkpoints)), (panels.WIDEST - 1.4) / len(LABELS))
    with matplotlib.rc_context({"axes.grid": False}):
        figure = panels.new_figure(len(LABELS) * width + 1.4, sum(heights) + 1.4, [])
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
            cells = {"index": names[model], "columns": checkpoints}
            image = _draw_map(axis, mine, quantity, cells, scale)
            if column == 0:
                title = f"{model}, {split}" if len(names) > 1 else split_title(split)
                axis.set_ylabel(title, fontweight="bold", labelpad=8, **LITERAL)
                panels.label_layers(axis, "y", names[model], heights[row] - 0.2)
        pad, above = 0.12 / sum(heights), [*axes[:, column]]
        bar = figure.colorbar(image, ax=above, location="top", aspect=16, pad=pad)
        bar.set_label(label)
        bar.locator = MaxNLocator(4)
        bar.outline.set(visible=False)
        axes[-1, column].set_xlabel("Epoch")
        panels.label_evenly(axes[-1, column], "x", epoch_labels, width - 0.2, offset=0.5)
    panels.add_heading(figure, layers, ("dataset", "model", "seed"))
    return figure


def dynamics_values(layers: pd.DataFrame) -> pd.DataFrame:
    return curves.tabulate(curves.class_curves(layers)).drop(
        columns=["low", "high", "interval_over"]
    )


def _draw_map(
    axis: Axes, frame: pd.DataFrame, quantity: str, cells: dict[str, Any], scale: Normalize
) -> ScalarMappable:
    def arranged(column: pd.Series) -> np.ndarray:
        means = column.astype(float).groupby([frame["layer"], frame["checkpoint"]]).mean()
        return means.unstack("checkpoint").reindex(**cells).to_numpy()

    image = axis.pcolormesh(
        arranged(frame[quantity]), cmap="viridis", norm=scale, edgecolors="white", linewidth=0.5
    )
    below, right = np.nonzero(arranged(frame["status"] == STATUS_OK) == 0)  # dead with every seed
    axis.plot(right + 0.5, below + 0.5, "x", color=GRAY, markersize=4.5)
    axis.set(xlim=(0, len(cells["columns"])), ylim=(len(cells["index"]), 0))
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return image
