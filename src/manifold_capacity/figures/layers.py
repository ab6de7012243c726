"""The figure of the course along the layers: capacity, radius, dimension and center correlation."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from manifold_capacity.figures.along_layers import plot_along
from manifold_capacity.figures.curves import (
    curves_along,
    encode_curves,
    models_by_layers,
    of_classes,
    paths_of,
    refuse_empty,
    tabulated,
)
from manifold_capacity.figures.style import LABELS


def plot_layers(layers: pd.DataFrame) -> Figure:
    """Draw capacity, radius, dimension and center correlation along the layers.

    There is a curve for each model, checkpoint and split. Models with the same layers share their
    panels, others stand side by side on common scales. A layer without geometry is a gap in the
    curve and a cross at the foot of the panel.

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
    layers = of_classes(layers)
    groups = models_by_layers(layers)
    curves = [
        curve for names, models in groups.items() for curve in curves_along(layers, names, models)
    ]
    encoding = encode_curves(layers, overlaid=any(len(models) > 1 for models in groups.values()))
    return plot_along([*groups.items()], curves, encoding, layers)


def layers_values(layers: pd.DataFrame) -> pd.DataFrame:
    """The numbers that the figure shows."""
    return tabulated(paths_of(layers), layers, [*LABELS])
