"""Any input gives a right answer, or a ValueError that names what is wrong with which manifold."""

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from manifold_capacity import DegenerateManifoldsError, measure
from manifold_capacity.geometry.anchors import sample_anchors

# Deterministic, so that a failure can be had again; compiling may take longer than any deadline.
properties = settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


@st.composite
def point_clouds(draw, max_points=40, max_dimension=30):
    """Points (m, D) of one manifold: any rank and spread, duplicates exact and near, any offset."""
    n_points = draw(st.integers(1, max_points))
    dimension = draw(st.integers(1, max_dimension))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rank = draw(st.integers(1, dimension))
    points = rng.standard_normal((n_points, rank)) @ rng.standard_normal((rank, dimension))
    kind = draw(st.sampled_from(["generic", "repeated", "nearly", "skewed", "positive", "lattice"]))
    if kind in ("repeated", "nearly"):
        points = points[rng.integers(0, n_points, n_points)]
    if kind == "nearly":
        points = points + 10.0 ** draw(st.integers(-15, -3)) * rng.standard_normal(points.shape)
    if kind == "skewed":
        points = points * np.logspace(0, -draw(st.integers(1, 8)), dimension)
    if kind == "positive":
        points = np.maximum(points, 0)
    if kind == "lattice":
        points = np.round(points)
    if draw(st.booleans()):
        points = points - points.mean(axis=0)
    largest = np.linalg.norm(points, axis=1).max()
    spread = 10.0 ** draw(st.floats(-8, 3))
    return points * spread / largest if largest > 0 else points


@properties
@given(points=point_clouds(), margin=st.sampled_from([0.0, 0.3, 1.0, 5.0]), seed=st.integers(0, 99))
def test_every_anchor_is_optimal(points, margin, seed):
    """Certified, and as nnls has it."""
    n_points, dimension = points.shape
    gaussians = np.random.default_rng(seed).standard_normal((12, dimension + 1))
    samples = sample_anchors(points, gaussians, margin)
    assert (samples.gap <= 1e-9).all()
    assert (np.abs(samples.cosine) <= 1 + 1e-12).all()
    augmented = np.column_stack([points, np.ones(n_points)]).T
    typical = samples.inverse_capacity.mean()
    for t, value in zip(gaussians[:3], samples.inverse_capacity, strict=False):
        weights, _ = nnls(augmented, t + margin * np.eye(dimension + 1)[-1], maxiter=2000)
        expected = ((augmented @ weights) ** 2).sum()
        assert value == pytest.approx(expected, rel=1e-7, abs=1e-8 * typical)


@st.composite
def layers(draw):
    """Manifolds of one layer, in anything `measure` takes."""
    n_manifolds = draw(st.integers(1, 7))
    n_features = draw(st.sampled_from([1, 2, 3, 8, 50]))
    n_sizes = draw(st.sampled_from([1, n_manifolds]))
    sizes = [draw(st.integers(1, 12)) for _ in range(n_sizes)] * (n_manifolds // n_sizes)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    spread = 10.0 ** draw(st.floats(-8, 3))
    offset = draw(st.sampled_from([0.0, 1.0, 1e3]))
    manifolds = []
    for size in sizes:
        center = rng.standard_normal(n_features)
        rank = draw(st.integers(1, n_features))
        noise = rng.standard_normal((size, rank)) @ rng.standard_normal((rank, n_features))
        if draw(st.booleans()):
            noise = noise[rng.integers(0, size, size)]
        manifolds.append(offset + center + spread * noise)
    flaw = draw(st.sampled_from([None, None, None, "same", "dead", "nan", "inf", "constant"]))
    if flaw == "same":
        manifolds[-1] = manifolds[0].copy()
    elif flaw == "dead":
        manifolds = [np.zeros_like(points) for points in manifolds]
    elif flaw == "constant":
        manifolds[0][:] = manifolds[0][0]
    elif flaw is not None:
        manifolds[-1][-1, -1] = float(flaw)
    scale = 10.0 ** draw(st.sampled_from([-200, -30, -3, 0, 0, 0, 3, 30, 150]))
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64, np.float64]))
    scale = scale if dtype is np.float64 else 1
    with np.errstate(over="ignore"):
        manifolds = [(points * scale).astype(dtype) for points in manifolds]
    layout = draw(st.sampled_from(["plain", "fortran", "strided", "array"]))
    if layout == "fortran":
        manifolds = [np.asfortranarray(points) for points in manifolds]
    elif layout == "strided":
        manifolds = [np.repeat(points, 2, axis=1)[:, ::2] for points in manifolds]
    elif layout == "array" and len(set(map(len, manifolds))) == 1:
        manifolds = np.stack(manifolds)
    return manifolds


def without_direction(manifolds):
    """Whether a center is within rounding of where it has no direction, or shares that of all."""
    wide = [np.asarray(points, dtype=np.float64) for points in manifolds]
    size = max(np.abs(points).max() for points in wide)
    if size == 0 or len(wide) == 1:
        return True
    wide = [points / size for points in wide]
    means = np.array([points.mean(0) for points in wide])
    nearest = np.inf
    for origin in (means.mean(0), np.concatenate(wide).mean(0)):
        distance = np.linalg.norm(means - origin, axis=1)
        if distance.max() < 1e-14:
            return True
        nearest = min(nearest, distance.min() / distance.max())
    return nearest < 1e-6


@properties
@given(manifolds=layers(), margin=st.sampled_from([0.0, 0.5]))
def test_any_layer(manifolds, margin):
    options = {"margin": margin, "n_gaussians": 40, "threads": 1}
    bad = [i for i, points in enumerate(manifolds) if not np.isfinite(points).all()]
    if bad:
        with pytest.raises(ValueError, match=rf"of manifold ({'|'.join(map(str, bad))}), feature"):
            measure(manifolds, **options)
        return
    if without_direction(manifolds):
        with pytest.raises(DegenerateManifoldsError, match="manifold"):
            measure(manifolds, **options)
        return
    # The same numbers, exactly representable at another scale, have the same geometry.
    wide = [np.asarray(points, dtype=np.float64) for points in manifolds]
    with warnings.catch_warnings():
        # Said below, of manifolds that are thousands of times larger than their center's distance.
        warnings.filterwarnings("ignore", message=".* quadratic programs did not converge")
        result = measure(manifolds, **options)
        again = measure([8 * points for points in wide], **options)
    for i, points in enumerate(wide):
        reach = np.linalg.norm(points - points.mean(0), axis=1).max()
        size = reach / result.projected_center_norm[i]
        assert result.n_unconverged[i] == 0 or size > 1e3
        assert result.worst_gap[i] <= max(1e-9, 1e-14 * size**2)
        dimension = min(points.shape)
        assert result.capacity[i] > 0
        assert 0 <= result.radius[i] < np.inf
        assert 0 <= result.dimension[i] <= dimension * (1 + 1e-12)
        assert (result.radius[i] == 0) == (result.dimension[i] == 0)
        if (points == points[0]).all():
            assert result.radius[i] == 0
    np.testing.assert_allclose(again.capacity, result.capacity, rtol=1e-7)
    np.testing.assert_allclose(again.radius, result.radius, rtol=1e-6)
    assert again.center_correlation == pytest.approx(result.center_correlation, rel=1e-9)
