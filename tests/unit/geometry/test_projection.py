"""Shared directions projected out: the same as from the points, for any manifolds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifold_capacity.geometry.centers import CoincidingCentersError, fit_centers, project
from manifold_capacity.geometry.moments import moments_from_arrays


def projected_directly(manifolds, structure):
    """Gram matrix of each manifold's projected points, and the norm of its projected center."""
    means = np.array([points.mean(axis=0) for points in manifolds])
    directions = (means - means.mean(axis=0)).T @ structure.coefficients
    origin = np.concatenate(manifolds).mean(axis=0)
    grams, norms = [], []
    for points in manifolds:
        projected = points - origin
        projected = projected - projected @ directions @ directions.T
        center = projected.mean(axis=0)
        grams.append((projected - center) @ (projected - center).T)
        norms.append(np.linalg.norm(center))
    return grams, np.array(norms)


def test_projection_equals_that_of_the_points():
    rng = np.random.default_rng(3)
    centers = rng.standard_normal((12, 80))
    centers += 2 * rng.standard_normal((12, 2)) @ rng.standard_normal((2, 80))
    manifolds = [center + rng.standard_normal((m, 80)) for m, center in enumerate(centers, 1)]
    moments = moments_from_arrays(manifolds)
    structure = fit_centers(moments.center_gram)
    projected = project(moments, structure)

    grams, norms = projected_directly(manifolds, structure)
    assert structure.rank > 0
    np.testing.assert_allclose(projected.projected_center_norm, norms)
    origin = np.concatenate(manifolds).mean(axis=0)
    distances = [np.linalg.norm(points.mean(axis=0) - origin) for points in manifolds]
    np.testing.assert_allclose(projected.center_norm, distances)
    for found, expected, norm in zip(projected.deviation_gram, grams, norms, strict=True):
        np.testing.assert_allclose(found, expected / norm**2, atol=1e-11)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_projection_of_manifolds_of_extreme_scale(scale):
    rng = np.random.default_rng(4)
    manifolds = rng.standard_normal((10, 1, 50)) + rng.standard_normal((10, 4, 50))
    plain, scaled = (
        project(moments, fit_centers(moments.center_gram))
        for moments in (moments_from_arrays(manifolds), moments_from_arrays(manifolds * scale))
    )
    for name in ("center_norm", "projected_center_norm"):
        np.testing.assert_allclose(getattr(scaled, name) / scale, getattr(plain, name), rtol=1e-9)
    np.testing.assert_allclose(scaled.deviation_gram, plain.deviation_gram, atol=1e-9)


@given(
    sizes=st.lists(st.integers(1, 5), min_size=2, max_size=12),
    n_features=st.integers(1, 20),
    spread=st.floats(-8, 3),
    kind=st.sampled_from(["free", "lattice", "axes", "line", "pairs", "norms"]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_any_manifolds_are_projected_or_named(sizes, n_features, spread, kind, seed):
    rng = np.random.default_rng(seed)
    n_manifolds = len(sizes)
    centers = rng.standard_normal((n_manifolds, n_features))
    if kind == "lattice":
        centers = np.round(centers)
    elif kind == "axes":
        centers = np.eye(max(n_manifolds, n_features))[:n_manifolds, :n_features]
    elif kind == "line":
        centers += np.outer(rng.standard_normal(n_manifolds) * 1e5, np.ones(n_features))
    elif kind == "pairs":
        centers = centers[np.arange(n_manifolds) // 2]
    elif kind == "norms":
        centers *= 10 ** rng.uniform(-5, 0, (n_manifolds, 1))
    manifolds = [
        center + 10**spread * rng.standard_normal((size, n_features))
        for center, size in zip(centers, sizes, strict=True)
    ]
    moments = moments_from_arrays(manifolds)
    try:
        structure = fit_centers(moments.center_gram)
        projected = project(moments, structure)
    except CoincidingCentersError as error:
        assert 0 < len(error.manifolds) <= n_manifolds  # noqa: PT017 (some inputs are fine)
        return
    assert np.isfinite(
        [structure.objective, structure.residual_correlation, *structure.correlations]
    ).all()
    assert (projected.projected_center_norm > 0).all()
    # Up to the digits that weak directions beside strong ones leave.
    assert (projected.projected_center_norm <= projected.center_norm * (1 + 1e-4)).all()
    directions = structure.coefficients.T @ moments.center_gram @ structure.coefficients
    np.testing.assert_allclose(directions, np.eye(structure.rank), atol=1e-4)
    origin = np.concatenate(manifolds).mean(axis=0)
    grams, norms = projected_directly(manifolds, structure)
    for i, gram in enumerate(projected.deviation_gram):
        np.testing.assert_allclose(gram, gram.T, rtol=0, atol=1e-12 * np.trace(gram))
        size = np.abs(manifolds[i] - origin).max()
        norm = projected.projected_center_norm[i]
        assert norms[i] == pytest.approx(norm, rel=1e-6, abs=1e-9 * size)
        tolerance = 1e-9 * n_features * size**2
        np.testing.assert_allclose(gram * norm**2, grams[i], rtol=0, atol=tolerance)


def test_a_center_at_the_mean_of_all_points_is_named():
    # Means 0, 3 and -2, of one, two and three points: the mean of all points is 0, that of the
    # centers not.
    manifolds = [np.array([[0.0, 0.0]]), np.array([[3.0, 1.0], [3.0, -1.0]])]
    manifolds.append(np.array([[-2.0, 1.0], [-2.0, 0.0], [-2.0, -1.0]]))
    moments = moments_from_arrays(manifolds)
    structure = fit_centers(moments.center_gram)
    message = "manifold 0: the center lies at the mean of all points, "
    with pytest.raises(CoincidingCentersError, match=message) as caught:
        project(moments, structure)
    assert caught.value.manifolds == (0,)
