"""The figure of loss and accuracy, epoch by epoch."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from manifold_capacity.figures.curves import (
    Encoding,
    over_epochs,
    refuse_empty,
    tabulated,
)
from manifold_capacity.figures.panels import (
    add_heading,
    draw_curves,
    new_figure,
    with_marks,
)
from manifold_capacity.figures.style import DASHES, in_style

_PARTS = {"loss": "Loss", "accuracy": "Accuracy"}


def plot_training(metrics: pd.DataFrame) -> Figure:
    """Draw loss and accuracy on the training and the test split, epoch by epoch.

    Parameters
    ----------
    metrics : DataFrame
        As `summary.collect_training` returns it, with at least one row: model, seed, epoch,
        {train,test}_loss, {train,test}_accuracy (a fraction).

    Raises
    ------
    ValueError
        If the table has no rows.
    """
    refuse_empty(metrics, "training")
    models = tuple(dict.fromkeys(metrics["model"]))
    encoding = Encoding(models, {"": ""}, tuple(DASHES), overlaid=len(models) > 1)
    curves = [*over_epochs(metrics, [*_PARTS])]
    handles = with_marks(encoding.handles(), curves)
    with in_style():
        figure = new_figure(7.6, 3.1, handles)
        axes = figure.subplots(1, 2, sharex=True)
        for axis, (part, label) in zip(axes, _PARTS.items(), strict=True):
            draw_curves(axis, curves, part, encoding)
            axis.set_ylabel(label)
            axis.set_xlabel("Epoch")
            axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
        axes[1].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        add_heading(figure, metrics)
    return figure


def training_values(metrics: pd.DataFrame) -> pd.DataFrame:
    """The numbers that the figure shows."""
    values = tabulated(over_epochs(metrics, [*_PARTS]), None, [*_PARTS])
    return values.drop(columns="checkpoint").rename(columns={"layer": "epoch"})
