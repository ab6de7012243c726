"""The low-rank structure of the centers: found, stable and invariant."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.optimize import minimize

from manifold_capacity.geometry import center_fit
from manifold_capacity.geometry import centers as centers_module
from manifold_capacity.geometry.centers import CoincidingCentersError, fit_centers


def gram_of(centers):
    deviations = centers - centers.mean(axis=0)
    return deviations @ deviations.T


def shared_centers(n_manifolds, n_shared, *, n_features=400, strength=3.0, seed=0):
    """Centers that share a few directions, on top of directions of their own."""
    rng = np.random.default_rng(seed)
    own = rng.standard_normal((n_manifolds, n_features))
    loadings = rng.standard_normal((n_manifolds, n_shared))
    shared = loadings @ rng.standard_normal((n_shared, n_features))
    return own + strength * shared / np.sqrt(n_shared)


def falling_centers(n_manifolds, n_features, exponent, seed):
    """Centers whose spectrum falls as a power, as those of images do."""
    rng = np.random.default_rng(seed)
    scale = np.arange(1, n_features + 1.0) ** -exponent
    return rng.standard_normal((n_manifolds, n_features)) * scale


def histogram_centers(n_manifolds, seed):
    """Centers that are sparse histograms of 40 bins."""
    return np.random.default_rng(seed).dirichlet(np.full(40, 0.3), n_manifolds)


def mean_correlation(vectors):
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    correlation = np.abs(units @ units.T)
    n = len(correlation)
    return (correlation.sum() - n) / (n * (n - 1))


def numbers(structure):
    correlations = (structure.center_correlation, structure.residual_correlation)
    fit = (structure.rank, structure.objective, structure.least_residual_ratio)
    return np.array([*correlations, *fit])


# What the structure is.


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
    assert structure.correlations[structure.rank] == structure.residual_correlation


@pytest.mark.parametrize(("n_manifolds", "width"), [(10, 0.1), (40, 0.025), (130, 0.01)])
def test_near_tied_are_within_the_error_of_the_least(n_manifolds, width):
    centers = falling_centers(n_manifolds, 200, 0.8, 0)
    deviations = centers - centers.mean(axis=0)
    structure = fit_centers(gram_of(centers))
    least, correlations = structure.residual_correlation, structure.correlations
    assert {*np.flatnonzero(correlations <= 1.01 * least)} <= {*structure.near_tied}
    assert 1 < len(structure.near_tied) < len(correlations) - 1
    assert structure.near_tied == tuple(sorted(structure.near_tied))
    for rank, coefficients in structure.near_tied_coefficients.items():
        directions = deviations.T @ coefficients
        np.testing.assert_allclose(directions.T @ directions, np.eye(rank), atol=1e-12)
        residuals = deviations - deviations @ directions @ directions.T
        found = mean_correlation(residuals)
        assert found <= (1 + width) * least
        if correlations[rank] <= 1.01 * least:
            assert found == pytest.approx(correlations[rank], rel=1e-10)
    kept = structure.near_tied_coefficients[structure.rank]
    np.testing.assert_array_equal(kept, structure.coefficients)


@pytest.mark.parametrize("strength", [3.0, 100.0, 1e4])
@pytest.mark.parametrize("n_shared", [1, 3, 8])
def test_shared_directions_are_found(n_shared, strength):
    """However strong they are: no path leads to eight equal ones through fewer."""
    structure = fit_centers(gram_of(shared_centers(40, n_shared, strength=strength)))
    assert structure.rank == n_shared
    assert structure.residual_correlation < 0.08
    assert structure.center_correlation > 0.2
    assert structure.converged
    # With 39 - K dimensions left, no arrangement has a smaller objective than this.
    assert 1 < structure.objective / (40**2 / (2 * (39 - n_shared))) < 1.2


def test_a_direction_that_centers_share_unequally_is_removed():
    """From a third of the center's norm to all of it but 1e-3: no reason to keep some of it."""
    rng = np.random.default_rng(0)
    loadings = np.exp(rng.uniform(0, np.log(1e3), 40)) * rng.choice([-1, 1], 40)
    centers = rng.standard_normal((40, 300)) + np.outer(loadings, rng.standard_normal(300))
    structure = fit_centers(gram_of(centers))
    assert structure.rank == 1
    assert structure.residual_correlation < 0.06
    assert structure.least_residual_ratio < 0.002


