"""Rows that the geometry jobs write."""

import math
from pathlib import Path

import numpy as np
import pandas as pd

from manifold_capacity.models.layers import Layer
from manifold_capacity.summary.columns import CENTERS_IDENTITY, LAYER_IDENTITY, MANIFOLD_IDENTITY
from manifold_capacity.summary.rows import (
    centers_table,
    layer_columns,
    manifold_table,
    projected,
    write_columns,
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
    numbers = {"n_points": [5, 6], "capacity": np.array([0.1, 0.2])}
    table = pd.DataFrame(manifold_table(layer_row(4), {7: "seven", 2: "two"}, numbers))
    assert list(table.columns) == [*MANIFOLD_IDENTITY, "n_points", "capacity"]
    rows = table[["layer_index", "class_index", "class_name", "n_points", "capacity"]]
    assert rows.to_numpy().tolist() == [[4, 7, "seven", 5, 0.1], [4, 2, "two", 6, 0.2]]


def test_table_of_a_layers_centers() -> None:
    spectra = [np.array([0.75, 0.25]), np.array([0.5, 0.5])]
    table = pd.DataFrame(centers_table(layer_row(4, center_rank=1), spectra))
    assert list(table.columns) == [*CENTERS_IDENTITY, "variance_share", "center_rank"]
    numbers = table[["layer_index", "component", "variance_share", "center_rank"]]
    assert numbers.to_numpy().tolist() == [[4, 1, 0.625, 1], [4, 2, 0.375, 1]]


def test_layer_without_geometry_has_headers_only(tmp_path: Path) -> None:
    row = layer_row(4, status="dead")
    write_columns(manifold_table(row, {}, None), tmp_path / "manifolds.csv")
    assert (tmp_path / "manifolds.csv").read_text() == ",".join(MANIFOLD_IDENTITY) + "\n"
    write_columns(centers_table(row, []), tmp_path / "centers.csv")
    names = [*CENTERS_IDENTITY, "variance_share", "center_rank"]
    assert (tmp_path / "centers.csv").read_text() == ",".join(names) + "\n"


def test_columns_are_written_as_pandas_writes_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    numbers = rng.standard_normal(2000) * 10.0 ** rng.integers(-320, 300, 2000)
    numbers[:9] = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, 1e16, 1e-5, 5e-324]
    words = ['a "b", c', "two\nlines", "\r", "µ", "", "null"] * 400
    columns = {
        "numbers": numbers,
        "counts": np.arange(2000),
        "words": words[:2000],
        "none": [None] * 2000,
        "truth": numbers > 0,
    }
    write_columns(columns, tmp_path / "ours.csv")
    pd.DataFrame(columns).to_csv(tmp_path / "theirs.csv", index=False)
    assert (tmp_path / "ours.csv").read_bytes() == (tmp_path / "theirs.csv").read_bytes()
