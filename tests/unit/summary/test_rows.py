"""Rows that the geometry jobs write."""

import numpy as np
import pandas as pd

from manifold_capacity.models.layers import Layer
from manifold_capacity.summary.columns import CENTERS_IDENTITY, LAYER_IDENTITY, MANIFOLD_IDENTITY
from manifold_capacity.summary.rows import (
    centers_table,
    layer_columns,
    manifold_table,
    projected,
)

from .helpers import layer_row


def test_columns_that_describe_a_layer() -> None:
    columns = layer_columns(Layer(3, "features.2", "Conv2d", (64, 32, 32), 65536))
    assert columns == {
        "layer": "3_Conv2d",
        "layer_index": 3,
        "layer_name": "features.2",
        "layer_type": "Conv2d",
        "output_shape": "64x32x32",
        "n_features": 65536,
        "view": "flatten",
        "position": "",
    }
    assert LAYER_IDENTITY[-len(columns) :] == (*columns,)


def test_the_column_of_a_projected_layer() -> None:
    layer = Layer(3, "features.2", "Conv2d", (64, 32, 32), 65536)
    assert projected(layer, 65536) == {"n_features": 65536}
    assert projected(layer, 5000) == {"n_features": 65536, "projected_features": 5000}


def test_table_of_a_layers_manifolds() -> None:
    numbers = pd.DataFrame({"n_points": [5, 6], "capacity": [0.1, 0.2]})
    table = manifold_table(layer_row(4), {7: "seven", 2: "two"}, numbers)
    assert list(table.columns) == [*MANIFOLD_IDENTITY, "n_points", "capacity"]
    rows = table[["layer_index", "class_index", "class_name", "n_points", "capacity"]]
    assert rows.to_numpy().tolist() == [[4, 7, "seven", 5, 0.1], [4, 2, "two", 6, 0.2]]


def test_table_of_a_layers_centers() -> None:
    spectra = [np.array([0.75, 0.25]), np.array([0.5, 0.5])]
    table = centers_table(layer_row(4, center_rank=1), spectra)
    assert list(table.columns) == [*CENTERS_IDENTITY, "variance_share", "center_rank"]
    numbers = table[["layer_index", "component", "variance_share", "center_rank"]]
    assert numbers.to_numpy().tolist() == [[4, 1, 0.625, 1], [4, 2, 0.375, 1]]


def test_layer_without_geometry_has_headers_only() -> None:
    row = layer_row(4, status="dead")
    for numbers in (None, pd.DataFrame()):
        manifolds = manifold_table(row, {}, numbers)
        assert (list(manifolds.columns), len(manifolds)) == ([*MANIFOLD_IDENTITY], 0)
    centers = centers_table(row, [])
    assert list(centers.columns) == [*CENTERS_IDENTITY, "variance_share", "center_rank"]
    assert centers.empty
