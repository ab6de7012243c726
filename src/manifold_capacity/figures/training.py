"""The figure of loss and accuracy, epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from manifold_capacity.figures.curves import Curve, encode, mean_and_interval, tabulate
from manifold_capacity.figures.panels import add_heading, draw_curves, new_figure, with_marks
from manifold_capacity.figures.style import DASHES, figure_of_table
from manifold_capacity.summary.rows import select_rows

_PARTS = {"loss": "Loss", "accuracy": "Accuracy"}


@figure_of_table
def plot_training(metrics: pd.DataFrame) -> Figure:
    """Draw loss and accuracy on the training and the test split, epoch by epoch.

    Parameters
    ----------
    metrics : DataFrame
        The table of training (``summary/training.csv``): model, seed, epoch, {train,test}_loss,
        {train,test}_accuracy (a fraction). Without rows, a ValueError.
    """
    models = [*metrics["model"].unique()]
    encoding = encode(models, {"": ""}, [*DASHES], overlaid=len(models) > 1)
    curves = [*_over_epochs(metrics)]
    figure = new_figure(7.6, 3.1, with_marks(encoding.samples, curves))
    axes = figure.subplots(1, 2, sharex=True)
    for axis, (part, label) in zip(axes, _PARTS.items(), strict=True):
        draw_curves(axis, curves, part, encoding)
        axis.set(xlabel="Epoch", ylabel=label)
        axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    axes[1].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    add_heading(figure, metrics)
    return figure


def training_values(metrics: pd.DataFrame) -> pd.DataFrame:
    values = tabulate(_over_epochs(metrics), _PARTS)
    return values.drop(columns="checkpoint").rename(columns={"layer": "epoch"})


def _over_epochs(metrics: pd.DataFrame) -> Iterator[Curve]:
    """A curve for each model and split."""
    for model in metrics["model"].unique():
        rows = select_rows(metrics, model=model)
        epochs = [int(epoch) for epoch in sorted(rows["epoch"].unique())]
        for split in DASHES:
            of_parts = {part: rows[f"{split}_{part}"] for part in _PARTS}
            of_epochs = mean_and_interval(rows.assign(**of_parts), "epoch", epochs, _PARTS)
            n, dead = rows["seed"].nunique(), np.zeros(len(epochs), dtype=bool)
            place = np.array(epochs, dtype=float)
            yield Curve(model, "", split, n, epochs, place, *of_epochs, dead)
