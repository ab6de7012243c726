"""Differences between two groups of a run, layer by layer, with intervals.

Groups differ in one thing: checkpoint, split, labels (the classes, or the control with permuted labels)
or model. Both groups have the same classes and seeds, so that the interval is that of paired
differences, in which everything common to both cancels:

- With three seeds or more, over **seeds**: the t interval of the seeds' differences. It covers all that
  varies with the seed: initial weights, training, images and Gaussian samples. The classes are fixed.
- With fewer, over **classes**: as if the classes were a sample of many. Radius and dimension are means
  over classes, and the interval is the paired t interval. Capacity is a harmonic mean and the center
  correlation a mean over pairs of classes; each is linearized, that is replaced by the mean of what each
  class adds to it (its influence), with the paired t interval of these. The networks are fixed. The
  interval of the correlation is too wide, by up to a factor sqrt(2): the peculiarities of a pair of
  classes count in the influence of both.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from manifold_capacity.summary.columns import TABLES
from manifold_capacity.summary.rows import ORIGINAL, SHUFFLED, STATUS_OK, select_rows

__all__ = ["COLUMNS", "compare", "over_classes", "over_seeds"]

FloatArray = NDArray[np.float64]

QUANTITIES = ("capacity", "radius", "dimension", "center_correlation")
COLUMNS = tuple(column.name for column in TABLES["comparisons"])
LEVEL = 0.95
_FEWEST_SEEDS = (
    3  # fewer give no useful interval: of two, it is 13 standard errors wide on either side
)
_GROUP = ("model", "checkpoint", "split", "labels")


def over_seeds(group: ArrayLike, reference: ArrayLike) -> tuple[float, float, float]:
    """Mean difference between two groups, and its interval over seeds.

    Parameters
    ----------
    group, reference : (n_seeds,) array
        One number for each seed, in the same order.

    Returns
    -------
    difference, low, high : float
    """
    differences = np.asarray(group, dtype=float) - np.asarray(reference, dtype=float)
    return _t_interval(float(differences.mean()), differences - differences.mean())


def over_classes(
    group: ArrayLike, reference: ArrayLike, quantity: str
) -> tuple[float, float, float]:
    """Difference between two groups' layers, and its interval over classes.

    Parameters
    ----------
    group, reference : (n_seeds, n_classes) array
        One number for each class: its capacity, radius or dimension, or the mean correlation of its
        center with the others. Seeds are averaged.
    quantity : {"capacity", "radius", "dimension", "center_correlation"}

    Returns
    -------
    difference, low, high : float
    """
    numbers, influences = [], []
    for values in (group, reference):
        of_seeds = [_influence(row, quantity) for row in np.asarray(values, dtype=float)]
        numbers.append(np.mean([number for number, _ in of_seeds]))
        influences.append(np.mean([influence for _, influence in of_seeds], axis=0))
    return _t_interval(float(numbers[0] - numbers[1]), influences[0] - influences[1])


def compare(layers: pd.DataFrame, manifolds: pd.DataFrame) -> pd.DataFrame:
    """Compare each model's last checkpoint with its first, test with train, classes with the control, models.

    Parameters
    ----------
    layers, manifolds : DataFrame
        The tables of layers and of manifolds (``summary/layers.csv``, ``summary/manifolds.csv``).

    Returns
    -------
    DataFrame
        A row for each comparison, layer and quantity, with the columns `COLUMNS`. No rows if there is
        nothing to compare. ``config_digest`` is that of `layers`, empty if it has none.
    """
    measured = layers[layers["status"] == STATUS_OK]
    runs = {key: part.set_index("seed") for key, part in measured.groupby([*_GROUP, "layer"])}
    classes = {
        key: part.pivot_table(index="seed", columns="class_index", values=[*QUANTITIES])
        for key, part in manifolds.groupby([*_GROUP, "layer"])
    }
    rows = []
    for comparison, *groups in _pairs(layers):
        group, reference = (dict(zip(_GROUP, each, strict=True)) for each in groups)
        about = {"comparison": comparison, "reference": reference[comparison]}
        mine = select_rows(layers, **group).drop_duplicates("layer").sort_values("layer_index")
        for layer in mine.to_dict("records"):
            keys = [(*each, layer["layer"]) for each in groups]
            numbers = _differences(*((runs.get(key), classes.get(key)) for key in keys))
            rows += [layer | about | row for row in numbers]
    return pd.DataFrame(rows, columns=[*COLUMNS])


def _influence(values: FloatArray, quantity: str) -> tuple[float, FloatArray]:
    """A layer's number, and how far each class's share in it is from the mean share."""
    if quantity == "capacity":
        inverse = 1.0 / values
        capacity = 1.0 / inverse.mean() if inverse.any() else math.inf
        with np.errstate(invalid="ignore"):
            return capacity, -(capacity**2) * (inverse - inverse.mean())
    deviations = values - values.mean()
    # A class is in the mean over pairs twice: in its own row and in every other one.
    return float(values.mean()), 2 * deviations if quantity == "center_correlation" else deviations


def _t_interval(difference: float, deviations: FloatArray) -> tuple[float, float, float]:
    from scipy.special import stdtrit

    n = len(deviations)
    if n < 2 or not np.isfinite(deviations).all():
        return difference, math.nan, math.nan
    stderr = math.sqrt(float(deviations @ deviations) / (n - 1) / n)
    half_width = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * stderr
    return difference, difference - half_width, difference + half_width


def _pairs(layers: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """What is compared: (comparison, group, reference), each a model, checkpoint, split and labels."""
    ends: dict[str, tuple[str, str]] = {}
    splits: dict[str, list[str]] = {}
    tables: dict[str, list[list[str]]] = {}
    for model in layers["model"].unique():
        rows = select_rows(layers, model=model)
        ordered = rows.sort_values("epoch", na_position="last", kind="stable")
        checkpoints = [*ordered["checkpoint"].unique()]
        ends[model] = checkpoints[0], checkpoints[-1]
        splits[model] = sorted(rows["split"].unique(), reverse=True)  # train, then test
        table = rows.drop_duplicates("layer").sort_values("layer_index")
        tables[model] = table[["layer", "layer_name"]].to_numpy().tolist()
    control = select_rows(layers, labels=SHUFFLED)[[*_GROUP[:3]]]
    shuffled = {*control.itertuples(index=False, name=None)}
    for model, (first, last) in ends.items():
        for split in splits[model]:
            group = model, last, split, ORIGINAL
            if first != last:
                yield "checkpoint", group, (model, first, split, ORIGINAL)
            if group[:3] in shuffled:
                yield "labels", group, (model, last, split, SHUFFLED)
        for earlier, later in itertools.combinations(splits[model], 2):
            yield "split", (model, last, later, ORIGINAL), (model, last, earlier, ORIGINAL)
    for one, two in itertools.combinations(ends, 2):
        for split in splits[one]:
            if tables[one] == tables[two] and split in splits[two]:
                yield (
                    "model",
                    (two, ends[two][1], split, ORIGINAL),
                    (one, ends[one][1], split, ORIGINAL),
                )


def _differences(*groups: tuple[pd.DataFrame | None, pd.DataFrame | None]) -> Iterator[Any]:
    """The numbers of one layer, a mapping per quantity; none where a group has no geometry."""
    layers = [layer for layer, _ in groups if layer is not None]
    classes = [table for _, table in groups if table is not None]
    if len(layers) < 2:
        return
    seeds = layers[0].index.intersection(layers[1].index)
    if not len(seeds):
        return
    for quantity in QUANTITIES:
        values, of_classes = (
            [table.loc[seeds, quantity].to_numpy(dtype=float) for table in tables]
            for tables in (layers, classes)
        )
        if len(seeds) >= _FEWEST_SEEDS:
            over, n, interval = "seeds", len(seeds), over_seeds(values[0], values[1])
        else:
            over, n = "classes", of_classes[0].shape[1]
            interval = over_classes(of_classes[0], of_classes[1], quantity)
        ends = zip(("difference", "difference_low", "difference_high"), interval, strict=True)
        yield {
            "quantity": quantity,
            "value": values[0].mean(),
            "reference_value": values[1].mean(),
            "interval_over": over,
            "n": n,
            **dict(ends),
        }
