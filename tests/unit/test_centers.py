"""The low-rank structure of the centers: found, stable, invariant, and projected out exactly."""

import numpy as np
import pytest

from manifold_capacity.centers import CoincidingCentersError, fit_centers, project
from manifold_capacity.moments import moments_from_arrays


def shared_centers(n_manifolds, n_shared, n_features=400, strength=3.0, seed=0):
    """Centers that share a few directions, on top of directions of their own."""
    rng = np.random.default_rng(seed)
    own = rng.standard_normal((n_manifolds, n_features))
    shared = rng.standard_normal((n_manifolds, n_shared)) @ rng.standard_normal(
        (n_shared, n_features)
    )
    return own + strength * shared / np.sqrt(n_shared)


def gram_of(centers):
    deviations = centers - centers.mean(axis=0)
    return deviations @ deviations.T


def mean_correlation(vectors):
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    correlation = np.abs(units @ units.T)
    n = len(correlation)
    return (correlation.sum() - n) / (n * (n - 1))


@pytest.mark.parametrize("n_shared", [1, 3, 6])
def test_shared_directions_are_found(n_shared):
    structure = fit_centers(gram_of(shared_centers(40, n_shared)))
    assert structure.rank == n_shared
    assert structure.residual_correlation < 0.1
    assert structure.center_correlation > 0.2
    assert structure.converged


def test_the_numbers_are_those_of_the_residuals():
    centers = shared_centers(30, 3)
    deviations = centers - centers.mean(axis=0)
    structure = fit_centers(gram_of(centers))
    directions = deviations.T @ structure.coefficients
    np.testing.assert_allclose(directions.T @ directions, np.eye(structure.rank), atol=1e-12)
    residuals = deviations - deviations @ directions @ directions.T
    ratios = np.linalg.norm(residuals, axis=1) / np.linalg.norm(deviations, axis=1)
    units = residuals / np.linalg.norm(residuals, axis=1, keepdims=True)
    assert structure.center_correlation == pytest.approx(mean_correlation(deviations), rel=1e-12)
    assert structure.residual_correlation == pytest.approx(mean_correlation(residuals), rel=1e-10)
    assert structure.objective == pytest.approx(((units @ units.T) ** 2).sum() / 2, rel=1e-10)
    assert structure.least_residual_ratio == pytest.approx(ratios.min(), rel=1e-10)
    assert structure.correlations[0] == structure.center_correlation
    assert structure.correlations.min() == structure.residual_correlation


def test_projection_equals_that_of_the_points():
    rng = np.random.default_rng(3)
    centers = shared_centers(12, 2, n_features=80)
    manifolds = [
        c + rng.standard_normal((m, 80)) for c, m in zip(centers, range(3, 15), strict=True)
    ]
    moments = moments_from_arrays(manifolds)
    structure = fit_centers(moments.center_gram)
    projected = project(moments, structure)

    means = np.array([points.mean(axis=0) for points in manifolds])
    directions = (means - means.mean(axis=0)).T @ structure.coefficients
    origin = np.concatenate(manifolds).mean(axis=0)
    for i, points in enumerate(manifolds):
        shifted = points - origin
        without = shifted - shifted @ directions @ directions.T
        center = without.mean(axis=0)
        norm = np.linalg.norm(center)
        deviations = (without - center) / norm
        assert projected.center_norm[i] == pytest.approx(np.linalg.norm(shifted.mean(axis=0)))
        assert projected.projected_center_norm[i] == pytest.approx(norm)
        np.testing.assert_allclose(
            projected.deviation_gram[i], deviations @ deviations.T, atol=1e-11
        )


def test_one_manifold_has_no_center():
    with pytest.raises(CoincidingCentersError, match="one manifold only"):
        fit_centers(np.zeros((1, 1)))


def test_two_centers_have_no_structure_to_remove():
    structure = fit_centers(gram_of(np.array([[1.0, 0.0], [0.0, 1.0]])))
    assert structure.rank == 0
    assert structure.center_correlation == pytest.approx(1)
