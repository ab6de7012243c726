"""Simulated capacity against Cover's theorem, linear programming, and the mean-field value."""

import numpy as np
import pytest
from scipy.optimize import linprog

from manifold_capacity import DegenerateManifoldsError, measure
from manifold_capacity.geometry.simulated import _coordinates, separable, simulated_capacity


def clouds(n_manifolds, n_points, n_features, spread, seed=0):
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((n_manifolds, 1, n_features))
    return centers + spread * rng.standard_normal((n_manifolds, n_points, n_features))


def test_points_follow_cover():
    """P points in general position are separable in P / 2 dimensions half the time."""
    result = simulated_capacity(clouds(30, 1, 60, 0), n_repetitions=300)
    assert result.capacity == pytest.approx(2, abs=3 * result.capacity_stderr)
    assert result.capacity_stderr < 0.03
    # Cover: n_c - 1 is binomial (P - 1, 1/2), but for the one dimension that the mean takes away.
    assert result.critical_features.std() == pytest.approx(np.sqrt(29) / 2, rel=0.15)


@pytest.mark.parametrize(("n_points", "spread"), [(2, 0.8), (10, 0.6), (20, 1.0)])
def test_agrees_with_mean_field(n_points, spread):
    manifolds = clouds(40, n_points, 500, spread)
    result = simulated_capacity(manifolds, n_repetitions=30)
    expected = measure(manifolds).summary()["capacity"]
    # 5 % for 40 manifolds being few.
    assert result.capacity == pytest.approx(
        expected, abs=3 * result.capacity_stderr + 0.05 * expected
    )
    assert result.capacity_stderr < 0.05 * expected


@pytest.mark.parametrize("n_features", [4, 8, 11, 14, 40])
def test_separable_as_a_linear_program_has_it(n_features):
    answers = []
    for seed in range(12):
        rng = np.random.default_rng([n_features, seed])
        points = 0.5 + rng.standard_normal((30, n_features)) * rng.uniform(0.2, 6)
        # Some w with z . w >= 1 for every point.
        program = linprog(
            np.zeros(n_features), -points, -np.ones(30), bounds=(None, None), method="highs"
        )
        answers.append(program.status == 0)
        assert separable(points) == answers[-1]
    if n_features < 40:
        assert len(set(answers)) == 2


def test_coordinates_keep_inner_products():
    rng = np.random.default_rng(3)
    manifolds = [5 + rng.standard_normal((size, 5000)) for size in (3, 6, 2)]
    points, owner = _coordinates(manifolds)
    direct = np.concatenate(manifolds)
    direct -= direct.mean(0)
    scale = (direct**2).sum(1).max()
    np.testing.assert_allclose(points @ points.T, direct @ direct.T / scale, atol=1e-12)
    assert points.shape == (11, 10)
    assert owner.tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2]


def test_seed_and_threads():
    manifolds = clouds(8, 4, 60, 0.5)
    expected = simulated_capacity(manifolds, n_repetitions=10, seed=1, threads=1)
    same = simulated_capacity(manifolds, n_repetitions=10, seed=1, threads=3)
    np.testing.assert_array_equal(same.critical_features, expected.critical_features)
    fewer = simulated_capacity(manifolds, n_repetitions=5, seed=1)
    np.testing.assert_array_equal(fewer.critical_features, expected.critical_features[:5])
    other = simulated_capacity(manifolds, n_repetitions=10, seed=2)
    assert (other.critical_features != expected.critical_features).any()


def test_too_few_features_to_ever_separate():
    """The number is NaN rather than that of the dichotomies which happened to be separable."""
    result = simulated_capacity(clouds(20, 5, 4, 1.0), n_repetitions=10)
    assert result.rank == 4
    assert (result.critical_features == 5).any()
    assert np.isnan(result.capacity)
    assert np.isnan(result.capacity_stderr)


def test_errors():
    with pytest.raises(DegenerateManifoldsError, match="one manifold only"):
        simulated_capacity(clouds(1, 5, 4, 1.0))
    with pytest.raises(DegenerateManifoldsError, match=r"are the same.*leave the layer out"):
        simulated_capacity(np.ones((3, 5, 4)))
    with pytest.raises(ValueError, match="point 1 of manifold 2, feature 3 is nan"):
        simulated_capacity(np.where(np.arange(60).reshape(3, 5, 4) == 47, np.nan, 1.0))
    with pytest.raises(ValueError, match=r"1e\+200 from their mean.*common scale"):
        simulated_capacity(1e200 * np.array([[[1.0]], [[-1.0]]]))
    with pytest.raises(ValueError, match="n_repetitions is 1"):
        simulated_capacity(clouds(3, 5, 4, 1.0), n_repetitions=1)
    with pytest.raises(ValueError, match="threads is 0"):
        simulated_capacity(clouds(3, 5, 4, 1.0), threads=0)
    with pytest.raises(ValueError, match="seed is -1"):
        simulated_capacity(clouds(3, 5, 4, 1.0), seed=-1)
