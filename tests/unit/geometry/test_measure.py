"""`measure`: theory, invariances, error bars, arguments, degenerate input."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import norm

from manifold_capacity.geometry import anchors, certificates
from manifold_capacity.geometry import measure as measure_module
from manifold_capacity.geometry.manifolds import DegenerateManifoldsError
from manifold_capacity.geometry.measure import geometry_from_moments, measure
from manifold_capacity.geometry.moments import moments_from_arrays
from manifold_capacity.geometry.result import PER_MANIFOLD

NUMBERS = (*PER_MANIFOLD, *(f"{name}_gaussian_stderr" for name in PER_MANIFOLD))
NUMBERS += ("center_correlation", "residual_correlation")


def clouds(n_manifolds=8, n_points=15, n_features=60, spread=1.0, seed=0):
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((n_manifolds, 1, n_features))
    return centers + spread * rng.standard_normal((n_manifolds, n_points, n_features)) / 3


def assert_same(found, expected, rtol):
    for name in NUMBERS:
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), rtol, err_msg=name
        )
    assert found.center_rank == expected.center_rank


@pytest.mark.parametrize("margin", [0.0, 0.5, 1.0])
def test_points(margin):
    """Manifolds of one point each: Gardner's capacity at the given margin."""
    result = measure(clouds(12, 1), margin=margin, n_gaussians=3000)
    expected = 1 / ((1 + margin**2) * norm.cdf(margin) + margin * norm.pdf(margin))
    summary = result.summary()
    assert summary["capacity"] == pytest.approx(
        expected, abs=4 * summary["capacity_gaussian_stderr"]
    )
    assert summary["capacity_gaussian_stderr"] < 0.02 * expected
    assert (result.radius == 0).all()
    assert (result.dimension == 0).all()


def test_moments_route_is_the_direct_route():
    """Project the points themselves, reduce by QR, use the same Gaussians: the same numbers."""
    rng = np.random.default_rng(3)
    sizes = [12, 20, 7, 15, 15, 9, 30, 11]
    common = rng.standard_normal((2, 80))
    manifolds = [
        rng.standard_normal((1, 2)) @ (3 * common)
        + rng.standard_normal((1, 80))
        + 0.4 * rng.standard_normal((size, 80))
        for size in sizes
    ]
    moments = moments_from_arrays(manifolds)
    centers, projected = measure_module.find_centers(moments, seed=0)
    assert centers.rank > 0
    gaussians = [rng.standard_normal((100, size + 1)) for size in sizes]
    found = measure_module.solve_manifolds(
        moments, projected, lambda i, dimension: gaussians[i], 0.0, "active_set", 1
    )

    means = np.array([points.mean(0) for points in manifolds])
    origin = np.concatenate(manifolds).mean(0)
    directions = (means - means.mean(0)).T @ centers.coefficients
    null = np.eye(80) - directions @ directions.T
    for i, points in enumerate(manifolds):
        inside = (points - origin) @ null
        center = inside.mean(0)
        scaled = (inside - center) / np.linalg.norm(center)
        _, r = np.linalg.qr(scaled.T)
        # The moments route's own basis, so that the same Gaussians can be used.
        own = anchors.points_from_gram(projected.deviation_gram[i], sizes[i], 1e-13)
        basis, *_ = np.linalg.lstsq(own, r.T, rcond=1e-6)
        left, _, right = np.linalg.svd(basis)
        t = np.column_stack([gaussians[i][:, :-1] @ left @ right, gaussians[i][:, -1]])
        expected = anchors.sample_anchors(r.T, t)
        np.testing.assert_allclose(list(found[i]), list(expected.geometry()), rtol=1e-8)


@pytest.mark.parametrize("transform", ["rotation", "translation", "scale", "order of points"])
def test_invariance(transform):
    rng = np.random.default_rng(11)
    manifolds = clouds()
    if transform == "rotation":
        rotation, _ = np.linalg.qr(rng.standard_normal((60, 60)))
        changed = manifolds @ rotation
    elif transform == "translation":
        changed = manifolds + 100 * rng.standard_normal(60)
    elif transform == "scale":
        changed = 1e-6 * manifolds
    else:
        changed = np.stack([points[rng.permutation(15)] for points in manifolds])
    assert_same(measure(changed), measure(manifolds), rtol=1e-8)


def test_order_of_manifolds():
    """Other Gaussians meet each manifold, so capacity, radius and dimension agree within errors."""
    manifolds = clouds()
    order = np.random.default_rng(2).permutation(8)
    expected, found = measure(manifolds), measure(manifolds[order])
    assert found.center_correlation == pytest.approx(expected.center_correlation, rel=1e-12)
    assert found.residual_correlation == pytest.approx(expected.residual_correlation, rel=1e-4)
    for name in PER_MANIFOLD:
        error = np.hypot(
            getattr(found, f"{name}_gaussian_stderr"),
            getattr(expected, f"{name}_gaussian_stderr")[order],
        )
        z = (getattr(found, name) - getattr(expected, name)[order]) / error
        assert np.abs(z).max() < 4, name


