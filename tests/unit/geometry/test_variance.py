"""Variance of whole layers, against singular values."""

import numpy as np
import pytest

from manifold_capacity.geometry.variance import layer_variance


def expected(points):
    values = np.linalg.svd(points - points.mean(0), compute_uv=False) ** 2
    explained = np.cumsum(values) / values.sum()
    return values.sum() ** 2 / (values**2).sum(), int((explained < 0.9).sum()) + 1


def layer(n_features, sizes=(7, 12, 5), seed=0):
    rng = np.random.default_rng(seed)
    scales = np.logspace(0, -2, n_features)
    return [
        50 + scales * (rng.standard_normal(n_features) + rng.standard_normal((n, n_features)))
        for n in sizes
    ]


@pytest.mark.parametrize("n_features", [3, 24, 25, 5000])
@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e150])
def test_agrees_with_singular_values(n_features, scale):
    """Fewer features than points and more, in one block and several, at any scale."""
    manifolds = layer(n_features)
    ratio, dimension = expected(np.concatenate(manifolds))
    for order in (1, -1):  # the largest features first and last
        found = layer_variance([scale * points[:, ::order] for points in manifolds])
        assert found.participation_ratio == pytest.approx(ratio, rel=1e-9)
        assert found.dimension_90 == dimension
        assert found.n_points == 24


@pytest.mark.parametrize(
    ("max_points", "sizes"), [(6, (2, 2, 2)), (15, (5, 5, 5)), (18, (6, 6, 5))]
)
def test_first_points_of_each(max_points, sizes):
    manifolds = layer(40)
    ratio, _ = expected(np.concatenate([a[:n] for a, n in zip(manifolds, sizes, strict=True)]))
    found = layer_variance(manifolds, max_points=max_points)
    assert found.participation_ratio == pytest.approx(ratio, rel=1e-9)
    assert found.n_points == sum(sizes)


@pytest.mark.parametrize("n_features", [3, 100])
def test_dead_layer(n_features):
    found = layer_variance(np.ones((2, 4, n_features)))
    assert (found.participation_ratio, found.dimension_90) == (0.0, 0)


def test_errors():
    with pytest.raises(ValueError, match="max_points is 2; it must be a whole number, 3 or more"):
        layer_variance(layer(5), max_points=2)
    bad = layer(5)
    bad[1][3, 2] = np.nan
    with pytest.raises(ValueError, match="point 3 of manifold 1, feature 2 is nan"):
        layer_variance(bad)
