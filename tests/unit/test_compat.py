"""The reference's function: its five values, its arguments and its errors."""

import numpy as np
import pytest

from manifold_capacity import measure
from manifold_capacity.compat import alldata_dimension_analysis, manifold_analysis_corr
from manifold_capacity.geometry.anchors import anchor_geometry, points_from_gram
from manifold_capacity.geometry.manifolds import DegenerateManifoldsError
from manifold_capacity.geometry.measure import find_centers
from manifold_capacity.geometry.moments import moments_from_arrays


def columns(n_manifolds=8, n_points=12, n_features=40, seed=0):
    """Manifolds as the reference takes them, (n_features, n_points)."""
    rng = np.random.default_rng(seed)
    return [
        rng.standard_normal((n_features, 1)) + 0.4 * rng.standard_normal((n_features, n_points))
        for _ in range(n_manifolds)
    ]


@pytest.mark.parametrize("n_points", [12, 60])
def test_agrees_with_measure(n_points):
    """Fewer and more points than features; the radius without its correction."""
    manifolds = columns(n_points=n_points)
    capacity, radius, dimension, correlation, rank = manifold_analysis_corr(manifolds, 0.3, 200)
    expected = measure([points.T for points in manifolds], margin=0.3, n_gaussians=200, seed=0)
    np.testing.assert_array_equal(capacity, expected.capacity)
    np.testing.assert_allclose(radius, expected.radius * np.sqrt(199 / 200), rtol=1e-14)
    np.testing.assert_array_equal(dimension, expected.dimension)
    assert correlation == expected.center_correlation
    assert rank == expected.center_rank


def test_given_gaussians():
    """`t_vecs` are used for every manifold, as they are: in the order of manifolds or another."""
    manifolds = columns()
    t_vecs = np.random.default_rng(1).standard_normal((13, 150))
    capacity, radius, dimension, _, _ = manifold_analysis_corr(manifolds, 0.2, 150, t_vecs=t_vecs)
    reordered = manifold_analysis_corr(manifolds[::-1], 0.2, 150, t_vecs=t_vecs)
    np.testing.assert_allclose(reordered[0][::-1], capacity, rtol=0.02)
    moments = moments_from_arrays([points.T for points in manifolds])
    _, projected = find_centers(moments, seed=0)
    for i, gram in enumerate(projected.deviation_gram):
        expected = anchor_geometry(points_from_gram(gram, 12, 1e-13), t_vecs.T, 0.2)
        found = (capacity[i], radius[i], dimension[i])
        np.testing.assert_allclose(found, list(expected), rtol=1e-10)


def test_repetitions_and_lists():
    manifolds = columns(n_points=3, n_features=6)
    expected = manifold_analysis_corr(manifolds, 0, 20)
    found = manifold_analysis_corr([m.tolist() for m in manifolds], 0, 20, None, 5)
    np.testing.assert_array_equal(found[0], expected[0])


@pytest.mark.parametrize("n_manifolds", [2, 3, 4, 5, 6])
def test_few_manifolds(n_manifolds):
    """The reference fails for these."""
    results = manifold_analysis_corr(columns(n_manifolds), 0, 50)
    assert np.isfinite(np.concatenate(results[:3])).all()


def test_errors():
    with pytest.raises(
        ValueError, match=r"t_vecs has shape \(12, 9\); manifold 0 needs \(13, n_t\)"
    ):
        manifold_analysis_corr(columns(), 0, 9, t_vecs=np.zeros((12, 9)))
    unequal = [*columns(), columns(1, 5)[0]]
    with pytest.raises(ValueError, match=r"manifold 8 needs .* unequal sizes leave t_vecs out"):
        manifold_analysis_corr(unequal, 0, 9, t_vecs=np.ones((13, 9)))
    with pytest.raises(ValueError, match="n_t is 1"):
        manifold_analysis_corr(columns(), 0, 1)
    with pytest.raises(ValueError, match="margin is -1"):
        manifold_analysis_corr(columns(), -1, 10)
    with pytest.raises(DegenerateManifoldsError, match="one manifold"):
        manifold_analysis_corr(columns(1), 0, 10)


def test_dimension_of_all_points():
    """As the reference computes it, by singular values of all points around their mean."""
    manifolds = columns()
    points = np.concatenate(manifolds, axis=1)
    variances = np.linalg.svd(points - points.mean(axis=1, keepdims=True))[1] ** 2
    ratio, explained, features = alldata_dimension_analysis(manifolds, 0.7)
    assert ratio == pytest.approx(variances.sum() ** 2 / (variances**2).sum())
    assert explained == (np.cumsum(variances) / variances.sum() <= 0.7).sum()
    assert features == 40


@pytest.mark.parametrize(
    ("points", "perc", "message"),
    [(np.ones((3, 4)), 0.9, "all points are the same"), (np.eye(3), 1.0, "perc is 1.0; it must")],
)
def test_what_has_no_dimension(points, perc, message):
    with pytest.raises(ValueError, match=message):
        alldata_dimension_analysis([points], perc)
