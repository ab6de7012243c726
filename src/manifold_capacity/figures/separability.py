"""The figure of how many random directions a readout must see to separate random labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from manifold_capacity.figures import curves, panels, style
from manifold_capacity.summary.rows import select_rows

_KEYS = ["model", "checkpoint", "split", "layer"]
_SURE = 0.005  # nearer to none or all of what can be separated, a curve is flat


@style.figure_of_table
def plot_separability(separability: pd.DataFrame) -> Figure:
    """Draw the probability that random labels can be separated over the number of random directions.

    A line for each layer, light to dark along the network, at each model's last checkpoint: the mean over seeds. A dot
    marks where half of the labels can be separated. A row for each model, a panel for each split.

    Parameters
    ----------
    separability : DataFrame
        The table of separability (``summary/separability.csv``); without rows, a ValueError.
    """
    values = separability_values(separability)
    names = curves.layers_of_models(curves.of_classes(separability))
    splits = {model: curves.splits_of(select_rows(values, model=model)) for model in names}
    n_columns = max(map(len, splits.values()))
    height = min(3.2, panels.TALLEST / len(names))
    width = max(3.4, 5.0 / n_columns) * n_columns + 1.3
    dot = style.legend_mark(
        "half of the labels\nare separable", "o", style.STYLE["lines.markersize"]
    )
    figure = panels.new_figure(width, height * len(names), [style.legend_line("one layer"), dot])
    axes = figure.subplots(len(names), n_columns, sharex=True, sharey=True, squeeze=False)
    least, most = _reach(values)
    if most > 8 * least:
        axes[0, 0].set_xscale("log")
    axes[0, 0].set_xlim(least, most)
    for row, model in zip(axes, names, strict=True):
        for axis in row[len(splits[model]) :]:
            axis.set_visible(False)
        for axis, split in zip(row, splits[model], strict=False):
            _draw_layers(axis, select_rows(values, model=model, split=split), names[model])
            parts = [model] if len(names) > 1 else []
            parts += [curves.split_title(split)] if n_columns > 1 else []
            axis.set_title(", ".join(parts), fontweight="bold", **style.LITERAL)
        row[0].set_ylabel("Separable labels")
        panels.add_layer_bar(figure, row, names[model], height - 0.6)
    axes[0, 0].set_ylim(-0.03, 1.03)
    for axis in axes[-1]:
        panels.plain_ticks(axis.xaxis)
        axis.set_xlabel("Random directions n that a readout sees")
    last = curves.at_last_checkpoint(curves.of_classes(separability))
    panels.add_heading(figure, last)
    return figure


def separability_values(separability: pd.DataFrame) -> pd.DataFrame:
    """The last checkpoint of each model, the mean over seeds; each seed has its own numbers of directions."""
    last = curves.at_last_checkpoint(curves.of_classes(separability))
    last = last.sort_values(["layer_index", "n_directions"], kind="stable")
    parts = []
    for keys, rows in last.groupby(_KEYS, sort=False):
        n = np.unique(rows["n_directions"])
        seeds = [
            np.interp(n, of_seed["n_directions"], of_seed["probability"])
            for _, of_seed in rows.groupby("seed")
        ]
        numbers: dict[str, Any] = {"n_directions": n, "probability": np.mean(seeds, axis=0)}
        parts.append(pd.DataFrame(dict(zip(_KEYS, keys, strict=True)) | numbers))
        parts[-1]["n_seeds"] = len(seeds)
    return pd.concat(parts, ignore_index=True)


def _draw_layers(axis: Axes, values: pd.DataFrame, names: list[str]) -> None:
    for name, color in zip(names, panels.layer_colors(len(names)), strict=True):
        line = select_rows(values, layer=name)
        if line.empty:
            continue
        n, share = line["n_directions"].to_numpy(), line["probability"].to_numpy()
        # Beyond its numbers a curve is flat, and a layer whose labels are never separable is flat throughout.
        ends = axis.get_xlim()
        reach = np.unique([*n[(ends[0] < n) & (n < ends[1])], *ends])
        axis.plot(reach, np.interp(reach, n, share), color=color, linewidth=1.0, label=name)
        if share.max() >= 0.5:
            first = int(np.argmax(share >= 0.5))
            around = slice(max(first - 1, 0), first + 1)
            middle = np.interp(0.5, share[around], n[around])
            axis.plot(middle, 0.5, "o", color=color)


def _reach(values: pd.DataFrame) -> tuple[float, float]:
    """The least and the largest number of directions at which a curve is not flat; at least 1."""
    top = values.groupby(_KEYS)["probability"].transform("max")
    rising = (values["probability"] > _SURE * top) & (values["probability"] < (1 - _SURE) * top)
    n = values.loc[rising if rising.any() else slice(None), "n_directions"]
    return max(float(n.min()), 1.0), max(float(n.max()), 2.0)
