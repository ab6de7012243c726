"""What identifies a row of the tables, and the rows that the geometry jobs write.

Apart from `columns`, so that no layer is measured again when a title or a meaning changes.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from manifold_capacity.files import atomic_path
from manifold_capacity.geometry.intervals import in_brackets
from manifold_capacity.models.layers import Layer

if TYPE_CHECKING:
    import pandas as pd

# A table: the values of each column, as many in each.
Columns = dict[str, Any]
# External activations: `weights` and `checkpoint`, and `split`.
EXTERNAL, SPLIT = "external", "all"
# `labels` of manifolds that are the classes, and of the control with permuted labels.
ORIGINAL, SHUFFLED = "original", "shuffled"
# `status` of a layer that has a geometry; that of any other says why it has none.
STATUS_OK = "ok"


def layer_columns(layer: Layer) -> dict[str, int | str]:
    """The columns that describe a layer."""
    return {
        "layer": layer.label,
        "layer_index": layer.index,
        "layer_name": layer.name,
        "layer_type": layer.type,
        "output_shape": "x".join(map(str, layer.output_shape)),
        "n_features": layer.n_features,
        "view": layer.view,
        "position": ", ".join(map(str, layer.position)),
    }


def projected(layer: Layer, n_features: int) -> dict[str, int]:
    """The columns with a layer's own features, and those that it was projected to, if it was measured in fewer."""
    own = {"n_features": layer.n_features}
    return own if n_features == layer.n_features else own | {"projected_features": n_features}


def manifold_table(
    row: Mapping[str, Any], classes: Mapping[int, str], numbers: Mapping[str, Any] | None
) -> Columns:
    """The table of a layer's manifolds: what identifies each, then its numbers.

    `row` is the layer's: what identifies it, then ``status`` and anything else. `classes` are indices
    and names in the order of the values of `numbers`, which is None for a layer without geometry.
    """
    named = {"class_index": [*classes], "class_name": [*classes.values()]}
    return _with_identity(row, named | dict(numbers or {}))


def joined(
    row: Mapping[str, Any], columns: Mapping[str, Any], found: Mapping[str, Any]
) -> tuple[dict[str, Any], Columns]:
    """A layer's row and numbers of manifolds with those of another measure of it, and the caveats of both."""
    both = {
        name: " ".join(filter(None, [row[name], found["row"].get(name)]))
        for name in ("caveats", "caveats_text")
    }
    return {**row, **found["row"], **both}, {**columns, **found.get("manifolds", {})}


def separability_table(row: Mapping[str, Any], curve: Mapping[str, Any]) -> Columns:
    """The table of a layer's separability: a row for each number of random directions; none without exact capacity."""
    numbers = {"n_directions": curve.get("n", []), "probability": curve.get("share", [])}
    return _with_identity(row, numbers)


def layer_tables(
    row: Mapping[str, Any],
    classes: Mapping[int, str],
    numbers: Mapping[str, Any] | None,
    draws: Sequence[Any],
    curve: Mapping[str, Any],
) -> tuple[Columns, Columns, Columns]:
    """All tables of a layer: manifolds, centers, separability; without rows for a layer without geometry.

    `draws` are the `Geometry` of each (not imported here: every table's code would depend on the measure's).
    """
    return (
        manifold_table(row, dict(classes) if draws else {}, numbers),
        centers_table(row, [draw.centers_spectrum for draw in draws]),
        separability_table(row, curve),
    )


def centers_table(row: Mapping[str, Any], spectra: Sequence[NDArray[np.float64]]) -> Columns:
    """The table of a layer's centers: a row per principal component, its eigenvalue the mean over draws.

    `spectra` are the draws' `Geometry.centers_spectrum`; none for a layer without geometry.
    """
    shares = np.mean(spectra, axis=0) if len(spectra) else np.empty(0)
    numbers = {"component": np.arange(1, len(shares) + 1), "variance_share": shares}
    return _with_identity(row, numbers | {"center_rank": [row.get("center_rank")] * len(shares)})


def write_columns(columns: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a table as CSV as `manifold_capacity.summary.tables.write_table` does, without pandas, which takes long to import."""
    values = [np.asarray(column, dtype=object).tolist() for column in columns.values()]
    with atomic_path(path) as part, open(part, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        # NaN is a missing value: no number is unequal to itself.
        writer.writerows(["" if v != v else v for v in row] for row in zip(*values, strict=True))


def in_words(numbers: Mapping[str, Any]) -> str:
    """A layer's numbers as a line of a log."""
    ends = numbers["capacity_low"], numbers["capacity_high"]
    said = f"; caveats: {numbers['caveats'].replace(' ', ', ')}" if numbers["caveats"] else ""
    return (
        f"capacity {in_brackets(numbers['capacity'], *ends)} (95 % over {numbers['interval_over']}), "
        f"radius {numbers['radius']:.4g}, dimension {numbers['dimension']:.4g}, "
        f"center correlation {numbers['center_correlation']:.3g}{said}"
    )


def without_positions(frame: pd.DataFrame) -> pd.DataFrame:
    """Without layers of single positions, unless there is nothing else."""
    if "position" not in frame.columns:
        return frame
    rest = frame[frame["position"].fillna("").astype(str) == ""]
    return frame if rest.empty else rest


def select_rows(frame: pd.DataFrame, **wanted: str) -> pd.DataFrame:
    for name, value in wanted.items():
        frame = frame[frame[name] == value]
    return frame


def _with_identity(row: Mapping[str, Any], numbers: Mapping[str, Any]) -> Columns:
    """A layer's rows of a table: in each, what identifies the layer, then numbers of its own."""
    n_rows = len(next(iter(numbers.values())))
    identity = takewhile(lambda item: item[0] != "status", row.items())
    return {name: [value] * n_rows for name, value in identity} | dict(numbers)
