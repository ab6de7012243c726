"""Anchors: closed forms, other solvers, invariances, certificates and errors."""

import sys

import numpy as np
import pytest
from scipy.optimize import nnls
from scipy.stats import norm

from manifold_capacity.geometry import active_set, anchors, certificates
from manifold_capacity.geometry.anchors import anchor_geometry, sample_anchors
from manifold_capacity.geometry.arguments import SOLVERS
from manifold_capacity.geometry.balls import ball_capacity

MARGINS = (0.0, 0.5, 1.0)


def gaussians_for(dimension, n=300, seed=0):
    return np.random.default_rng(seed).standard_normal((n, dimension + 1))


def cloud(n_points, dimension, spread=1.0, seed=1):
    points = np.random.default_rng(seed).standard_normal((n_points, dimension))
    points -= points.mean(0)
    return spread * points / np.linalg.norm(points, axis=1).max()


def gardner(margin):
    """1 / alpha of a point: (1 + k^2) Phi(k) + k phi(k)."""
    return (1 + margin**2) * norm.cdf(margin) + margin * norm.pdf(margin)


@pytest.mark.parametrize(("margin", "capacity"), [(0.0, 2.0), (0.5, 0.9612), (1.0, 0.5196)])
@pytest.mark.parametrize("n_points", [1, 7])
def test_point(margin, capacity, n_points):
    """A point, alone or repeated, is Gardner's perceptron, sample by sample and in the mean."""
    gaussians = gaussians_for(3, n=40_000)
    samples = sample_anchors(np.zeros((n_points, 3)), gaussians, margin)
    expected = np.maximum(gaussians[:, -1] + margin, 0) ** 2
    np.testing.assert_array_equal(samples.inverse_capacity, expected)
    geometry = samples.geometry()
    assert geometry.capacity == pytest.approx(capacity, rel=4 * 2.24 / np.sqrt(len(gaussians)))
    assert 1 / gardner(margin) == pytest.approx(capacity, abs=5e-5)
    assert (geometry.radius, geometry.dimension) == (0.0, 0.0)


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("radius", [1e-8, 1e-3, 0.1, 1.0, 5.0, 100.0])
@pytest.mark.parametrize("dimension", [1, 4, 25])
def test_cross_polytope(dimension, radius, margin):
    """Points +-R e_i: per sample min_{M >= 0} sum (|t_i| - M)_+^2 + (t_c + k + R M)_+^2."""
    gaussians = gaussians_for(dimension, n=60)
    points = radius * np.vstack([np.eye(dimension), -np.eye(dimension)])
    found = sample_anchors(points, gaussians, margin).inverse_capacity
    for t, value in zip(gaussians, found, strict=True):
        # Convex and piecewise quadratic in M: its stationary point on one of D + 1 intervals.
        size = np.sort(np.abs(t[:-1]))[::-1]
        height = t[-1] + margin
        candidates = [0.0]
        for n in range(dimension + 1):
            for touching in (0.0, 1.0):
                weight = n + touching * radius**2
                if weight > 0:
                    candidates.append((size[:n].sum() - touching * radius * height) / weight)
        expected = min(
            (np.maximum(size - m, 0) ** 2).sum() + max(height + radius * m, 0) ** 2
            for m in np.maximum(candidates, 0)
        )
        assert value == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("radius", [0.5, 2.0])
@pytest.mark.parametrize("dimension", [1, 2])
def test_ball(dimension, radius, margin):
    """A segment, exactly; a disc, by 400 points to 1e-4."""
    angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    points = np.array([[1.0], [-1.0]])
    if dimension == 2:
        points = np.column_stack([np.cos(angles), np.sin(angles)])
    gaussians = gaussians_for(dimension, n=20_000)
    geometry = anchor_geometry(radius * points, gaussians, margin)
    expected = ball_capacity(radius, dimension, margin)
    assert geometry.capacity == pytest.approx(expected, abs=4 * geometry.capacity_stderr)
    assert geometry.dimension == pytest.approx(dimension, abs=4 * geometry.dimension_stderr + 1e-3)
    assert geometry.capacity_stderr < 0.02 * geometry.capacity