def test_every_point_twice():
    """Duplicates change nothing where the features, not the points, set the dimension."""
    manifolds = clouds(n_points=30, n_features=10)
    assert_same(measure(np.repeat(manifolds, 2, axis=1)), measure(manifolds), rtol=1e-8)


def test_adding_manifolds_keeps_the_others_gaussians():
    draw = measure_module.gaussian_samples(7, 50)
    more = measure_module.gaussian_samples(7, 80)
    np.testing.assert_array_equal(more(3, 10)[:50], draw(3, 10))
    assert not np.array_equal(draw(3, 10), draw(4, 10))
    assert not np.array_equal(draw(3, 10), measure_module.gaussian_samples(8, 50)(3, 10))


def test_seed_and_threads():
    """Same seed, same bytes with any number of threads; other seed, other samples."""
    manifolds = clouds(12)
    expected = measure(manifolds, seed=3, threads=1)
    for threads in (2, 5, None):
        found = measure(manifolds, seed=3, threads=threads)
        for name in NUMBERS:
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
    other = measure(manifolds, seed=4, threads=1)
    assert not (other.capacity == expected.capacity).any()


@pytest.fixture
def one_fit(monkeypatch):
    """Moments of some clouds whose centers are fitted once, to repeat the rest many times."""
    moments = moments_from_arrays(clouds())
    fit = measure_module.find_centers(moments, seed=0)
    monkeypatch.setattr(measure_module, "find_centers", lambda moments, seed: fit)
    return moments


def test_intervals_cover_the_truth(one_fit):
    """The 95 % intervals of manifolds and layer hold what many samples give, 93 to 97 % of times.

    The mean of the 400 repetitions is no substitute: it shares their bias.
    """
    truth = geometry_from_moments(one_fit, n_gaussians=100_000, seed=10**6)
    layer_truth = truth.summary()
    results = [
        geometry_from_moments(one_fit, n_gaussians=300, seed=seed, threads=1) for seed in range(400)
    ]
    for name in PER_MANIFOLD:
        hits = [
            np.abs(getattr(result, name) - getattr(truth, name))
            < 1.96 * getattr(result, f"{name}_gaussian_stderr")
            for result in results
        ]
        assert 0.93 <= np.mean(hits) <= 0.97, name
        layer = [
            abs(row[name] - layer_truth[name]) < 1.96 * row[f"{name}_gaussian_stderr"]
            for row in (result.summary() for result in results)
        ]
        assert 0.93 <= np.mean(layer) <= 0.97, name


def test_radius_is_unbiased(one_fit):
    """Few Gaussians do not make the radius smaller on average."""
    few = [
        geometry_from_moments(one_fit, n_gaussians=10, seed=seed, threads=1).radius ** 2
        for seed in range(400)
    ]
    many = geometry_from_moments(one_fit, n_gaussians=20_000, threads=1)
    error = np.std(few, axis=0) / np.sqrt(400)
    assert np.abs((np.mean(few, axis=0) - many.radius**2) / error).max() < 4
    # Without the correction it would be 10 % too small.
    assert (error < 0.02 * many.radius**2).all()


def test_auto(monkeypatch):
    """Draws until the error asked for is reached, and gives what that number of samples gives."""
    moments = moments_from_arrays(clouds())
    drawn = []
    draw = measure_module.gaussian_samples
    monkeypatch.setattr(
        measure_module, "gaussian_samples", lambda seed, n: drawn.append(n) or draw(seed, n)
    )
    result = geometry_from_moments(moments, n_gaussians="auto", relative_error=0.02)
    assert len(drawn) <= 3  # the second number is nearly always enough
    summary = result.summary()
    assert summary["capacity_gaussian_stderr"] <= 0.02 * summary["capacity"]
    assert summary["capacity_gaussian_stderr"] > 0.015 * summary["capacity"]
    assert result.n_gaussians > 100
    same = geometry_from_moments(moments, n_gaussians=result.n_gaussians)
    assert same.capacity.tobytes() == result.capacity.tobytes()
    loose = geometry_from_moments(moments, n_gaussians="auto", relative_error=0.5)
    assert loose.n_gaussians == 100
    default = geometry_from_moments(moments, n_gaussians="auto").summary()
    assert default["capacity_gaussian_stderr"] <= 0.01 * default["capacity"]


def test_auto_says_when_it_gives_up():
    with pytest.warns(RuntimeWarning, match=r"max_gaussians = 150 with a relative error of 0\.0"):
        result = measure(clouds(), n_gaussians="auto", relative_error=1e-4, max_gaussians=150)
    assert result.n_gaussians == 150


