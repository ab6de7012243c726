"""Differences between two groups of a run, layer by layer, with intervals of paired differences.

Groups differ in checkpoint, split, labels (the classes, or the control with permuted labels) or model.

**What an interval is of.** With three seeds or more it is the t interval over seeds: for other trainings like
these. With fewer it is over classes: for as many other classes like these and other images of them, but for these
very networks. Neither is for more classes: the difference between two layers may change its sign with their number.

**Single and simultaneous.** A single interval holds its difference in 95 of 100 runs. Of many, some miss theirs
by chance: so there are simultaneous intervals, all of which hold in 95 of 100 runs, over all layers and quantities
of a comparison (max-t: the layers share their classes or seeds, so their errors are correlated, and the
distribution of the largest is simulated with the correlations that are found).

Capacity and center correlation are no means over classes; there, each class counts with its influence. The interval
of the correlation is too wide, by up to a factor sqrt(2): a pair of classes is in the influence of both.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from manifold_capacity.errors import UserError
from manifold_capacity.geometry.caveats import CAVEATS
from manifold_capacity.geometry.intervals import FEWEST, QUANTITIES, half_width, influence, max_t
from manifold_capacity.geometry.result import Geometry
from manifold_capacity.summary.columns import TABLES
from manifold_capacity.summary.rows import EXTERNAL, ORIGINAL, SHUFFLED, STATUS_OK, select_rows

FloatArray = NDArray[np.float64]

COLUMNS = tuple(column.name for column in TABLES["comparisons"])
_GROUP = ("model", "checkpoint", "split", "labels")
# With exact capacity. Classes have a capacity and a dimension of their own; the others have intervals over seeds only.
_GLUE_OF_CLASSES = ("glue_capacity", "glue_dimension")
_GLUE = (
    *_GLUE_OF_CLASSES,
    *("glue_radius", "glue_utility"),
    *("glue_center_alignment", "glue_axis_alignment", "glue_center_axis_alignment"),
)
# Of these, one training of a network may differ from the next.
_OF_TRAININGS = ("checkpoint", "model")


def over_seeds(group: FloatArray, reference: FloatArray) -> tuple[float, FloatArray]:
    """Mean difference between two groups' numbers of a layer, (n_seeds,) each, and each seed's deviation from it."""
    differences = group - reference
    return float(differences.mean()), differences - differences.mean()


def over_classes(
    group: FloatArray, reference: FloatArray, quantity: str
) -> tuple[float, FloatArray]:
    """Difference between two groups' layers, and how far each class moves it.

    Parameters
    ----------
    group, reference : (n_seeds, n_classes) array
        One number for each class: its capacity, radius or dimension, or the mean correlation of its
        center with the others. Seeds are averaged.
    quantity : {"capacity", "radius", "dimension", "center_correlation"}

    Returns
    -------
    difference : float
    influence : (n_classes,) array
    """
    numbers, influences = [], []
    for values in (group, reference):
        of_seeds = [influence(quantity, row) for row in values]
        numbers.append(np.mean([number for number, _ in of_seeds]))
        influences.append(np.mean([of_class for _, of_class in of_seeds], axis=0))
    return float(numbers[0] - numbers[1]), influences[0] - influences[1]


def compare_geometries(geometry: Geometry, reference: Geometry) -> pd.DataFrame:
    """Compare two geometries of the same classes, such as two areas or days of a recording.

    Parameters
    ----------
    geometry, reference : Geometry
        Of manifolds that are paired by their order.

    Returns
    -------
    DataFrame
        A row per quantity with ``value``, ``reference_value``, ``difference``, and its single and simultaneous 95 %
        intervals over classes, ``difference_low`` to ``simultaneous_high``.

    Raises
    ------
    ValueError
        If they have different numbers of manifolds.
    """
    numbers, others = geometry.summary(), reference.summary()
    names = geometry.classes, reference.classes
    if numbers["n_manifolds"] != others["n_manifolds"] or (all(names) and names[0] != names[1]):
        raise UserError(
            f"the geometries have {numbers['n_manifolds']} and {others['n_manifolds']} manifolds"
            f"{', of different classes' if all(names) else ''}; compare those of the same classes, in the same order"
        )
    rows, deviations = [], []
    for name in QUANTITIES:
        of_class = "mean_correlation" if name == "center_correlation" else name
        values, others_values = (getattr(each, of_class)[None] for each in (geometry, reference))
        difference, of_classes = over_classes(values, others_values, name)
        row = {"quantity": name, "value": numbers[name], "reference_value": others[name]}
        rows.append(row | {"difference": difference})
        deviations.append(of_classes)
    return pd.DataFrame(_with_intervals(rows, deviations)).set_index("quantity")


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
    of_classes = [q for q in (*QUANTITIES, *_GLUE_OF_CLASSES) if q in manifolds]
    classes = {
        key: part.pivot_table(index="seed", columns="class_index", values=of_classes)
        for key, part in manifolds.groupby([*_GROUP, "layer"])
    }
    rows: list[dict[str, Any]] = []
    for comparison, *groups in _pairs(layers):
        group, reference = (dict(zip(_GROUP, each, strict=True)) for each in groups)
        about = {"comparison": comparison, "reference": reference[comparison]}
        mine = (
            select_rows(layers, **group)
            .drop_duplicates("layer")
            .sort_values("layer_index", kind="stable")
        )
        found, deviations = [], []
        for layer in mine.to_dict("records"):
            keys = [(*each, layer["layer"]) for each in groups]
            # The layer has a geometry in both, of the same classes, or of as many shuffled ones.
            if all(key in runs for key in keys) and (
                comparison == "labels" or _paired(keys, classes)
            ):
                tables = ([parts[key] for key in keys if key in parts] for parts in (runs, classes))
                for numbers, of_units in _differences(*tables):
                    found.append(
                        layer | about | numbers | {"caveats": _caveats(numbers, about, keys, runs)}
                    )
                    deviations.append(of_units)
        rows += _with_intervals(found, deviations)
    frame = pd.DataFrame(rows, columns=[*COLUMNS])
    return frame.mask(frame == "")  # as it is read from a file


def _paired(keys: Sequence[Any], classes: Mapping[Any, pd.DataFrame]) -> bool:
    first, second = (classes[key].columns if key in classes else None for key in keys)
    return first is None or second is None or first.equals(second)


def _with_intervals(
    rows: Sequence[dict[Any, Any]], deviations: Sequence[FloatArray]
) -> Iterator[dict[str, Any]]:
    """The rows of one comparison with single and simultaneous intervals, from each one's deviations (n,)."""
    if not rows:
        return
    units = np.array(deviations).T
    single = half_width(units)
    simultaneous = single * max_t(units)
    for row, one, all_ in zip(rows, single, simultaneous, strict=True):
        difference = row["difference"]
        yield row | {
            "difference_low": difference - one,
            "difference_high": difference + one,
            "simultaneous_low": difference - all_,
            "simultaneous_high": difference + all_,
        }


