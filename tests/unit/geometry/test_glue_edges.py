"""GLUE at its edges: labels that cannot be separated, degenerate points, arguments, the solver."""

import warnings

import numpy as np
import pytest
from scipy.optimize import nnls

from manifold_capacity import DegenerateManifoldsError, Glue, measure_glue
from manifold_capacity.geometry import other_solvers
from manifold_capacity.geometry.cone_solver import ConeSolver
from manifold_capacity.geometry.cones import different_points
from manifold_capacity.geometry.glue import glue_from_gram, glue_from_samples
from manifold_capacity.geometry.gram import gram_from_arrays
from manifold_capacity.geometry.other_solvers import interior_point


def clouds(n_manifolds=6, n_points=8, n_features=40, spectrum=0.0, seed=0):
    """Clouds around random centers, the later features smaller by a power of their number."""
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((n_manifolds, 1, n_features))
    points = centers + rng.standard_normal((n_manifolds, n_points, n_features))
    return points / (1.0 + np.arange(n_features)) ** spectrum


# ---- the solver, beside scipy's on the points themselves

LAYERS = {
    "few points": clouds(),
    "guessed, more features": clouds(8, 50, 1000, spectrum=1),
    "guessed, few features": clouds(10, 40, 60, spectrum=1),
    "near the rank": clouds(10, 12, 50),
    "never separable": clouds(20, 30, 40),
    "all points active at times": clouds(30, 1, 60),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_solver_beside_scipy(layer):
    manifolds = LAYERS[layer]
    points = different_points(gram_from_arrays(manifolds, center=layer != "few points"))
    rng = np.random.default_rng(1)
    n_samples, n_manifolds = 20, len(manifolds)
    labels = rng.choice([-1.0, 1.0], size=(n_samples, n_manifolds))
    vectors = rng.standard_normal((n_samples, points.rank))
    solved = ConeSolver(points, threads=2).project(labels, vectors)
    scale = (vectors**2).sum(axis=1)
    assert (solved.gap <= 1e-9 * scale).all()
    for k in range(n_samples):
        cone = labels[k, points.owner, None] * points.coordinates
        weights, left = nnls(cone.T, vectors[k])
        norm2 = scale[k] - left**2
        assert solved.norm2[k] == pytest.approx(norm2, rel=1e-9, abs=1e-12 * scale[k])
        rest = vectors[k] - solved.weights[k] @ cone
        limit = 1e-5 if left**2 < 1e-9 * scale[k] else 1e-9
        assert (solved.weights[k] >= 0).all()
        assert (cone @ rest).max() < limit * np.sqrt(scale[k])
        if solved.unique[k]:
            np.testing.assert_allclose(
                solved.weights[k], weights, atol=1e-7 * weights.max(initial=1)
            )
            assert solved.support[k] == (weights > 0).sum()


def test_cvxopt_agrees():
    pytest.importorskip("cvxopt")
    manifolds = clouds()
    found, expected = (
        measure_glue(manifolds, n_samples=20, solver=solver) for solver in ("cvxopt", "active_set")
    )
    np.testing.assert_allclose(found.samples.norm2, expected.samples.norm2, rtol=1e-11)
    np.testing.assert_array_equal(found.samples.support, expected.samples.support)
    assert found.utility == pytest.approx(expected.utility, rel=1e-10)
    assert "solver='cvxopt'" not in repr(found)
    assert (found.solver, expected.solver) == ("cvxopt", "active_set")


# ---- labels that no hyperplane separates


def test_never_separable():
    """40 features for 600 points: t is in every cone, its projection is itself, and capacity P / N."""
    with pytest.warns(
        RuntimeWarning, match="Only 0% of 16 samples .* so no more were drawn: qu.* NaN"
    ):
        found = measure_glue(clouds(20, 30, 40))
    assert found.capacity == 20 / 40
    assert (found.n_samples, found.separable_fraction, found.unique_fraction) == (16, 0.0, 0.0)
    unknown = ("radius", "dimension", "utility", "axis_alignment", "center_alignment_raw")
    assert all(np.isnan(getattr(found, name)) for name in unknown)
    assert np.isnan(found.manifold_dimension).all()
    assert np.isnan(found.manifold_capacity).all()
    assert np.isnan(found.active_fraction)
    assert found.problem.startswith("only 0% of 16 samples")
    np.testing.assert_array_equal(found.separability(np.arange(50)), 0.0)
    assert "capacity 0.5" in repr(found)


@pytest.mark.parametrize("center", [True, False])
def test_separable_fraction(center):
    """Of every labelling by itself, as a linear program decides; here about half."""
    manifolds = clouds(8, 6, 16)
    n_samples = 40
    labels = np.random.default_rng(3).choice([-1.0, 1.0], size=(n_samples, 8))
    gaussians = np.random.default_rng(4).standard_normal((n_samples, 16))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = glue_from_samples(manifolds, labels, gaussians, center=center)
    flat = manifolds.reshape(-1, 16) - (manifolds.mean(axis=(0, 1)) if center else 0)
    expected = [_separates(np.repeat(y, 6)[:, None] * flat) for y in labels]
    np.testing.assert_array_equal(found.samples.separable, expected)
    assert 0.2 < found.separable_fraction < 0.8
    # A vector in the cone of labels that can be separated has no unique anchors, either.
    assert found.unique_fraction < found.separable_fraction


def _separates(points):
    from scipy.optimize import linprog

    free = [(None, None)] * points.shape[1]
    return linprog(
        np.zeros(points.shape[1]), A_ub=-points, b_ub=-np.ones(len(points)), bounds=free
    ).success


def test_a_line_in_the_cone():
    """Two manifolds share a direction with opposite labels: never separable, though v is not 0."""
    manifolds = clouds(5, 4, 60)
    manifolds[1, 0] = manifolds[0, 0]
    labels = np.tile([1, -1, 1, 1, -1], (10, 1))
    gaussians = np.random.default_rng(5).standard_normal((10, 60))
    with pytest.warns(RuntimeWarning, match="100% have labels that no hyperplane separates"):
        found = glue_from_samples(manifolds, labels, gaussians, center=False)
    assert (found.samples.norm2 < (gaussians**2).sum(axis=1) / 2).all()
    assert found.separable_fraction == 0.0


# ---- degenerate points


def test_one_manifold():
    manifold = clouds(1, 5, 20)
    found = measure_glue(manifold, center=False)
    assert found.capacity == pytest.approx(1 / found.samples.support.mean(), rel=1e-14)
    assert np.isnan(found.axis_alignment)
    assert np.isnan(found.center_alignment_stderr)
    assert found.dimension > 0
    with pytest.raises(DegenerateManifoldsError, match=r"there is 1 manifold.*or center=False"):
        measure_glue(manifold)


@pytest.mark.parametrize(("value", "center"), [(0.0, True), (3.0, True), (0.0, False)])
def test_dead_layer(value, center):
    with pytest.raises(
        DegenerateManifoldsError, match=r"all points.*\(a dead or constant layer\?\)"
    ):
        measure_glue(np.full((3, 4, 5), value), center=center)


def test_zero_and_repeated_points_are_left_out():
    """Neither changes a cone."""
    manifolds = [*clouds(5, 6, 40)]
    labels = np.random.default_rng(6).choice([-1, 1], size=(30, 5))
    gaussians = np.random.default_rng(7).standard_normal((30, 40))
    more = [np.concatenate([np.zeros((2, 40)), points, points[:3]]) for points in manifolds]
    found, expected = (
        glue_from_samples(x, labels, gaussians, center=False) for x in (more, manifolds)
    )
    np.testing.assert_allclose(found.samples.norm2, expected.samples.norm2, rtol=1e-12)
    for name in ("capacity", "radius", "dimension", "utility", "axis_alignment"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-10), name
    assert found.n_points.tolist() == [11] * 5
    assert found.capacity_floor == expected.capacity_floor


@pytest.mark.parametrize("inactive", ["zero", "skip"])
def test_a_manifold_of_zeros(inactive):
    """It is never active: infinite capacity of its own, and no share in the dimension."""
    manifolds = clouds(5, 6, 40)
    manifolds[2] = 0
    found = measure_glue(manifolds, center=False, n_samples=40, inactive=inactive)
    assert found.manifold_capacity[2] == np.inf
    assert found.manifold_dimension[2] == 0
    assert found.manifold_active_fraction[2] == 0
    assert np.isfinite([found.radius, found.dimension, found.axis_alignment]).all()


def test_more_directions_than_features():
    """Rank-deficient: points in a subspace of a larger space."""
    flat = clouds(6, 1, 7)
    rotation = np.linalg.qr(np.random.default_rng(8).standard_normal((30, 30)))[0]
    found, expected = (
        measure_glue(x, center=False, n_samples=50)
        for x in (np.pad(flat, ((0, 0), (0, 0), (0, 23))) @ rotation, flat)
    )
    assert found.rank == expected.rank == 6
    np.testing.assert_allclose(found.samples.norm2, expected.samples.norm2, rtol=1e-8)


def test_far_from_the_origin():
    """Centering keeps the digits that a common offset would cost."""
    manifolds = np.round(clouds() * 2**20) / 2**20
    found, expected = (measure_glue(x, n_samples=20) for x in (manifolds + 2.0**20, manifolds))
    np.testing.assert_allclose(found.samples.norm2, expected.samples.norm2, rtol=1e-8)


# ---- arguments and result


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"dichotomies": "all"},
            "dichotomies is 'all'; choose one of 'random', 'balanced', 'one_vs_rest', or",
        ),
        (
            {"dichotomies": np.ones((5, 6))},
            r"dichotomies has shape \(5, 6\); for 300 samples of 6 manifolds",
        ),
        ({"dichotomies": np.zeros((300, 6))}, "dichotomies holds other values than 1 and -1"),
        (
            {"dichotomies": np.ones((5, 6)), "n_samples": "auto"},
            "n_samples must be its length, not 'auto'",
        ),
        ({"inactive": "mean"}, "inactive is 'mean'; choose one of 'zero', 'skip'"),
        ({"n_samples": 1}, "n_samples is 1; it must be a whole number, 2 or more or 'auto'"),
        ({"max_samples": 0}, "max_samples is 0; it must be a whole number, 2 or more"),
        ({"relative_error": 0.0}, "relative_error is 0.0; it must be above 0"),
        ({"seed": -1}, "seed is -1; it must be a whole number, 0 or more"),
        ({"threads": 0}, "threads is 0; it must be a whole number, 1 or more"),
        ({"solver": "nnls"}, "solver is 'nnls'; choose one of 'active_set', 'cvxopt'"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        measure_glue(clouds(), **options)


@pytest.mark.parametrize(
    ("labels", "gaussians", "message"),
    [
        (np.ones((3, 5)), np.ones((3, 40)), r"dichotomies has shape \(3, 5\)"),
        (np.ones((3, 6)), np.ones((3, 39)), r"gaussians has shape \(3, 39\); .* \(n_samples, 40\)"),
        (np.ones((1, 6)), np.ones((1, 40)), "2 samples at least"),
        (np.ones((3, 6)), np.full((3, 40), np.nan), "gaussians holds NaN or infinity"),
    ],
)
def test_bad_samples(labels, gaussians, message):
    with pytest.raises(ValueError, match=message):
        glue_from_samples(clouds(), labels, gaussians)


def test_result():
    found = measure_glue(clouds(), n_samples=40)
    assert isinstance(found, Glue)
    assert repr(found).startswith("<Glue of 6 manifolds of 8 points in 40 features: capacity ")
    assert "\n" not in repr(found)
    summary = found.summary()
    assert {type(value) for value in summary.values()} <= {int, float, str, bool}
    assert summary["n_points"] == 48
    assert summary["capacity_floor"] == 2 * 6 / 48
    assert summary["problem"] == ""
    assert summary["near_floor"] is False
    frame = found.to_frame()
    assert frame.shape == (6, 6)
    assert frame["dimension"].mean() == pytest.approx(found.dimension)


def test_near_the_floor():
    """Points without structure have the capacity 2 / m, if there are features enough."""
    rng = np.random.default_rng(9)
    manifolds = rng.standard_normal((6, 40, 300))
    found = measure_glue(manifolds, n_samples=40)
    assert found.near_floor
    assert found.capacity_floor == 2 / 40
    assert found.capacity == pytest.approx(2 / 40, rel=0.1)


def test_from_gram():
    gram = gram_from_arrays(clouds())
    assert repr(glue_from_gram(gram, seed=5)) == repr(measure_glue(clouds(), seed=5))


@pytest.mark.parametrize("most_for_scipy", [1e9, 0], ids=["scipy", "interior point"])
def test_a_narrow_rectified_layer_whose_points_nearly_depend_on_each_other(
    monkeypatch, most_for_scipy
):
    """The Gram matrix squares their condition; there are no more active points than directions all the same."""
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    solved = []
    monkeypatch.setattr(other_solvers, "_MOST_FOR_SCIPY", most_for_scipy)
    monkeypatch.setattr(
        other_solvers, "interior_point", lambda *given: solved.append(1) or interior_point(*given)
    )
    rng = np.random.default_rng(340)
    units = np.maximum(digits.data @ rng.standard_normal((64, 16)) / 8, 0)
    points = np.stack([units[digits.target == digit][:20] for digit in range(8)])
    glue = measure_glue(points, n_samples=60, seed=340)
    assert glue.separable_fraction == 0
    assert set(glue.samples.support) <= {glue.rank - 1, glue.rank}
    assert glue.worst_gap < 1e-8
    assert bool(solved) == (most_for_scipy == 0)


def test_a_long_projection_says_how_far_it_is(caplog, monkeypatch):
    monkeypatch.setattr("manifold_capacity.logs.LINE_EVERY_S", 0)
    caplog.set_level("INFO", logger="manifold_capacity")
    measure_glue(clouds(), n_samples=40)
    assert "projecting: 24 of 24 samples (100%)" in caplog.text


@pytest.mark.parametrize("n_directions", [15, 40, 80], ids=["inside", "at the edge", "outside"])
def test_an_interior_point_method_finds_the_same_projection(n_directions):
    rng = np.random.default_rng(n_directions)
    points = rng.standard_normal((80, n_directions))
    points /= np.linalg.norm(points, axis=1)[:, None]
    vector = rng.standard_normal(n_directions)
    weights, slack = interior_point(points, vector)
    expected, distance = nnls(points.T, vector)
    assert np.linalg.norm(vector - weights @ points) == pytest.approx(distance, abs=1e-6)
    if n_directions > 15:  # else weights are not unique
        assert np.flatnonzero(weights > slack).tolist() == np.flatnonzero(expected).tolist()
        assert weights == pytest.approx(expected, abs=1e-5)


def test_a_layer_at_the_edge_of_separability():
    """Random labels of 600 points in 310 directions: some can be separated."""
    rng = np.random.default_rng(5)
    glue = measure_glue(np.maximum(rng.standard_normal((10, 60, 310)), 0), n_samples=16)
    assert 0 < glue.separable_fraction < 1
    assert glue.worst_gap < 1e-9