@pytest.mark.parametrize("seed", range(3))
def test_brute_force_finds_no_better_structure(seed):
    """General-purpose minimization of F from many starts, as far as no center vanishes."""
    deviations = falling_centers(9, 20, 0.7, seed)
    deviations -= deviations.mean(axis=0)
    structure = fit_centers(deviations @ deviations.T)
    left, sizes, _ = np.linalg.svd(deviations, full_matrices=False)
    coordinates = (left * sizes)[:, :8]
    norms = np.linalg.norm(coordinates, axis=1)

    def residuals(flat):
        directions = np.linalg.qr(flat.reshape(8, structure.rank))[0]
        return coordinates - coordinates @ directions @ directions.T

    def objective(flat):
        left = residuals(flat)
        ratios = np.linalg.norm(left, axis=1) / norms
        units = left / np.linalg.norm(left, axis=1, keepdims=True)
        # A wall that keeps every center at what the structure leaves of the least of them.
        wall = np.maximum(structure.least_residual_ratio / ratios - 1, 0).sum()
        return ((units @ units.T) ** 2).sum() / 2 + 100 * wall

    rng = np.random.default_rng(seed)
    best = min(
        minimize(objective, rng.standard_normal(8 * structure.rank), options={"gtol": 1e-3}).fun
        for _ in range(6)
    )
    assert structure.objective < 1.005 * best


# The optimum in which a center vanishes.

VANISHING = [falling_centers(12, 60, 1.0, seed) for seed in (3, 7, 8)]
VANISHING += [falling_centers(20, 100, 1.0, 1), histogram_centers(20, 0), histogram_centers(20, 5)]


@pytest.mark.parametrize("centers", VANISHING)
def test_no_center_vanishes(centers, monkeypatch):
    gram = gram_of(centers)
    structure = fit_centers(gram)
    assert structure.least_residual_ratio > 0.1

    # The same search for the least F alone does make one vanish, and gains next to nothing by it.
    monkeypatch.setattr(center_fit, "_BALANCE", 0.0)
    monkeypatch.setattr(center_fit, "_SEARCH_TOLERANCE", 1e-6)
    monkeypatch.setattr(centers_module, "FINAL_TOLERANCE", 1e-9)
    monkeypatch.setattr(center_fit, "_MAX_ROUNDS", 100)
    vanishing = fit_centers(gram)
    assert vanishing.least_residual_ratio < 0.03
    assert abs(structure.rank - vanishing.rank) <= 1
    assert structure.objective < 1.04 * vanishing.objective


# The search.


def test_the_search_ends_for_the_reasons_it_gives():
    rises = fit_centers(gram_of(shared_centers(40, 3)))
    assert rises.stopped == "rises"
    assert len(rises.correlations) > 5
    assert (np.diff(rises.correlations)[-3:] > 0).all()

    # One component short of 95 % of the variance: K up to 1 + 10.
    variances = np.concatenate(([0.9, 0.06], np.full(38, 0.04 / 38)))
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(np.column_stack([np.ones(41), rng.standard_normal((41, 40))]))[0][:, 1:]
    few = fit_centers(gram_of(basis * np.sqrt(variances)))
    assert len(few.correlations) - 1 <= 11

    gram = gram_of(falling_centers(60, 200, 1.0, 0))
    falling = fit_centers(gram)
    explained = np.linalg.eigvalsh(gram)[::-1].cumsum()
    assert falling.stopped == "variance"
    assert len(falling.correlations) - 1 == (explained < 0.95 * explained[-1]).sum() + 10

    flat = fit_centers(gram_of(np.random.default_rng(0).standard_normal((30, 5))))
    assert len(flat.correlations) - 1 <= 4


def test_a_fit_that_runs_out_of_rounds_says_so(monkeypatch):
    monkeypatch.setattr(center_fit, "_MAX_ROUNDS", 1)
    assert not fit_centers(gram_of(falling_centers(30, 200, 0.8, 0))).converged


# Few manifolds, few features, special positions.


def test_two_centers_have_no_structure_to_remove():
    structure = fit_centers(gram_of(np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 7.0]])))
    assert structure.rank == 0
    assert structure.coefficients.shape == (2, 0)
    assert structure.near_tied == (0,)
    assert structure.center_correlation == pytest.approx(1, abs=1e-12)
    assert structure.residual_correlation == structure.center_correlation
    assert structure.stopped == "rank"
    assert structure.converged


@pytest.mark.parametrize(
    ("n_manifolds", "n_features"), [(3, 50), (4, 50), (5, 2), (7, 3), (30, 5), (4, 1), (40, 2)]
)
def test_the_structure_leaves_two_dimensions(n_manifolds, n_features):
    """In the last one, all correlations would be 1."""
    rng = np.random.default_rng(n_manifolds)
    centers = rng.standard_normal((n_manifolds, n_features))
    structure = fit_centers(gram_of(centers))
    rank = min(n_manifolds - 1, n_features)
    assert min(1, max(0, rank - 2)) <= structure.rank <= max(0, rank - 2)
    assert 0 < structure.least_residual_ratio <= 1
    assert structure.objective >= n_manifolds**2 / (2 * (rank - structure.rank)) * (1 - 1e-12)
    assert (structure.residual_correlation < 0.999) == (rank > 1)


@pytest.mark.parametrize("n_axes", [2, 3, 10])
def test_centers_on_coordinate_axes(n_axes):
    """The first principal direction may hold a whole center."""
    centers = np.concatenate([np.eye(n_axes), -np.eye(n_axes)])
    structure = fit_centers(centers @ centers.T)
    assert structure.rank <= max(0, n_axes - 2)
    assert structure.least_residual_ratio > 0.01
    assert np.isfinite(numbers(structure)).all()


