"""The random projection of wide layers."""

import numpy as np
import pytest
import torch

from manifold_capacity.activations.grid import store_size
from manifold_capacity.activations.projection import (
    Projection,
    add_all_blocks,
    add_blocks,
    draw,
    stored_features,
)
from manifold_capacity.models.layers import Layer


def layer_of(n_features, name="features.0"):
    return Layer(1, name, "Conv2d", (n_features,), n_features)


def matrix(layer, n_features):
    """The projection as a matrix."""
    return Projection(n_features)(layer, torch.eye(layer.n_features)).numpy()


@pytest.mark.parametrize(("width", "n_features"), [(64, 64), (64, 100), (64, None)])
def test_a_layer_that_is_narrow_enough_stays_as_it_is(width, n_features):
    output = torch.randn(3, width)
    assert Projection(n_features)(layer_of(width), output) is output
    assert stored_features(layer_of(width), n_features) == width


@pytest.mark.parametrize(("width", "n_features"), [(60, 20), (64, 20), (21, 20), (500, 7), (9, 1)])
def test_every_feature_is_added_to_one_coordinate(width, n_features):
    values = matrix(layer_of(width), n_features)
    assert values.shape == (width, stored_features(layer_of(width), n_features))
    assert (np.abs(values).sum(axis=1) == 1).all()
    assert set(np.unique(values)) == {-1, 0, 1} if n_features > 1 else {-1, 1}
    loads = np.abs(values).sum(axis=0)
    assert loads.max() <= -(-width // n_features)
    for first in range(0, width, n_features):
        assert np.abs(values[first : first + n_features]).sum(axis=0).max() == 1


@pytest.mark.parametrize(("width", "n_features"), [(60, 20), (64, 20), (21, 20), (500, 7)])
def test_both_ways_to_add_give_the_same(width, n_features):
    output = torch.randn(4, width, generator=torch.Generator().manual_seed(0))
    drawn = draw(layer_of(width), n_features)
    one, other = (add(output, *drawn, n_features) for add in (add_blocks, add_all_blocks))
    assert one.dtype == other.dtype == torch.float32
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_sums_of_half_precision_are_in_float32():
    output = torch.full((1, 4096), 3.0, dtype=torch.bfloat16)
    signs, starts = draw(layer_of(4096), 2)
    for add in (add_blocks, add_all_blocks):
        assert add(output, signs.abs(), starts, 2).tolist() == [[6144.0, 6144.0]]


def test_it_depends_on_name_and_width_alone():
    one = matrix(layer_of(100), 10)
    np.testing.assert_array_equal(one, matrix(Layer(7, "features.0", "ReLU", (10, 10), 100), 10))
    assert not np.array_equal(one, matrix(layer_of(100, "features.1"), 10))
    assert not np.array_equal(one[:99], matrix(layer_of(99), 10))


def test_inner_products_are_right_on_average_and_vary_as_they_should():
    """Against the variance that the module names, from 4,000 layers of different names."""
    width, k = 50, 10
    x, y = np.random.default_rng(0).standard_normal((2, width)).astype(np.float32)
    both = torch.from_numpy(np.stack([x, y]))
    products = []
    for i in range(4000):
        one, other = Projection(k)(layer_of(width, f"layer {i}"), both).numpy()
        products.append(one @ other)
    share = 1 / k * (np.arange(width)[:, None] // k != np.arange(width) // k)
    terms = np.outer(x**2, y**2) + np.outer(x * y, x * y)
    variance = (share * terms).sum()
    assert abs(np.mean(products) - x @ y) < 4 * np.sqrt(variance / len(products))
    assert np.var(products) == pytest.approx(variance, rel=0.1)
    dense_signs = (terms.sum() - np.trace(terms)) / k
    assert variance < dense_signs


def test_wide_layers_are_stored_projected(store, model, layers):
    chosen = [layers[0], layers[1], layers[12]]
    whole, projected = store(model, chosen, name="whole"), store(model, chosen, projection=500)
    for layer in (layers[0], layers[12]):
        np.testing.assert_array_equal(whole(layer.label)[...], projected(layer.label)[...])
        assert "projected_features" not in projected(layer.label).attributes
    values = whole("1_Conv2d")[...]
    stored = projected("1_Conv2d")
    assert stored.shape == (4, 5, 500)
    assert stored.attributes["projected_features"] == 500
    expected = values @ matrix(layers[1], 500)
    np.testing.assert_allclose(stored[...], expected, atol=1e-5 * np.abs(values).max())


def test_the_size_is_that_of_what_is_stored():
    layers = [layer_of(100), layer_of(10)]
    projected = store_size(layers, 4, 5, projection=30)
    assert projected.entries == store_size([layer_of(30), layer_of(10)], 4, 5).entries
    assert store_size(layers, 4, 5, projection=None) == store_size(layers, 4, 5)
