"""The figure of the controls: the untrained network, and shuffled labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from manifold_capacity.figures.along_layers import plot_along
from manifold_capacity.figures.curves import (
    Curve,
    Roles,
    at_last_checkpoint,
    curves_along,
    layers_of,
    of_classes,
    refuse_empty,
    splits_of,
    tabulated,
)
from manifold_capacity.figures.style import LABELS
from manifold_capacity.summary.rows import EXTERNAL, SHUFFLED


def plot_controls(layers: pd.DataFrame) -> Figure:
    """Draw what training does beside two controls: the untrained network, and shuffled labels.

    Along the layers, at each model's last checkpoint: the classes, and manifolds of the same points
    dealt at random; and the classes in the untrained network, if it was measured. A column for each
    model.

    Parameters
    ----------
    layers : DataFrame
        As `summary.collect_layers` returns it, with at least one row.

    Raises
    ------
    ValueError
        If the table has no rows.
    """
    refuse_empty(layers, "layers")
    models = [*dict.fromkeys(layers["model"])]
    names = {model: layers_of(layers, model) for model in models}
    curves = [*_controls(layers)]
    roles = Roles(
        tuple(dict.fromkeys(curve.checkpoint for curve in curves)),
        tuple(splits_of(layers)),
        has_checkpoints=bool((layers["checkpoint"] != EXTERNAL).any()),
    )
    groups = [(names[model], [model]) for model in models]
    return plot_along(groups, curves, roles, at_last_checkpoint(layers))


def controls_values(layers: pd.DataFrame) -> pd.DataFrame:
    """The numbers that the figure shows."""
    values = tabulated(_controls(layers), layers, [*LABELS])
    return values.rename(columns={"checkpoint": "curve"})


def _controls(layers: pd.DataFrame) -> Iterator[Curve]:
    """Curves whose `checkpoint` says which control they are."""
    classes = of_classes(layers)
    last = at_last_checkpoint(layers)
    untrained = classes[classes["epoch"] == 0].merge(
        last[["model", "checkpoint"]].drop_duplicates(),
        on=["model", "checkpoint"],
        how="left",
        indicator=True,
    )
    parts = {
        "last checkpoint": of_classes(last),
        "untrained": untrained[untrained["_merge"] == "left_only"],
        "labels shuffled": last[last["labels"] == SHUFFLED],
    }
    for role, part in parts.items():
        for model in dict.fromkeys(part["model"]):
            for curve in curves_along(part, layers_of(layers, model), [model]):
                yield replace(curve, checkpoint=role)
