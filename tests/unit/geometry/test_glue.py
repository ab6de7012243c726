"""GLUE: golden values, exact results for points, rays and orthogonal manifolds, invariances."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy.special import binom

from manifold_capacity import measure, measure_glue
from manifold_capacity.geometry.anchors import anchor_geometry
from manifold_capacity.geometry.cone_solver import ConeSolver
from manifold_capacity.geometry.cones import different_points
from manifold_capacity.geometry.glue import glue_from_gram, glue_from_samples
from manifold_capacity.geometry.glue_result import GLUE_QUANTITIES
from manifold_capacity.geometry.gram import gram_from_arrays
from manifold_capacity.geometry.simulated import simulated_capacity

GOLDEN = Path(__file__).parents[2] / "data" / "golden" / "glue.npz"
CASES = ("clouds", "correlated", "digits", "unequal", "points", "narrow")
# The published estimate is what the file calls capacity.
IN_FILE = {name: name.replace("_raw", "_abs") for name in GLUE_QUANTITIES[2:]}
IN_FILE["capacity_published"] = "capacity"


def clouds(n_manifolds=8, n_points=12, n_features=60, seed=0):
    """Clouds with correlated centers, in units of the distance between points."""
    rng = np.random.default_rng(seed)
    centers = 2 * rng.standard_normal((n_manifolds, 1, n_features)) + 3
    return centers + rng.standard_normal((n_manifolds, n_points, n_features))


def images(n_manifolds, n_points, n_features, seed=0):
    """Points of which no structure but a smooth spectrum is left: near the floor of the capacity."""
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((n_manifolds, n_points, n_features))
    return points / (1 + np.arange(n_features))


def quiet(function, *arguments, **options):
    """The result, without warnings of samples whose anchors are not unique."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "only .* samples have unique anchors")
        return function(*arguments, **options)


def same(found, expected, rtol, names=GLUE_QUANTITIES):
    for name in names:
        value, reference = getattr(found, name), getattr(expected, name)
        np.testing.assert_allclose(value, reference, rtol=rtol, atol=1e-12, err_msg=name)


def near(found, name, expected, n_errors=4):
    assert abs(getattr(found, name) - expected) < n_errors * getattr(found, f"{name}_stderr"), name


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as archive:
        return dict(archive)


def golden_case(golden, case):
    values = {name[len(case) + 1 :]: v for name, v in golden.items() if name.startswith(f"{case}/")}
    manifolds = np.split(values["X"], np.cumsum(values["sizes"])[:-1])
    return values, manifolds


