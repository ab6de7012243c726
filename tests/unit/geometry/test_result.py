"""Numbers and tables of a `Geometry`: summary, variances, frames, xarray and its representation."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from manifold_capacity.geometry.intervals import QUANTITIES
from manifold_capacity.geometry.measure import measure
from manifold_capacity.geometry.result import dimension_at


def clouds(n_manifolds=8, n_points=15, n_features=60, spread=1.0, seed=0):
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((n_manifolds, 1, n_features))
    return centers + spread * rng.standard_normal((n_manifolds, n_points, n_features)) / 3


def test_summary():
    """Layer: harmonic mean of capacities, means of the others, errors of independent samples."""
    manifolds = clouds()
    result = measure(manifolds, margin=0.5, n_gaussians=100, seed=2)
    summary = result.summary()
    assert summary["capacity"] == pytest.approx(1 / np.mean(1 / result.capacity), rel=1e-12)
    assert summary["radius"] == pytest.approx(result.radius.mean(), rel=1e-12)
    assert summary["dimension"] == pytest.approx(result.dimension.mean(), rel=1e-12)
    errors = result.radius_gaussian_stderr
    assert summary["radius_gaussian_stderr"] == pytest.approx(
        np.sqrt((errors**2).sum()) / 8, rel=1e-12
    )
    relative = result.capacity_gaussian_stderr / result.capacity**2
    expected = summary["capacity"] ** 2 * np.sqrt((relative**2).sum()) / 8
    assert summary["capacity_gaussian_stderr"] == pytest.approx(expected, rel=1e-12)
    given = {"n_manifolds": 8, "n_points": 120, "n_features": 60, "n_gaussians": 100}
    given |= {"margin": 0.5, "seed": 2, "solver": "active_set", "n_unconverged": 0}
    assert {name: summary[name] for name in given} == given
    assert 0 <= summary["worst_gap"] < 1e-9
    assert summary["centers_stopped"] in ("variance", "rises", "rank")
    assert json.loads(json.dumps(summary)) == summary
    assert {type(value) for value in summary.values()} <= {int, float, str, bool}
    for name in ("radius", "dimension"):
        values = getattr(result, name)
        reach = 2.364624 * values.std(ddof=1) / np.sqrt(8)  # of the t distribution with 7 degrees
        ends = [summary[f"{name}_low"], summary[f"{name}_high"]]
        assert ends == pytest.approx([values.mean() - reach, values.mean() + reach], rel=1e-6)
    inverse = 1 / result.capacity
    reach = 2.364624 * inverse.std(ddof=1) / np.sqrt(8)
    ends = [1 / summary["capacity_high"], 1 / summary["capacity_low"]]
    assert ends == pytest.approx([inverse.mean() - reach, inverse.mean() + reach], rel=1e-6)


def test_variance_of_manifolds_and_centers():
    """Participation ratios, 90 % dimension and signal-to-noise, from the points themselves."""
    rng = np.random.default_rng(4)
    manifolds = [
        7 + points[: rng.integers(5, 15)] * np.logspace(0, -1, 60) for points in clouds(12)
    ]
    result = measure(manifolds, n_gaussians=20)
    origin = np.concatenate(manifolds).mean(0)
    for i, points in enumerate(manifolds):
        values = np.linalg.eigvalsh(np.cov(points.T, bias=True))
        expected = values.sum() ** 2 / (values**2).sum()
        assert result.participation_ratio[i] == pytest.approx(expected, rel=1e-10)
        spread = np.sqrt(((points - points.mean(0)) ** 2).sum(1).mean())
        distance = np.linalg.norm(points.mean(0) - origin)
        assert result.spread[i] == pytest.approx(spread, rel=1e-10)
        assert result.center_norm[i] == pytest.approx(distance, rel=1e-10)
        assert result.signal_to_noise[i] == pytest.approx(distance / spread, rel=1e-10)
    values = np.linalg.eigvalsh(np.cov([points.mean(0) for points in manifolds], rowvar=False))
    expected = values.sum() ** 2 / (values**2).sum()
    assert result.centers_participation_ratio == pytest.approx(expected, rel=1e-10)
    values = values[::-1]
    np.testing.assert_allclose(result.centers_spectrum, values[:11] / values.sum(), rtol=1e-10)
    assert result.mean_correlation.mean() == pytest.approx(result.center_correlation, rel=1e-12)
    n = result.centers_dimension_90
    assert values[:n].sum() >= 0.9 * values.sum() > values[: n - 1].sum()
    summary = result.summary()
    assert summary["participation_ratio"] == pytest.approx(result.participation_ratio.mean())
    noise = np.mean(1 / result.signal_to_noise)
    assert summary["signal_to_noise"] == pytest.approx(1 / noise)


@pytest.mark.parametrize(("equal", "dimension"), [(10, 9), (20, 18)])
def test_dimension_at_90_percent_of_equal_variances(equal, dimension):
    """Exactly 90 %: rounding must not ask for one component more."""
    assert dimension_at(0.9, np.eye(equal) / 3) == dimension


def test_no_sample_touches():
    """Two samples may both miss a manifold: its capacity is infinite, the layer's is not."""
    manifolds = clouds(12, 1)
    seed = next(
        s
        for s in range(100)
        if np.isinf(measure(manifolds, n_gaussians=2, seed=s, threads=1).capacity).any()
    )
    result = measure(manifolds, n_gaussians=2, seed=seed)
    summary = result.summary()
    assert np.isinf(result.capacity_gaussian_stderr[np.isinf(result.capacity)]).all()
    assert 0 < summary["capacity"] < np.inf
    assert 0 < summary["capacity_gaussian_stderr"] < np.inf


