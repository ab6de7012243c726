"""The range of the results over near-tied K."""

import dataclasses
from functools import partial

import numpy as np
import pytest

from manifold_capacity.geometry.centers import CoincidingCentersError, fit_centers, project
from manifold_capacity.geometry.measure import gaussian_samples, measure, solve_manifolds
from manifold_capacity.geometry.moments import moments_from_arrays
from manifold_capacity.geometry.near_ranks import N_GAUSSIANS, near_rank_ranges
from manifold_capacity.geometry.result import PER_MANIFOLD


def falling_points(n_manifolds, seed, n_points=10):
    """Manifolds whose centers and points have falling spectra, as those of images do."""
    points = np.random.default_rng(seed).standard_normal((n_manifolds, n_points, 200))
    return points * np.arange(1, 201) ** -0.8


def solver(moments, n_gaussians=N_GAUSSIANS, threads=1):
    draw = gaussian_samples(0, n_gaussians)
    settings = {"margin": 0.0, "solver": "active_set", "threads": threads}
    return partial(solve_manifolds, moments, draw=draw, **settings)


def ranges_of(points, **settings):
    moments = moments_from_arrays(points)
    layer = measure(points)
    solve = solver(moments, **settings)
    return layer, near_rank_ranges(moments, layer.centers, layer.summary(), solve)


@pytest.mark.parametrize(("n_manifolds", "seed"), [(20, 1), (30, 2), (40, 2), (40, 4)])
def test_a_hundred_samples_give_the_range_that_thousands_do(n_manifolds, seed):
    points = falling_points(n_manifolds, seed)
    layer, ranges = ranges_of(points)
    moments = moments_from_arrays(points)
    solve = solver(moments, n_gaussians=3000)
    every = {rank: solve(project(moments, layer.centers, rank)) for rank in layer.centers.near_tied}
    assert len(every) > 1
    for quantity in PER_MANIFOLD:
        power = -1 if quantity == "capacity" else 1
        values = {
            rank: np.mean([getattr(result, quantity) ** power for result in results]) ** power
            for rank, results in every.items()
        }
        expected = np.array([min(values.values()), max(values.values())])
        expected *= layer.summary()[quantity] / values[layer.center_rank]
        np.testing.assert_allclose(ranges[quantity], expected, rtol=0.005)
        assert ranges[quantity][0] <= layer.summary()[quantity] <= ranges[quantity][1]
        assert ranges[quantity][0] < ranges[quantity][1]


def test_without_another_rank_there_is_no_range_and_no_cost():
    points = falling_points(20, 3)
    layer = measure(points)
    assert layer.centers.near_tied == (layer.center_rank,)
    moments = moments_from_arrays(points)
    ranges = near_rank_ranges(moments, layer.centers, layer.summary(), pytest.fail)
    assert ranges == {name: (layer.summary()[name],) * 2 for name in PER_MANIFOLD}


def test_threads_change_no_bit():
    points = falling_points(40, 4)
    assert ranges_of(points, threads=1)[1] == ranges_of(points, threads=3)[1]


def test_single_points_have_no_radius_at_any_rank():
    points = falling_points(40, 4, n_points=1)
    layer, ranges = ranges_of(points)
    assert len(layer.centers.near_tied) > 1
    assert ranges["radius"] == ranges["dimension"] == (0, 0)
    assert ranges["capacity"] == (layer.summary()["capacity"],) * 2


def test_a_rank_that_takes_a_center_away_is_left_out():
    moments = moments_from_arrays(falling_points(20, 0))
    structure = fit_centers(moments.center_gram)
    first = np.eye(20, 1) / np.sqrt(moments.center_gram[0, 0])
    tied = {1: first, structure.rank: structure.coefficients}
    swallowing = dataclasses.replace(structure, near_tied_coefficients=tied)
    with pytest.raises(CoincidingCentersError, match=r"manifold 0: .* without the shared"):
        project(moments, swallowing, 1)
    layer = dict.fromkeys(PER_MANIFOLD, 2.0)
    ranges = near_rank_ranges(moments, swallowing, layer, solver(moments))
    assert ranges == dict.fromkeys(PER_MANIFOLD, (2.0, 2.0))
