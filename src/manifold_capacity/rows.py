"""What identifies a row of the tables: of which layer, and of which manifold, the numbers are.

Apart from `manifold_capacity.summary`, so that a change in how tables look does not measure anything
again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from manifold_capacity.layers import Layer

# What identifies a row, from the outside in.
LAYER_IDENTITY = (
    "dataset",
    "model",
    "weights",
    "seed",
    "checkpoint",
    "epoch",
    "split",
    "layer",
    "layer_index",
    "layer_name",
    "layer_type",
    "output_shape",
    "n_features",
)
MANIFOLD_IDENTITY = (*LAYER_IDENTITY, "class_index", "class_name")
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
    row: Mapping[str, Any], classes: Mapping[int, str], numbers: pd.DataFrame
) -> pd.DataFrame:
    """The table of a layer's manifolds: what identifies each, then its numbers.

    Parameters
    ----------
    row : mapping
        The layer's row, with at least what identifies it.
    classes : mapping of int to str
        Index and name of each manifold's class, in the order of the rows of `numbers`.
    numbers : DataFrame
        A row per manifold; none for a layer that has no geometry.
    """
    identity: dict[str, Any] = {name: row[name] for name in LAYER_IDENTITY}
    identity |= {"class_index": list(classes), "class_name": list(classes.values())}
    table = pd.DataFrame(identity, index=numbers.index, columns=[*MANIFOLD_IDENTITY])
    return table.join(numbers)