@pytest.mark.parametrize("margin", [0.0, 0.5])
@pytest.mark.parametrize("spread", [1e-6, 1e-2, 1.0, 30.0])
@pytest.mark.parametrize("distance", [0.0, 1e-14, 1e-10, 1e-8, 1e-6, 1e-3])
def test_near_duplicates_are_certified(distance, spread, margin):
    """Pairs of points closer than the Gram matrix can tell apart still pass the certificate."""
    rng = np.random.default_rng(5)
    points = np.repeat(cloud(25, 12), 2, axis=0)
    points = spread * (points + distance * rng.standard_normal(points.shape))
    geometry = anchor_geometry(points, gaussians_for(12, n=200), margin)
    assert geometry.n_unconverged == 0
    assert geometry.worst_gap < 1e-9


@pytest.mark.parametrize("solver", SOLVERS)
def test_duplicates_and_order_change_nothing(solver):
    pytest.importorskip("cvxopt")
    points = cloud(15, 8)
    gaussians = gaussians_for(8, n=100)
    expected = anchor_geometry(points, gaussians, 0.3, solver=solver)
    order = np.random.default_rng(7).permutation(np.repeat(np.arange(15), 3))
    found = anchor_geometry(points[order], gaussians, 0.3, solver=solver)
    tolerance = 1e-9 if solver == "active_set" else 1e-6
    np.testing.assert_allclose(list(found), list(expected), rtol=tolerance)


@pytest.mark.parametrize("change", ["a point inside the hull", "rotation"])
def test_what_changes_nothing(change):
    points = cloud(20, 10)
    gaussians = gaussians_for(10, n=100)
    expected = list(anchor_geometry(points, gaussians, 0.5))
    if change == "rotation":
        rotation, _ = np.linalg.qr(np.random.default_rng(8).standard_normal((10, 10)))
        points = points @ rotation
        gaussians[:, :-1] = gaussians[:, :-1] @ rotation
    else:
        # Where no constraint is active, the anchor is the furthest point, and never one inside.
        points = np.vstack([points, np.full(20, 1 / 20) @ points])
    found = list(anchor_geometry(points, gaussians, 0.5))
    np.testing.assert_allclose(found, expected, rtol=1e-10 if change == "rotation" else 1e-12)


def test_anchors_without_an_active_constraint_are_the_furthest_point():
    """A center far on the right side: capacity is infinite, anchors are vertices."""
    points = 0.1 * np.vstack([np.eye(3), -np.eye(3)])
    gaussians = gaussians_for(3, n=50)
    gaussians[:, -1] = -10 - np.abs(gaussians[:, -1])
    samples = sample_anchors(points, gaussians)
    assert (samples.inverse_capacity == 0).all()
    assert samples.geometry().capacity == np.inf
    furthest = points[np.argmax(gaussians[:, :-1] @ points.T, axis=1)]
    deviation = ((furthest - furthest.mean(0)) ** 2).sum(1)
    np.testing.assert_allclose(samples.squared_deviation, deviation, rtol=1e-12)
    cosine = (furthest * gaussians[:, :-1]).sum(1) / 0.1 / np.linalg.norm(gaussians[:, :-1], axis=1)
    np.testing.assert_allclose(samples.cosine, cosine, rtol=1e-12)


def test_anchor_formulas():
    """Capacity, radius and dimension from anchors that nnls finds, by the formulas as printed."""
    points, margin = cloud(12, 5), 0.4
    gaussians = gaussians_for(5, n=80)
    augmented = np.column_stack([points, np.ones(12)]).T
    found = []
    for t in gaussians:
        weights, _ = nnls(augmented, t + margin * np.eye(6)[-1])
        if weights.any():
            found.append(augmented @ weights / weights.sum())
        else:
            found.append(augmented[:, np.argmax(points @ t[:-1])])
    s = np.array(found)
    reach = np.maximum((gaussians * s).sum(1) + margin, 0)
    capacity = 1 / np.mean(reach**2 / (s**2).sum(1))
    radius = np.sqrt(np.mean(((s[:, :-1] - s[:, :-1].mean(0)) ** 2).sum(1)))
    t_hat = gaussians[:, :-1] / np.linalg.norm(gaussians[:, :-1], axis=1, keepdims=True)
    s_hat = s[:, :-1] / np.linalg.norm(s[:, :-1], axis=1, keepdims=True)
    dimension = 5 * np.mean((t_hat * s_hat).sum(1)) ** 2
    np.testing.assert_allclose(
        list(anchor_geometry(points, gaussians, margin)), [capacity, radius, dimension], rtol=1e-9
    )


