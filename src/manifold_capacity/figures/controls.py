"""The figure of the controls: the untrained network, and shuffled labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from manifold_capacity.figures.along_layers import plot_along
from manifold_capacity.figures.curves import (
    Curve,
    Encoding,
    at_last_checkpoint,
    curves_along,
    layers_of_models,
    legend_samples,
    of_classes,
    splits_of,
    tabulate,
)
from manifold_capacity.figures.style import (
    GRAY,
    LABELS,
    MODEL_COLORS,
    figure_of_table,
    line_style,
)
from manifold_capacity.summary.rows import EXTERNAL, SHUFFLED

# Color and marker of each curve.
_LOOKS = {
    "last checkpoint": (MODEL_COLORS[0], "o"),
    "untrained": (MODEL_COLORS[5], "s"),
    "labels shuffled": (GRAY, "^"),
}


@figure_of_table
def plot_controls(layers: pd.DataFrame) -> Figure:
    """Draw the last checkpoint beside two controls: the untrained network, and shuffled labels.

    Along the layers, at each model's last checkpoint: the classes, and manifolds of the same points
    with permuted labels; and the classes in the untrained network, if it was measured. A column for
    each model.

    Parameters
    ----------
    layers : DataFrame
        The table of layers (``summary/layers.csv``); without rows, a ValueError.
    """
    curves = [*_controls(layers)]
    styles = {name: _style(name, "train") for name in dict.fromkeys(c.checkpoint for c in curves)}
    if (layers["checkpoint"] == EXTERNAL).all():  # they have no checkpoints
        styles = {"classes": styles.pop("last checkpoint"), **styles}
    encoding = Encoding(
        lambda curve: _style(curve.checkpoint, curve.split),
        legend_samples(styles, splits_of(layers)),
    )
    groups = [(names, [model]) for model, names in layers_of_models(layers).items()]
    return plot_along(groups, curves, encoding, at_last_checkpoint(layers))


def controls_values(layers: pd.DataFrame) -> pd.DataFrame:
    values = tabulate(_controls(layers), [*LABELS], layers_of_models(layers))
    return values.rename(columns={"checkpoint": "curve"})


def _style(name: str, split: str) -> dict[str, str]:
    color, marker = _LOOKS[name]
    return line_style(color, split) | {"marker": marker}


def _controls(layers: pd.DataFrame) -> Iterator[Curve]:
    """Curves named in `_LOOKS`, the name in place of their checkpoint."""
    classes, last = of_classes(layers), at_last_checkpoint(layers)
    runs = ["model", "checkpoint"]
    is_last = pd.MultiIndex.from_frame(classes[runs]).isin(pd.MultiIndex.from_frame(last[runs]))
    parts = {
        "last checkpoint": of_classes(last),
        "untrained": classes[(classes["epoch"] == 0) & ~is_last],
        "labels shuffled": last[last["labels"] == SHUFFLED],
    }
    names = layers_of_models(layers)
    for name, part in parts.items():
        for curve in curves_along(part, {model: names[model] for model in part["model"].unique()}):
            yield replace(curve, checkpoint=name)
