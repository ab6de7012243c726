"""The figure of the spectrum of the centers."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from manifold_capacity.figures import curves, style
from manifold_capacity.figures.panels import (
    TALLEST,
    add_heading,
    add_layer_bar,
    layer_colors,
    new_figure,
)
from manifold_capacity.summary.rows import select_rows

_SMALLEST_SHARE = 1e-6  # of the centers' variance that is drawn


@style.figure_of_table
def plot_centers(centers: pd.DataFrame) -> Figure:
    """Draw the spectrum of each layer's centers, and how many directions were projected out.

    A line for each layer, light to dark along the network: the share of the centers' variance in
    each principal component, the mean over seeds. A dot at component K means that K directions were
    projected out: fitted ones, not these components. A row for each model, its first and its last
    checkpoint side by side; the training split if it was measured.

    Parameters
    ----------
    centers : DataFrame
        The table of centers (``summary/centers.csv``); without rows, a ValueError.
    """
    values = centers_values(centers)
    names, titles = curves.layers_of_models(centers), curves.checkpoints_of(centers)
    panels = {model: select_rows(values, model=model)["checkpoint"].unique() for model in names}
    n_columns = max(map(len, panels.values()))
    dot = style.legend_mark("K, the number of\ndirections projected out", "o")
    height = min(3.2, TALLEST / len(panels))
    size = 3.2 * n_columns + 1.3, height * len(panels)
    figure = new_figure(*size, [style.legend_line("one layer"), dot])
    axes = figure.subplots(len(panels), n_columns, sharex=True, sharey=True, squeeze=False)
    for row, (model, checkpoints) in enumerate(panels.items()):
        for axis in axes[row, len(checkpoints) :]:
            axis.set_visible(False)
        for axis, checkpoint in zip(axes[row], checkpoints, strict=False):
            mine = select_rows(values, model=model, checkpoint=checkpoint)
            _draw_spectra(axis, mine, names[model])
            title = titles[checkpoint]
            title = f"{model}, {title}" if len(panels) > 1 else title
            axis.set_title(title, fontweight="bold", **style.LITERAL)
            axis.set(xscale="log", yscale="log")
        axes[row, 0].set_ylabel("Share of the centers' variance")
        add_layer_bar(figure, axes[row], names[model], height - 0.6)
    most = int(values["component"].max())
    ticks = [step * 10**power for power in range(len(str(most))) for step in (1, 2, 5)]
    for axis in axes[-1]:
        axis.set_xlabel("Principal component of the centers")
        axis.set_xticks([tick for tick in ticks if tick <= most])
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.xaxis.set_minor_locator(NullLocator())
    headed = centers.assign(split=values["split"].iloc[0])
    add_heading(figure, headed, ("dataset", "model", "seed", "split"))
    return figure


def centers_values(centers: pd.DataFrame) -> pd.DataFrame:
    """First and last checkpoint of each model, the mean over seeds."""
    keys = ["model", "checkpoint", "split", "layer", "component"]
    classes = curves.of_classes(centers)
    parts = []
    for model in classes["model"].unique():
        checkpoints = [*curves.checkpoints_of(classes, model)]
        for checkpoint in dict.fromkeys([checkpoints[0], checkpoints[-1]]):
            mine = select_rows(classes, model=model, checkpoint=checkpoint)
            mine = select_rows(mine, split=curves.splits_of(mine)[0])
            mine = mine.sort_values(["layer_index", "component"], kind="stable")
            numbers = mine.groupby(keys, sort=False)[["variance_share", "center_rank"]].mean()
            parts.append(numbers.reset_index())
    return pd.concat(parts, ignore_index=True)


def _draw_spectra(axis: Axes, values: pd.DataFrame, names: Sequence[str]) -> None:
    values = values[values["variance_share"] > _SMALLEST_SHARE]
    for name, color in zip(names, layer_colors(len(names)), strict=True):
        line = select_rows(values, layer=name)
        if line.empty:
            continue
        component, share = line["component"], line["variance_share"]
        marker = "." if len(line) == 1 else ""
        axis.plot(component, share, color=color, linewidth=1.0, marker=marker)
        at = component == round(line["center_rank"].iloc[0])
        axis.plot(component[at], share[at], "o", color=color)
