"""Differences between two groups of a run, layer by layer, with intervals.

Groups differ in one thing: checkpoint, split, labels (the classes, or the control whose points are
dealt at random) or model. The interval is that of paired differences, since both groups have the same
classes and seeds, and what these have in common cancels:

- With three seeds or more, over **seeds**: the t interval of the seeds' differences. It covers what a
  seed draws: initial weights, training, images and Gaussian samples. The classes are taken as given.
- With fewer, over **classes**: as if the classes were drawn from many. Radius and dimension are means
  over classes, and the interval is the paired t interval. Capacity is a harmonic mean and the center
  correlation a mean over pairs of classes; each is linearized, that is replaced by the mean of what each
  class adds to it (its influence), whose paired t interval is taken. The networks are taken as given.
  That of the correlation is wide, by up to a factor sqrt(2): what is peculiar to a pair of classes
  counts in the influence of both.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from manifold_capacity.summary.rows import ORIGINAL, SHUFFLED, STATUS_OK

__all__ = ["COLUMNS", "compare", "over_classes", "over_seeds"]


FloatArray = NDArray[np.float64]


QUANTITIES = ("capacity", "radius", "dimension", "center_correlation")


COLUMNS = (
    "dataset",
    "comparison",
    "model",
    "checkpoint",
    "split",
    "labels",
    "reference",
    "layer",
    "layer_index",
    "layer_name",
    "quantity",
    "value",
    "reference_value",
    "difference",
    "difference_low",
    "difference_high",
    "interval_over",
    "n",
    "config_digest",
)


LEVEL = 0.95


# Fewer give no interval worth the name: of two, it is 13 standard errors wide on either side.
_FEWEST_SEEDS = 3


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
    parts = []
    for values in (group, reference):
        of_seeds = [_influence(row, quantity) for row in np.asarray(values, dtype=float)]
        parts.append(
            (np.mean([layer for layer, _ in of_seeds]), np.mean([i for _, i in of_seeds], axis=0))
        )
    (mine, my_influence), (other, other_influence) = parts
    return _t_interval(float(mine - other), my_influence - other_influence)


def compare(layers: pd.DataFrame, manifolds: pd.DataFrame) -> pd.DataFrame:
    """Compare each model's last checkpoint with its first, test with train, classes with the control, models.

    Parameters
    ----------
    layers, manifolds : DataFrame
        As `summary.collect_layers` and `summary.collect_manifolds` return them.

    Returns
    -------
    DataFrame
        A row for each comparison, layer and quantity, with the columns `COLUMNS`. No rows if there is
        nothing to compare. ``config_digest`` is that of `layers`, empty if there is none.
    """
    measured = layers[layers["status"] == STATUS_OK]
    runs = {key: part.set_index("seed") for key, part in measured.groupby([*_GROUP, "layer"])}
    classes = {
        key: part.pivot_table(index="seed", columns="class_index", values=[*QUANTITIES])
        for key, part in manifolds.groupby([*_GROUP, "layer"])
    }
    rows = []
    for comparison, group, reference in _pairs(layers):
        names = dict(zip(_GROUP, group, strict=True))
        other = dict(zip(_GROUP, reference, strict=True))[comparison]
        mine = _select(layers, group).drop_duplicates("layer").sort_values("layer_index")
        for layer in mine.to_dict("records"):
            keys = (*group, layer["layer"]), (*reference, layer["layer"])
            numbers = _differences(*((runs.get(key), classes.get(key)) for key in keys))
            rows += [
                {
                    **{name: layer[name] for name in ("dataset", "layer", "layer_index")},
                    **names,
                    "layer_name": layer["layer_name"],
                    "comparison": comparison,
                    "reference": other,
                    **row,
                    "config_digest": layer.get("config_digest"),
                }
                for row in numbers
            ]
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
    reach = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * stderr
    return difference, difference - reach, difference + reach


def _pairs(
    layers: pd.DataFrame,
) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """What is compared: (comparison, group, reference), each a model, checkpoint, split and labels."""
    models: dict[str, tuple[str, str, list[str]]] = {}
    tables: dict[str, list[tuple[str, str]]] = {}
    for model, mine in layers.groupby("model", sort=False):
        ordered = mine.sort_values("epoch", na_position="last", kind="stable")
        checkpoints = [*dict.fromkeys(ordered["checkpoint"])]
        splits = [*dict.fromkeys(ordered.sort_values("split", ascending=False)["split"])]
        models[str(model)] = checkpoints[0], checkpoints[-1], splits
        table = mine.drop_duplicates("layer").sort_values("layer_index")
        tables[str(model)] = [*zip(table["layer"], table["layer_name"], strict=True)]
    shuffled = {
        tuple(key) for key in layers.loc[layers["labels"] == SHUFFLED, [*_GROUP[:3]]].to_numpy()
    }
    for model, (first, last, splits) in models.items():
        for split in splits:
            group = model, last, split, ORIGINAL
            if first != last:
                yield "checkpoint", group, (model, first, split, ORIGINAL)
            if group[:3] in shuffled:
                yield "labels", group, (model, last, split, SHUFFLED)
        for earlier, later in itertools.combinations(splits, 2):  # train, then test
            yield "split", (model, last, later, ORIGINAL), (model, last, earlier, ORIGINAL)
    for (one, (_, before, splits)), (two, (_, after, others)) in itertools.combinations(
        models.items(), 2
    ):
        if tables[one] == tables[two]:
            for split in (split for split in splits if split in others):
                yield "model", (two, after, split, ORIGINAL), (one, before, split, ORIGINAL)


def _differences(*groups: tuple[pd.DataFrame | None, pd.DataFrame | None]) -> Iterator[Any]:
    """The numbers of one layer, a mapping per quantity; none where a group has no geometry."""
    (mine, my_classes), (other, other_classes) = groups
    if mine is None or other is None:
        return
    seeds = mine.index.intersection(other.index)
    if not len(seeds):
        return
    for quantity in QUANTITIES:
        values = [part.loc[seeds, quantity].to_numpy(dtype=float) for part in (mine, other)]
        row: dict[str, Any] = {
            "quantity": quantity,
            "value": values[0].mean(),
            "reference_value": values[1].mean(),
        }
        if len(seeds) >= _FEWEST_SEEDS:
            found = over_seeds(*values)
            row |= {"interval_over": "seeds", "n": len(seeds)}
        else:
            numbers = _of_classes(my_classes, seeds, quantity)
            found = over_classes(numbers, _of_classes(other_classes, seeds, quantity), quantity)
            row |= {"interval_over": "classes", "n": numbers.shape[1]}
        yield row | dict(
            zip(("difference", "difference_low", "difference_high"), found, strict=True)
        )


def _of_classes(table: pd.DataFrame | None, seeds: pd.Index, quantity: str) -> FloatArray:
    assert table is not None  # a layer that is measured has its manifolds
    return table.loc[seeds, quantity].to_numpy(dtype=float)


def _select(frame: pd.DataFrame, group: Sequence[str]) -> pd.DataFrame:
    wanted: Mapping[str, str] = dict(zip(_GROUP, group, strict=True))
    for name, value in wanted.items():
        frame = frame[frame[name] == value]
    return frame
