"""The figure of the spectrum of the centers."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from manifold_capacity.figures.curves import (
    checkpoints_of,
    layers_of,
    of_classes,
    refuse_empty,
    select_rows,
    splits_of,
)
from manifold_capacity.figures.panels import TALLEST, add_heading, layer_bar, new_figure
from manifold_capacity.figures.radius_dimension import SMALLEST_SHARE
from manifold_capacity.figures.style import CHECKPOINT_COLORS, GRAY, in_style


def plot_centers(centers: pd.DataFrame) -> Figure:
    """Draw the spectrum of each layer's centers, and how many directions were taken out of them.

    A line for each layer, light to dark along the network: the share of the centers' variance in
    each principal component, the mean over seeds. A dot at component K says that K directions were
    taken out: fitted ones, not these components. A row for each model, its first and its last
    checkpoint side by side; the training split where it was measured.

    Parameters
    ----------
    centers : DataFrame
        As `summary.collect_centers` returns it, with at least one row.

    Raises
    ------
    ValueError
        If the table has no rows.
    """
    refuse_empty(centers, "centers")
    values = centers_values(centers)
    panels: dict[str, list[str]] = {
        model: [*dict.fromkeys(select_rows(values, model=model)["checkpoint"])]
        for model in dict.fromkeys(values["model"])
    }
    titles = checkpoints_of(centers)
    n_columns = max(map(len, panels.values()))
    handles = [
        Line2D([], [], color=GRAY, label="one layer"),
        Line2D(
            [],
            [],
            color=GRAY,
            linestyle="none",
            marker="o",
            label="K, the number of\ndirections taken out",
        ),
    ]
    with in_style():
        height = min(3.2, TALLEST / len(panels))
        figure = new_figure(3.2 * n_columns + 1.3, height * len(panels), handles)
        axes = figure.subplots(len(panels), n_columns, sharex=True, sharey=True, squeeze=False)
        for row, (model, checkpoints) in enumerate(panels.items()):
            names = layers_of(centers, model)
            colors = CHECKPOINT_COLORS(np.linspace(0, 1, len(names)))
            for axis in axes[row, len(checkpoints) :]:
                axis.set_visible(False)
            for axis, checkpoint in zip(axes[row], checkpoints, strict=False):
                mine = select_rows(values, model=model, checkpoint=checkpoint)
                for name, color in zip(names, colors, strict=True):
                    line = select_rows(mine, layer=name)
                    line = line[line["variance_share"] > SMALLEST_SHARE]
                    if line.empty:
                        continue
                    alone = "." if len(line) == 1 else ""
                    axis.plot(
                        line["component"],
                        line["variance_share"],
                        color=color,
                        linewidth=1.0,
                        marker=alone,
                    )
                    at = line["component"] == round(line["center_rank"].iloc[0])
                    axis.plot(line["component"][at], line["variance_share"][at], "o", color=color)
                title = titles[checkpoint]
                axis.set_title(f"{model}, {title}" if len(panels) > 1 else title, fontweight="bold")
                axis.set(xscale="log", yscale="log")
            axes[row, 0].set_ylabel("Share of the centers' variance")
            layer_bar(figure, list(axes[row]), names, height - 0.6)
        most = int(values["component"].max())
        ticks = [step * 10**power for power in range(len(str(most))) for step in (1, 2, 5)]
        for axis in axes[-1]:
            axis.set_xlabel("Principal component of the centers")
            axis.set_xticks([tick for tick in ticks if tick <= most])
            axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.xaxis.set_minor_locator(NullLocator())
        add_heading(
            figure,
            centers.assign(split=values["split"].iloc[0]),
            ("dataset", "model", "seed", "split"),
        )
    return figure


def centers_values(centers: pd.DataFrame) -> pd.DataFrame:
    """First and last checkpoint of each model, the mean over seeds."""
    keys = ["model", "checkpoint", "split", "layer", "component"]
    classes = of_classes(centers)
    parts = []
    for model in dict.fromkeys(classes["model"]):
        checkpoints = [*checkpoints_of(classes, model)]
        for checkpoint in dict.fromkeys([checkpoints[0], checkpoints[-1]]):
            mine = select_rows(classes, model=model, checkpoint=checkpoint)
            mine = select_rows(mine, split=splits_of(mine)[0]).sort_values(
                ["layer_index", "component"], kind="stable"
            )
            numbers = mine.groupby(keys, sort=False)[["variance_share", "center_rank"]].mean()
            parts.append(numbers.reset_index())
    return pd.concat(parts, ignore_index=True)
