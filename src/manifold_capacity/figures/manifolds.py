"""The figure of the spread over classes, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from manifold_capacity.figures.curves import (
    at_last_checkpoint,
    checkpoints_of,
    layers_of,
    models_and_splits,
    of_classes,
    refuse_empty,
    select_rows,
)
from manifold_capacity.figures.panels import (
    BESIDE_AXES,
    LONGEST_LABEL,
    add_heading,
    label_layers,
    new_figure,
    panel_widths,
)
from manifold_capacity.figures.style import GRAY, LABELS, MODEL_COLORS, in_style
from manifold_capacity.summary.text import shorten, split_title

_PER_MANIFOLD = ("capacity", "radius", "dimension")


def plot_manifolds(manifolds: pd.DataFrame) -> Figure:
    """Draw how capacity, radius and dimension are spread over the classes, along the layers.

    A thin line per class (the mean over seeds), the median and the middle half of the classes; the
    classes with the highest and the lowest capacity in the last layer stand out. Each model is shown
    at its last checkpoint, in a column per split.

    Parameters
    ----------
    manifolds : DataFrame
        As `summary.collect_manifolds` returns it, with at least one row.

    Raises
    ------
    ValueError
        If the table has no rows.
    """
    refuse_empty(manifolds, "manifolds")
    last = at_last_checkpoint(of_classes(manifolds))
    models = [*dict.fromkeys(last["model"])]
    names = {model: layers_of(last, model) for model in models}
    columns = models_and_splits(last)
    chosen = _extreme_classes(last)
    classes = last.drop_duplicates("class_index").set_index("class_index")["class_name"]
    accents = dict(zip(chosen, (MODEL_COLORS[1], MODEL_COLORS[0]), strict=False))
    ranks = ("highest capacity\nin the last layer", "lowest capacity\nin the last layer")
    handles: list[Artist] = [
        Line2D([], [], color="black", label="median of the classes"),
        Patch(color=GRAY, alpha=0.3, linewidth=0, label="middle half"),
        Line2D([], [], color=GRAY, linewidth=0.5, label="one class"),
        *(
            Line2D(
                [],
                [],
                color=color,
                label=f"class {shorten(str(classes[index]), LONGEST_LABEL)}:\n{rank}",
            )
            for (index, color), rank in zip(accents.items(), ranks, strict=False)
        ),
    ]
    with in_style():
        widths = panel_widths([names[model] for model, _ in columns], 3.4)
        figure = new_figure(sum(widths), 6.8, handles)
        axes = figure.subplots(
            len(_PER_MANIFOLD),
            len(columns),
            sharex="col",
            sharey="row",
            squeeze=False,
            width_ratios=widths,
        )
        for column, (model, split) in enumerate(columns):
            mine = select_rows(last, model=model, split=split)
            for quantity, axis in zip(_PER_MANIFOLD, axes[:, column], strict=True):
                table = _class_table(mine, quantity, names[model])
                _draw_classes(axis, table, accents)
                if column == 0:
                    axis.set_ylabel(LABELS[quantity])
            (checkpoint,) = checkpoints_of(mine).values()
            title = split_title(split)
            if len(models) > 1:
                title = f"{model}, {checkpoint}\n{title}"
            axes[0, column].set_title(title, fontweight="bold")
            axes[-1, column].set_xlim(-0.5, len(names[model]) - 0.5)
            label_layers(axes[-1, column], "x", names[model], widths[column] - BESIDE_AXES)
        figure.align_ylabels(axes[:, 0])
        add_heading(figure, last, ("dataset", "model", "seed", "checkpoint"))
    return figure


def _class_table(frame: pd.DataFrame, quantity: str, names: Sequence[str]) -> pd.DataFrame:
    """Mean over seeds, a row per class and a column per layer."""
    table = frame.pivot_table(index="class_index", columns="layer", values=quantity, observed=True)
    return table.reindex(columns=[*names])


def manifolds_values(manifolds: pd.DataFrame) -> pd.DataFrame:
    last = at_last_checkpoint(of_classes(manifolds))
    chosen = _extreme_classes(last)
    classes = last.drop_duplicates("class_index").set_index("class_index")["class_name"]
    parts = []
    for model, split in models_and_splits(last):
        mine = select_rows(last, model=model, split=split)
        for quantity in _PER_MANIFOLD:
            names = layers_of(last, model)
            table = _class_table(mine, quantity, names)
            low, middle, high = table.quantile([0.25, 0.5, 0.75]).to_numpy()
            part = {
                "model": model,
                "checkpoint": mine["checkpoint"].iloc[0],
                "split": split,
                "layer": names,
                "quantity": quantity,
                "lower_quartile": low,
                "median": middle,
                "upper_quartile": high,
            }
            # A single class is both.
            for rank, index in zip(("highest", "lowest"), [*chosen, chosen[0]], strict=False):
                part[f"{rank}_class"] = classes[index]
                part[f"{rank}_value"] = table.reindex([index]).to_numpy()[0]
            parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)


def _extreme_classes(manifolds: pd.DataFrame) -> list[Any]:
    """The classes of the highest and the lowest capacity in the last layer, over all that is shown."""
    last = manifolds.groupby(["model", "split"], observed=True)["layer_index"].transform("max")
    capacity = manifolds[manifolds["layer_index"] == last].groupby("class_index")["capacity"].mean()
    return [*dict.fromkeys([capacity.idxmax(), capacity.idxmin()])]


def _draw_classes(axis: Axes, table: pd.DataFrame, accents: dict[Any, str]) -> None:
    """Lines of one quantity: `table` has a row per class and a column per layer."""
    values = table.to_numpy(dtype=float)
    x = np.arange(values.shape[1], dtype=float)
    single = "o" if values.shape[1] == 1 else ""
    faint = min(1.0, 0.15 + 6 / len(values))
    axis.plot(x, values.T, color=GRAY, linewidth=0.5, alpha=faint, marker=single, markersize=2)
    low, middle, high = table.quantile([0.25, 0.5, 0.75]).to_numpy()
    axis.fill_between(x, low, high, color=GRAY, alpha=0.3, linewidth=0)
    for index, color in accents.items():
        if index in table.index:
            line = table.loc[index].to_numpy(dtype=float)
            axis.plot(x, line, color=color, linewidth=1.1, marker=single)
    axis.plot(x, middle, color="black", marker=single)
