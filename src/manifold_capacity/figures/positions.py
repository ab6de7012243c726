"""The figure of the capacity at each position of a layer: over space, or over time or tokens."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from manifold_capacity.errors import UserError
from manifold_capacity.figures import curves, panels, style
from manifold_capacity.summary.rows import select_rows
from manifold_capacity.summary.text import layer_title, split_title

_KEYS = ["model", "layer", "split", "checkpoint"]
_MOST_COLUMNS = 3
_LONGEST_MAP = 4  # times as long as wide; a longer one is compressed
_SIDE = 2.1  # inches of a panel


@style.figure_of_table
def plot_positions(layers: pd.DataFrame) -> Figure:
    """Draw the capacity at each position, of every layer with the view ``positions``.

    A panel per layer and split, at each model's first and last checkpoint: a map over rows and columns of an image,
    or curves over tokens or timesteps, with 95 % intervals. A position without geometry is a cross.

    Parameters
    ----------
    layers : DataFrame
        The table of layers (``summary/layers.csv``); without single positions, a ValueError.
    """
    values = positions_values(layers)
    titles = curves.checkpoints_of(layers)
    parts = [(dict(zip(_KEYS, keys, strict=False)), rows) for keys, rows in _panels(values)]
    n_columns = min(_MOST_COLUMNS, len(parts))
    n_rows = math.ceil(len(parts) / n_columns)
    has_maps = any("," in position for position in values["position"])
    has_curves = any("," not in position for position in values["position"])
    shown = [*values["checkpoint"].unique()] if has_curves else []
    colors = {
        name: style.CHECKPOINT_COLORS(i / max(1, len(shown) - 1)) for i, name in enumerate(shown)
    }
    handles = [
        style.legend_line(titles[name], color=color, marker="o") for name, color in colors.items()
    ]
    figure = panels.new_figure(
        _SIDE * n_columns + 1.2, (_SIDE + 0.5) * n_rows + 0.5, handles if len(handles) > 1 else []
    )
    axes = figure.subplots(n_rows, n_columns, squeeze=False)
    scale = Normalize(values["value"].min(), values["value"].max())
    for axis, (keys, rows) in zip(axes.flat, parts, strict=False):
        if "," in rows["position"].iloc[0]:
            _draw_map(axis, rows, scale)
        else:
            _draw_curves(axis, rows, colors)
        several = {name for name in ("model", "split") if values[name].nunique() > 1}
        title = [layer_title(keys["layer"])]
        title += [", ".join(_word(name, keys[name]) for name in _KEYS[:3] if name in several)]
        if "checkpoint" in keys and values["checkpoint"].nunique() > 1:
            title.append(titles[keys["checkpoint"]])
        text = "\n".join(filter(None, title))
        axis.set_title(text, fontweight="bold", **style.LITERAL)
    for axis in axes.flat[len(parts) :]:
        axis.remove()
    if has_maps:
        image = ScalarMappable(scale, "viridis")
        shown_axes = [*axes.flat][: len(parts)]
        figure.colorbar(image, ax=shown_axes, label=style.LABELS["capacity"], shrink=0.8, aspect=24)
    shown_rows = layers[layers["position"].fillna("") != ""]
    over = " or ".join(filter(None, values["interval_over"].unique()))
    band = f"95 % interval over {over}" if has_curves and over else ""
    panels.add_heading(figure, curves.of_labels(shown_rows), band=band)
    return figure


def positions_values(layers: pd.DataFrame) -> pd.DataFrame:
    """Capacity and interval at each position, at the first and last checkpoint: those of the figure along the layers."""
    single = (
        layers[layers["position"].fillna("").astype(str) != ""] if "position" in layers else None
    )
    if single is None or single.empty:
        raise UserError(
            "the table has no single positions; measure layers with the view `positions` (layers.views)"
        )
    single = curves.of_labels(single)
    parts = []
    for model in single["model"].unique():
        names = [*curves.checkpoints_of(single, model)]
        ends = dict.fromkeys([names[0], names[-1]])
        parts += [select_rows(single, model=model, checkpoint=name) for name in ends]
    both = pd.concat(parts)
    both = both.assign(
        layer=both["layer"].map(lambda label: re.sub(r"_position(_\d+)+$", "", label)),
        position=both["position"].astype(str),
    )
    # As along the layers: the interval is over seeds from three on.
    parts = [
        _tabulate(dict(zip(_KEYS, keys, strict=True)), rows)
        for keys, rows in both.groupby(_KEYS, sort=False)
    ]
    return pd.concat(parts, ignore_index=True)


def _tabulate(keys: Mapping[str, Any], rows: pd.DataFrame) -> pd.DataFrame:
    positions, quantity = [*rows["position"].unique()], "capacity"
    *numbers, over = curves.mean_and_interval(rows, "position", positions, [quantity])
    value, low, high = (each[quantity] for each in numbers)
    shown = {"position": positions, "quantity": quantity, "value": value, "low": low, "high": high}
    n_seeds = rows["seed"].nunique()
    return pd.DataFrame({**keys, **shown, "interval_over": over, "n_seeds": n_seeds})


def _panels(values: pd.DataFrame) -> list[tuple[tuple[Any, ...], pd.DataFrame]]:
    """What each panel shows: of maps one checkpoint, of curves both."""
    found = []
    for keys, rows in values.groupby(_KEYS[:3], sort=False):
        if "," in rows["position"].iloc[0]:
            found += [
                ((*keys, name), each) for name, each in rows.groupby("checkpoint", sort=False)
            ]
        else:
            found.append((keys, rows))
    return found


def _draw_map(axis: Axes, rows: pd.DataFrame, scale: Normalize) -> None:
    places = np.array([[*map(int, text.split(","))][-2:] for text in rows["position"]])
    down, right = (np.unique(column) for column in places.T)
    image = np.full((len(down), len(right)), np.nan)
    where = np.searchsorted(down, places[:, 0]), np.searchsorted(right, places[:, 1])
    image[where] = rows["value"]
    axis.pcolormesh(image, cmap="viridis", norm=scale, edgecolors="white", linewidth=0.4)
    dead = np.nonzero(np.isnan(image))
    axis.plot(dead[1] + 0.5, dead[0] + 0.5, "x", color=style.GRAY, markersize=4)
    shape = sorted((len(down), len(right)))
    aspect = "equal" if shape[1] <= _LONGEST_MAP * shape[0] else "auto"
    axis.set(
        xlim=(0, len(right)), ylim=(len(down), 0), aspect=aspect, xlabel="Column", ylabel="Row"
    )
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    for ticks, names in ((axis.xaxis, right), (axis.yaxis, down)):
        step = math.ceil(len(names) / 6)
        ticks.set_ticks(np.arange(0, len(names), step) + 0.5, labels=names[::step])


def _draw_curves(axis: Axes, rows: pd.DataFrame, colors: Mapping[str, Any]) -> None:
    for name, each in rows.groupby("checkpoint", sort=False):
        at = each["position"].astype(int).to_numpy()
        marker = "o" if len(at) <= panels.MOST_MARKERS else ""
        axis.plot(at, each["value"], color=colors[str(name)], marker=marker)
        axis.fill_between(
            at, each["low"], each["high"], color=colors[str(name)], alpha=0.15, linewidth=0
        )
    axis.set(xlabel="Position", ylabel=style.LABELS["capacity"], ylim=(0, None))
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _word(name: str, value: str) -> str:
    return split_title(value) if name == "split" else value
