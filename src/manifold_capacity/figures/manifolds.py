"""The figure of the spread over classes, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from manifold_capacity.figures import curves, panels
from manifold_capacity.figures.style import (
    GRAY,
    LABELS,
    LITERAL,
    MODEL_COLORS,
    figure_of_table,
    legend_line,
)
from manifold_capacity.summary.rows import select_rows
from manifold_capacity.summary.text import shorten, split_title

_PER_MANIFOLD = ("capacity", "radius", "dimension")
_QUARTILES = [0.25, 0.5, 0.75]
_ACCENTS = {"highest": MODEL_COLORS[1], "lowest": MODEL_COLORS[0]}


@figure_of_table
def plot_manifolds(manifolds: pd.DataFrame) -> Figure:
    """Draw how capacity, radius and dimension are spread over the classes, along the layers.

    A thin line per class (the mean over seeds), the median and the middle half of the classes; the
    classes with the highest and the lowest capacity in the last layer are colored. Each model is
    shown at its last checkpoint, in a column per split.

    Parameters
    ----------
    manifolds : DataFrame
        The table of manifolds (``summary/manifolds.csv``); without rows, a ValueError.
    """
    last = curves.at_last_checkpoint(curves.of_classes(manifolds))
    names, columns = curves.layers_of_models(last), curves.models_and_splits(last)
    extreme = _extreme_classes(last)
    colors = dict(zip(extreme, _ACCENTS.values(), strict=False))
    handles: list[Artist] = [
        legend_line("median of the classes", color="black"),
        Patch(color=GRAY, alpha=0.3, linewidth=0, label="middle half"),
        legend_line("one class", linewidth=0.5),
    ]
    for (index, color), rank in zip(colors.items(), _ACCENTS, strict=False):
        name = shorten(extreme[index], panels.LONGEST_LABEL)
        label = f"class {name}:\n{rank} capacity\nin the last layer"
        handles.append(legend_line(label, color=color))
    widths = panels.panel_widths([names[model] for model, _ in columns], 3.4)
    figure = panels.new_figure(sum(widths), 6.8, handles)
    shape = len(_PER_MANIFOLD), len(columns)
    axes = figure.subplots(*shape, sharex="col", sharey="row", squeeze=False, width_ratios=widths)
    for column, (model, split) in enumerate(columns):
        mine = select_rows(last, model=model, split=split)
        for quantity, axis in zip(_PER_MANIFOLD, axes[:, column], strict=True):
            _draw_classes(axis, _class_table(mine, quantity, names[model]), colors)
            if column == 0:
                axis.set_ylabel(LABELS[quantity])
        (checkpoint,) = curves.checkpoints_of(mine).values()
        of_model = f"{model}, {checkpoint}\n" if len(names) > 1 else ""
        axes[0, column].set_title(of_model + split_title(split), fontweight="bold", **LITERAL)
        axes[-1, column].set_xlim(-0.5, len(names[model]) - 0.5)
        length = widths[column] - panels.BESIDE_AXES
        panels.label_layers(axes[-1, column], "x", names[model], length)
    figure.align_ylabels(axes[:, 0])
    panels.add_heading(figure, last, ("dataset", "model", "seed", "checkpoint"))
    return figure


def manifolds_values(manifolds: pd.DataFrame) -> pd.DataFrame:
    last = curves.at_last_checkpoint(curves.of_classes(manifolds))
    extreme, names = _extreme_classes(last), curves.layers_of_models(last)
    indices = [*extreme]
    parts = []
    for model, split in curves.models_and_splits(last):
        mine = select_rows(last, model=model, split=split)
        about = {"model": model, "checkpoint": mine["checkpoint"].iloc[0], "split": split}
        for quantity in _PER_MANIFOLD:
            table = _class_table(mine, quantity, names[model])
            part = {**about, "layer": names[model], "quantity": quantity}
            quartiles = table.quantile(_QUARTILES).to_numpy()
            part |= zip(("lower_quartile", "median", "upper_quartile"), quartiles, strict=True)
            # A single class is both.
            for rank, index in zip(_ACCENTS, (indices[0], indices[-1]), strict=True):
                part[f"{rank}_class"] = extreme[index]
                part[f"{rank}_value"] = table.reindex([index]).to_numpy()[0]
            parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)


def _class_table(frame: pd.DataFrame, quantity: str, names: Sequence[str]) -> pd.DataFrame:
    """Mean over seeds, a row per class and a column per layer."""
    table = frame.pivot_table(index="class_index", columns="layer", values=quantity, observed=True)
    return table.reindex(columns=[*names])


def _extreme_classes(manifolds: pd.DataFrame) -> dict[Any, str]:
    """Index and name of the classes of highest and lowest capacity in the last layer, over all that is shown."""
    last = manifolds.groupby(["model", "split"], observed=True)["layer_index"].transform("max")
    capacity = manifolds[manifolds["layer_index"] == last].groupby("class_index")["capacity"].mean()
    names = manifolds.drop_duplicates("class_index").set_index("class_index")["class_name"]
    extreme: list[Any] = [capacity.idxmax(), capacity.idxmin()]
    return {index: str(names[index]) for index in extreme}


def _draw_classes(axis: Axes, table: pd.DataFrame, colors: dict[Any, str]) -> None:
    """Lines of one quantity: `table` has a row per class and a column per layer."""
    values = table.to_numpy(dtype=float)
    x = np.arange(values.shape[1], dtype=float)
    marker = "o" if values.shape[1] == 1 else ""
    faint = min(1.0, 0.15 + 6 / len(values))
    axis.plot(x, values.T, color=GRAY, linewidth=0.5, alpha=faint, marker=marker, markersize=2)
    low, middle, high = table.quantile(_QUARTILES).to_numpy()
    axis.fill_between(x, low, high, color=GRAY, alpha=0.3, linewidth=0)
    for index, color in colors.items():
        if index in table.index:
            line = table.loc[index].to_numpy(dtype=float)
            axis.plot(x, line, color=color, linewidth=1.1, marker=marker)
    axis.plot(x, middle, color="black", marker=marker)
