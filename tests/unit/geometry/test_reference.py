"""Results of the reference implementation (tests/data/golden), reproduced."""

from pathlib import Path

import numpy as np
import pytest

from manifold_capacity import measure
from manifold_capacity.compat import manifold_analysis_corr
from manifold_capacity.geometry.anchors import anchor_geometry

GOLDEN = Path(__file__).parents[2] / "data" / "golden"
ANCHORS = np.load(GOLDEN / "anchors.npz")


def load_layer(name):
    """Manifolds, and the arrays of the file."""
    with np.load(GOLDEN / f"{name}.npz") as archive:
        arrays = dict(archive)
    if "images" in arrays:
        images = arrays["images"]
        return images.reshape(*images.shape[:2], -1) / 255, arrays
    return [arrays[f"cloud{i:02d}"] for i in range(40)], arrays


@pytest.mark.parametrize(
    ("case", "solver"),
    [(case, "active_set") for case in ANCHORS["cases"].tolist()]
    + [(case, "cvxopt") for case in ("few_points", "low_dim_margin", "pixels0")],
)
def test_single_manifolds(case, solver):
    """The same points and Gaussian vectors: 1e-8, the reference's own tolerance."""
    if solver == "cvxopt":
        pytest.importorskip("cvxopt")
    margin, *expected = ANCHORS[f"{case}.out"]
    points = ANCHORS[f"{case}.S"][:-1].T
    found = anchor_geometry(points, ANCHORS[f"{case}.T"].T, margin, solver=solver)
    np.testing.assert_allclose(list(found), expected, rtol=1e-8)
    assert found.n_unconverged == 0


@pytest.mark.parametrize("name", ["pixels", "clouds"])
def test_layers(name):
    """Equal up to the Gaussian samples and the local optima of the centers' fit."""
    manifolds, arrays = load_layer(name)
    capacity, radius, dimension, correlation, rank = manifold_analysis_corr(
        [np.transpose(points) for points in manifolds], 0, 300
    )
    reference = arrays["reference"]
    found = [1 / np.mean(1 / capacity), radius.mean(), dimension.mean()]
    np.testing.assert_allclose(found, reference[:, :3].mean(axis=0), rtol=0.015)
    np.testing.assert_allclose(correlation, reference[:, 3], rtol=1e-9)
    np.testing.assert_array_equal(rank, reference[:, 4])
    expected = arrays["per_manifold"].mean(axis=0)
    difference = np.abs([capacity, radius, dimension] / expected - 1)
    # The noise of 300 Gaussian samples in a single manifold.
    np.testing.assert_array_less(np.median(difference, axis=1), (0.06, 0.03, 0.03))


def test_layer_on_which_the_reference_fails():
    """There one center vanishes, and its manifold's radius explodes: a mean radius of 23 ± 27."""
    result = measure(load_layer("degenerate")[0])
    assert result.center_correlation == pytest.approx(0.3158, abs=5e-5)
    assert result.center_rank in (4, 5)
    assert result.centers.least_residual_ratio > 0.15
    assert result.radius.max() < 2 * np.median(result.radius)
    assert result.n_unconverged.sum() == 0