def test_to_frame():
    result = measure(clouds(), n_gaussians=50)
    frame = result.to_frame()
    assert len(frame) == 8
    np.testing.assert_array_equal(frame["capacity"], result.capacity)
    np.testing.assert_array_equal(frame["n_points"], 15)
    assert frame["n_unconverged"].dtype == np.int64


def test_to_xarray_is_the_table_and_the_summary(tmp_path):
    pytest.importorskip("zarr")
    xarray = pytest.importorskip("xarray")
    result = measure(clouds(5), n_gaussians=20)
    dataset = result.to_xarray()
    assert dataset.sizes == {"manifold": 5}
    pd.testing.assert_frame_equal(dataset.to_dataframe().rename_axis(None), result.to_frame())
    assert dataset.attrs == result.summary()
    dataset.to_zarr(tmp_path / "geometry.zarr", consolidated=False)
    again = xarray.open_zarr(tmp_path / "geometry.zarr", consolidated=False, chunks=None)
    assert again.attrs == dataset.attrs
    np.testing.assert_array_equal(again["capacity"], result.capacity)


def test_a_geometry_prints_in_one_line():
    result = measure(clouds(5), n_gaussians=100)
    text, numbers = repr(result), result.summary()
    assert "\n" not in text
    assert (
        f"of {len(result.capacity)} manifolds of 15 points in {result.n_features} features" in text
    )
    for name in QUANTITIES:
        pattern = rf"{name.replace('_', ' ')} (\S+) \[(\S+), (\S+)\]"
        value, low, high = map(float, re.search(pattern, text).groups())
        half = (numbers[f"{name}_high"] - numbers[f"{name}_low"]) / 2
        # Two digits of half the interval: each is rounded by 5 % of it at most.
        assert value == pytest.approx(numbers[name], abs=0.051 * half)
        ends = [numbers[f"{name}_low"], numbers[f"{name}_high"]]
        assert [low, high] == pytest.approx(ends, abs=0.051 * half)
    assert text.endswith("95 % intervals over classes; caveats: correlation>")
    assert repr(measure(clouds(8), n_gaussians=100)).endswith("95 % intervals over classes>")


def test_points_without_an_interval_print_as_well():
    result = measure(clouds(12, 1), n_gaussians=10)
    assert "radius 0, dimension 0, " in repr(result)