def _caveats(
    numbers: Mapping[str, Any],
    about: Mapping[str, Any],
    keys: Sequence[Any],
    runs: Mapping[Any, Any],
) -> str:
    """Codes of both layers' caveats, and whether the networks were trained too few times to speak of others."""
    codes: dict[str, None] = {}
    for key in keys:
        for text in runs[key].get("caveats", []):
            codes |= dict.fromkeys("" if pd.isna(text) else str(text).split())
    few = numbers["interval_over"] == "classes" and about["comparison"] in _OF_TRAININGS
    few = few and not any(checkpoint == EXTERNAL for _, checkpoint, *_ in keys)
    return " ".join([*(["few_seeds"] if few else []), *(code for code in CAVEATS if code in codes)])


def _pairs(layers: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """What is compared: (comparison, group, reference), each a model, checkpoint, split and labels."""
    first, last, splits, networks = {}, {}, {}, {}
    for model, rows in layers.groupby("model", sort=False):
        ordered = rows.sort_values("epoch", na_position="last", kind="stable")
        checkpoints = ordered["checkpoint"].unique()
        first[model], last[model] = checkpoints[0], checkpoints[-1]
        splits[model] = sorted(rows["split"].unique(), reverse=True)  # train, then test
        named = rows.drop_duplicates("layer").sort_values("layer_index")
        networks[model] = named[["layer", "layer_name"]].to_numpy().tolist()
    control = select_rows(layers, labels=SHUFFLED)[[*_GROUP[:3]]]
    shuffled = {*control.itertuples(index=False, name=None)}
    for model in last:
        for split in splits[model]:
            group = model, last[model], split, ORIGINAL
            if first[model] != last[model]:
                yield "checkpoint", group, (model, first[model], split, ORIGINAL)
            if group[:3] in shuffled:
                yield "labels", group, (model, last[model], split, SHUFFLED)
        for pair in itertools.combinations(splits[model], 2):
            yield "split", *((model, last[model], split, ORIGINAL) for split in reversed(pair))
    for pair in itertools.combinations(last, 2):
        if networks[pair[0]] == networks[pair[1]]:
            for split in (split for split in splits[pair[0]] if split in splits[pair[1]]):
                yield "model", *((model, last[model], split, ORIGINAL) for model in reversed(pair))


def _differences(
    layers: list[pd.DataFrame], classes: list[pd.DataFrame]
) -> Iterator[tuple[dict[str, Any], FloatArray]]:
    """The numbers of one layer in both groups, a mapping per quantity, and the deviations of classes or seeds.

    None without a common seed.
    """
    seeds = layers[0].index.intersection(layers[1].index)
    over = "seeds" if len(seeds) >= FEWEST else "classes"
    for quantity in (*QUANTITIES, *_GLUE) if len(seeds) else ():
        if not all(
            quantity in table for table in (*layers, *(classes if over == "classes" else ()))
        ):
            continue
        values = [table.loc[seeds, quantity].to_numpy(dtype=float) for table in layers]
        if np.isnan(values).any():
            continue
        if over == "seeds":
            deviations = over_seeds(*values)[1]
        else:
            groups = [table.loc[seeds, quantity].to_numpy(dtype=float) for table in classes]
            deviations = over_classes(groups[0], groups[1], quantity)[1]
        means = [value.mean() for value in values]
        yield (
            {
                "quantity": quantity,
                "value": means[0],
                "reference_value": means[1],
                "difference": means[0] - means[1],
                "interval_over": over,
                "n": len(deviations),
            },
            deviations,
        )
