"""How a store is divided, and its size on disk."""

import logging

import pytest

from manifold_capacity.activations.grid import grid_of, points_per_batch, store_size
from manifold_capacity.models.layers import Layer


@pytest.mark.parametrize("n_points", [50, 200, 1000])
def test_a_block_of_features_of_many_points_stays_small(n_points):
    layer = Layer(1, "conv", "Conv2d", (64, 32, 32), 65536)
    grid = grid_of(layer, 100, n_points, 50, "float32")
    assert 100 * n_points * grid.features * 4 <= 110 * 2**20
    assert grid.features >= 250
    assert grid.features * (grid.n_chunks - 1) < layer.n_features <= grid.features * grid.n_chunks


@pytest.mark.parametrize(
    ("n_features", "n_points", "expected"),
    [(64 * 224 * 224, 50, 10), (10, 50, 50), (10, 200, 50), (2**26, 3, 1)],
)
def test_batches_shrink_where_one_layer_is_very_wide(n_features, n_points, expected):
    layers = [Layer(1, "x", "Linear", (5,), 5), Layer(2, "y", "Linear", (n_features,), n_features)]
    assert points_per_batch(layers, n_points, 64) == expected
    assert expected == 1 or expected * n_features * 4 <= 128 * 2**20


@pytest.mark.parametrize(("dtype", "batch_size"), [("float32", 64), ("float16", 2)])
def test_the_size_of_a_store_is_exact(store, model, layers, tmp_path, caplog, dtype, batch_size):
    caplog.set_level(logging.INFO)
    opened = store(model, dtype=dtype, batch_size=batch_size)
    size = store_size(layers, 4, 5, dtype, batch_size=batch_size)
    for label, shape, n_bytes in size.entries:
        assert shape == opened(label).shape
        shards = (tmp_path / "activations.zarr" / label / "c").rglob("0")
        assert n_bytes == sum(path.stat().st_size for path in shards if path.is_file())
    assert size.total == sum(n_bytes for _, _, n_bytes in size.entries)
    assert str(size) in caplog.text