@pytest.mark.parametrize("solver", ["active_set", "cvxopt"])
@pytest.mark.parametrize("inactive", ["zero", "skip"])
@pytest.mark.parametrize("case", CASES)
def test_golden(golden, case, inactive, solver):
    """All quantities from given labels and Gaussians, as an independent slow route has them.

    1e-9 and 1e-8 leave room for that route's own accuracy; most agree to 1e-13.
    """
    if solver == "cvxopt":
        pytest.importorskip("cvxopt")
    values, manifolds = golden_case(golden, case)
    options = {"center": bool(values["center"]), "inactive": inactive, "solver": solver}
    found = quiet(glue_from_samples, manifolds, values["labels"], values["t"], **options)
    np.testing.assert_allclose(found.samples.norm2, values["norm2"], rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(found.samples.support, values["support"])
    np.testing.assert_array_equal(found.samples.unique, values["unique"])
    assert found.worst_gap < 1e-9
    for name, key in IN_FILE.items():
        expected = values[f"{inactive}/{key}"]
        np.testing.assert_allclose(
            getattr(found, name), expected, rtol=1e-8, atol=1e-12, err_msg=name
        )


@pytest.mark.parametrize("case", CASES)
def test_golden_anchors(golden, case):
    values, manifolds = golden_case(golden, case)
    points = different_points(gram_from_arrays(manifolds, center=bool(values["center"])))
    flat = values["X"] - (values["X"].mean(axis=0) if values["center"] else 0)
    units = (flat[points.kept] / np.linalg.norm(flat[points.kept], axis=1)[:, None]).T
    vectors = points.coordinates_of(values["t"] @ units)
    solved = ConeSolver(points, threads=2).project(values["labels"], vectors)
    weights = np.zeros((len(vectors), len(flat)))
    weights[:, points.kept] = solved.weights / (points.lengths * points.unit)
    owner = np.repeat(np.arange(len(manifolds)), values["sizes"])
    unique = values["unique"]
    for i in range(len(manifolds)):
        own = weights[:, owner == i]
        mass = own.sum(axis=1, keepdims=True)
        np.testing.assert_array_equal((mass > 0).ravel()[unique], values["active"][unique, i])
        anchors = np.divide(own, mass, out=np.zeros_like(own), where=mass > 0) @ flat[owner == i]
        scale = np.abs(values["anchors"][unique]).max()
        np.testing.assert_allclose(
            anchors[unique], values["anchors"][unique, i], rtol=0, atol=1e-9 * scale
        )


@pytest.mark.parametrize("inactive", ["zero", "skip"])
def test_identity(inactive):
    found = measure_glue(clouds(), n_samples=100, inactive=inactive)
    product = found.utility * (1 + found.radius**-2) / found.dimension
    assert product == pytest.approx(found.capacity_published, rel=1e-13)


def test_manifolds_add_up():
    found = measure_glue(clouds(), n_samples=100)
    assert 1 / (1 / found.manifold_capacity).mean() == pytest.approx(found.capacity, rel=1e-13)
    assert found.manifold_dimension.mean() == pytest.approx(found.dimension, rel=1e-13)


# ---- exact results


@pytest.mark.parametrize("n_manifolds", [5, 30])
def test_orthogonal_points(n_manifolds):
    """Capacity 2; axes and centers such that radius, dimension and utility are 1; k is binomial."""
    found = measure_glue(
        np.eye(n_manifolds)[:, None], center=False, n_samples=2000, dichotomies="balanced"
    )
    for name, expected in (("capacity", 2), ("capacity_published", 2)):
        near(found, name, expected)
    # The centers come from the same samples: 1 / n_samples beside the standard error.
    for name in ("radius", "dimension", "utility"):
        assert getattr(found, name) == pytest.approx(
            1, abs=4 * getattr(found, f"{name}_stderr") + 2e-3
        )
    assert found.active_fraction == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(2000 * n_manifolds))
    variance = found.samples.support.var(ddof=1)
    assert variance == pytest.approx(n_manifolds / 4, rel=4 * np.sqrt(2 / 2000))


@pytest.mark.parametrize(("n_manifolds", "n_features", "mean"), [(60, 80, 0), (40, 45, 5)])
def test_points_in_general_position(n_manifolds, n_features, mean):
    """Cover (1965): capacity 2, also far from the origin, over all labels."""
    rng = np.random.default_rng(1)
    points = rng.standard_normal((n_manifolds, 1, n_features)) + mean
    near(measure_glue(points, center=False, n_samples=500), "capacity", 2)


@pytest.mark.parametrize("n_manifolds", [4, 12])
def test_separability_of_points(n_manifolds):
    """Cover counted the separable labels of P points in n directions."""
    n = np.arange(n_manifolds + 3)
    exact = [
        2.0 ** (1 - n_manifolds) * binom(n_manifolds - 1, np.arange(directions)).sum()
        for directions in n
    ]
    found = measure_glue(np.eye(n_manifolds)[:, None], center=False, n_samples=3000)
    # Three standard errors of a share of 3,000 samples, and 0.01 of smoothing.
    np.testing.assert_allclose(found.separability(n), exact, atol=3 * 0.5 / np.sqrt(3000) + 0.01)
    assert found.separability(np.zeros((2, 3), dtype=int)).shape == (2, 3)


def test_manifolds_in_orthogonal_subspaces():
    """The cone is then a product, sample by sample, of those that the anchors are found on."""
    rng = np.random.default_rng(2)
    n_samples, sizes, dimensions = 40, (4, 7, 9), (3, 2, 5)
    labels = rng.choice([-1.0, 1.0], size=(n_samples, 3))
    gaussians = rng.standard_normal((n_samples, sum(dimensions) + 3))
    manifolds, inverse, start = [], [], 0
    for i, (m, dimension) in enumerate(zip(sizes, dimensions, strict=True)):
        points = 0.8 * rng.standard_normal((m, dimension))
        padded = np.zeros((m, gaussians.shape[1]))
        own = slice(start, start + dimension + 1)
        padded[:, own] = np.column_stack([points, np.ones(m)])
        manifolds.append(padded)
        inverse.append(1 / anchor_geometry(points, labels[:, [i]] * gaussians[:, own]).capacity)
        start += dimension + 1
    found = quiet(glue_from_samples, manifolds, labels, gaussians, center=False)
    assert found.capacity_published == pytest.approx(1 / np.mean(inverse), rel=1e-12)


