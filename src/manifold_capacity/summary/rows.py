"""What identifies a row of the tables: of which layer, and of which manifold, the numbers are.

Apart from `manifold_capacity.summary`, so that a change in how tables look does not measure anything
again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from manifold_capacity.models.layers import Layer

__all__ = ["EXTERNAL", "SPLIT"]


# What the tables say instead of a checkpoint and of where the weights come from.
EXTERNAL = "external"


# What they say instead of the training or the test split.
SPLIT = "all"


# What identifies a row, from the outside in.
LAYER_IDENTITY = (
    "dataset",
    "model",
    "weights",
    "seed",
    "checkpoint",
    "epoch",
    "split",
    "labels",
    "layer",
    "layer_index",
    "layer_name",
    "layer_type",
    "output_shape",
    "n_features",
)


MANIFOLD_IDENTITY = (*LAYER_IDENTITY, "class_index", "class_name")


CENTERS_IDENTITY = (*LAYER_IDENTITY, "component")


CENTERS_NUMBERS = ("variance_share", "center_rank")


# `labels` of manifolds that are the classes, and of the control whose points are dealt at random.
ORIGINAL, SHUFFLED = "original", "shuffled"


# `status` of a layer that has a geometry; of any other it says why there is none.
STATUS_OK = "ok"


def layer_columns(layer: Layer) -> dict[str, int | str]:
    """What the tables say about a layer."""
    return {
        "layer": layer.label,
        "layer_index": layer.index,
        "layer_name": layer.name,
        "layer_type": layer.type,
        "output_shape": "x".join(map(str, layer.output_shape)),
        "n_features": layer.n_features,
    }


def manifold_table(
    row: Mapping[str, Any], classes: Mapping[int, str], numbers: pd.DataFrame | None
) -> pd.DataFrame:
    """The table of a layer's manifolds: what identifies each, then its numbers.

    Parameters
    ----------
    row : mapping
        The layer's row, with at least what identifies it.
    classes : mapping of int to str
        Index and name of each manifold's class, in the order of the rows of `numbers`.
    numbers : DataFrame or None
        A row per manifold; None for a layer that has no geometry.
    """
    numbers = pd.DataFrame() if numbers is None else numbers
    identity: dict[str, Any] = {name: row[name] for name in LAYER_IDENTITY}
    identity |= {"class_index": list(classes), "class_name": list(classes.values())}
    table = pd.DataFrame(identity, index=numbers.index, columns=[*MANIFOLD_IDENTITY])
    return table.join(numbers)


def centers_table(row: Mapping[str, Any], spectra: Sequence[NDArray[np.float64]]) -> pd.DataFrame:
    """The table of a layer's centers: a row per principal component, its eigenvalue the mean over draws.

    Parameters
    ----------
    row : mapping
        The layer's row, with at least what identifies it.
    spectra : sequence of (P - 1,) array
        `Geometry.centers_spectrum` of each draw of points; none for a layer that has no geometry.
    """
    shares = np.mean(spectra, axis=0) if len(spectra) else np.empty(0)
    identity: dict[str, Any] = {name: row[name] for name in LAYER_IDENTITY}
    identity |= {"component": np.arange(1, len(shares) + 1), "variance_share": shares}
    identity["center_rank"] = row.get("center_rank")
    return pd.DataFrame(identity, columns=[*CENTERS_IDENTITY, *CENTERS_NUMBERS])


def in_words(numbers: Mapping[str, Any]) -> str:
    """A layer's numbers in a line of a log."""
    return (
        f"capacity {numbers['capacity']:.4g} ± {numbers['capacity_stderr']:.2g}, radius {numbers['radius']:.4g}, "
        f"dimension {numbers['dimension']:.4g}, center correlation {numbers['center_correlation']:.3g}"
    )


def select_rows(frame: pd.DataFrame, **wanted: str) -> pd.DataFrame:
    for name, value in wanted.items():
        frame = frame[frame[name] == value]
    return frame