@pytest.mark.parametrize("margin", [0.0, 0.5, 3.0])
def test_small_radius_keeps_its_digits(margin):
    """Scaling a small manifold scales its radius and nothing else, however small it is.

    With the center's 1 added to every entry of the Gram matrix, anchors blur below 1e-5.
    """
    points = cloud(30, 12)
    gaussians = gaussians_for(12, n=200)
    small = anchor_geometry(1e-7 * points, gaussians, margin)
    smaller = anchor_geometry(1e-9 * points, gaussians, margin)
    assert smaller.radius == pytest.approx(small.radius / 100, rel=1e-6)
    assert smaller.dimension == pytest.approx(small.dimension, rel=1e-6)
    # Every anchor is a vertex in this limit, of the whole sphere of directions.
    furthest = points[np.argmax(gaussians[:, :-1] @ points.T, axis=1)]
    expected = np.sqrt(((furthest - furthest.mean(0)) ** 2).sum(1).mean())
    assert smaller.radius == pytest.approx(1e-9 * expected, rel=1e-6)


@pytest.mark.parametrize("factor", [1.01, 0.5, 0.1])
def test_certificate_sees_a_wrong_solution(factor):
    """The gap bounds the error of any dual solution, and is zero to rounding at the right one."""
    points, margin = cloud(20, 8), 0.2
    gaussians = gaussians_for(8, n=50)
    arguments = (np.ascontiguousarray(points.T), gaussians, margin, 1.0)
    weights = active_set.solve_gram(points @ points.T, *arguments)
    samples = certificates.samples_of_weights(weights, *arguments)
    exact = samples.inverse_capacity
    assert samples.gap.max() < 1e-12
    active = weights.min(axis=1) >= 0
    wrong_weights = np.where(weights > 0, factor * weights, weights)
    gap = certificates.samples_of_weights(wrong_weights, *arguments).gap
    augmented = np.column_stack([points, np.ones(20)])
    target = gaussians + margin * np.eye(9)[-1]
    wrong = wrong_weights @ augmented
    dual = 2 * (wrong * target).sum(1) - (wrong**2).sum(1)
    error = (exact - dual) / np.maximum(exact, exact.mean())
    assert (error[active] > 0).all()
    assert (gap[active] > 0.99 * error[active]).all()
    assert gap[~active].max() == 0


def test_unsolved_problems_are_counted(monkeypatch):
    """Whatever both solvers leave undone shows as a gap, and in the count."""
    monkeypatch.setattr(anchors, "solve_gram", lambda *a: np.full((20, 6), 0.3))
    monkeypatch.setattr(anchors, "solve_orthogonal", lambda *a: np.zeros((20, 6)))
    geometry = anchor_geometry(cloud(6, 3), gaussians_for(3, n=20))
    assert geometry.n_unconverged == 20
    assert geometry.worst_gap == np.inf


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("spread", [1e-3, 0.3, 1.0, 5.0])
@pytest.mark.parametrize(("n_points", "dimension"), [(12, 12), (60, 10), (80, 80)])
def test_the_fast_solver_solves_ordinary_problems(n_points, dimension, spread, margin):
    """By itself: the second solver would hide its errors."""
    points = cloud(n_points, dimension, spread)
    arguments = (np.ascontiguousarray(points.T) / spread, gaussians_for(dimension), margin, spread)
    weights = active_set.solve_gram(points @ points.T / spread**2, *arguments)
    assert certificates.samples_of_weights(weights, *arguments).gap.max() < 1e-12


