"""The figure of the controls: the untrained network, and shuffled labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from manifold_capacity.figures import curves
from manifold_capacity.figures.layers import plot_along
from manifold_capacity.figures.style import GRAY, MODEL_COLORS, figure_of_table, line_style
from manifold_capacity.summary.rows import EXTERNAL, SHUFFLED, without_positions

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
    layers = curves.views_apart(without_positions(layers))
    lines = [*_controls(layers)]
    styles = {name: _style(name, "train") for name in dict.fromkeys(c.checkpoint for c in lines)}
    if (layers["checkpoint"] == EXTERNAL).all():  # they have no checkpoints
        styles = {"classes": styles.pop("last checkpoint"), **styles}
    samples = curves.legend_samples(styles, curves.splits_of(layers))
    encoding = curves.Encoding(lambda curve: _style(curve.checkpoint, curve.split), samples)
    groups = [(names, [model]) for model, names in curves.layers_of_models(layers).items()]
    return plot_along(groups, lines, encoding, curves.at_last_checkpoint(layers))


def controls_values(layers: pd.DataFrame) -> pd.DataFrame:
    return curves.tabulate(_controls(curves.views_apart(without_positions(layers)))).rename(
        columns={"checkpoint": "curve"}
    )


def _style(name: str, split: str) -> dict[str, str]:
    color, marker = _LOOKS[name]
    return line_style(color, split) | {"marker": marker}


def _controls(layers: pd.DataFrame) -> Iterator[curves.Curve]:
    """Curves named in `_LOOKS`, the name in place of their checkpoint."""
    classes, last = curves.of_classes(layers), curves.at_last_checkpoint(layers)
    runs = ["model", "checkpoint"]
    is_last = pd.MultiIndex.from_frame(classes[runs]).isin(pd.MultiIndex.from_frame(last[runs]))
    untrained = classes[(classes["epoch"] == 0) & ~is_last]
    parts = curves.of_classes(last), untrained, last[last["labels"] == SHUFFLED]
    names = curves.layers_of_models(layers)
    for name, part in zip(_LOOKS, parts, strict=True):
        mine = {model: names[model] for model in part["model"].unique()}
        for curve in curves.curves_along(part, mine):
            yield replace(curve, checkpoint=name)