@pytest.mark.parametrize(("radius", "tolerance"), [(0.6, 0.01), (1.2, 0.02)])
def test_mean_field_limit(radius, tolerance):
    """Spheres with random centers in many features: the mean-field capacity of the same points.

    It holds for many manifolds; at 40 of them it is off by the tolerance.
    """
    rng = np.random.default_rng(3)
    n_manifolds, n_features = 40, 1500
    directions = rng.standard_normal((n_manifolds, 20, 4))
    directions *= radius / np.linalg.norm(directions, axis=2, keepdims=True)
    axes = rng.standard_normal((n_manifolds, 4, n_features)) / np.sqrt(n_features)
    centers = rng.standard_normal((n_manifolds, 1, n_features)) / np.sqrt(n_features)
    manifolds = centers + directions @ axes
    found = quiet(measure_glue, manifolds, n_samples=300)
    expected = measure(manifolds).summary()["capacity"]
    assert found.capacity == pytest.approx(expected, rel=tolerance + 4 * found.capacity_stderr)


def test_opposite_points():
    """With opposite labels the cone is a ray (capacity 4), with equal ones a line (2)."""
    x = np.array([[[1.0, 2.0, 2.0]]]) / 3
    t = np.random.default_rng(4).standard_normal((50, 3))
    along = t @ x[0, 0]
    pair = np.concatenate([x, -x])
    ray = quiet(glue_from_samples, pair, np.tile([1, -1], (50, 1)), t, center=False)
    np.testing.assert_allclose(ray.samples.norm2, np.maximum(along, 0) ** 2, atol=1e-15)
    np.testing.assert_array_equal(ray.samples.support, along > 0)
    assert ray.separable_fraction == 1.0
    # Two manifolds share the ray, so the anchors are arbitrary where it is active.
    np.testing.assert_array_equal(ray.samples.unique, along <= 0)
    line = quiet(glue_from_samples, pair, np.ones((50, 2)), t, center=False)
    np.testing.assert_allclose(line.samples.norm2, along**2, rtol=1e-13)
    assert line.capacity == 2.0
    assert line.separable_fraction == line.unique_fraction == 0.0


def test_moments_of_the_projection():
    """mean(a) = mean(k), and var(a) = var(k) + 2 mean(k): chi-squares of the faces' dimensions."""
    samples = measure_glue(clouds(5, 6, 20), n_samples=2000).samples
    a, k = samples.norm2, samples.support
    assert abs((a - k).mean()) < 4 * (a - k).std() / np.sqrt(2000)
    # The standard error of a variance is about sqrt(2 / n) of it; its tails are a bit heavier.
    assert a.var() == pytest.approx(k.var() + 2 * k.mean(), rel=5 * np.sqrt(2 / 2000))


def test_agrees_with_simulated_capacity():
    """The same number, and the same share of separable labels in any number of directions."""
    manifolds = clouds(12, 6, 40)
    found = measure_glue(manifolds, n_samples=800)
    simulated = simulated_capacity(manifolds, n_repetitions=300)
    error = np.hypot(found.capacity_stderr, simulated.capacity_stderr)
    assert abs(found.capacity - simulated.capacity) < 4 * error
    assert found.separable_fraction == 1.0
    n = np.arange(found.rank + 2)
    share = (simulated.critical_features[:, None] <= n).mean(axis=0)
    # Four standard errors of a share of 300 and of one of 800 samples.
    limit = 4 * np.hypot(0.5 / np.sqrt(300), 0.5 / np.sqrt(800))
    np.testing.assert_allclose(found.separability(n), share, atol=limit)


def test_labels():
    """Labels by name are those that they say; equal ones are the easiest, where the mean helps."""
    manifolds = clouds(6)
    by_name = measure_glue(manifolds, n_samples=30, dichotomies="one_vs_rest", seed=2)
    given = measure_glue(
        manifolds, n_samples=30, dichotomies=np.tile(2 * np.eye(6) - 1, (5, 1)), seed=2
    )
    same(by_name, given, 0)
    assert (by_name.dichotomies, given.dichotomies) == ("one_vs_rest", "given")
    opposite = measure_glue(manifolds, n_samples=30, dichotomies=np.ones((30, 6)), center=False)
    assert opposite.capacity > measure_glue(manifolds, center=False, n_samples=30).capacity