def test_unconverged_is_said(monkeypatch):
    """A layer with unsolved programs warns, and counts them per manifold."""
    monkeypatch.setattr(certificates, "GAP_TOLERANCE", 0.0)
    with pytest.warns(RuntimeWarning, match=r"did not converge, of manifold 0, 1"):
        result = measure(clouds(), n_gaussians=20)
    assert (result.n_unconverged > 0).all()
    assert result.summary()["n_unconverged"] == result.n_unconverged.sum()


def test_cvxopt_agrees():
    pytest.importorskip("cvxopt")
    manifolds = clouds(4, 8)
    expected = measure(manifolds, n_gaussians=50, margin=0.2)
    found = measure(manifolds, n_gaussians=50, margin=0.2, solver="cvxopt")
    assert_same(found, expected, rtol=1e-6)
    assert found.solver == "cvxopt"


def with_center_at_the_mean():
    manifolds = clouds(3)
    manifolds[2] += (manifolds[0].mean(0) + manifolds[1].mean(0)) / 2 - manifolds[2].mean(0)
    return manifolds


@pytest.mark.parametrize(
    ("manifolds", "message", "named"),
    [
        (clouds(1), "one manifold only.*at least two", (0,)),
        (np.zeros((3, 4, 5)), "centers of all manifolds coincide.*dead", (0, 1, 2)),
        (np.ones((3, 4, 5)), "centers of all manifolds coincide.*dead", (0, 1, 2)),
        (with_center_at_the_mean(), "manifold 2.*lies at the mean.*leave", (2,)),
    ],
)
def test_what_has_no_geometry_is_named(manifolds, message, named):
    with pytest.raises(DegenerateManifoldsError, match=message) as error:
        measure(manifolds)
    assert error.value.manifolds == named


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_identical_points_are_a_point(dtype):
    """Whatever rounding makes of their mean; as a single point among other manifolds is."""
    manifolds = list((clouds(spread=0.5) + 0.1).astype(dtype))
    manifolds[2] = manifolds[2][:1].repeat(15, axis=0)
    manifolds[3] = manifolds[3][:1]
    result = measure(manifolds, n_gaussians=5000)
    for i in (2, 3):
        assert result.capacity[i] == pytest.approx(2, abs=4 * result.capacity_gaussian_stderr[i])
        assert (result.radius[i], result.dimension[i]) == (0, 0)
    assert (np.delete(result.radius, [2, 3]) > 0.1).all()


def test_spread_inside_the_common_directions_is_a_point(monkeypatch):
    """What is left of a manifold after projection may be rounding alone, which is no extent."""
    rng = np.random.default_rng(0)
    common = rng.standard_normal(80)
    manifolds = 0.3 * clouds(12, 5, 80) + 10 * rng.standard_normal((12, 1, 1)) * common
    moments = moments_from_arrays(manifolds)
    centers, _ = measure_module.find_centers(moments, seed=0)
    means = manifolds.mean(1)
    directions = (means - means.mean(0)).T @ centers.coefficients
    assert directions.shape[1] > 0
    offsets = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    manifolds[4] = means[4] + offsets[:, None] * directions[:, 0]
    # The same directions, although rounding moved the centers.
    monkeypatch.setattr(measure_module.centers, "fit_centers", lambda *a, **k: centers)
    result = measure(manifolds, n_gaussians=200)
    assert (result.radius[4], result.dimension[4]) == (0, 0)
    assert (np.delete(result.radius, 4) > 0).all()


def test_two_coinciding_centers():
    """Two classes with the same center stay fully correlated; the geometry is still defined."""
    manifolds = clouds()
    manifolds[1] += manifolds[0].mean(0) - manifolds[1].mean(0)
    result = measure(manifolds)
    assert np.isfinite(result.capacity).all()
    assert (result.radius < 10).all()


def test_center_in_the_common_directions(monkeypatch):
    """Nothing is left of the center after projection: there is no unit to measure by."""
    moments = moments_from_arrays(clouds())
    _, projected = measure_module.find_centers(moments, seed=0)
    norms = projected.projected_center_norm.copy()
    norms[5] = 1e-9 * projected.center_norm[5]
    lost = dataclasses.replace(projected, projected_center_norm=norms)
    monkeypatch.setattr(measure_module.centers, "project", lambda *a: lost)
    with pytest.raises(DegenerateManifoldsError, match=r"manifold 5 lies in the .* leave") as error:
        geometry_from_moments(moments)
    assert error.value.manifolds == (5,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"margin": -1}, "margin is -1"),
        ({"solver": "fast"}, "solver is 'fast'"),
        ({"n_gaussians": 1}, "n_gaussians is 1; .* 2 or more or 'auto'"),
        ({"n_gaussians": 30.5}, "n_gaussians is 30.5"),
        ({"n_gaussians": "many"}, "n_gaussians is 'many'"),
        ({"n_gaussians": "auto", "relative_error": 0}, "relative_error is 0"),
        ({"n_gaussians": "auto", "max_gaussians": 0}, "max_gaussians is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        measure(clouds(), **arguments)