def test_hard_problems_are_solved_orthogonally(monkeypatch):
    """What the Gram matrix cannot resolve goes to nnls on the points."""
    points = cloud(25, 12)
    gaussians = gaussians_for(12, n=30)
    expected = list(anchor_geometry(points, gaussians))
    active = (gaussians[:, :-1] @ points.T).max(1) + gaussians[:, -1] > 0
    wrong = np.where(active[:, None], 0.3, 0.0) + np.zeros((30, 25))
    wrong[~active, (gaussians[:, :-1] @ points.T).argmax(1)[~active]] = -1
    monkeypatch.setattr(anchors, "solve_gram", lambda *a: wrong)
    found = anchor_geometry(points, gaussians)
    np.testing.assert_allclose(list(found), expected, rtol=1e-10)
    assert found.n_unconverged == 0


@pytest.mark.parametrize(("margin", "spread"), [(0.0, 0.7), (0.0, 3.0), (0.5, 1.2), (0.0, 0.01)])
def test_cvxopt_agrees(margin, spread):
    pytest.importorskip("cvxopt")
    points = cloud(25, 14, spread)
    gaussians = gaussians_for(14, n=100)
    expected = anchor_geometry(points, gaussians, margin)
    found = anchor_geometry(points, gaussians, margin, solver="cvxopt")
    np.testing.assert_allclose(list(found), list(expected), rtol=1e-6)
    assert found.n_unconverged == 0


def test_cvxopt_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "cvxopt", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install cvxopt.*active_set"):
        anchor_geometry(cloud(5, 3), gaussians_for(3), solver="cvxopt")


@pytest.mark.parametrize("spread", [0.01, 1.0])
@pytest.mark.parametrize("n_points", [1, 4])
def test_standard_errors_match_repetition(spread, n_points):
    """The stated standard errors are the spread over repetitions."""
    points = cloud(n_points, 3, spread) if n_points > 1 else np.zeros((1, 3))
    repetitions = [
        anchor_geometry(points, gaussians_for(3, n=300, seed=seed), 0.2) for seed in range(400)
    ]
    for name in ("capacity", "radius", "dimension"):
        spread_found = np.std([getattr(g, name) for g in repetitions], ddof=1)
        stated = np.mean([getattr(g, f"{name}_stderr") for g in repetitions])
        if n_points == 1 and name != "capacity":
            assert spread_found == stated == 0
        else:
            # The standard deviation of 400 values is known to 3.5 %.
            assert stated == pytest.approx(spread_found, rel=0.14), name


@pytest.mark.parametrize(
    ("points", "gaussians", "margin", "solver", "message"),
    [
        (np.zeros((0, 3)), np.zeros((5, 4)), 0.0, "active_set", r"points has shape \(0, 3\)"),
        (np.zeros(3), np.zeros((5, 4)), 0.0, "active_set", r"points has shape \(3,\)"),
        (np.zeros((2, 3)), np.zeros((5, 3)), 0.0, "active_set", r"must be \(n_gaussians, 4\)"),
        (np.zeros((2, 3)), np.zeros((1, 4)), 0.0, "active_set", "n_gaussians >= 2"),
        (np.full((2, 3), np.nan), np.zeros((5, 4)), 0.0, "active_set", "points holds NaN.* row 0"),
        (np.eye(3), np.full((5, 4), np.inf), 0.0, "active_set", "gaussians holds NaN"),
        (np.eye(3), np.zeros((5, 4)), -0.1, "active_set", "margin is -0.1"),
        (np.eye(3), np.zeros((5, 4)), np.nan, "active_set", "margin is nan"),
        (np.eye(3), np.zeros((5, 4)), 0.0, "simplex", "solver is 'simplex'.*'cvxopt'"),
    ],
)
def test_errors(points, gaussians, margin, solver, message):
    with pytest.raises(ValueError, match=message):
        anchor_geometry(points, gaussians, margin, solver=solver)