# ---- invariances


@pytest.mark.parametrize("transform", ["rotation", "padding", "scale", "order", "duplicates"])
def test_invariance(transform):
    manifolds = clouds()
    rng = np.random.default_rng(11)
    unit = 1.0
    if transform == "rotation":
        changed = manifolds @ np.linalg.qr(rng.standard_normal((60, 60)))[0]
    elif transform == "padding":
        changed = np.pad(manifolds, ((0, 0), (0, 0), (3, 40)))
    elif transform == "scale":
        unit = 1e-6
        changed = unit * manifolds
    elif transform == "order":
        changed = np.stack([points[rng.permutation(12)] for points in manifolds])
    else:
        changed = np.repeat(manifolds, 2, axis=1)
    found, expected = (measure_glue(x, n_samples=60) for x in (changed, manifolds))
    np.testing.assert_allclose(found.samples.norm2, expected.samples.norm2, rtol=1e-8)
    same(found, expected, 1e-7, GLUE_QUANTITIES[:-3])
    for name in GLUE_QUANTITIES[-3:]:
        assert getattr(found, name) == pytest.approx(unit**2 * getattr(expected, name), rel=1e-7)


def test_lengths_of_points_do_not_matter_to_capacity():
    rng = np.random.default_rng(5)
    manifolds, t = clouds(), rng.standard_normal((30, 60))
    labels = rng.choice([-1, 1], size=(30, 8))
    longer = manifolds * rng.uniform(0.1, 10, size=(8, 12, 1))
    found, expected = (glue_from_samples(x, labels, t, center=False) for x in (longer, manifolds))
    np.testing.assert_allclose(found.samples.norm2, expected.samples.norm2, rtol=1e-11)
    np.testing.assert_array_equal(found.samples.support, expected.samples.support)


@pytest.mark.parametrize(
    "manifolds",
    [clouds(), images(8, 50, 1000), images(10, 40, 60), clouds(30, 20, 50)],
    ids=["plain", "guessed", "narrow", "thin"],
)
def test_threads_and_seed(manifolds):
    """Same seed, same bytes with any number of threads; fewer samples are the first of more."""
    runs = [
        quiet(measure_glue, manifolds, n_samples=n, seed=3, threads=threads)
        for n, threads in ((40, 1), (40, 2), (40, 5), (20, 2))
    ]
    for other in runs[1:3]:
        for name in GLUE_QUANTITIES:
            assert np.array_equal(getattr(other, name), getattr(runs[0], name), equal_nan=True)
        np.testing.assert_array_equal(other.samples.norm2, runs[0].samples.norm2)
    n = runs[3].n_samples
    np.testing.assert_allclose(runs[3].samples.norm2, runs[0].samples.norm2[:n], rtol=1e-9)
    other = quiet(measure_glue, manifolds, n_samples=40, seed=4)
    assert not np.isclose(other.samples.norm2, runs[0].samples.norm2).any()


# ---- standard errors, and their aim


def test_standard_errors():
    """Between seeds, estimates spread as their standard errors say."""
    gram = gram_from_arrays(clouds(5, 6, 30))
    runs = [glue_from_gram(gram, n_samples=60, seed=seed) for seed in range(80)]
    for name in GLUE_QUANTITIES:
        spread = np.std([getattr(run, name) for run in runs], ddof=1)
        errors = np.mean([getattr(run, f"{name}_stderr") for run in runs])
        # 8 % is the standard error of a spread of 80 runs; absolute values are not quite linear.
        assert errors == pytest.approx(spread, rel=0.3), name


def test_face_dimension_is_less_noisy():
    found = measure_glue(clouds(), n_samples=200)
    assert found.capacity_stderr < 0.8 * found.capacity_published_stderr
    error = np.hypot(found.capacity_stderr, found.capacity_published_stderr)
    assert abs(found.capacity - found.capacity_published) < 4 * error


def test_auto():
    manifolds = clouds()
    found = measure_glue(manifolds, n_samples="auto", relative_error=0.02)
    assert found.capacity_stderr <= 0.02 * found.capacity
    assert 16 < found.n_samples < 3000
    assert found.n_samples % 16 == 0
    same(found, measure_glue(manifolds, n_samples=found.n_samples), 1e-9)
    with pytest.warns(RuntimeWarning, match="stopped at max_samples = 40 with a relative error of"):
        assert measure_glue(manifolds, n_samples="auto", max_samples=40).n_samples == 40
