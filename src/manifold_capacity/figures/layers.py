"""The figure of capacity, radius, dimension and center correlation along the layers."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from manifold_capacity.figures.along_layers import plot_along
from manifold_capacity.figures.curves import (
    class_curves,
    curves_along,
    encode_table,
    layers_of_models,
    of_classes,
    tabulate,
)
from manifold_capacity.figures.style import LABELS, figure_of_table


@figure_of_table
def plot_layers(layers: pd.DataFrame) -> Figure:
    """Draw capacity, radius, dimension and center correlation along the layers.

    There is a curve for each model, checkpoint and split. Models with the same layers share their
    panels, others are side by side on common scales. A layer without geometry is a gap in the
    curve and a cross at the bottom of the panel.

    Parameters
    ----------
    layers : DataFrame
        The table of layers (``summary/layers.csv``); without rows, a ValueError.
    """
    layers = of_classes(layers)
    names = layers_of_models(layers)
    groups: dict[tuple[str, ...], list[str]] = {}
    for model, of_model in names.items():
        groups.setdefault(tuple(of_model), []).append(model)
    grouped = {model: names[model] for models in groups.values() for model in models}
    encoding = encode_table(layers, overlaid=any(len(models) > 1 for models in groups.values()))
    return plot_along([*groups.items()], [*curves_along(layers, grouped)], encoding, layers)


def layers_values(layers: pd.DataFrame) -> pd.DataFrame:
    return tabulate(class_curves(layers), [*LABELS], layers_of_models(layers))