def test_a_regular_simplex():
    structure = fit_centers(gram_of(np.eye(20)))
    assert structure.center_correlation == pytest.approx(1 / 19, rel=1e-12)
    assert structure.rank == 1
    assert structure.least_residual_ratio > 0.8


def test_centers_that_coincide_stay_correlated():
    centers = shared_centers(20, 2)
    centers[7] = centers[3]
    structure = fit_centers(gram_of(centers))
    assert np.isfinite(numbers(structure)).all()
    assert structure.residual_correlation > 1 / 190
    deviations = centers - centers.mean(axis=0)
    directions = deviations.T @ structure.coefficients
    residuals = deviations - deviations @ directions @ directions.T
    np.testing.assert_allclose(residuals[7], residuals[3], atol=1e-9)


# What must not matter.


@pytest.mark.parametrize(
    "centers",
    [falling_centers(25, 100, 0.8, 0), shared_centers(30, 4), histogram_centers(20, 1)],
    ids=["falling", "shared", "histograms"],
)
def test_order_scale_rotation_and_offset_do_not_matter(centers):
    """Nor does the rounding that comes with them, although there are many optima as good."""
    expected = numbers(fit_centers(gram_of(centers)))
    rng = np.random.default_rng(5)
    n_manifolds, n_features = centers.shape
    rotation = np.linalg.qr(rng.standard_normal((n_features, n_features)))[0]
    for changed in (
        centers[rng.permutation(n_manifolds)],
        centers[::-1] * 1e-30,
        centers * 3e40,
        centers @ rotation,
        centers + 10 * rng.standard_normal(n_features),
    ):
        np.testing.assert_allclose(numbers(fit_centers(gram_of(changed))), expected, rtol=1e-8)


def test_the_directions_move_with_the_manifolds():
    centers = falling_centers(25, 100, 0.8, 0)
    order = np.random.default_rng(6).permutation(25)
    expected = fit_centers(gram_of(centers)).coefficients[order]
    permuted = fit_centers(gram_of(centers[order])).coefficients
    # Up to a rotation among themselves.
    gram = gram_of(centers[order])
    overlap = np.linalg.svd(expected.T @ gram @ permuted, compute_uv=False)
    np.testing.assert_allclose(overlap, 1, atol=1e-8)


def test_same_bytes_whatever_the_threads():
    """Moments and fit, in processes whose BLAS has different numbers of threads."""
    code = (
        "import hashlib, numpy as np; from manifold_capacity.geometry.centers import fit_centers;"
        "from manifold_capacity.geometry.moments import moments_from_arrays;"
        "x = np.random.default_rng(0).standard_normal((150, 10, 600)) / np.arange(1, 601);"
        "m = moments_from_arrays(x); c = fit_centers(m.center_gram).coefficients;"
        "arrays = (m.center_gram, m.center_deviation, np.array(m.deviation_gram), c);"
        "print(hashlib.sha256(b''.join(a.tobytes() for a in arrays)).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"OPENBLAS_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
        ).stdout
        for threads in ("1", "2", "4")
    }
    assert len(digests) == 1


def test_the_seed_only_moves_a_start_that_holds_a_center():
    gram = gram_of(falling_centers(15, 40, 0.8, 0))
    first, second = fit_centers(gram, seed=0), fit_centers(gram, seed=1)
    np.testing.assert_array_equal(first.coefficients, second.coefficients)
    axes = np.concatenate([np.eye(4), -np.eye(4)])
    first, second = fit_centers(axes @ axes.T, seed=0), fit_centers(axes @ axes.T, seed=1)
    assert not np.array_equal(first.coefficients, second.coefficients)


# What has no structure says so.


@pytest.mark.parametrize(
    ("gram", "message", "manifolds"),
    [
        ([[0.0]], "there is one manifold only", (0,)),
        (np.zeros((3, 3)), "centers of all manifolds coincide .*leave the layer out", (0, 1, 2)),
        (
            np.diag([1.0, 0, 1, 0]),
            "manifold 1, 3: the center lies at the mean of all centers",
            (1, 3),
        ),
    ],
)
def test_centers_without_direction_are_named(gram, message, manifolds):
    with pytest.raises(CoincidingCentersError, match=message) as caught:
        fit_centers(gram)
    assert caught.value.manifolds == manifolds
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("gram", "message"),
    [
        (np.ones((2, 3)), r"finite \(P, P\) matrix .*shape \(2, 3\)"),
        (np.ones(4), r"shape \(4,\)"),
        ([[1.0, np.nan], [np.nan, 1.0]], "values that are not finite"),
    ],
)
def test_what_is_no_gram_matrix(gram, message):
    with pytest.raises(ValueError, match=message):
        fit_centers(gram)
